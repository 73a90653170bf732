//! The end of a run: it ends well when every sink has committed the last checkpoint, and says so only then.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::BinaryArray;
use async_trait::async_trait;
use model::batch::{Batch, Parts};
use model::ids::{CheckpointNumber, RecordId};
use model::lineage::{Lineage, Offsets, SourceRows};
use model::manifest::OnFailure;
use tokio_util::sync::CancellationToken;

use super::tests::plan;
use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointStore, Pace, Stored};
use crate::connector::{
    Barrier, ConnectError, ConnectErrorKind, Cursor, Death, PullLimits, Pulled, Refusals, Sink, Source, Then,
};
use crate::fault::{Point, held};
use crate::letters::{Closing, Group, Letters, LettersError, Reached};
use crate::{Checkpoints, Ended, Job, Part, Recovery, Rules};

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn put(&self, what: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    pub(crate) fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.all().into_iter().filter(|one| *one == what).count()
    }
}

/// One record, and then the end.
struct One(Option<Batch>);

impl One {
    fn new() -> Self {
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "a".into(),
            split: "0".into(),
            offsets: Offsets::From(0),
        });
        let values = BinaryArray::from_iter_values(["x"]);
        Self(Some(Batch::from_values(values, Parts::default(), lineage).expect("a batch")))
    }
}

#[async_trait]
impl Source for One {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        let Some(batch) = self.0.take() else { return Ok(None) };
        let cursor = Some(Cursor { split: "0".into(), place: vec![1] });
        Ok(Some(Pulled { batch: Some(batch), cursor, ..Pulled::default() }))
    }
}

/// What a commit comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Commits {
    Well,
    Dies,
    Fails,
    AsksAgain,
}

struct Committing(Log, Commits);

#[async_trait]
impl Sink for Committing {
    async fn write(&mut self, _: &Batch, _: &[RecordId]) -> Result<Refusals, ConnectError> {
        Ok(Vec::new())
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn prepare(&mut self, _: Barrier) -> Result<Vec<u8>, ConnectError> {
        Ok(vec![1])
    }

    async fn commit(&mut self, _: &[u8]) -> Result<(), ConnectError> {
        self.0.put("commit");
        let failed = ConnectError::failed("it", "it does not commit", "mend it");
        match self.1 {
            Commits::Well => Ok(()),
            Commits::Fails => Err(failed),
            Commits::AsksAgain => Err(ConnectError::retry("it", "not yet", Duration::ZERO)),
            Commits::Dies => {
                let death = Death { code: "trap", message: "it trapped".to_owned(), backtrace: None };
                Err(ConnectError { kind: ConnectErrorKind::Died(Arc::new(death)), ..failed })
            }
        }
    }
}

struct Store(Log);

impl CheckpointStore for Store {
    fn put(&mut self, _: &Checkpoint, _: Duration) -> Result<Stored, CheckpointError> {
        self.0.put("stored");
        Ok(Stored { bytes: 1 })
    }

    fn sinks_committed(&mut self) -> Result<(), CheckpointError> {
        self.0.put("committed by all sinks");
        Ok(())
    }
}

struct NoLetters {
    panics: bool,
}

impl Letters for NoLetters {
    fn put(&mut self, _: &Group) -> Result<(), LettersError> {
        panic!("nothing is refused here")
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        Ok(())
    }

