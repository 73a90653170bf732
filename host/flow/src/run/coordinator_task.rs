//! The task that coordinates the checkpoints of one pipeline, beside its loops. `checkpoint::Coordinator` decides.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::plan::Plan;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::barrier_handler::{BarrierHandler, TrackedSource};
use super::moved::Moved;
use crate::belt::Context;
use crate::checkpoint::{
    Checkpoint, CheckpointError, CheckpointStore, Coordinator, CoordinatorStatus, Effect, LoopId, LoopReport,
    Pace, Stored,
};
use crate::error::RunError;
use crate::fault::{self, Point};
use crate::meters::CheckpointMeter;
use crate::refuse::Refusing;

type SharedStore = Arc<Mutex<Box<dyn CheckpointStore>>>;

/// The task that coordinates the checkpoints of one pipeline: loops report to it. It stays until every loop has said that its
/// sinks have committed the last checkpoint, or something has failed, and says so in its status; nobody concludes from its
/// end that anything was committed.
pub(super) struct CoordinatorTask {
    coordinator: Coordinator,
    store: SharedStore,
    pace: Pace,
    status: watch::Sender<CoordinatorStatus>,
    reports: mpsc::Receiver<(LoopId, LoopReport)>,
    /// From which the loops have theirs; none once it runs, so that it sees when they are all gone.
    sender: Option<mpsc::Sender<(LoopId, LoopReport)>>,
    /// Some stage has written so much that it wants a checkpoint before its time.
    wanted: Arc<Notify>,
    moved: Arc<Moved>,
    /// When the interval has gone by. Nobody waits for that before something has moved.
    due_at: tokio::time::Instant,
    /// When the last one began.
    began: Instant,
    /// It has been said that it takes long.
    was_late: bool,
    plan: Arc<Plan>,
    meter: Arc<CheckpointMeter>,
    refusing: Refusing,
}

impl Drop for CoordinatorTask {
    /// Also where it panics: no loop waits for what nobody will say.
    fn drop(&mut self) {
        self.status.send_if_modified(|status| {
            status.has_failed = status.sinks_committed.is_none();
            status.has_failed
        });
    }
}

impl CoordinatorTask {
    /// For these loops of a pipeline.
    pub fn new(
        loops: &[LoopId],
        last_committed: Checkpoint,
        store: Box<dyn CheckpointStore>,
        pace: Pace,
        context: &Context,
    ) -> Self {
        // A loop says at most that it has acknowledged, that it has ended and that its sinks have committed before it waits.
        let (sender, reports) = mpsc::channel(loops.len() * 3 + 1);
        let status = watch::Sender::new(CoordinatorStatus::default());
        let (meter, refusing) = (context.meters.checkpoints.clone(), context.refusing.clone());
        meter.goes_on(last_committed.number);
        let coordinator = Coordinator::new(loops.iter().copied(), last_committed);
        Self {
            coordinator,
            store: Arc::new(Mutex::new(store)),
            pace,
            status,
            reports,
            sender: Some(sender),
            wanted: Arc::default(),
            moved: Arc::default(),
            due_at: tokio::time::Instant::now(),
            began: Instant::now(),
            was_late: false,
            plan: context.plan.clone(),
            meter,
            refusing,
        }
    }

    /// The barrier handler of a loop. `source`: at its head.
    pub fn handler(&self, id: LoopId, source: Option<TrackedSource>) -> Option<BarrierHandler> {
        let reports = self.sender.clone()?;
        let told = (self.wanted.clone(), self.moved.clone());
        Some(BarrierHandler::new(id, self.status(), reports, told, source))
    }

    /// What it tells, now and later.
    pub fn status(&self) -> watch::Receiver<CoordinatorStatus> {
        self.status.subscribe()
    }

