//! The control state of a node alone on the simulated disk: it is killed, loses power and runs out of room at any
//! operation, over any number of starts. What was acknowledged is there, what was said to be undone is not, what is in doubt
//! is there or is not; epochs go up, and a start is written down before anything else is done.
//!
//! Threads of the runtime write as they come to it, so a seed is not the same each time: what must hold is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::control::network::NoNetwork;
use ::control::state::{
    BootId, ClusterId, Command, Content, Deploy, Expects, NodeId, PipelineName, State, TagName,
};
use ::control::{Control, New, OpenError, Options, ProposeError, StoreError, Tuning};
use fastrand::Rng;
use model::ids::{Digest, Epoch};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::disk::{Crash, SimDisk};

const SEEDS: u64 = 12;
const LIVES: u64 = 8;
const NODE: NodeId = NodeId(1);
/// How long what is proposed on a full disk waits before it gives up.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long a start waits until somebody makes room.
const NO_ROOM: Duration = Duration::from_millis(30);

/// What one node was told to do.
#[derive(Default)]
struct Told {
    next: u64,
    done: BTreeSet<TagName>,
    undone: BTreeSet<TagName>,
    in_doubt: BTreeSet<TagName>,
    epoch: Epoch,
    pipeline: Epoch,
    tally: Tally,
}

/// What came to pass, so that it is known to have.
#[derive(Debug, Default)]
struct Tally {
    done: u64,
    in_doubt: u64,
    crashes: u64,
    crashes_at_start: u64,
    full_starts: u64,
    snapshots: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.in_doubt += other.in_doubt;
        self.crashes += other.crashes;
        self.crashes_at_start += other.crashes_at_start;
        self.full_starts += other.full_starts;
        self.snapshots += other.snapshots;
    }
}

/// Long after anything that is waited for has come about.
fn late() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

fn options(disk: &SimDisk, boot: u128) -> Options {
    let voters = BTreeMap::from([(NODE, "a".to_owned())]);
    Options {
        disk: Arc::new(disk.clone()),
        dir: "/data/control".into(),
        node: NODE,
        boot: BootId(boot),
        address: "a".to_owned(),
        version: "v".to_owned(),
        new: New::Cluster { id: ClusterId(1), voters },
        network: Arc::new(NoNetwork),
        clock: Arc::new(|| 1),
        tuning: Tuning { snapshot_entries: 8, kept_entries: 2, ..Tuning::default() },
    }
}

fn pipeline() -> PipelineName {
    "default/p".parse().expect("a name")
}

impl Told {
    fn tag(&mut self) -> TagName {
        self.next += 1;
        format!("r:{}", self.next).parse().expect("a tag")
    }

    /// What is there has to be what was told.
    fn check(&mut self, state: &State, boot: u128) {
        assert_eq!(state.nodes()[&NODE].boot, BootId(boot), "its start is written down");
        let there = |tag: &TagName| state.tags().get(tag) == Some(&Digest::of(tag.to_string().as_bytes()));
        let lost: Vec<_> = self.done.iter().filter(|tag| !there(tag)).collect();
        assert!(lost.is_empty(), "acknowledged and forgotten: {lost:?}");
        let found: Vec<_> = self.undone.iter().filter(|tag| state.tags().contains_key(*tag)).collect();
        assert!(found.is_empty(), "said to be undone, and done: {found:?}");
        let known = |tag: &&TagName| !self.done.contains(*tag) && !self.in_doubt.contains(*tag);
        assert_eq!(state.tags().keys().find(known), None, "nobody wanted it");
        assert!(state.last_epoch() >= self.epoch, "{} after {}", state.last_epoch(), self.epoch);
        if let Some(run) = state.pipelines().get(&pipeline()).and_then(|pipeline| pipeline.run) {
            assert!(run.epoch > self.pipeline, "it runs under {}, as before", run.epoch);
            self.pipeline = run.epoch;
        } else {
            assert_eq!(self.pipeline, Epoch(0), "it is forgotten");
        }
        self.epoch = state.last_epoch();
        // One that was in doubt stays what it is now.
        for tag in std::mem::take(&mut self.in_doubt) {
            if there(&tag) {
                self.done.insert(tag)
            } else {
                self.undone.insert(tag)
            };
        }
    }

