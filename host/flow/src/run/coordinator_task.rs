//! The coordinator at work: a task beside the loops of one pipeline.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::signal::Barrier;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::barrier_handler::{BarrierHandler, TrackedSource};
use crate::belt::Context;
use crate::checkpoint::{
    Checkpoint, CheckpointError, CheckpointStore, Coordinator, Move, Pace, Share, Stored,
};
use crate::error::RunError;
use crate::fault::{self, Point};
use crate::meters::CheckpointMeter;
use crate::refuse::Refusing;

/// What all loops are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The checkpoint that began last.
    pub begun: Option<Barrier>,
    /// The one that stands.
    pub stands: Option<Barrier>,
    /// Something has failed: nothing is committed any more.
    pub is_over: bool,
}

/// What a loop says.
#[derive(Debug)]
pub(super) struct Report {
    pub of: usize,
    pub what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Answered {
        number: u64,
        share: Share,
    },
    Ended,
    /// Its sinks have committed the last checkpoint, `number`. `all_sinks`: whether each of them has.
    Committed {
        number: u64,
        all_sinks: bool,
    },
}

/// How the checkpoints of a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// Every loop has said that it is done with the last checkpoint.
    Last,
    /// Something else has failed, or the loops are gone.
    Broken,
}

pub(super) type SharedStore = Arc<Mutex<Box<dyn CheckpointStore>>>;

/// The coordinator task of one pipeline: where loops report to. It stays until every loop has said that its sinks have
/// committed the last checkpoint, or something has failed; nobody concludes from its end that anything was committed.
pub(super) struct CoordinatorTask {
    coordinator: Coordinator,
    store: SharedStore,
    pace: Pace,
    news: watch::Sender<News>,
    reports: mpsc::Receiver<Report>,
    /// From which the loops have theirs; none once it runs, so that it sees when they are all gone.
    sender: Option<mpsc::Sender<Report>>,
    /// Some stage has written so much that it wants a checkpoint before its time.
    wanted: Arc<Notify>,
    /// Names of the loops.
    names: Vec<String>,
    meter: Arc<CheckpointMeter>,
    refusing: Refusing,
    is_finished: bool,
}

impl Drop for CoordinatorTask {
    /// Also where it panics: no loop waits for what nobody will say.
    fn drop(&mut self) {
        if !self.is_finished {
            self.news.send_modify(|news| news.is_over = true);
        }
    }
}

impl CoordinatorTask {
    /// For loops of these names.
    pub fn new(
        names: Vec<String>,
        standing: Checkpoint,
        store: SharedStore,
        pace: Pace,
        context: &Context,
    ) -> Self {
        // A loop says at most that it has answered, that it has ended and that it has committed before it waits.
        let (sender, reports) = mpsc::channel(names.len() * 3 + 1);
        let news = watch::Sender::new(News::default());
        let (meter, refusing) = (context.meters.checkpoints.clone(), context.refusing.clone());
        meter.goes_on(standing.number);
        let coordinator = Coordinator::new(names.len(), standing);
        Self {
            coordinator,
            store,
            pace,
            news,
            reports,
            sender: Some(sender),
            wanted: Arc::default(),
            names,
            meter,
            refusing,
            is_finished: false,
        }
    }

    /// A barrier handler for each loop, by whether there is a source at its head.
    pub fn handlers(&self, sources: Vec<Option<TrackedSource>>) -> Vec<BarrierHandler> {
        let Some(sender) = &self.sender else { return Vec::new() };
        let handler = |(of, source)| {
            BarrierHandler::new(of, self.news.subscribe(), sender.clone(), self.wanted.clone(), source)
        };
        sources.into_iter().enumerate().map(handler).collect()
    }

    /// Runs until every loop has said that it is done with the last checkpoint, the store fails, or `broken` is
    /// cancelled.
    pub async fn run(mut self, broken: CancellationToken) -> Result<Finish, RunError> {
        self.sender = None;
        let finish = self.drive(&broken).await?;
        self.is_finished = finish == Finish::Last;
        Ok(finish)
    }