    /// Runs until every loop has said that it is done with the last checkpoint, the store fails, or `broken` is
    /// cancelled.
    pub async fn run(mut self, broken: CancellationToken) -> Result<(), RunError> {
        self.sender = None;
        self.due_at = tokio::time::Instant::now() + self.pace.interval;
        loop {
            let ControlFlow::Continue(mut next) = self.next(&broken).await else { return Ok(()) };
            while let Some(effect) = next.take() {
                match effect {
                    Effect::Begin(barrier) => {
                        (self.began, self.was_late) = (Instant::now(), false);
                        self.meter.begin();
                        self.moved.forget();
                        self.status.send_modify(|status| status.begun = Some(barrier));
                        fault::hit(Point::CheckpointBegun);
                    }
                    Effect::Commit(checkpoint) => {
                        next = self.commit(checkpoint, self.began.elapsed()).await?;
                    }
                    Effect::Announce { barrier, is_new } => {
                        if !is_new {
                            self.meter.unchanged();
                        }
                        if !self.moved.is_told() {
                            self.meter.rests();
                        }
                        self.status.send_modify(|status| status.committed = Some(barrier));
                        fault::hit(Point::CheckpointAnnounced);
                        next = self.coordinator.announced();
                    }
                    Effect::Finish { number, all_sinks } => {
                        if all_sinks {
                            self.sinks_committed().await?;
                        }
                        self.status.send_modify(|status| status.sinks_committed = Some(number));
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits for what comes next, and says what follows from it. While nothing moves and none is under way, nothing wakes
    /// this but what loops report. Breaks where nothing follows any more.
    async fn next(&mut self, broken: &CancellationToken) -> ControlFlow<(), Option<Effect>> {
        let left = self.pace.timeout.saturating_sub(self.began.elapsed());
        let is_waiting = self.coordinator.under_way().is_some() || !self.coordinator.uncommitted().is_empty();
        let effect = tokio::select! {
            biased;
            () = broken.cancelled() => return ControlFlow::Break(()),
            report = self.reports.recv() => match report {
                Some((from, report)) => self.coordinator.heard(from, report),
                // One of the loops has failed, and its own error says why.
                None => return ControlFlow::Break(()),
            },
            () = self.moved.told(), if self.coordinator.rests() => {
                self.coordinator.moved();
                self.meter.moves();
                None
            }
            () = sleep_until(self.due_at), if self.coordinator.has_moved() => {
                self.due_at = tokio::time::Instant::now() + self.pace.interval;
                self.coordinator.due()
            }
            () = self.wanted.notified() => {
                // Whoever has written much waits for this one, whatever came before.
                self.coordinator.moved();
                self.coordinator.due()
            }
            () = sleep(left), if is_waiting && !self.was_late => {
                self.was_late = true;
                self.warn_late(self.began.elapsed());
                None
            }
        };
        ControlFlow::Continue(effect)
    }

    /// Makes a checkpoint durable, with what becomes of dead letters.
    async fn commit(
        &mut self,
        mut checkpoint: Checkpoint,
        took: Duration,
    ) -> Result<Option<Effect>, RunError> {
        let number = checkpoint.number;
        fault::hit(Point::CheckpointComplete);
        checkpoint.closing = self.refusing.closing(&checkpoint.reached);
        let closing = checkpoint.closing.clone();
        let begun = Instant::now();
        let stored = self.put(checkpoint, took).await?;
        self.meter.committed(number, took + begun.elapsed(), stored.bytes);
        fault::hit(Point::CheckpointStored);
        // Before the next one, which does not say it any more.
        self.refusing.close(&closing)?;
        Ok(self.coordinator.committed())
    }

    async fn put(&self, checkpoint: Checkpoint, took: Duration) -> Result<Stored, CheckpointError> {
        self.with_store(move |store| store.put(&checkpoint, took)).await
    }

    /// Makes durable that no token of the last checkpoint is left to be committed.
    async fn sinks_committed(&self) -> Result<(), CheckpointError> {
        self.with_store(|store| store.sinks_committed()).await?;
        fault::hit(Point::StateSettled);
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
        let names = |loops: Vec<LoopId>| -> String {
            let names: Vec<&str> = loops.into_iter().map(|id| &*self.plan.stages[id.stage].name).collect();
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
                "the last checkpoint is committed, and the sinks of the loops of {} take long to commit it; nothing is lost, a \
                 restart has them commit it again",
                names(self.coordinator.uncommitted())
            ),
        }
    }
}
