//! Stages that are stopped before a run: while they are loaded, asked what they are, planned or opened. `run` refuses
//! them with all that it was given, so here a node is what a node is made of: one engine, two threads, and a healthy
//! stage that is called all the while.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, BinaryArray};
use engine::{
    Access, Call, CallError, Component, Engine, EngineOptions, Lease, LoadError, Pool, StageLimits,
    StageSetup,
};
use model::batch::Column;
use model::outcome::Outcome;
use model::stage::{StagePlan, TransformPlan};
use tokio::runtime::Runtime;

use crate::measure::{Latencies, STOP_SLACK, Sleeper, alone, resident_bytes, until_it_holds};
use crate::places;

/// How far a stage gets.
#[derive(Debug)]
pub enum Got {
    Refused(LoadError),
    Unplanned(CallError),
    Unopened(CallError),
    Died(CallError),
    /// It answers.
    Lives,
}

impl Got {
    /// The code and the words of what stopped it.
    pub fn told(&self) -> (&'static str, String) {
        match self {
            Got::Refused(LoadError::About(error)) => (error.code(), error.to_string()),
            Got::Refused(error) => ("refused", error.to_string()),
            Got::Unplanned(error) | Got::Unopened(error) | Got::Died(error) => {
                (error.code(), error.to_string())
            }
            Got::Lives => ("lives", String::new()),
        }
    }
}

fn limits() -> StageLimits {
    StageLimits {
        memory_bytes: 32 << 20,
        batch_time: Duration::from_millis(150),
        fuel_per_record: 1_000_000_000_000,
        fuel_per_call: 1_000_000_000_000,
        ..StageLimits::default()
    }
}

async fn plan(component: &Component, config: &serde_json::Value) -> Result<TransformPlan, CallError> {
    match component.plan(config, &[], &limits()).await? {
        StagePlan::Transform(plan) => Ok(plan),
        other => panic!("{other:?}"),
    }
}

fn pool(component: &Component, config: serde_json::Value, plan: TransformPlan) -> Pool {
    let (pipeline, stage) = (Arc::from("pipeline"), Arc::from("stage"));
    let setup = StageSetup {
        pipeline,
        stage,
        config,
        input: vec![],
        plan,
        limits: limits(),
        access: Access::default(),
        state: None,
    };
    Pool::new(component.clone(), setup)
}

async fn opened(engine: &Engine, bytes: bytes::Bytes) -> Got {
    let component = match engine.load(bytes).await {
        Ok(component) => component,
        Err(error) => return Got::Refused(error),
    };
    // Whether it fits does not matter: that it can be said in time does.
    component.check_config(&serde_json::json!({ "a": format!("{}c", "a".repeat(64)) }));
    let config = serde_json::json!({});
    let plan = match plan(&component, &config).await {
        Ok(plan) => plan,
        Err(error) => return Got::Unplanned(error),
    };
    let pool = pool(&component, config, plan);
    match pool.lease().await {
        Ok(mut lease) => match process(&mut lease).await {
            Ok(_) => Got::Lives,
            Err(error) => Got::Died(error),
        },
        Err(error) => Got::Unopened(error),
    }
}

/// Hands it three records.
async fn process(lease: &mut Lease) -> Result<Outcome, CallError> {
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(["a", "b", "c"]));
    let columns = [Column::new(values)];
    lease.process(Call { rows: 3, columns: &columns, ..Call::default() }).await
}

/// Calls the healthy stage every millisecond until it is told to stop.
async fn healthy(pool: Pool, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut lease = pool.lease().await.expect("it opens");
    let mut all = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    while !stop.load(Ordering::Relaxed) {
        // From when it was due: what waits for a thread counts.
        let due = ticks.tick().await;
        let outcome = process(&mut lease).await.expect("an answer");
        assert_eq!(outcome.emissions.len(), 1);
        all.push(due.elapsed());
    }
    all
}

/// What was seen of a stage.
pub struct Beside {
    pub got: Got,
    /// How long that took.
    pub took: Duration,
    /// Of the healthy stage.
    pub latencies: Latencies,
    /// What the process held more than before, at the most.
    pub more_bytes: u64,
}

/// A node in this process.
pub struct Here {
    runtime: Runtime,
    engine: Engine,
    pool: Pool,
}

