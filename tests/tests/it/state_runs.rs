//! Whole runs with a stage that keeps state, where two streams meet, that die at any operation and go on from the
//! real store: each record counts once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{AsArray, BinaryArray};
use async_trait::async_trait;
use engine::{Access, Component, KeyedState, Pool, StageLimits, StageSetup};
use fastrand::Rng;
use flow::checkpoint::{Checkpoint, CheckpointError, CheckpointStore, Opened, Pace, RedbStore, Stored};
use flow::connector::{Barrier, ConnectError, Cursor, Places, PullLimits, Pulled, Refusals, Sink, Source};
use flow::letters::{Group, Letters, LettersError};
use flow::state::{StageState, StateBase, StateLimits};
use flow::{Checkpoints, Job, Part, Recovery, Rules, Transform};
use model::batch::{Batch, Parts};
use model::ids::RecordId;
use model::lineage::{Lineage, Offsets, SourceRows};
use model::manifest::{self, Context, Role};
use model::plan::{Answer, Form, Plan, Planner, Stream};
use model::stage::{StagePlan, TransformPlan};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::guests::load;

const STAGES: &str = "pipeline: p\nstages:\n  a: { source: stdin }\n  b: { source: stdin }\n  count: { transform: \
                      ./probe.wasm, from: [a, b] }\n  out: { sink: stdout, from: count }\n";
const RECORDS: u64 = 120;