    async fn drive(&mut self, broken: &CancellationToken) -> Result<Finish, RunError> {
        let mut ticks = interval(self.pace.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut began = Instant::now();
        let mut was_late = false;
        loop {
            let left = self.pace.timeout.saturating_sub(began.elapsed());
            let is_waiting =
                self.coordinator.under_way().is_some() || !self.coordinator.uncommitted().is_empty();
            let step = tokio::select! {
                biased;
                () = broken.cancelled() => return Ok(Finish::Broken),
                report = self.reports.recv() => match report {
                    Some(Report { of, what }) => self.hear(of, what),
                    // One of the loops has failed, and its own error says why.
                    None => return Ok(Finish::Broken),
                },
                _ = ticks.tick() => self.coordinator.due(),
                () = self.wanted.notified() => self.coordinator.due(),
                () = sleep(left), if is_waiting && !was_late => {
                    was_late = true;
                    self.warn_late(began.elapsed());
                    None
                }
            };
            let mut next = step;
            while let Some(step) = next.take() {
                match step {
                    Move::Begin(barrier) => {
                        (began, was_late) = (Instant::now(), false);
                        self.meter.begin();
                        self.coordinator.begun_at_letter(self.refusing.next());
                        self.news.send_modify(|news| news.begun = Some(barrier));
                        fault::pass(Point::CheckpointBegun);
                    }
                    Move::Store(mut checkpoint) => {
                        let number = checkpoint.number;
                        fault::pass(Point::CheckpointComplete);
                        checkpoint.closing = self.refusing.closing(&checkpoint.reached);
                        let closing = checkpoint.closing.clone();
                        let stored = self.put(checkpoint, began.elapsed()).await?;
                        fault::pass(Point::CheckpointStored);
                        // Before the next one, which does not say it any more.
                        self.refusing.close(&closing)?;
                        self.meter.stands(number, began.elapsed(), stored.bytes);
                        next = self.coordinator.stored();
                    }
                    Move::Announce { barrier, stored } => {
                        if !stored {
                            self.meter.unchanged();
                        }
                        self.news.send_modify(|news| news.stands = Some(barrier));
                        fault::pass(Point::CheckpointAnnounced);
                        next = self.coordinator.announced();
                    }
                    Move::Finish { all_sinks } => {
                        if all_sinks {
                            self.sinks_committed().await?;
                        }
                        return Ok(Finish::Last);
                    }
                }
            }
        }
    }

    fn hear(&mut self, of: usize, what: What) -> Option<Move> {
        match what {
            What::Answered { number, share } => self.coordinator.answered(of, number, share),
            What::Ended => self.coordinator.ended(of),
            What::Committed { number, all_sinks } => self.coordinator.committed(of, number, all_sinks),
        }
    }

    async fn put(&self, checkpoint: Checkpoint, took: Duration) -> Result<Stored, CheckpointError> {
        self.with_store(move |store| store.put(&checkpoint, took)).await
    }

    /// Makes durable that no token of the last checkpoint is left to be committed.
    async fn sinks_committed(&self) -> Result<(), CheckpointError> {
        self.with_store(|store| store.settled()).await?;
        fault::pass(Point::StateSettled);
        Ok(())
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn CheckpointStore) -> Result<T, CheckpointError> + Send + 'static,
    ) -> Result<T, CheckpointError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || {
            work(&mut **store.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.unwrap_or_else(|broke| {
            Err(CheckpointError::Io { path: "the checkpoint store".into(), why: broke.to_string() })
        })
    }

    fn warn_late(&self, after: Duration) {
        let names = |loops: Vec<usize>| -> String {
            let names: Vec<&str> = loops.into_iter().map(|of| self.names[of].as_str()).collect();
            names.join(", ")
        };
        match self.coordinator.under_way() {
            Some(checkpoint) => tracing::warn!(
                checkpoint,
                ?after,
                "a checkpoint takes long: it waits for the loops of {}; nothing is lost, a restart goes on from the one before",
                names(self.coordinator.missing())
            ),
            None => tracing::warn!(
                ?after,
                "the last checkpoint stands, and the sinks of the loops of {} take long to commit it; nothing is lost, a \
                 restart has them commit it again",
                names(self.coordinator.uncommitted())
            ),
        }
    }
}
