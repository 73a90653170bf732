//! The supervisor of one pipeline: it begins again at the last committed checkpoint when a source or a sink has died, when
//! one asks for another try where nothing else can be gone back to, and when a disk is full.
//!
//! Each time, everything is opened anew, as after a crash; what lasts is in the checkpoint. What the runs have in common is
//! their counters, and what is known of the records that killed a sink. `restart` decides; whoever knows how to open the
//! pipeline is an [`Open`].

mod restart;

use std::sync::Arc;

use model::manifest::{OnFailure, Retry};
use model::plan::Plan;
use model::stage::Role;
use tokio_util::sync::CancellationToken;

use crate::error::RunError;
use crate::job::Recovery;
use crate::meters::Meters;
use crate::run::{Ended, Run};
use crate::scheduler::ShareHandle;
pub use restart::{Failed, Next, Progress, RestartPolicy};

/// Opens a pipeline at its last committed checkpoint.
pub trait Open: Send {
    /// Opens everything that one run takes. Where that fails, the reason is one line: it is tried again.
    fn open(&mut self, recovery: Recovery) -> impl Future<Output = Result<Run, String>> + Send;
}

/// A pipeline that runs until it ends or nothing is left to begin again for.
pub struct Supervisor<O> {
    run: Run,
    /// None where there is nothing to begin again at: then it runs once.
    open: Option<O>,
    recovery: Recovery,
    share: Option<ShareHandle>,
}

impl<O: Open> Supervisor<O> {
    /// `run`: the first one. `recovery`: what it was opened with.
    pub fn new(run: Run, open: Option<O>, recovery: Recovery) -> Self {
        let recovery = Recovery { meters: Some(run.meters()), ..recovery };
        Self { run, open, recovery, share: None }
    }

    /// Counters that go on through all runs, and can be read meanwhile and after.
    pub fn meters(&self) -> Meters {
        self.run.meters()
    }

    /// How many loops a run has.
    pub fn loops(&self) -> usize {
        self.run.loops()
    }

    /// Shares the cores with other pipelines.
    pub fn share_with(&mut self, share: ShareHandle) {
        self.run.share_with(share.clone());
        self.share = Some(share);
    }

    /// Runs until the pipeline has ended, `stop` is cancelled, or nothing is left to begin again for. One that is told to
    /// stop while it waits to begin again has stopped at its last checkpoint, and the failure for which it waited is told.
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let Self { mut run, open, recovery, share } = self;
        let Some(open) = open else { return run.run(stop).await };
        let meters = run.meters();
        let mut restarts = Restarts {
            open,
            recovery,
            rules: Rules::of(&run),
            meters,
            policy: RestartPolicy::default(),
            stop,
        };
        let mut cuts: Vec<RunError> = Vec::new();
        loop {
            let before = restarts.progress();
            let mut ended = run.run(restarts.stop.clone()).await;
            let Some(error) = ended.failure.take() else { return with_cuts(ended, cuts) };
            if restarts.progress().is_past(&before, error.restart_cause()) {
                restarts.policy.progressed();
            }
            run = match restarts.restart(&error).await {
                Some((run, is_cut)) => {
                    cuts.extend(is_cut.then_some(error));
                    run
                }
                None => {
                    let is_stopped = restarts.stop.is_cancelled();
                    return with_cuts(Ended { is_stopped, failure: Some(error), ..ended }, cuts);
                }
            };
            if let Some(share) = &share {
                run.share_with(share.clone());
            }
        }
    }
}

/// An end, with the branches that were cut off between runs.
fn with_cuts(ended: Ended, mut cuts: Vec<RunError>) -> Ended {
    cuts.extend(ended.cuts);
    Ended { cuts, ..ended }
}

/// What the manifest says of failures.
struct Rules {
    plan: Arc<Plan>,
    /// By stage of the plan.
    retry: Arc<[Retry]>,
    on_failure: OnFailure,
}

impl Rules {
    fn of(run: &Run) -> Self {
        let context = run.context();
        Self { plan: context.plan.clone(), retry: context.retry.clone(), on_failure: context.on_failure }
    }

    fn failed<'a>(&self, error: &'a RunError) -> Failed<'a> {
        let stage = match error {
            RunError::Connect { stage, .. } => {
                self.plan.stages.iter().position(|planned| *planned.name == **stage)
            }
            _ => None,
        };
        Failed {
            cause: error.restart_cause(),
            retry: stage.map(|stage| self.retry[stage]).unwrap_or_default(),
            on_failure: self.on_failure,
            sink: stage.filter(|&stage| self.plan.stages[stage].role == Role::Sink),
            is_cut: false,
        }
    }
}

/// What is done about failures.
struct Restarts<O> {
    open: O,
    recovery: Recovery,
    rules: Rules,
    meters: Meters,
    policy: RestartPolicy,
    stop: CancellationToken,
}

impl<O: Open> Restarts<O> {
    fn progress(&self) -> Progress {
        Progress {
            checkpoint: self.meters.checkpoints.report().number,
            decided: self.recovery.poison.decided(),
            stages: self.meters.report(),
        }
    }

    /// Opens the pipeline again, as often as it takes. Says whether a sink was cut off for it. None where it ends.
    async fn restart(&mut self, error: &RunError) -> Option<(Run, bool)> {
        let mut failed = self.rules.failed(error);
        let pipeline = self.rules.plan.pipeline.clone();
        loop {
            let checkpoint = self.meters.checkpoints.report().number;
            if self.stop.is_cancelled() {
                return None;
            }
            match self.policy.next(&failed, fastrand::f64()) {
                Next::Restart(wait) => {
                    let text = error.to_string();
                    // The frames of a guest are told when it is given up, and kept with its dead letters.
                    let line = text.lines().next().unwrap_or_default();
                    tracing::warn!(
                        pipeline = &*pipeline,
                        checkpoint,
                        ?wait,
                        "{line}; the pipeline goes back to its last checkpoint"
                    );
                    tokio::select! {
                        () = self.stop.cancelled() => return None,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                Next::Cut(sink) => {
                    let why = error.in_one_line();
                    tracing::error!(
                        pipeline = &*pipeline,
                        checkpoint,
                        "{why}; its branch is cut, and the pipeline goes back to its last checkpoint"
                    );
                    self.meters.stages[sink].count_cut(0);
                    self.recovery.cut.insert(sink, why.into());
                    failed.is_cut = true;
                }
                Next::Last => {}
                Next::End => return None,
            }
            self.meters.checkpoints.goes_back();
            let recovery = Recovery { restarts: !self.policy.is_exhausted(), ..self.recovery.clone() };
            match self.open.open(recovery).await {
                Ok(run) => return Some((run, failed.is_cut)),
                Err(why) => tracing::warn!(pipeline = &*pipeline, "it cannot go on yet: {why}"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
