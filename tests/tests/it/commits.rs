//! Many short runs on two threads, beside others that keep every core busy: a run ends well when its sink has committed,
//! and only then. The loops, the coordinator and the sinks, which are components, are those of the product.
//!
//! Here are a few hundred of them; `cargo xtask faults commits` does 10,000 (`CONVEYOR_FAULTS_COMMITS`).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::BinaryArray;
use async_trait::async_trait;
use engine::{Access, Component, SinkContext, SinkDriver, SinkSetup, StageLimits};
use flow::checkpoint::{Checkpoint, CheckpointError, CheckpointStore, Pace, Stored};
use flow::component::ComponentSink;
use flow::connector::{Barrier, ConnectError, Cursor, PullLimits, Pulled, Refusals, Sink, Source};
use flow::letters::{Group, Letters, LettersError};
use flow::{Checkpoints, Job, Part, Recovery, Rules};
use model::batch::{Batch, Parts};
use model::ids::RecordId;
use model::lineage::{Lineage, Offsets, SourceRows};
use model::manifest::{self, Context, Role};
use model::plan::{Answer, Form, Plan, Planner, Stream, Work};
use model::stage::StagePlan;
use tokio_util::sync::CancellationToken;

use crate::guests::load;

const RUNS: u32 = 300;
const THREADS: usize = 2;

/// What happened to the sink of one run.
#[derive(Default)]
struct Seen {
    commits: AtomicU32,
    has_committed: AtomicBool,
    /// The store was told that all sinks have committed.
    sinks_committed: AtomicBool,
}

/// A few records, and then the end.
struct Few(u64);

#[async_trait]
impl Source for Few {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        let Some(left) = self.0.checked_sub(1) else { return Ok(None) };
        self.0 = left;
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "in".into(),
            split: "0".into(),
            offsets: Offsets::From(left),
        });
        let batch = Batch::from_values(BinaryArray::from_iter_values(["x"]), Parts::default(), lineage);
        let cursor = Some(Cursor { split: "0".into(), place: vec![left as u8] });
        Ok(Some(Pulled { batch: Some(batch.expect("a batch")), cursor, ..Pulled::default() }))
    }
}

/// A sink that is watched.
struct Watched(ComponentSink, Arc<Seen>);

#[async_trait]
impl Sink for Watched {
    async fn write(&mut self, batch: &Batch, ids: &[RecordId]) -> Result<Refusals, ConnectError> {
        self.0.write(batch, ids).await
    }

    fn wants_ids(&self) -> bool {
        self.0.wants_ids()
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        self.0.flush().await
    }

    async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.0.prepare(barrier).await
    }

    async fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        self.1.commits.fetch_add(1, Ordering::Relaxed);
        self.0.commit(token).await?;
        self.1.has_committed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

struct Store(Arc<Seen>);

impl CheckpointStore for Store {
    fn put(&mut self, _: &Checkpoint, _: Duration) -> Result<Stored, CheckpointError> {
        Ok(Stored { bytes: 1 })
    }