    async fn life(&mut self, disk: &SimDisk, random: &mut Rng, boot: u128) {
        let is_full = random.u8(0..4) == 0;
        if is_full {
            disk.set_room(Some(random.u64(0..10)), random.bool());
        }
        let make_room = async {
            tokio::time::sleep(NO_ROOM).await;
            disk.set_room(None, true);
        };
        let (opened, ()) = tokio::join!(Control::open(options(disk, boot)), make_room);
        let control = match opened {
            Ok(control) => control,
            Err(OpenError::Store(StoreError::Damaged { why, .. })) => panic!("a crash is no damage: {why}"),
            // Where it runs out of room in a sync, that is the end as well.
            Err(error) => {
                assert!(disk.is_down() || is_full, "{error}");
                self.tally.crashes_at_start += 1;
                return;
            }
        };
        self.tally.full_starts += u64::from(is_full);
        control.look(|state| self.check(state, boot));
        if self.pipeline == Epoch(0) {
            self.deploy(&control).await;
        }
        for _ in 0..random.u32(5..30) {
            let is_full = random.u8(0..10) == 0;
            if is_full {
                disk.set_room(Some(random.u64(0..30)), random.bool());
            }
            let has_ended = self.set_some(&control, random, is_full).await;
            if has_ended && random.bool() {
                break;
            }
            // Somebody makes room.
            disk.set_room(None, true);
            if has_ended {
                break;
            }
        }
        control.shutdown().await;
    }

    /// Sets some at once. Whether it has ended, or one of them waits yet.
    async fn set_some(&mut self, control: &Control, random: &mut Rng, is_full: bool) -> bool {
        let deadline = if is_full { Instant::now() + PATIENCE } else { late() };
        let some: Vec<TagName> = (0..random.u8(1..4)).map(|_| self.tag()).collect();
        let all = some.into_iter().map(|tag| set(control, tag, deadline));
        futures::future::join_all(all).await.into_iter().filter(|told| self.note(told)).count() > 0
    }

    async fn deploy(&mut self, control: &Control) {
        let content = Content { manifest: "m".into(), ..Content::default() };
        let (expects, node) = (Expects::Anything, Some(NODE));
        let deploy = Deploy { pipeline: pipeline(), content, expects, node, taken_over: None };
        let proposal = control.proposal(Command::Deploy(Box::new(deploy)));
        if control.propose(proposal, late()).await.is_ok() {
            self.pipeline = control.look(|state| state.pipelines()[&pipeline()].epoch);
        }
    }

    /// Whether it has ended, or waits yet.
    fn note(&mut self, (tag, told): &(TagName, Result<u64, ProposeError>)) -> bool {
        let tag = tag.clone();
        match told {
            Ok(_) => {
                self.tally.done += 1;
                self.done.insert(tag);
                false
            }
            Err(ProposeError::Unknown) => {
                self.tally.in_doubt += 1;
                self.in_doubt.insert(tag);
                true
            }
            Err(ProposeError::Disk(_)) => {
                self.undone.insert(tag);
                false
            }
            Err(_) => {
                self.undone.insert(tag);
                true
            }
        }
    }
}

async fn set(control: &Control, tag: TagName, deadline: Instant) -> (TagName, Result<u64, ProposeError>) {
    let digest = Digest::of(tag.to_string().as_bytes());
    let proposal = control.proposal(Command::SetTag { tag: tag.clone(), digest });
    let told = control.propose(proposal, deadline).await;
    (tag, told.map(|done| done.index))
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn what_was_acknowledged_stands_after_a_crash_at_any_operation() {
    let mut all = Tally::default();
    for seed in 0..SEEDS {
        let mut random = Rng::with_seed(seed);
        let disk = SimDisk::new(random.fork());
        let mut told = Told::default();
        for life in 0..LIVES {
            disk.set_fuse(Some(random.u64(0..400)));
            let runtime = runtime();
            let lived = runtime.block_on(async {
                tokio::time::timeout_at(late(), told.life(&disk, &mut random, u128::from(life))).await
            });
            if lived.is_err() {
                // Without what hangs.
                runtime.shutdown_background();
                panic!("life {life} of seed {seed} does not end");
            }
            // Nothing of that process goes on.
            drop(runtime);
            told.tally.crashes += u64::from(disk.is_down());
            disk.restart(if random.bool() { Crash::Kill } else { Crash::PowerCut });
            disk.set_room(None, true);
        }
        runtime().block_on(async {
            let control = Control::open(options(&disk, u128::from(LIVES))).await.expect("it opens");
            control.look(|state| told.check(state, u128::from(LIVES)));
            told.tally.snapshots += control.look(|state| u64::from(state.last_effect() > 20));
            control.shutdown().await;
        });
        all.add(&told.tally);
    }
    let is_enough = all.done > 200
        && all.in_doubt > 10
        && all.crashes > 20
        && all.crashes_at_start > 0
        && all.full_starts > 5
        && all.snapshots > 5;
    assert!(is_enough, "{all:?}");
}
