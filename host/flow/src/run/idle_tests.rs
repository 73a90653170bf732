//! Pipelines in which nothing moves begin no checkpoint, and those in which something has moved do.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::BinaryArray;
use async_trait::async_trait;
use model::batch::{Batch, Parts};
use model::ids::RecordId;
use model::lineage::{Lineage, Offsets, SourceRows};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};

use super::last_tests::{Log, job};
use super::*;
use crate::Part;
use crate::checkpoint::Checkpoint;
use crate::connector::{Barrier, ConnectError, Cursor, PullLimits, Pulled, Refusals, Sink, Source};

const INTERVAL: Duration = Duration::from_millis(5);
/// So many intervals that a checkpoint which is not to begin would have.
const A_WHILE: Duration = Duration::from_millis(100);
/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);
const ONE: &str = "  a: { source: stdin }\n  x: { sink: stdout, from: a }\n";
const FAN_IN: &str = "  a: { source: stdin }\n  b: { source: stdin }\n  x: { sink: stdout, from: [a, b] }\n";

/// What a source brings: so many records, and its place behind them.
type Brought = (usize, u8);

/// Brings what a test gives it, and waits for more.
struct Fed(Mutex<mpsc::Receiver<Brought>>);

#[async_trait]
impl Source for Fed {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        let Some((records, place)) = self.0.get_mut().recv().await else { return Ok(None) };
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "a".into(),
            split: "0".into(),
            offsets: Offsets::From(u64::from(place)),
        });
        let values = BinaryArray::from_iter_values(vec!["x"; records]);
        let batch = Batch::from_values(values, Parts::default(), lineage).expect("a batch");
        let batch = Some(batch).filter(|batch| !batch.is_empty());
        let cursor = Some(Cursor { split: "0".into(), place: vec![place] });
        Ok(Some(Pulled { batch, cursor, ..Pulled::default() }))
    }
}

/// What a sink was asked, and whether it has something to prepare by itself.
#[derive(Default)]
struct Asked {
    prepared: AtomicU64,
    committed: AtomicU64,
    is_due: AtomicBool,
}

struct Counting(Arc<Asked>);

