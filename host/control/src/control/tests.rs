//! A node alone.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::ServerState;
use tempfile::TempDir;

use super::*;
use crate::machine::PANICS;
use crate::network::NoNetwork;
use crate::rough::Rough;
use crate::state::{
    Content, Deploy, Effect, Expects, Outcome, PipelineName, Refusal, RevisionNumber, Version,
};
use crate::{WatchError, state};

const NODE: NodeId = NodeId(1);

/// Long after anything that is tested has come about.
fn late() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(300)
}

fn options(disk: &Rough, dir: &Path) -> Options {
    static BOOTS: AtomicU64 = AtomicU64::new(1);
    Options {
        disk: Arc::new(disk.clone()),
        dir: dir.to_owned(),
        node: NODE,
        boot: BootId(u128::from(BOOTS.fetch_add(1, Ordering::SeqCst))),
        address: "127.0.0.1:1".into(),
        version: "0.1.0".into(),
        new: New::Cluster { id: ClusterId(7), voters: [(NODE, "127.0.0.1:1".to_owned())].into() },
        network: Arc::new(NoNetwork),
        clock: Arc::new(|| 1),
        tuning: Tuning::default(),
    }
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

async fn open(disk: &Rough, dir: &Path) -> Control {
    Control::open(options(disk, dir)).await.expect("it opens")
}

fn pipeline(number: u64) -> PipelineName {
    format!("default/p{number}").parse().expect("a name")
}

fn deploy(number: u64, manifest: &str) -> Command {
    let content = Content { manifest: manifest.into(), ..Content::default() };
    let pipeline = pipeline(number);
    let deploy = Deploy { pipeline, content, expects: Expects::Anything, node: Some(NODE), taken_over: None };
    Command::Deploy(Box::new(deploy))
}

async fn done(control: &Control, command: Command) -> Done {
    control.propose(control.proposal(command), late()).await.expect("done")
}

async fn count(control: &Control) -> usize {
    control.read(late(), |state| state.pipelines().len()).await.expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_there_after_a_start_and_what_ran_has_a_new_epoch() {
    let (disk, dir) = (Rough::default(), dir());
    let control = open(&disk, dir.path()).await;
    assert!(control.leads(late()).await);
    let mut watch = control.watch(Some(0));
    let first = done(&control, deploy(1, "a")).await;
    let answer = state::Answer::Deployed { revision: RevisionNumber(1), version: Version(1), is_new: true };
    assert_eq!(first.answer, answer);
    let refused = control.propose(control.proposal(Command::RemoveNode { node: NodeId(9) }), late()).await;
    assert_eq!(refused, Err(ProposeError::Refused(Box::new(Refusal::NoNode { node: NodeId(9) }))));
    let epoch = |state: &State| state.pipelines()[&pipeline(1)].epoch;
    let before = control.read(late(), epoch).await.expect("read");
    let seen = watch.next().await.expect("effects").last().expect("one").number;
    control.shutdown().await;
    assert_eq!(watch.next().await.map(|_| ()), Err(WatchError::Stopped));
    assert_eq!(control.propose(control.proposal(deploy(2, "b")), late()).await, Err(ProposeError::Stopping));
    assert_eq!(control.read(late(), |_| ()).await, Err(ReadError::Stopping));

    for _ in 0..3 {
        let control = open(&disk, dir.path()).await;
        let after = control.read(late(), epoch).await.expect("read");
        assert!(after > before, "{after:?}");
        // Whoever watched goes on where it was.
        let mut watch = control.watch(Some(seen));
        let next = watch.next().await.expect("effects");
        assert_eq!(next[0].number, seen + 1);
        assert!(
            next.iter().any(|event| matches!(&event.effect, Effect::Start { epoch, .. } if *epoch > before))
        );
        control.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_few_and_a_snapshot_takes_their_place() {
    let (disk, dir) = (Rough::slow(Duration::from_millis(2)), dir());
    let mut options = options(&disk, dir.path());
    options.tuning = Tuning { snapshot_entries: 20, kept_entries: 5, ..Tuning::default() };
    let control = Control::open(options).await.expect("it opens");
    let all = (0..2000).map(|number| {
        let control = control.clone();
        async move { done(&control, deploy(number % 100, &format!("m{number}"))).await.index }
    });
    let indexes: std::collections::BTreeSet<u64> = futures::future::join_all(all).await.into_iter().collect();
    assert!(indexes.len() < 100, "2,000 commands in {} entries", indexes.len());
    for number in 0..30 {
        done(&control, deploy(number, "one by one")).await;
    }
    let mut metrics = control.0.raft.metrics();
    metrics.wait_for(|metrics| metrics.purged.is_some()).await.expect("it runs");
    let before = control.look(Clone::clone);
    control.shutdown().await;
    drop(control);
    let control = open(&disk, dir.path()).await;
    assert_eq!(count(&control).await, 100);
    // But for the start.
    assert_eq!(control.look(|state| state.audit_log().len()), before.audit_log().len());
    let (now, was) = (control.look(State::bytes), before.bytes());
    assert_eq!(now, was);
    let mut watch = control.watch(Some(1));
    assert_eq!(
        watch.next().await.map(|_| ()),
        Err(WatchError::Behind { seen: 1 }),
        "they are in the snapshot"
    );
    control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_one_process_at_a_time() {
    let (disk, dir) = (Rough::default(), dir());
    let control = open(&disk, dir.path()).await;
    let second = Control::open(options(&disk, dir.path())).await.map(|_| ());
    assert!(matches!(second, Err(OpenError::Store(StoreError::Locked { .. }))), "{second:?}");
    done(&control, deploy(1, "what ran goes on undisturbed")).await;
    control.shutdown().await;
    let other = Options { node: NodeId(2), ..options(&disk, dir.path()) };
    let other = Control::open(other).await.map(|_| ());
    assert!(matches!(other, Err(OpenError::Store(StoreError::OtherNode { .. }))), "{other:?}");
    let empty = self::dir();
    let none = Control::open(Options { new: New::Refused, ..options(&disk, empty.path()) }).await.map(|_| ());
    assert!(matches!(none, Err(OpenError::Store(StoreError::Empty { .. }))), "{none:?}");
    let control = open(&disk, dir.path()).await;
    assert_eq!(count(&control).await, 1);
    control.shutdown().await;
}

/// The room that is held is enough for what was begun; the next one is refused, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_goes_on_after_room() {
    let (disk, dir) = (Rough::default(), dir());
    let control = open(&disk, dir.path()).await;
    disk.fill(true, true);
    done(&control, deploy(1, "with what was held")).await;
    let refused = control.propose(control.proposal(deploy(2, "no room")), late()).await;
    let Err(error @ ProposeError::Disk(_)) = refused else { panic!("{refused:?}") };
    let text = error.to_string();
    assert!(text.contains("nothing was done") && text.contains("free some space"), "{text}");
    assert_eq!(count(&control).await, 1, "what is there is read");
    disk.fill(false, true);
    let mut tries = 0;
    while control.propose(control.proposal(deploy(3, "room")), late()).await.is_err() {
        tries += 1;
        assert!(tries < 100, "there is room");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    control.shutdown().await;
    let control = open(&disk, dir.path()).await;
    assert_eq!(count(&control).await, 2);
    control.shutdown().await;
}

/// Others take the room that is held: what was begun waits, and its outcome is unknown until there is room.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_on_a_full_disk_is_done_when_there_is_room() {
    let (disk, dir) = (Rough::default(), dir());
    let control = open(&disk, dir.path()).await;
    disk.fill(true, false);
    let mut proposal = control.proposal(deploy(1, "a"));
    proposal.key = Some("k".parse().expect("a key"));
    let first = control.propose(proposal.clone(), soon()).await;
    assert_eq!(first, Err(ProposeError::Unknown));
    disk.fill(false, false);
    let again = loop {
        match control.propose(proposal.clone(), late()).await {
            Ok(again) => break again,
            Err(error) => assert!(matches!(error, ProposeError::Disk(_) | ProposeError::Unknown), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let own =
        control.read(late(), |state| state.pipelines()[&pipeline(1)].revisions_made).await.expect("read");
    assert_eq!(own, 1, "it was done once");
    assert!(again.index > 0);
    control.shutdown().await;
}

/// It can be shut down as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_full_disk_stops_when_it_is_told() {
    let (disk, dir) = (Rough::default(), dir());
    let control = open(&disk, dir.path()).await;
    disk.fill(true, false);
    let first = control.propose(control.proposal(deploy(1, "a")), soon()).await;
    assert_eq!(first, Err(ProposeError::Unknown));
    control.shutdown().await;
    disk.fill(false, false);
    let control = open(&disk, dir.path()).await;
    assert!(count(&control).await <= 1);
    control.shutdown().await;
}

/// What was there, and a cluster that begins.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_waits_for_room() {
    let (disk, dir, new) = (Rough::default(), dir(), dir());
    let control = open(&disk, dir.path()).await;
    done(&control, deploy(1, "a")).await;
    control.shutdown().await;
    disk.fill(true, false);
    let starts = [(dir.path(), 1), (new.path(), 0)].map(|(dir, pipelines)| (options(&disk, dir), pipelines));
    let starts = starts.map(|(options, pipelines)| (tokio::spawn(Control::open(options)), pipelines));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(starts.iter().all(|(start, _)| !start.is_finished()), "there is no room");
    disk.fill(false, false);
    for (start, pipelines) in starts {
        let control = start.await.expect("joined").expect("it opens");
        assert_eq!(count(&control).await, pipelines);
        assert!(control.look(|state| state.nodes().contains_key(&NODE)), "its start is written down");
        control.shutdown().await;
    }
}

/// Room would not mend it, so nobody waits for room.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_disk_that_fails_is_refused_with_what_failed() {
    let (disk, dir) = (Rough::default(), dir());
    std::fs::create_dir(dir.path().join("control.ballast")).expect("it stands in the way");
    let started = timeout_at(late(), Control::open(options(&disk, dir.path()))).await.expect("it ends");
    let error = started.map(|_| ()).expect_err("it is refused");
    assert!(matches!(error, OpenError::Store(StoreError::Io { .. })), "{error:?}");
    assert!(error.to_string().contains("look at the disk"), "{error}");
}

/// Of a sync that found no room as well: nobody knows what is on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_is_the_end_and_is_told() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        let (disk, dir) = (Rough::default(), dir());
        let control = open(&disk, dir.path()).await;
        done(&control, deploy(1, "a")).await;
        disk.fail_syncs(kind);
        let failed = control.propose(control.proposal(deploy(2, "b")), late()).await;
        assert!(matches!(failed, Err(ProposeError::Unknown)), "{failed:?}");
        let why = timeout_at(late(), control.ended()).await.expect("it ends");
        assert!(why.contains("control.redb") && why.to_lowercase().contains("start the node again"), "{why}");
        let after = control.propose(control.proposal(deploy(3, "c")), late()).await;
        assert_eq!(after, Err(ProposeError::Ended(why.clone())));
        assert_eq!(control.read(late(), |_| ()).await, Err(ReadError::Ended(why)));
        assert!(!control.leads(late()).await);
        control.shutdown().await;
        let started = Control::open(options(&disk, dir.path())).await.map(|_| ());
        assert!(matches!(started, Err(OpenError::Store(_))), "{started:?}");
        let control = open(&Rough::default(), dir.path()).await;
        assert!(count(&control).await >= 1);
        control.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_is_the_end_and_is_told() {
    let (disk, dir) = (Rough::default(), dir());
    let mut options = options(&disk, dir.path());
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    options.tuning.on_panic = Arc::new(move |why| tell.send(why.to_owned()).expect("somebody listens"));
    let control = Control::open(options).await.expect("it opens");
    let mut proposal = control.proposal(deploy(1, "a"));
    proposal.by = Some(PANICS.to_owned());
    assert_eq!(control.propose(proposal, late()).await, Err(ProposeError::Unknown));
    let why = told.recv().await.expect("it is told");
    assert!(why.contains("as a test wants it"), "{why}");
    control.ended().await;
    // openraft goes on naming it.
    assert_eq!(control.0.raft.metrics().borrow().state, ServerState::Shutdown);
    assert!(!control.leads(late()).await);
    control.shutdown().await;
}

/// Which the test runs as a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_apply_aborts_the_process() {
    const CHILD: &str = "CONTROL_TEST_PANICS_IN";
    if let Ok(dir) = std::env::var(CHILD) {
        let dir_of_test = dir;
        let made = TempDir::new_in(dir_of_test).expect("a directory");
        let control = open(&Rough::default(), made.path()).await;
        let mut proposal = control.proposal(deploy(1, "a"));
        proposal.by = Some(PANICS.to_owned());
        let told = control.propose(proposal, late()).await;
        panic!("it should be gone, and says {told:?}");
    }
    let dir = dir();
    let name = "control::tests::a_panic_in_apply_aborts_the_process";
    let mut child = std::process::Command::new(std::env::current_exe().expect("this one"));
    let child =
        child.args([name, "--exact", "--nocapture"]).env(CHILD, dir.path()).output().expect("it runs");
    use std::os::unix::process::ExitStatusExt as _;
    let text = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_wait_at_once_wait_for_their_turn_and_give_up_at_their_deadline() {
    let (disk, dir) = (Rough::default(), dir());
    let control = open(&disk, dir.path()).await;
    // Nothing gets through for a while.
    disk.fill(true, false);
    let all = (0..1100).map(|number| {
        let control = control.clone();
        async move { control.propose(control.proposal(deploy(number, "a")), soon()).await }
    });
    let told = futures::future::join_all(all).await;
    let busy = told.iter().filter(|told| **told == Err(ProposeError::Busy)).count();
    let unknown = told.iter().filter(|told| **told == Err(ProposeError::Unknown)).count();
    assert_eq!(busy + unknown, 1100);
    assert!(busy >= 1100 - model::limits::CONTROL_ENTRY_COMMANDS_MAX && unknown > 0, "{busy} {unknown}");
    disk.fill(false, false);
    // Those that gave up in time are not done: that is what they were told.
    while control.propose(control.proposal(deploy(5000, "last")), late()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(count(&control).await <= unknown + 1);
    control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_too_large_is_refused() {
    let (disk, dir) = (Rough::default(), dir());
    let control = open(&disk, dir.path()).await;
    let mut proposal = control.proposal(deploy(1, "a"));
    proposal.by = Some("\u{1}".repeat(model::limits::CONTROL_COMMAND_BYTES_MAX / 5));
    let refused = control.propose(proposal, late()).await;
    assert_eq!(refused, Err(ProposeError::Refused(Box::new(Refusal::CommandTooLarge))));
    // What no single part forbids.
    let Outcome { result, .. } = State::default().apply(1, &control.proposal(deploy(1, "a")));
    assert_eq!(result, Err(Refusal::NoNode { node: NODE }));
    control.shutdown().await;
}

#[path = "kills.rs"]
mod kills;
#[path = "voters.rs"]
mod voters;