    fn closing(&mut self, _: &Reached) -> Closing {
        assert!(!self.panics, "the coordinator dies of this");
        Closing::new()
    }
}

/// A source into these sinks, with no checkpoint but the last.
pub(crate) fn job(stages: &str, sinks: &[Commits], log: &Log) -> Job {
    let plan = plan(stages);
    let limits = PullLimits { records_max: 1, bytes_max: 1 << 20, delay: Duration::ZERO };
    let mut parts = vec![Part::Source { source: Box::new(One::new()), limits }];
    parts.extend(sinks.iter().map(|commits| Part::Sink(Box::new(Committing(log.clone(), *commits)))));
    let checkpoints = Checkpoints {
        store: Box::new(Store(log.clone())),
        last_committed: Checkpoint::default(),
        pace: Pace { interval: Duration::from_secs(3600), timeout: Duration::from_secs(3600) },
        recovery: Recovery::default(),
    };
    let rules = Rules::defaults(&plan);
    let letters = Box::new(NoLetters { panics: false });
    Job { plan, parts, rules, letters, epoch: 1, checkpoints: Some(checkpoints) }
}

/// Runs it.
pub(super) fn run(stages: &str, sinks: &[Commits], change: impl FnOnce(&mut Job)) -> (Ended, Log) {
    let log = Log::default();
    let mut job = job(stages, sinks, &log);
    change(&mut job);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async {
        let run = job.build().expect("loops").run(CancellationToken::new());
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("it hangs")
    });
    (ended, log)
}

const ONE: &str = "  a: { source: stdin }\n  x: { sink: stdout, from: a }\n";
pub(crate) const FAN_OUT: &str =
    "  a: { source: stdin }\n  x: { sink: stdout, from: a }\n  y: { sink: stdout, from: a }\n";

/// As [`run`]; the loop is held where it has looked for the last checkpoint and found nothing, until that was announced
/// and the coordinator had every opportunity to end.
fn run_held(commits: Commits, change: impl FnOnce(&mut Job)) -> (Ended, Log) {
    held::set(Point::LastAwaited, Point::CheckpointAnnounced);
    let ran = run(ONE, &[commits], change);
    assert_eq!(held::lift(), 1, "the loop was not held");
    ran
}

#[test]
fn a_loop_that_is_late_has_its_sinks_commit_before_the_run_ends_well() {
    let (ended, log) = run_held(Commits::Well, |_| ());
    assert!(ended.failure.is_none() && !ended.is_stopped, "{ended:?}");
    assert_eq!(ended.checkpoint, Some(CheckpointNumber(1)));
    assert_eq!(log.all(), ["stored", "commit", "committed by all sinks"]);
}

#[test]
fn a_late_loop_whose_sink_does_not_commit_ends_the_run_with_its_failure() {
    for commits in [Commits::Dies, Commits::Fails, Commits::AsksAgain] {
        let (ended, log) = run_held(commits, |_| ());
        let error = ended.failure.unwrap_or_else(|| panic!("{commits:?}: it ended well")).to_string();
        assert!(error.starts_with("stage `x`: it: "), "{commits:?}: {error}");
        assert_eq!(log.all(), ["stored", "commit"], "{commits:?}");
    }
}

#[test]
fn a_branch_that_is_cut_in_its_commit_is_not_said_to_have_committed() {
    let (ended, log) = run_held(Commits::Fails, |job| job.rules.on_failure = OnFailure::Continue);
    assert!(ended.failure.is_none(), "{:?}", ended.failure);
    assert_eq!((ended.cuts.len(), log.all()), (1, vec!["stored", "commit"]));
}

#[test]
fn all_loops_are_waited_for_whichever_is_late() {
    let stages = "  a: { source: stdin }\n  b: { source: stdin }\n  x: { sink: stdout, from: a }\n  y: { sink: stdout, from: \
                  b }\n";
    for commits in [[Commits::Well, Commits::Well], [Commits::Well, Commits::Dies]] {
        held::set(Point::LastAwaited, Point::CheckpointAnnounced);
        let (ended, log) = run(stages, &commits, |job| {
            let limits = PullLimits { records_max: 1, bytes_max: 1 << 20, delay: Duration::ZERO };
            job.parts.insert(1, Part::Source { source: Box::new(One::new()), limits });
        });
        assert_eq!(held::lift(), 2, "both are held");
        let is_well = matches!(commits, [_, Commits::Well]);
        assert_eq!(ended.failure.is_none(), is_well, "{:?}", ended.failure);
        assert_eq!(log.count("commit"), 2);
        assert_eq!(log.count("committed by all sinks"), usize::from(is_well));
    }
}