#[async_trait]
impl Sink for Counting {
    async fn write(&mut self, _: &Batch, _: &[RecordId]) -> Result<Refusals, ConnectError> {
        Ok(Vec::new())
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn prepare(&mut self, _: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.0.is_due.store(false, Ordering::SeqCst);
        let number = self.0.prepared.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(number.to_le_bytes().to_vec())
    }

    async fn commit(&mut self, _: &[u8]) -> Result<(), ConnectError> {
        self.0.committed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn due_in(&self) -> Option<Duration> {
        self.0.is_due.load(Ordering::SeqCst).then_some(Duration::from_millis(1))
    }
}

/// A pipeline that runs.
struct Bench {
    /// By source.
    feeds: Vec<mpsc::Sender<Brought>>,
    asked: Arc<Asked>,
    log: Log,
    meters: Meters,
    stop: CancellationToken,
    running: JoinHandle<Ended>,
}

/// Sources that are fed, and a sink behind all of them.
fn run(
    stages: &str,
    last_committed: Checkpoint,
    asked: &Arc<Asked>,
    log: &Log,
) -> (Run, Vec<mpsc::Sender<Brought>>) {
    let mut job = job(stages, &[], log);
    let checkpoints = job.checkpoints.as_mut().expect("checkpoints");
    (checkpoints.pace.interval, checkpoints.last_committed) = (INTERVAL, last_committed);
    job.parts.clear();
    let mut feeds = Vec::new();
    let limits = PullLimits { records_max: 1, bytes_max: 1 << 20, delay: Duration::ZERO };
    for _ in job.plan.stages.iter().skip(1) {
        let (feed, fed) = mpsc::channel(8);
        feeds.push(feed);
        job.parts.push(Part::Source { source: Box::new(Fed(Mutex::new(fed))), limits });
    }
    job.parts.push(Part::Sink(Box::new(Counting(asked.clone()))));
    (job.build().expect("loops"), feeds)
}

impl Bench {
    /// `is_due`: whether its sink has something to prepare from the start.
    fn start(stages: &str, last_committed: Checkpoint, is_due: bool) -> Self {
        let (asked, log, stop) = (Arc::<Asked>::default(), Log::default(), CancellationToken::new());
        asked.is_due.store(is_due, Ordering::SeqCst);
        let (run, feeds) = run(stages, last_committed, &asked, &log);
        let meters = run.meters();
        let running = tokio::spawn(run.run(stop.clone()));
        Self { feeds, asked, log, meters, stop, running }
    }

    async fn bring(&self, records: usize, place: u8) {
        self.feeds[0].send((records, place)).await.expect("it is read");
    }

    /// Waits until so many checkpoints are committed by the sink, and for so long that another one would be.
    async fn commits(&self, count: u64) {
        let since = Instant::now();
        while self.asked.committed.load(Ordering::SeqCst) < count {
            assert!(since.elapsed() < PATIENCE, "{count} are waited for");
            sleep(Duration::from_millis(1)).await;
        }
        sleep(A_WHILE).await;
        assert_eq!(self.prepared(), count, "nothing has moved since");
    }

    fn prepared(&self) -> u64 {
        self.asked.prepared.load(Ordering::SeqCst)
    }

    async fn stop(self) -> u64 {
        self.stop.cancel();
        let ended = self.running.await.expect("it ends");
        assert!(ended.failure.is_none() && ended.is_stopped, "{ended:?}");
        self.asked.prepared.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_pipeline_in_which_nothing_moves_begins_no_checkpoint_but_the_last() {
    let bench = Bench::start(ONE, Checkpoint::default(), false);
    bench.commits(0).await;
    assert_eq!(bench.meters.checkpoints.report().begun_at, None);
    assert_eq!(bench.stop().await, 1);
}

#[tokio::test]
async fn what_moves_once_is_committed_once_and_again_when_more_moves() {
    let bench = Bench::start(FAN_IN, Checkpoint::default(), false);
    bench.bring(1, 1).await;
    bench.commits(1).await;
    // All that was read is durable, however long ago that was.
    let age = bench.meters.checkpoints.report().committed_at.expect("one is committed").elapsed();
    assert!(age < A_WHILE, "{age:?}");
    bench.bring(1, 2).await;
    bench.commits(2).await;
    assert_eq!(bench.log.count("stored"), 2);
    bench.stop().await;
}

#[tokio::test]
async fn a_place_without_records_moves_and_the_same_place_again_does_not() {
    let bench = Bench::start(ONE, Checkpoint::default(), false);
    bench.bring(0, 1).await;
    bench.commits(1).await;
    for _ in 0..20 {
        bench.bring(0, 1).await;
    }
    bench.commits(1).await;
    bench.bring(0, 2).await;
    bench.commits(2).await;
    bench.stop().await;
}

#[tokio::test]
async fn what_a_sink_prepares_by_itself_is_for_a_checkpoint_too() {
    let bench = Bench::start(ONE, Checkpoint::default(), true);
    bench.commits(1).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_source_that_goes_on_from_a_checkpoint_is_told_it_once_more() {
    let places = [("0".into(), vec![7])].into();
    let last = Checkpoint { number: 3, places: [("a".into(), places)].into(), ..Checkpoint::default() };
    let bench = Bench::start(ONE, last, false);
    bench.commits(1).await;
    bench.stop().await;
}

#[tokio::test]
async fn nothing_wakes_the_coordinator_of_a_pipeline_in_which_nothing_moves() {
    let (asked, log) = (Arc::<Asked>::default(), Log::default());
    let (mut run, _feeds) = run(ONE, Checkpoint::default(), &asked, &log);
    // With no loop running, nobody reports either.
    let coordinator = run.coordinator.take().expect("a coordinator").run(CancellationToken::new());
    let (mut coordinator, mut polls) = (pin!(coordinator), 0);
    let counted = std::future::poll_fn(|context| {
        polls += 1;
        coordinator.as_mut().poll(context).map(|_| ())
    });
    tokio::select! {
        biased;
        () = counted => panic!("it has ended"),
        () = sleep(A_WHILE) => {}
    }
    // When it is first looked at, and when the wait is over.
    assert!(polls <= 2, "it was woken {polls} times");
}
