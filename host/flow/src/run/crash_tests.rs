//! Whole runs that die at any operation and go on from the last checkpoint: every record comes out once, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{AsArray, BinaryArray};
use async_trait::async_trait;
use fastrand::Rng;
use model::batch::{Batch, Parts};
use model::ids::RecordId;
use model::lineage::{Lineage, Offsets, SourceRows};
use model::plan::Plan;
use model::stage::Role;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::tests::plan;
use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointStore, Pace, Stored};
use crate::connector::{
    Barrier, Committed, ConnectError, Cursor, Places, PullLimits, Pulled, Refusals, Sink, Source,
};
use crate::letters::{Group, Letters, LettersError};
use crate::{Checkpoints, Job, Part, Recovery, Rules};

/// What outlives a crash, and when the next one comes.
#[derive(Default)]
struct World {
    /// Operations until the crash; none: there is none any more.
    left: Option<u32>,
    crashes: u32,
    /// Records that were read more than once.
    read_again: u32,
    read: BTreeMap<&'static str, u64>,
    last_committed: Checkpoint,
    /// By sink and number: what is prepared and not seen.
    prepared: BTreeMap<(String, u64), Vec<String>>,
    visible: BTreeMap<String, Vec<String>>,
    released: BTreeMap<&'static str, u64>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<World>>, Arc<Notify>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One operation of the outside world: from the crash on, nothing comes back.
    async fn step(&self) {
        let dies = {
            let mut world = self.lock();
            match &mut world.left {
                None => false,
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
            }
        };
        if dies {
            self.1.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// So many records of the only split of a source, from number `first` on.
fn batch(source: &str, first: u64, count: u64) -> Batch {
    let lineage = Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: source.into(),
        split: "0".into(),
        offsets: Offsets::From(first),
    });
    let values = (first..first + count).map(|n| format!("{source}{n}"));
    let values = BinaryArray::from_iter_values(values);
    Batch::from_values(values, Parts::default(), lineage).expect("a batch")
}

/// Counts from 0 to `end`.
struct Counting {
    name: &'static str,
    world: Shared,
    next: u64,
    end: u64,
    random: Rng,
}

#[async_trait]
impl Source for Counting {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        self.world.step().await;
        if self.random.u8(..) < 60 {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        if self.next == self.end {
            return Ok(None);
        }
        let count = self.random.u64(1..6).min(self.end - self.next);
        let batch = batch(self.name, self.next, count);
        {
            let mut world = self.world.lock();
            let read = world.read.entry(self.name).or_default();
            let again = read.saturating_sub(self.next).min(count);
            *read = (*read).max(self.next + count);
            world.read_again += again as u32;
        }
        self.next += count;
        let cursor = Some(Cursor { split: "0".into(), place: self.next.to_le_bytes().to_vec() });
        Ok(Some(Pulled { batch: Some(batch), cursor, ..Pulled::default() }))
    }

    async fn committed(&mut self, places: &Places) -> Result<(), ConnectError> {
        let place = place(places);
        let mut world = self.world.lock();
        let last_committed = world.last_committed.places.get(self.name).map_or(0, self::place);
        assert!(place <= last_committed, "{} was told {place}, and {last_committed} is durable", self.name);
        let before = world.released.insert(self.name, place);
        assert!(before.is_none_or(|before| before <= place), "a cursor went back");
        Ok(())
    }
}

fn place(places: &Places) -> u64 {
    places.get("0").map_or(0, |place| u64::from_le_bytes(place.as_slice().try_into().expect("eight bytes")))
}

/// Prepares parts, and lets them be seen when they are committed.
struct Committing {
    name: String,
    world: Shared,
    written: Vec<String>,
}

impl Committing {
    fn commit_part(world: &mut World, name: &str, number: u64) {
        if let Some(part) = world.prepared.remove(&(name.to_owned(), number)) {
            world.visible.entry(name.to_owned()).or_default().extend(part);
        }
    }

