//! SIGKILL at every named place: what was acknowledged is there, and the node goes on.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command as Process;

use disk::fault::OF_CONTROL;
use model::ids::Digest;

use super::*;
use crate::state::TagName;

/// In which directory a process of this test does its work, until it dies.
const CHILD: &str = "CONTROL_TEST_DIES_IN";
/// Which has a line for each command that was acknowledged.
const TOLD: &str = "told";
/// So many that there are snapshots, and entries go.
const COMMANDS: u64 = 40;

fn tag(number: u64) -> TagName {
    format!("r:{number}").parse().expect("a tag")
}

fn set(number: u64) -> Command {
    Command::SetTag { tag: tag(number), digest: Digest::of(number.to_string().as_bytes()) }
}

async fn work(dir: &Path) {
    disk::fault::arm(&std::env::var(disk::fault::VARIABLE).expect("a place")).expect("a known one");
    let mut options = options(&Rough::default(), dir);
    options.tuning = Tuning { snapshot_entries: 8, kept_entries: 2, ..Tuning::default() };
    let control = Control::open(options).await.expect("it opens");
    let mut told = OpenOptions::new().create(true).append(true).open(dir.join(TOLD)).expect("a file");
    for number in 0..COMMANDS {
        done(&control, set(number)).await;
        writeln!(told, "{number}").expect("written");
    }
    let mut metrics = control.0.raft.metrics();
    metrics.wait_for(|metrics| metrics.purged.is_some()).await.expect("it runs");
    control.shutdown().await;
}

/// What is there after it died at this place for the `nth` time.
async fn kill_at(place: &str, nth: u32) {
    let dir = dir();
    let mut child = Process::new(std::env::current_exe().expect("this one"));
    let name = "control::tests::kills::what_was_acknowledged_stands_wherever_it_is_killed";
    child.args([name, "--exact", "--nocapture"]).env(CHILD, dir.path());
    child.env(disk::fault::VARIABLE, format!("{place}@{nth}"));
    let child = tokio::task::spawn_blocking(move || child.output().expect("it runs")).await.expect("joined");
    let text = String::from_utf8_lossy(&child.stderr);
    let killed = Some(rustix::process::Signal::KILL.as_raw());
    assert_eq!(child.status.signal(), killed, "{place}@{nth} was not come to: {text}");

    let told = std::fs::read_to_string(dir.path().join(TOLD)).unwrap_or_default().lines().count() as u64;
    let control = open(&Rough::default(), dir.path()).await;
    let there = control.look(|state| state.tags().len() as u64);
    assert!((told..=told + 1).contains(&there), "{place}@{nth}: {there} are there, {told} were acknowledged");
    let lost = (0..there).find(|number| !control.look(|state| state.tags().contains_key(&tag(*number))));
    assert_eq!(lost, None, "{place}@{nth}");
    done(&control, set(COMMANDS)).await;
    control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_stands_wherever_it_is_killed() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return work(Path::new(&dir)).await;
    }
    for place in OF_CONTROL {
        kill_at(place, 1).await;
    }
    for nth in [2, 3, 20] {
        kill_at("entries-synced", nth).await;
    }
    for place in ["entry-applied", "piece-synced", "snapshot-synced", "entries-purged"] {
        kill_at(place, 2).await;
    }
}