#[test]
fn a_coordinator_that_dies_ends_the_run_and_nothing_is_committed() {
    let (ended, log) = run(ONE, &[Commits::Well], |job| job.letters = Box::new(NoLetters { panics: true }));
    let error = ended.failure.expect("it cannot go on").to_string();
    assert!(error.contains("`checkpoints` broke") && error.contains("the coordinator dies"), "{error}");
    assert_eq!(log.all(), [""; 0]);
}

/// Fails to be pulled from once all others have ended.
struct Vanishing(Arc<AtomicU32>);

#[async_trait]
impl Source for Vanishing {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        assert_eq!(self.0.fetch_add(1, Ordering::Relaxed), 0, "pulled from once");
        panic!("this source is gone");
    }
}

#[test]
fn where_streams_meet_a_source_that_is_gone_has_not_ended() {
    let stages = "  a: { source: stdin }\n  b: { source: stdin }\n  x: { sink: stdout, from: [a, b] }\n";
    let (ended, log) = run(stages, &[Commits::Well], |job| {
        let limits = PullLimits { records_max: 1, bytes_max: 1 << 20, delay: Duration::ZERO };
        job.parts.insert(1, Part::Source { source: Box::new(Vanishing(Arc::default())), limits });
    });
    let error = ended.failure.expect("a source is gone").to_string();
    assert!(error.contains("the loop of stage `b` broke"), "{error}");
    assert_eq!(log.all(), [""; 0]);
}

/// Waits for ever once it has given its record.
struct Waiting(One);

#[async_trait]
impl Source for Waiting {
    async fn pull(&mut self, limits: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        match self.0.pull(limits).await? {
            None => std::future::pending().await,
            pulled => Ok(pulled),
        }
    }
}

/// Keeps what followed each barrier.
struct Told(Arc<Mutex<Vec<Then>>>);

#[async_trait]
impl Sink for Told {
    async fn write(&mut self, _: &Batch, _: &[RecordId]) -> Result<Refusals, ConnectError> {
        Ok(Vec::new())
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(barrier.then);
        Ok(vec![1])
    }

    async fn commit(&mut self, _: &[u8]) -> Result<(), ConnectError> {
        Ok(())
    }
}

#[tokio::test]
async fn sinks_are_told_of_a_stop_where_any_source_has_not_ended() {
    let stages = "  a: { source: stdin }\n  b: { source: stdin }\n  x: { sink: stdout, from: [a, b] }\n";
    for (waits, expected) in [(true, Then::Stop), (false, Then::End)] {
        let (log, told, stop) = (Log::default(), Arc::default(), CancellationToken::new());
        let mut job = job(stages, &[], &log);
        let limits = PullLimits { records_max: 1, bytes_max: 1 << 20, delay: Duration::ZERO };
        let source: Box<dyn Source> =
            if waits { Box::new(Waiting(One::new())) } else { Box::new(One::new()) };
        job.parts.push(Part::Source { source, limits });
        job.parts.push(Part::Sink(Box::new(Told(Arc::clone(&told)))));
        let run = job.build().expect("loops");
        let meters = run.meters();
        let running = tokio::spawn(run.run(stop.clone()));
        while meters.report().iter().any(|stage| stage.role == "source" && stage.records_out == 0) {
            tokio::task::yield_now().await;
        }
        if waits {
            stop.cancel();
        }
        let ended = running.await.expect("it ends");
        assert!(ended.failure.is_none(), "{ended:?}");
        assert_eq!((ended.is_stopped, ended.checkpoint), (waits, Some(CheckpointNumber(1))));
        assert_eq!(*told.lock().expect("what it was told"), [expected]);
    }
}
