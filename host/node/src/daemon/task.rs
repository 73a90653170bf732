//! One pipeline of a node under one epoch: what it was told, and what can be seen of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control::state::{PipelineId, PipelineName, RevisionNumber, SecretName};
use flow::meters::Meters;
use model::ids::Epoch;
use model::limits::{PIPELINE_BACKOFF, PIPELINE_BACKOFF_MAX, PIPELINE_SETTLED_AFTER};
use model::manifest::{self, DurationRange, Gate, Retry};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::now_us;
use super::reconcile::Here;

/// One pipeline under one epoch.
pub struct Task {
    pub id: PipelineId,
    pub name: Arc<PipelineName>,
    pub revision: RevisionNumber,
    pub epoch: Epoch,
    /// It is to stop at a barrier.
    pub stop: CancellationToken,
    /// It is to open anew where it is, such as with another value of a secret.
    pub reopen: Mutex<CancellationToken>,
    pub secrets: SecretsRead,
    seen: Mutex<Seen>,
}

/// The names of secrets that a pipeline has asked for, whether or not there were any.
pub type SecretsRead = Arc<Mutex<BTreeSet<String>>>;

/// What can be seen of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub phase: Phase,
    /// Since when.
    pub since: Instant,
    /// The same, in microseconds since the Unix epoch.
    pub since_us: u64,
    /// How often it was opened again.
    pub restarts: u64,
    /// Of the run that there is, or was last.
    pub meters: Option<Meters>,
    /// Why it failed last, however long ago.
    pub error: Option<SeenError>,
    /// How often it failed without getting on.
    pub failures: u32,
    /// What its manifest says of new revisions; the default until it is read.
    pub gate: Gate,
}

/// Why a pipeline failed.
#[derive(Clone, Debug)]
pub struct SeenError {
    /// In microseconds since the Unix epoch.
    pub at_us: u64,
    pub stage: Option<String>,
    pub message: String,
    /// What to do about it.
    pub next: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its stages are loaded, asked and opened.
    Starting,
    Running,
    /// It failed, and begins again then.
    BackingOff {
        until_us: u64,
    },
    /// It was told to stop, and works off what it has read.
    Stopping,
    /// It has ended, and the control state is being told.
    Ended,
}

impl SeenError {
    pub fn new(message: String) -> Self {
        Self { at_us: now_us(), stage: None, message, next: None }
    }
}

impl Task {
    pub fn new(
        id: PipelineId,
        name: Arc<PipelineName>,
        revision: RevisionNumber,
        epoch: Epoch,
        shutdown: &CancellationToken,
    ) -> Self {
        let seen = Seen {
            phase: Phase::Starting,
            since: Instant::now(),
            since_us: now_us(),
            restarts: 0,
            meters: None,
            error: None,
            failures: 0,
            gate: Gate::default(),
        };
        let stop = shutdown.child_token();
        Self {
            id,
            name,
            revision,
            epoch,
            reopen: Mutex::new(stop.child_token()),
            stop,
            secrets: SecretsRead::default(),
            seen: Mutex::new(seen),
        }
    }

    /// What says that it is to stop or to be opened anew, for one time that it is opened.
    pub fn renew(&self) -> CancellationToken {
        let reopen = self.stop.child_token();
        *lock(&self.reopen) = reopen.clone();
        reopen
    }

    /// A secret has another value: whoever has asked for it is opened anew, at a barrier.
    pub fn secret_changed(&self, secret: &SecretName) {
        let reads = lock(&self.secrets).contains(&secret.name.to_string());
        if self.name.namespace == secret.namespace && reads {
            lock(&self.reopen).cancel();
        }
    }

    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    pub fn lock(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    pub fn here(&self) -> Here {
        let is_ending = self.stop.is_cancelled() || self.lock().phase == Phase::Ended;
        Here { epoch: self.epoch, is_ending }
    }

    pub fn tell_to_stop(&self) {
        self.stop.cancel();
    }

    pub fn enter(&self, phase: Phase) {
        self.lock().enter(phase);
    }

    pub fn runs(&self, meters: Meters) {
        let mut seen = self.lock();
        seen.enter(Phase::Running);
        seen.meters = Some(meters);
    }

    /// It failed; how long it waits before it begins again. What ran well for a while has all its tries again.
    pub fn failed(&self, error: SeenError) -> Duration {
        let mut seen = self.lock();
        if seen.phase == Phase::Running && seen.since.elapsed() >= PIPELINE_SETTLED_AFTER {
            seen.failures = 0;
        }
        seen.failures = seen.failures.saturating_add(1);
        let range = DurationRange {
            from: manifest::Duration(PIPELINE_BACKOFF),
            to: manifest::Duration(PIPELINE_BACKOFF_MAX),
        };
        let retry = Retry { attempts: u32::MAX, backoff: range };
        let wait = retry.wait(seen.failures, Duration::ZERO, fastrand::f64()).unwrap_or(PIPELINE_BACKOFF_MAX);
        let why = &error.message;
        tracing::warn!(pipeline = %self.name, revision = %self.revision, ?wait, "{why}; it begins again after a while");
        let wait_us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        seen.enter(Phase::BackingOff { until_us: now_us().saturating_add(wait_us) });
        seen.restarts += 1;
        seen.error = Some(error);
        wait
    }
}

impl Seen {
    pub fn enter(&mut self, phase: Phase) {
        (self.phase, self.since, self.since_us) = (phase, Instant::now(), now_us());
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