    fn open(name: &str, world: &Shared, committed: Committed) -> Self {
        {
            let mut world = world.lock();
            if let Some(token) = committed.0 {
                let number = u64::from_le_bytes(token.as_slice().try_into().expect("eight bytes"));
                Self::commit_part(&mut world, name, number);
            }
            world.prepared.retain(|(of, _), _| of != name);
        }
        Self { name: name.to_owned(), world: world.clone(), written: Vec::new() }
    }
}

#[async_trait]
impl Sink for Committing {
    async fn write(&mut self, batch: &Batch, _: &[RecordId]) -> Result<Refusals, ConnectError> {
        self.world.step().await;
        let values = batch.columns()[0].flat().expect("flat");
        let values = values.as_binary::<i32>().iter().flatten();
        self.written.extend(values.map(|value| String::from_utf8_lossy(value).into_owned()));
        Ok(Vec::new())
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.world.step().await;
        let part = std::mem::take(&mut self.written);
        self.world.lock().prepared.insert((self.name.clone(), barrier.number), part);
        self.world.step().await;
        Ok(barrier.number.to_le_bytes().to_vec())
    }

    async fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        self.world.step().await;
        let number = u64::from_le_bytes(token.try_into().expect("eight bytes"));
        let mut world = self.world.lock();
        assert!(world.last_committed.number >= number, "a token was committed before its checkpoint was");
        Self::commit_part(&mut world, &self.name, number);
        Ok(())
    }
}

struct Durable(Shared);

impl CheckpointStore for Durable {
    fn put(&mut self, checkpoint: &Checkpoint, _: Duration) -> Result<Stored, CheckpointError> {
        let mut world = self.0.lock();
        match &mut world.left {
            // It dies before it is durable, or right behind it, and nobody is told.
            Some(left @ 0..=1) => {
                let durable = *left == 1;
                if durable {
                    world.last_committed = checkpoint.clone();
                }
                world.left = Some(0);
                drop(world);
                self.0.1.notify_one();
                Err(CheckpointError::Io { path: "memory".into(), why: "it has crashed".into() })
            }
            left => {
                if let Some(left) = left {
                    *left -= 1;
                }
                world.last_committed = checkpoint.clone();
                Ok(Stored { bytes: 1 })
            }
        }
    }

    fn sinks_committed(&mut self) -> Result<(), CheckpointError> {
        Ok(())
    }
}

struct NoLetters;

impl Letters for NoLetters {
    fn put(&mut self, _: &Group) -> Result<(), LettersError> {
        panic!("nothing is refused here")
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        Ok(())
    }
}

const STAGES: &str = "  a: { source: stdin }\n  b: { source: stdin }\n  x: { sink: stdout, from: a }\n  y: { sink: \
                      stdout, from: [a, b] }\n  z: { sink: stdout, from: b }\n";
const RECORDS: u64 = 60;

fn job(world: &Shared, plan: &Arc<Plan>, random: &mut Rng) -> Job {
    let last_committed = world.lock().last_committed.clone();
    let limits = PullLimits { records_max: 1024, bytes_max: 1 << 20, delay: Duration::ZERO };
    let part = |stage: &model::plan::PlannedStage| match stage.role {
        Role::Source => {
            let name = if &*stage.name == "a" { "a" } else { "b" };
            let next = last_committed.places.get(&stage.name).map_or(0, place);
            let source = Counting { name, world: world.clone(), next, end: RECORDS, random: random.fork() };
            Part::Source { source: Box::new(source), limits }
        }
        _ => {
            let committed = Committed(last_committed.tokens.get(&stage.name).cloned());
            Part::Sink(Box::new(Committing::open(&stage.name, world, committed)))
        }
    };
    let parts = plan.stages.iter().map(part).collect();
    let pace = Pace { interval: Duration::from_micros(300), timeout: Duration::from_secs(60) };
    let checkpoints = Checkpoints {
        store: Box::new(Durable(world.clone())),
        last_committed,
        pace,
        recovery: Recovery::default(),
    };
    let rules = Rules::defaults(plan);
    let letters = Box::new(NoLetters);
    Job { plan: plan.clone(), parts, rules, letters, epoch: 1, checkpoints: Some(checkpoints) }
}