impl Here {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let engine = Engine::new(EngineOptions { instances_max: 16, ..EngineOptions::default() });
        let engine = engine.expect("an engine");
        let config = serde_json::json!({ "at": "nothing", "then": "panic" });
        let bytes = std::fs::read(places::guest("probe-run")).expect("a stage");
        let pool = runtime.block_on(async {
            let component = engine.load(bytes).await.expect("a stage");
            let plan = plan(&component, &config).await.expect("a plan");
            pool(&component, config, plan)
        });
        Self { runtime, engine, pool }
    }

    /// Loads, plans, opens and calls a stage while the healthy one is called: for half a second at the least.
    pub fn beside(&self, bytes: Option<bytes::Bytes>) -> Beside {
        self.runtime.block_on(async {
            let stop = Arc::new(AtomicBool::new(false));
            let running = tokio::spawn(healthy(self.pool.clone(), stop.clone()));
            let (before, peak) = (resident_bytes(), Arc::new(AtomicU64::new(0)));
            let seen = peak.clone();
            let look = move || {
                seen.fetch_max(resident_bytes(), Ordering::Relaxed);
            };
            let (begun, machine) = (Instant::now(), Sleeper::start(look));
            let engine = self.engine.clone();
            let got = match bytes {
                Some(bytes) => tokio::spawn(async move { opened(&engine, bytes).await }).await,
                None => Ok(Got::Lives),
            };
            let took = begun.elapsed();
            tokio::time::sleep_until((begun + Duration::from_millis(500)).into()).await;
            stop.store(true, Ordering::Relaxed);
            let own = running.await.expect("the healthy stage goes on");
            let latencies = Latencies::new(own, machine.wake());
            let more_bytes = peak.load(Ordering::Relaxed).saturating_sub(before);
            Beside { got: got.expect("no panic"), took, latencies, more_bytes }
        })
    }
}

/// Fails unless the stage is stopped with this code and these words, in time and with the neighbour undisturbed.
#[track_caller]
fn is_stopped(name: &str, deadline_ms: u64, code: &str, says: &str) {
    let _alone = alone();
    let bytes: bytes::Bytes =
        std::fs::read(places::guest(&format!("hostile/{name}"))).expect("a stage").into();
    let here = Here::new();
    let cap = limits().memory_bytes as u64;
    until_it_holds(name, |_| {
        let own = here.beside(None).latencies;
        let Beside { got, took, latencies, more_bytes: more } = here.beside(Some(bytes.clone()));
        let (found, words) = got.told();
        assert_eq!(found, code, "{words}");
        assert!(words.contains(says), "it does not say `{says}`: {words}");
        let (p99, alone) = (latencies.p99(), own.p99());
        eprintln!("{name}: stopped after {took:?}; p99 {p99:?}, alone {alone:?}; {} KiB more", more >> 10);
        let mut missed: Vec<String> = latencies.misses(&own).into_iter().collect();
        // Compiling these is a matter of milliseconds and counts as well.
        let allowed = Duration::from_millis(deadline_ms) + STOP_SLACK;
        if took > allowed {
            missed.push(format!("it took {took:?}, {allowed:?} are allowed"));
        }
        if more > cap + cap / 10 {
            missed.push(format!("the process took {more} bytes more, the stage may have {cap}"));
        }
        missed
    });
}

/// A test for each, of its name.
macro_rules! stopped {
    ($($name:ident: $component:expr, $deadline_ms:expr, $code:expr, $says:expr;)*) => {
        $(#[test]
        fn $name() {
            is_stopped($component, $deadline_ms, $code, $says);
        })*
    };
}

stopped! {
    loop_in_about: "loop-in-about", 0, "out-of-fuel", "the call used up 50000000";
    loop_in_start: "loop-in-start", 0, "out-of-fuel", "the call used up 50000000";
    loop_in_plan: "loop-in-plan", 150, "timed-out", "it ran for 150 ms";
    loop_in_open: "loop-in-open", 150, "timed-out", "it ran for 150 ms";
    port_name_huge: "port-name-huge", 0, "bad-answer", "a name has at most 63 characters, this one has 900000";
    port_name_lines: "port-name-lines", 0, "bad-answer", "output ports: name 0, `main\\n\\u{1b}[2Jdone`: '\\n' cannot stand in a name";
    memory_first: "memory-first", 0, "out-of-memory", "more than 67108864 bytes";
    memories_too_many: "memories-too-many", 0, "refused", "memories count of 5 exceeds the per-instance limit of 4";
    schema_doubles: "schema-doubles", 0, "refused", "stand for more than 100000 schemas";
    schema_elsewhere: "schema-elsewhere", 0, "refused", "only its own parts can be referred to";
    schema_deep: "schema-deep", 0, "refused", "recursion limit exceeded";
    schema_loops: "schema-loops", 0, "lives", "";
    schema_backtracks: "schema-backtracks", 0, "lives", "";
    table_huge: "table-huge", 0, "refused", "size of 4000000000 which exceeds the limit of 100000";
}

/// How a component that is made of text, or is none at all, is stopped.
#[track_caller]
pub fn is_refused(here: &Here, bytes: Vec<u8>, says: &str) {
    let (code, words) = here.beside(Some(bytes.into())).got.told();
    assert_eq!(code, "refused", "{words}");
    assert!(words.contains(says), "it does not say `{says}`: {words}");
}

/// Where the corpus is kept.
pub fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/hostile")
}
