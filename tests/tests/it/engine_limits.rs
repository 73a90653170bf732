//! A stage that dies or goes past its limits: what it is told by, and what is left of it.

use std::future::Future as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, BinaryArray};
use engine::{Call, CallError, Component, StageLimits};
use model::batch::Column;
use model::limits;
use model::outcome::Outcome;

use crate::guests::{load, probe};

fn columns() -> [Column; 1] {
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(["a", "b", "c"]));
    [Column::new(values)]
}

async fn process(component: &Component, what: &str, limits: StageLimits) -> Result<Outcome, CallError> {
    let pool = probe(component, what, &[], limits).await;
    let columns = columns();
    pool.lease().await?.process(Call { rows: 3, columns: &columns, ..Call::default() }).await
}

#[tokio::test]
async fn a_panic_is_told_with_its_message_and_the_guests_own_frames() {
    let component = load("probe-bytes").await;
    match process(&component, "panic", StageLimits::default()).await {
        Err(CallError::Trap(trap)) => {
            let words = trap.last_words.as_deref().unwrap_or_default();
            assert!(words.contains("record 2 is not to my liking"), "{words}");
            let shown = trap.backtrace.to_string();
            let frames = trap.backtrace.frames();
            let at = frames.iter().find(|frame| frame.function == "process");
            let at = at.unwrap_or_else(|| panic!("no frame of the function that panicked in\n{shown}"));
            assert!(
                at.file.as_deref().is_some_and(|file| file.ends_with("probe-bytes/src/lib.rs")),
                "{shown}"
            );
            assert!(at.line.is_some_and(|line| line > 100), "{shown}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_endless_loop_ends_by_fuel_or_by_time() {
    let component = load("probe-bytes").await;
    let fuel = StageLimits { fuel_per_call: 1_000_000, fuel_per_record: 1000, ..StageLimits::default() };
    match process(&component, "loop", fuel).await {
        Err(CallError::OutOfFuel { fuel, backtrace }) => {
            assert_eq!(fuel, 1_003_000);
            assert!(backtrace.to_string().contains("spin"), "{backtrace}");
        }
        other => panic!("{other:?}"),
    }
    let batch_time = Duration::from_millis(40);
    let time = StageLimits { fuel_per_call: u64::MAX, batch_time, ..StageLimits::default() };
    let start = Instant::now();
    match process(&component, "loop", time).await {
        Err(CallError::TimedOut { limit, backtrace }) => {
            assert_eq!(limit, batch_time);
            assert!(backtrace.to_string().contains("spin"), "{backtrace}");
        }
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() >= batch_time, "it was cut off early");
}

#[tokio::test]
async fn a_busy_stage_lets_others_run() {
    let component = load("probe-bytes").await;
    let batch_time = Duration::from_millis(100);
    let limits = StageLimits { fuel_per_call: u64::MAX, batch_time, ..StageLimits::default() };
    // One thread: what else runs does so between the ticks of the busy stage.
    let others = async {
        let mut turns = 0;
        loop {
            turns += 1;
            if turns == 4 {
                return turns;
            }
            tokio::task::yield_now().await;
        }
    };
    let busy = process(&component, "loop", limits);
    tokio::pin!(busy);
    tokio::select! {
        biased;
        ended = &mut busy => panic!("it never yielded: {ended:?}"),
        turns = others => assert_eq!(turns, 4),
    }
}

#[tokio::test]
async fn a_stage_of_short_calls_lets_others_run_as_often_as_one_of_long_ones() {
    const ROWS: usize = 200;
    let component = load("probe-bytes").await;
    let pool = probe(&component, "burn", &[], StageLimits::default()).await;
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(vec!["x"; ROWS]));
    let columns = [Column::new(values)];
    let call = Call { rows: ROWS, columns: &columns, ..Call::default() };
    let mut lease = pool.lease().await.expect("a lease");
    let start = Instant::now();
    let (mut calls, mut turns) = (0, 0);
    while start.elapsed() < limits::EPOCH_TICK * 20 {
        calls += 1;
        let mut call = std::pin::pin!(lease.process(call));
        // Whenever the call is not ready, its thread could run something else.
        std::future::poll_fn(|cx| {
            let polled = call.as_mut().poll(cx);
            turns += usize::from(polled.is_pending());
            polled
        })
        .await
        .expect("an answer");
    }
    assert!(calls > 20, "{calls} calls are no short ones");
    assert!((8..=40).contains(&turns), "it gave its thread back {turns} times in 20 ticks");
}

#[tokio::test]
async fn memory_past_the_limit_is_told_as_such() {
    let component = load("probe-bytes").await;
    let limits = StageLimits { memory_bytes: 8 << 20, ..StageLimits::default() };
    match process(&component, "hoard", limits).await {
        Err(CallError::OutOfMemory { limit_bytes, .. }) => assert_eq!(limit_bytes, 8 << 20),
        other => panic!("{other:?}"),
    }
    // One that does not even start within its limit.
    let limits = StageLimits { memory_bytes: 64 << 10, ..StageLimits::default() };
    let error = process(&component, "all", limits).await.expect_err("it started");
    assert_eq!(error.code(), "out-of-memory", "{error}");
}

#[tokio::test]
async fn a_host_call_that_does_not_return_is_given_up() {
    let component = load("probe-bytes").await;
    let host_call_time = Duration::from_millis(50);
    let limits = StageLimits { host_call_time, ..StageLimits::default() };
    let start = Instant::now();
    match process(&component, "sleep", limits).await {
        Err(CallError::HostCallTimedOut { limit }) => assert_eq!(limit, host_call_time),
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn an_instance_that_cannot_be_opened_is_told_when_it_is_leased() {
    let component = load("probe-bytes").await;
    let fuel = StageLimits { fuel_per_call: 1_000_000, ..StageLimits::default() };
    for (what, code) in [("open-panic", "trap"), ("open-loop", "out-of-fuel")] {
        let pool = probe(&component, what, &[], fuel.clone()).await;
        let Err(error) = pool.lease().await else { panic!("{what} was opened") };
        assert_eq!(error.code(), code, "{error}");
        let hits: Vec<_> = pool.hits().counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(hits, [(code, 1)]);
    }
}

#[tokio::test]
async fn after_a_trap_the_next_call_gets_a_fresh_instance() {
    let component = load("probe-bytes").await;
    let pool = probe(&component, "panic-once", &[], StageLimits::default()).await;
    let columns = columns();
    let call = Call { rows: 3, columns: &columns, ..Call::default() };
    let mut lease = pool.lease().await.expect("a lease");
    for round in 0..2 {
        assert!(lease.process(call).await.is_ok(), "round {round}: the first call of an instance");
        let error = lease.process(call).await.expect_err("the second call of an instance");
        assert_eq!(error.code(), "trap");
        assert_eq!(lease.memory_bytes(), None, "a dead instance was kept");
    }
}

#[tokio::test]
async fn instances_wait_warm_until_the_pool_is_cooled() {
    let component = load("probe-bytes").await;
    let pool = probe(&component, "all", &[], StageLimits::default()).await;
    let mut leases = Vec::new();
    for _ in 0..limits::WARM_INSTANCES_MAX + 1 {
        leases.push(pool.lease().await.expect("a lease"));
    }
    assert!(leases[0].memory_bytes().is_some_and(|bytes| bytes > 0));
    leases.into_iter().for_each(engine::Lease::give_back);
    assert_eq!(pool.idle(), limits::WARM_INSTANCES_MAX);
    drop(pool.lease().await.expect("a lease"));
    assert_eq!(pool.idle(), limits::WARM_INSTANCES_MAX - 1, "a lease that was dropped came back");
    pool.cool();
    assert_eq!(pool.idle(), 0);
}

#[tokio::test]
async fn instances_run_out_and_come_back() {
    let engine = crate::guests::engine();
    let component = engine.load(crate::guests::guest("probe-bytes")).await.expect("a stage");
    // The stage's own bound, and that of the process.
    for (instances, held, code) in [(3, 3, "too-many-instances"), (100, 16, "no-room")] {
        let limits = StageLimits { instances, ..StageLimits::default() };
        let pool = probe(&component, "all", &[], limits).await;
        let mut leases = Vec::new();
        let error = loop {
            match pool.lease().await {
                Ok(lease) => leases.push(lease),
                Err(error) => break error,
            }
        };
        assert_eq!((leases.len(), error.code()), (held, code), "{error}");
        drop(leases);
        assert!(pool.lease().await.is_ok());
    }
}

#[tokio::test]
async fn fuel_is_the_same_for_the_same_work() {
    let component = load("probe-bytes").await;
    let pool = probe(&component, "wrap", &[], StageLimits::default()).await;
    let columns = columns();
    let call = Call { rows: 3, columns: &columns, ..Call::default() };
    let mut fuels = Vec::new();
    for _ in 0..2 {
        let mut lease = pool.lease().await.expect("a lease");
        lease.process(call).await.expect("an answer");
        fuels.push(lease.last_fuel());
    }
    assert_eq!(fuels[0], fuels[1]);
    assert!((100..100_000).contains(&fuels[0]), "{} for three records", fuels[0]);
}

/// What was logged while the guard lives, on this thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_flood_of_log_lines_is_dammed() {
    let logged = Logged::default();
    let sink = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || sink.clone()).finish();
    let component = load("probe-bytes").await;
    let guard = tracing::subscriber::set_default(subscriber);
    process(&component, "flood", StageLimits::default()).await.expect("an answer");
    drop(guard);
    let text = String::from_utf8(logged.0.lock().expect("not poisoned").clone()).expect("text");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("wet")).collect();
    // The flood may straddle the end of a second.
    let most = 2 * limits::LOG_LINES_PER_SECOND as usize;
    assert!(!lines.is_empty() && lines.len() <= most, "{} lines", lines.len());
    assert!(lines[0].contains("[2Jwet line=0"), "{}", lines[0]);
    assert!(lines[0].contains(r#"pipeline="pipeline" stage="flood""#), "{}", lines[0]);
}
