//! The coordinator at work: a task beside the loops of one pipeline.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Checkpoint, CheckpointError, CheckpointStore, Coordinator, Keeper, KeptSource, Move, Share, Stored,
};
use crate::belt::Context;
use crate::connector::Barrier;
use crate::error::RunError;
use crate::fault::{self, Point};
use crate::meters::CheckpointMeter;
use crate::refuse::Refusing;

/// What all loops are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The checkpoint that began last.
    pub begun: Option<Barrier>,
    /// The one that stands.
    pub stands: Option<Barrier>,
    /// Something has failed: nothing is committed any more.
    pub is_over: bool,
}

/// What a loop says.
#[derive(Debug)]
pub(crate) struct Report {
    pub of: usize,
    pub what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Answered { number: u64, share: Share },
    Ended,
}

/// How often, and how long one may take until somebody is told.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub interval: Duration,
    pub timeout: Duration,
}

pub(crate) type SharedStore = Arc<Mutex<Box<dyn CheckpointStore>>>;

/// Where loops report to.
pub(crate) struct Desk {
    coordinator: Coordinator,
    store: SharedStore,
    pace: Pace,
    news: watch::Sender<News>,
    reports: mpsc::Receiver<Report>,
    sender: mpsc::Sender<Report>,
    /// Some stage has written so much that it wants a checkpoint before its time.
    wanted: Arc<Notify>,
    /// Names of the loops.
    names: Vec<String>,
    meter: Arc<CheckpointMeter>,
    refusing: Refusing,
    /// The next dead letter when the checkpoint that is under way began: those behind it may be repeated.
    letters: u64,
}

impl Desk {
    /// For loops of these names.
    pub fn new(
        names: Vec<String>,
        standing: Checkpoint,
        store: SharedStore,
        pace: Pace,
        context: &Context,
    ) -> Self {
        // A loop says at most that it has answered and that it has ended before it waits.
        let (sender, reports) = mpsc::channel(names.len() * 2 + 1);
        let news = watch::Sender::new(News::default());
        let (meter, refusing) = (context.meters.checkpoints.clone(), context.refusing.clone());
        meter.goes_on(standing.number);
        let coordinator = Coordinator::new(names.len(), standing);
        let wanted = Arc::default();
        Self { coordinator, store, pace, news, reports, sender, wanted, names, meter, refusing, letters: 0 }
    }

    /// What stands beside loop `of`.
    pub fn keeper(&self, of: usize, source: Option<KeptSource>) -> Keeper {
        Keeper::new(of, self.news.subscribe(), self.sender.clone(), self.wanted.clone(), source)
    }

    /// Runs until the last checkpoint stands, the store fails, or `broken` is cancelled.
    pub async fn run(mut self, broken: CancellationToken) -> Result<(), RunError> {
        let ended = self.drive(&broken).await;
        if broken.is_cancelled() || ended.is_err() {
            self.news.send_modify(|news| news.is_over = true);
        }
        ended
    }

    async fn drive(&mut self, broken: &CancellationToken) -> Result<(), RunError> {
        let mut ticks = interval(self.pace.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut began = Instant::now();
        let mut was_late = false;
        loop {
            let left = self.pace.timeout.saturating_sub(began.elapsed());
            let is_under_way = self.coordinator.under_way().is_some();
            let step = tokio::select! {
                biased;
                () = broken.cancelled() => return Ok(()),
                report = self.reports.recv() => match report {
                    Some(Report { of, what: What::Answered { number, share } }) => {
                        self.coordinator.answered(of, number, share)
                    }
                    Some(Report { of, what: What::Ended }) => self.coordinator.ended(of),
                    // This one holds a sender itself, so that it does not come to this.
                    None => return Ok(()),
                },
                _ = ticks.tick() => self.coordinator.due(),
                () = self.wanted.notified() => self.coordinator.due(),
                () = sleep(left), if is_under_way && !was_late => {
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
                        self.letters = self.refusing.next();
                        self.news.send_modify(|news| news.begun = Some(barrier));
                        fault::pass(Point::CheckpointBegun);
                    }
                    Move::Store(mut checkpoint) => {
                        checkpoint.letters = self.letters;
                        let number = checkpoint.number;
                        fault::pass(Point::CheckpointComplete);
                        let stored = self.put(checkpoint, began.elapsed()).await?;
                        fault::pass(Point::CheckpointStored);
                        self.meter.stands(number, began.elapsed(), stored.bytes);
                        next = self.coordinator.stored();
                    }
                    Move::Announce { barrier, stored } => {
                        if !stored {
                            self.meter.unchanged();
                        }
                        self.news.send_modify(|news| news.stands = Some(barrier));
                        fault::pass(Point::CheckpointAnnounced);
                        if barrier.last {
                            return Ok(());
                        }
                        next = self.coordinator.announced();
                    }
                }
            }
        }
    }

    async fn put(&self, checkpoint: Checkpoint, took: Duration) -> Result<Stored, CheckpointError> {
        let store = self.store.clone();
        let put = tokio::task::spawn_blocking(move || {
            store.lock().unwrap_or_else(PoisonError::into_inner).put(&checkpoint, took)
        });
        put.await.unwrap_or_else(|broke| {
            Err(CheckpointError::Io { path: "the checkpoint store".into(), why: broke.to_string() })
        })
    }

    fn warn_late(&self, after: Duration) {
        let missing: Vec<&str> =
            self.coordinator.missing().into_iter().map(|of| self.names[of].as_str()).collect();
        tracing::warn!(
            checkpoint = self.coordinator.under_way(),
            ?after,
            "a checkpoint takes long: it waits for the loops of {}; nothing is lost, a restart goes on from the one before",
            missing.join(", ")
        );
    }
}