/// Runs until it crashes, or to its end. Says whether it came to its end.
async fn run_once(world: &Shared, plan: &Arc<Plan>, random: &mut Rng) -> bool {
    let run = job(world, plan, random).build().expect("loops");
    let stop = CancellationToken::new();
    let crashed = world.1.notified();
    tokio::select! {
        biased;
        () = crashed => false,
        ended = run.run(stop) => match ended.failure {
            None => true,
            Some(error) => {
                assert!(error.to_string().contains("it has crashed"), "{error}");
                false
            }
        },
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn a_run_that_dies_at_any_operation_delivers_every_record_once_and_in_order() {
    let plan = plan(STAGES);
    let (mut crashes, mut read_again) = (0, 0);
    for seed in 0..60 {
        let mut random = Rng::with_seed(seed);
        let world = Shared(Arc::default(), Arc::new(Notify::new()));
        loop {
            let survives = world.lock().crashes >= 6;
            world.lock().left = (!survives).then(|| random.u32(0..70));
            // A crash takes all tasks with it.
            let ended = runtime().block_on(run_once(&world, &plan, &mut random));
            if ended && survives {
                break;
            }
            world.lock().crashes += 1;
        }
        let world = world.lock();
        (crashes, read_again) = (crashes + world.crashes, read_again + world.read_again);
        let all = |name: &str| (0..RECORDS).map(|n| format!("{name}{n}")).collect::<Vec<_>>();
        assert_eq!(world.visible["x"], all("a"), "seed {seed}: x");
        assert_eq!(world.visible["z"], all("b"), "seed {seed}: z");
        for name in ["a", "b"] {
            let of: Vec<_> =
                world.visible["y"].iter().filter(|line| line.starts_with(name)).cloned().collect();
            assert_eq!(of, all(name), "seed {seed}: {name} at y");
        }
        assert_eq!(world.visible["y"].len(), 2 * RECORDS as usize, "seed {seed}: y has more than that");
        for name in ["a", "b"] {
            assert_eq!(world.released.get(name), Some(&RECORDS), "seed {seed}: {name} may release all");
        }
    }
    assert!(crashes >= 60 && read_again > 100, "{crashes} crashes, {read_again} records read again: too few");
}

#[test]
fn a_stop_takes_a_last_checkpoint_from_which_nothing_comes_again() {
    let plan = plan(STAGES);
    let mut random = Rng::with_seed(1);
    let world = Shared(Arc::default(), Arc::new(Notify::new()));
    let stopped = |pulls: u64, random: &mut Rng| {
        let run = job(&world, &plan, random).build().expect("loops");
        let stop = CancellationToken::new();
        runtime().block_on(async {
            let stopper = async {
                while world.lock().read.values().sum::<u64>() < pulls {
                    tokio::time::sleep(Duration::from_micros(50)).await;
                }
                stop.cancel();
            };
            let (ended, ()) = tokio::join!(run.run(stop.clone()), stopper);
            assert!(ended.failure.is_none(), "{:?}", ended.failure);
        });
    };
    for pulls in [10, 40, 80, 2 * RECORDS] {
        stopped(pulls, &mut random);
    }
    let world = world.lock();
    assert_eq!(world.read_again, 0, "a stopped run goes on where it was");
    assert_eq!(world.visible["y"].len(), 2 * RECORDS as usize);
    assert!(world.prepared.is_empty());
}

#[test]
fn a_store_that_fails_ends_the_run_and_commits_nothing() {
    let plan = plan(STAGES);
    let mut random = Rng::with_seed(3);
    let world = Shared(Arc::default(), Arc::new(Notify::new()));
    struct Full;
    impl CheckpointStore for Full {
        fn put(&mut self, _: &Checkpoint, _: Duration) -> Result<Stored, CheckpointError> {
            Err(CheckpointError::Io { path: "state".into(), why: "no space left on device".into() })
        }

        fn sinks_committed(&mut self) -> Result<(), CheckpointError> {
            panic!("nothing was stored")
        }
    }
    let mut job = job(&world, &plan, &mut random);
    job.checkpoints.as_mut().expect("checkpoints").store = Box::new(Full);
    let run = job.build().expect("loops");
    let ended = runtime().block_on(run.run(CancellationToken::new()));
    let error = ended.failure.expect("it cannot go on").to_string();
    assert!(error.contains("no space left on device") && error.contains("--state"), "{error}");
    assert!(world.lock().visible.is_empty(), "something was committed that no checkpoint has");
}

/// Gives one record, and then nothing; says when it may release that.
struct Once {
    given: bool,
    released: Arc<Notify>,
}

#[async_trait]
impl Source for Once {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        if std::mem::replace(&mut self.given, true) {
            std::future::pending::<()>().await;
        }
        let batch = batch("a", 0, 1);
        let cursor = Some(Cursor { split: "0".into(), place: vec![1] });
        Ok(Some(Pulled { batch: Some(batch), cursor, ..Pulled::default() }))
    }

    async fn committed(&mut self, _: &Places) -> Result<(), ConnectError> {
        self.released.notify_one();
        Ok(())
    }
}

/// Refuses the first batch for now, or takes long for each.
enum Troubled {
    Late(bool),
    Slow(Duration),
}

#[async_trait]
impl Sink for Troubled {
    async fn write(&mut self, _: &Batch, _: &[RecordId]) -> Result<Refusals, ConnectError> {
        match self {
            Self::Late(was_asked) => {
                if !std::mem::replace(was_asked, true) {
                    return Err(ConnectError::retry("it", "it is not ready", Duration::ZERO));
                }
            }
            Self::Slow(time) => tokio::time::sleep(*time).await,
        }
        Ok(Vec::new())
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn prepare(&mut self, _: Barrier) -> Result<Vec<u8>, ConnectError> {
        Ok(Vec::new())
    }

    async fn commit(&mut self, _: &[u8]) -> Result<(), ConnectError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_checkpoint_that_waited_for_a_held_stage_stands_though_the_source_has_nothing_more() {
    let plan =
        plan("  a: { source: stdin }\n  x: { sink: stdout, from: a }\n  y: { sink: stdout, from: a }\n");
    let (world, released) = (Shared(Arc::default(), Arc::new(Notify::new())), Arc::new(Notify::new()));
    let limits = PullLimits { records_max: 1, bytes_max: 1 << 20, delay: Duration::ZERO };
    let rules = Rules::defaults(&plan);
    // When the slow one is done, a checkpoint has begun, and the other is due again.
    let slow = rules.retry[0].backoff.from.0 * 4;
    let source = Once { given: false, released: released.clone() };
    let parts = vec![
        Part::Source { source: Box::new(source), limits },
        Part::Sink(Box::new(Troubled::Late(false))),
        Part::Sink(Box::new(Troubled::Slow(slow))),
    ];
    let checkpoints = Checkpoints {
        store: Box::new(Durable(world)),
        last_committed: Checkpoint::default(),
        pace: Pace { interval: Duration::from_millis(10), timeout: Duration::from_secs(60) },
        recovery: Recovery::default(),
    };
    let letters = Box::new(NoLetters);
    let job = Job { plan, parts, rules, letters, epoch: 1, checkpoints: Some(checkpoints) };
    let stop = CancellationToken::new();
    let run = tokio::spawn(job.build().expect("loops").run(stop.clone()));
    let told = tokio::time::timeout(Duration::from_secs(20), released.notified()).await;
    stop.cancel();
    assert!(told.is_ok(), "the barrier never came");
    assert!(run.await.expect("an end").failure.is_none());
}