/// What outlives a crash, and when the next one comes.
#[derive(Default)]
struct World {
    /// Operations until the crash; none: there is none any more.
    left: Option<u32>,
    read: BTreeMap<&'static str, u64>,
    read_again: u64,
    prepared: BTreeMap<u64, Vec<String>>,
    visible: Vec<String>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<World>>, Arc<Notify>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next operation is the one at which it dies.
    fn dies(&self) -> bool {
        match &mut self.lock().left {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    async fn step(&self) {
        if self.dies() {
            self.1.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// The `n`th record of a source; some kill the stage.
fn record(name: &str, n: u64) -> String {
    if n % 41 == 17 { "panic".to_owned() } else { format!("add {name}{}", n * n % 7) }
}

struct Counting {
    name: &'static str,
    world: Shared,
    next: u64,
    random: Rng,
}

#[async_trait]
impl Source for Counting {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        self.world.step().await;
        if self.random.u8(..) < 60 {
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        if self.next == RECORDS {
            return Ok(None);
        }
        let count = self.random.u64(1..8).min(RECORDS - self.next);
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: self.name.into(),
            split: "0".into(),
            offsets: Offsets::From(self.next),
        });
        let values = (self.next..self.next + count).map(|n| record(self.name, n));
        let batch = Batch::from_values(BinaryArray::from_iter_values(values), Parts::default(), lineage);
        self.next += count;
        {
            let mut world = self.world.lock();
            let read = world.read.entry(self.name).or_default();
            let again = read.saturating_sub(self.next - count).min(count);
            *read = (*read).max(self.next);
            world.read_again += again;
        }
        let cursor = Some(Cursor { split: "0".into(), place: self.next.to_le_bytes().to_vec() });
        Ok(Some(Pulled { batch: Some(batch.expect("a batch")), cursor, ..Pulled::default() }))
    }
}

fn place(places: &Places) -> u64 {
    places.get("0").map_or(0, |place| u64::from_le_bytes(place.as_slice().try_into().expect("eight bytes")))
}

/// Prepares parts, and lets them be seen when they are committed.
struct Committing {
    world: Shared,
    written: Vec<String>,
}

impl Committing {
    fn open(world: &Shared, token: Option<&Vec<u8>>) -> Self {
        if let Some(token) = token {
            Self::commit_part(world, token);
        }
        world.lock().prepared.clear();
        Self { world: world.clone(), written: Vec::new() }
    }

    fn commit_part(world: &Shared, token: &[u8]) {
        let number = u64::from_le_bytes(token.try_into().expect("eight bytes"));
        let mut world = world.lock();
        if let Some(part) = world.prepared.remove(&number) {
            world.visible.extend(part);
        }
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
        self.world.lock().prepared.insert(barrier.number, part);
        self.world.step().await;
        Ok(barrier.number.to_le_bytes().to_vec())
    }

    async fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        self.world.step().await;
        Self::commit_part(&self.world, token);
        Ok(())
    }
}

/// The real store, that may die before a checkpoint is durable, or right behind it, when nobody is told.
struct Dying(RedbStore, Shared);

impl CheckpointStore for Dying {
    fn put(&mut self, checkpoint: &Checkpoint, took: Duration) -> Result<Stored, CheckpointError> {
        let crashed = |_| CheckpointError::Io { path: "store".into(), why: "it has crashed".into() };
        let dies = |world: &Shared| if world.dies() { Err(()) } else { Ok(()) };
        let put = dies(&self.1).map_err(crashed).and_then(|()| {
            let stored = self.0.put(checkpoint, took)?;
            dies(&self.1).map_err(crashed).map(|()| stored)
        });
        put.inspect_err(|_| self.1.1.notify_one())
    }

    fn sinks_committed(&mut self) -> Result<(), CheckpointError> {
        self.0.sinks_committed()
    }

    fn state(&mut self, stage: &str) -> Result<Arc<dyn StateBase>, CheckpointError> {
        self.0.state(stage)
    }
}

/// Whoever kills the stage is thrown away here.
struct Away;

impl Letters for Away {
    fn put(&mut self, group: &Group) -> Result<(), LettersError> {
        assert!(group.refusals.iter().all(|refusal| refusal.code == "trap"), "{:?}", group.refusals);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        Ok(())
    }
}

struct Bench {
    plan: Arc<Plan>,
    component: Component,
    transform: TransformPlan,
    world: Shared,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let component = load("probe-state").await;
        let answer = component.plan(&serde_json::json!({}), &[], &StageLimits::default()).await;
        let Ok(StagePlan::Transform(transform)) = answer else { panic!("{answer:?}") };
        let context = Context { sources: &["stdin"], sinks: &["stdout"], env: &|_| None };
        let pipeline = manifest::parse("p.yaml", STAGES, &context).expect("a manifest");
        let mut planner = Planner::new(&pipeline, vec![Form::Any, Form::Any, Form::Bytes, Form::Any]);
        while let Some(ask) = planner.next_ask() {
            planner.answer(match *pipeline.stages[ask.stage].role {
                Role::Source => Answer::Source(Stream::Opaque),
                Role::Transform => Answer::Transform(transform.clone()),
                Role::Sink => Answer::BuiltInSink { columns: true },
            });
        }
        let plan = Arc::new(planner.finish().expect("a plan"));
        let dir = tempfile::tempdir().expect("a directory");
        Self { plan, component, transform, world: Shared::default(), dir }
    }

    fn job(&self, dir: &Path, random: &mut Rng) -> Job {
        let Opened { mut store, last_committed } = RedbStore::open(dir).expect("a store");
        let last_committed = last_committed.map(|last| last.checkpoint).unwrap_or_default();
        let limits = PullLimits { records_max: 1024, bytes_max: 1 << 20, delay: Duration::ZERO };
        let mut parts = Vec::new();
        for stage in &self.plan.stages {
            parts.push(match stage.role {
                Role::Source => {
                    let name = if &*stage.name == "a" { "a" } else { "b" };
                    let next = last_committed.places.get(&stage.name).map_or(0, place);
                    let source = Counting { name, world: self.world.clone(), next, random: random.fork() };
                    Part::Source { source: Box::new(source), limits }
                }
                Role::Transform => {
                    let base = store.state(&stage.name).expect("a base");
                    let state = Arc::new(StageState::over(base, StateLimits::default()).expect("a state"));
                    let setup = StageSetup {
                        pipeline: "p".into(),
                        stage: stage.name.clone(),
                        config: serde_json::json!({}),
                        input: Vec::new(),
                        plan: self.transform.clone(),
                        // Instances are recycled after every fourth call.
                        limits: StageLimits { instance_calls: 4, ..StageLimits::default() },
                        access: Access::default(),
                        state: Some(state.clone() as Arc<dyn KeyedState>),
                    };
                    let pool = Pool::new(self.component.clone(), setup);
                    Part::Transform(Transform { pool, state: Some(state) })
                }
                Role::Sink => {
                    let token = last_committed.tokens.get(&stage.name);
                    Part::Sink(Box::new(Committing::open(&self.world, token)))
                }
            });
        }
        let pace = Pace { interval: Duration::from_micros(500), timeout: Duration::from_secs(60) };
        let store = Box::new(Dying(store, self.world.clone()));
        let checkpoints = Checkpoints { store, last_committed, pace, recovery: Recovery::default() };
        let rules = Rules::defaults(&self.plan);
        let (plan, letters) = (self.plan.clone(), Box::new(Away));
        Job { plan, parts, rules, letters, epoch: 1, checkpoints: Some(checkpoints) }
    }

    /// Runs until it crashes, or to its end. Says whether it came to its end.
    async fn run_once(&self, dir: &Path, random: &mut Rng) -> bool {
        let run = self.job(dir, random).build().expect("loops");
        let crashed = self.world.1.notified();
        tokio::select! {
            biased;
            () = crashed => false,
            ended = run.run(CancellationToken::new()) => match ended.failure {
                None => true,
                Some(error) => {
                    assert!(error.to_string().contains("it has crashed"), "{error}");
                    false
                }
            },
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// What comes of the records of one source, in their order.
fn expected(name: &str) -> Vec<String> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let records = (0..RECORDS).map(|n| record(name, n));
    let adds = records.filter_map(|record| record.strip_prefix("add ").map(str::to_owned));
    adds.map(|key| {
        let count = counts.entry(key.clone()).or_default();
        *count += 1;
        format!("{key} {count}")
    })
    .collect()
}

#[test]
fn a_stage_counts_each_record_once_whenever_the_run_dies() {
    let (mut crashes, mut read_again) = (0, 0);
    for seed in 0..12 {
        let mut random = Rng::with_seed(seed);
        let bench = runtime().block_on(Bench::new());
        let mut died = 0;
        loop {
            let survives = died >= 8;
            bench.world.lock().left = (!survives).then(|| random.u32(0..90));
            // A crash takes all tasks with it.
            let ended = runtime().block_on(bench.run_once(bench.dir.path(), &mut random));
            if ended && survives {
                break;
            }
            died += 1;
        }
        let world = bench.world.lock();
        (crashes, read_again) = (crashes + died, read_again + world.read_again);
        for name in ["a", "b"] {
            let of: Vec<_> = world.visible.iter().filter(|line| line.starts_with(name)).cloned().collect();
            assert_eq!(of, expected(name), "seed {seed}: what was counted of {name}");
        }
    }
    assert!(crashes >= 96 && read_again > 100, "{crashes} crashes, {read_again} records read again: too few");
}