    fn sinks_committed(&mut self) -> Result<(), CheckpointError> {
        self.0.sinks_committed.store(true, Ordering::Relaxed);
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

/// A pipeline with one sink.
struct Bench {
    plan: Arc<Plan>,
    component: Component,
}

impl Bench {
    async fn of(component: &str) -> Self {
        let component = load(component).await;
        let answer = component.plan(&serde_json::json!({}), &[], &StageLimits::default()).await;
        let Ok(StagePlan::Sink(sink)) = answer else { panic!("{answer:?}") };
        let stages =
            "pipeline: p\nstages:\n  in: { source: stdin }\n  out: { sink: ./sink.wasm, from: in }\n";
        let context = Context { sources: &["stdin"], sinks: &["stdout"], env: &|_| None };
        let pipeline = manifest::parse("p.yaml", stages, &context).expect("a manifest");
        let mut planner = Planner::new(&pipeline, vec![Form::Any, Form::Bytes]);
        while let Some(ask) = planner.next_ask() {
            planner.answer(match *pipeline.stages[ask.stage].role {
                Role::Source => Answer::Source(Stream::Opaque),
                _ => Answer::Sink(sink.clone()),
            });
        }
        Self { plan: Arc::new(planner.finish().expect("a plan")), component }
    }

    async fn job(&self, seen: &Arc<Seen>) -> Job {
        let planned = &self.plan.stages[1];
        let Work::Sink(work) = &planned.work else { panic!("{:?}", planned.work) };
        let sink = work.component.as_ref().expect("a component");
        let setup = SinkSetup {
            pipeline: "p".into(),
            stage: planned.name.clone(),
            config: serde_json::json!({}),
            input: Vec::new(),
            plan: sink.plan.clone(),
            context: SinkContext::default(),
            limits: StageLimits::default(),
            access: Access::default(),
        };
        let driver = SinkDriver::open(&self.component, setup).await.expect("a sink");
        let sink = ComponentSink::new(driver, sink.mapping.clone(), planned.input.clone(), sink.plan.ids);
        let limits = PullLimits { records_max: 1, bytes_max: 1 << 20, delay: Duration::ZERO };
        let parts = vec![
            Part::Source { source: Box::new(Few(3)), limits },
            Part::Sink(Box::new(Watched(sink, seen.clone()))),
        ];
        let pace = Pace { interval: Duration::from_secs(1), timeout: Duration::from_secs(60) };
        let (store, last_committed) = (Box::new(Store(seen.clone())), Checkpoint::default());
        let checkpoints = Some(Checkpoints { store, last_committed, pace, recovery: Recovery::default() });
        let (rules, letters) = (Rules::defaults(&self.plan), Box::new(NoLetters));
        Job { plan: self.plan.clone(), parts, rules, letters, epoch: 1, checkpoints }
    }

    /// One run. What is wrong with its end, if anything is.
    async fn run(&self, commits: bool) -> Option<String> {
        let seen = Arc::new(Seen::default());
        let ended = self.job(&seen).await.build().expect("loops").run(CancellationToken::new()).await;
        let asked = seen.commits.load(Ordering::Relaxed);
        let [has_committed, sinks_committed] =
            [&seen.has_committed, &seen.sinks_committed].map(|flag| flag.load(Ordering::Relaxed));
        let end = match ended.result() {
            Ok(()) => "well".to_owned(),
            Err(error) => error.to_string(),
        };
        let is_right = match commits {
            true => end == "well" && has_committed && sinks_committed,
            false => end != "well" && asked > 0 && !sinks_committed,
        };
        (!is_right).then(|| {
            format!("it ended {end}, was asked {asked} times to commit, and is committed: {has_committed}, {sinks_committed}")
        })
    }
}

/// Keeps all cores busy until it is dropped.
struct Busy(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);

impl Busy {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spin = |stop: Arc<AtomicBool>| move || while !stop.load(Ordering::Relaxed) {};
        let threads = (0..cores).map(|_| std::thread::spawn(spin(stop.clone()))).collect();
        Self(stop, threads)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.drain(..).for_each(|thread| thread.join().expect("it ends"));
    }
}

fn runs(component: &str, commits: bool) {
    // Beside one another they would take the cores from each other rather than from the runs.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted =
        std::env::var("CONVEYOR_FAULTS_COMMITS").ok().and_then(|text| text.parse().ok()).unwrap_or(RUNS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let bench = Arc::new(runtime.block_on(Bench::of(component)));
    let _busy = Busy::start();
    let begun = Instant::now();
    for nth in 0..wanted {
        let bench = bench.clone();
        let wrong =
            runtime.block_on(async move { tokio::spawn(async move { bench.run(commits).await }).await });
        if let Some(wrong) = wrong.expect("an end") {
            panic!("run {nth} of {component}: {wrong}");
        }
    }
    eprintln!("{wanted} runs of {component} in {:?}", begun.elapsed());
}

#[test]
fn a_run_of_an_honest_sink_ends_well_when_it_has_committed() {
    runs("probe-sink", true);
}

#[test]
fn no_run_of_a_sink_that_traps_in_its_commit_ends_well() {
    runs("hostile/commit-traps", false);
}
