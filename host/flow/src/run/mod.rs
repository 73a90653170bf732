//! Running loops: a job becomes one loop for each chain of its plan (`build`), with a task that coordinates their checkpoints.
//!
//! A loop has a source, or a place where streams meet, with a belt behind it (`chain`). In a run with checkpoints, each loop
//! has a `barrier_handler`.

mod barrier_handler;
mod build;
mod chain;
mod coordinator_task;
mod moved;

use std::collections::HashMap;

use model::ids::CheckpointNumber;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::belt::Context;
use crate::checkpoint::LoopId;
use crate::error::RunError;
use crate::fault::{self, Point};
use crate::meters::Meters;
use crate::scheduler::ShareHandle;
use chain::Chain;
use coordinator_task::CoordinatorTask;

/// A job whose loops are made and wait to be run.
pub struct Run {
    chains: Vec<(LoopId, Chain)>,
    meters: Meters,
    context: Context,
    share: Option<ShareHandle>,
    coordinator: Option<CoordinatorTask>,
}

/// Named in the place of a stage where the coordinator is meant.
const CHECKPOINTS: &str = "checkpoints";

/// How a run ended: well, where there is no failure, since the input of every source has ended or it was told to stop.
#[derive(Debug, Default)]
pub struct Ended {
    /// Whether it was told to stop before the input of all its sources had ended. There may be a failure beside it: one
    /// that came while it stopped, or after which it would have begun again.
    pub is_stopped: bool,
    /// Why it ended before its sources did.
    pub failure: Option<RunError>,
    /// Why branches were cut on the way.
    pub cuts: Vec<RunError>,
    /// The last checkpoint that is known to be committed; none where there is none. After a failure of the store itself, a
    /// later one may be there.
    pub checkpoint: Option<CheckpointNumber>,
}

impl Ended {
    /// What went wrong first, if anything did.
    pub fn result(self) -> Result<(), RunError> {
        self.failure.into_iter().chain(self.cuts).next().map_or(Ok(()), Err)
    }
}

impl Run {
    /// Counters that can be read while the loops run and after.
    pub fn meters(&self) -> Meters {
        self.meters.clone()
    }

    /// What its loops know of their pipeline.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// How many loops it has.
    pub fn loops(&self) -> usize {
        self.chains.len()
    }

    /// Shares the cores with other runs.
    pub fn share_with(&mut self, share: ShareHandle) {
        self.share = Some(share);
    }

    /// Runs all loops on the current runtime until they end. Cancelling `stop` ends the sources and drains
    /// the rest. When one loop fails, the others are stopped in the same way, unless the manifest says that they
    /// go on; the first failure is told. With checkpoints, nothing is committed after a failure: what was on its way
    /// comes again.
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let halt = stop.child_token();
        let broken = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut names = HashMap::new();
        let status = self.coordinator.as_ref().map(CoordinatorTask::status);
        if let Some(coordinator) = self.coordinator {
            let handle = tasks.spawn(coordinator.run(broken.clone()));
            names.insert(handle.id(), CHECKPOINTS.to_owned());
        }
        for (id, chain) in self.chains {
            let chain = chain.run(halt.clone());
            let handle = match &self.share {
                Some(share) => tasks.spawn(share.clone().schedule(chain)),
                None => tasks.spawn(chain),
            };
            names.insert(handle.id(), self.context.plan.stages[id.stage].name.to_string());
        }
        let mut failure: Option<RunError> = None;
        while let Some(ended) = tasks.join_next().await {
            let error = match ended {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(broke) => {
                    let stage = names.get(&broke.id()).cloned().unwrap_or_default();
                    RunError::Broke { stage, why: broke.to_string() }
                }
            };
            halt.cancel();
            broken.cancel();
            failure = failure.or(Some(error));
        }
        fault::hit(Point::LoopsEnded);
        // Nothing is concluded from tasks that ended: the coordinator says what was committed.
        let is_finished = status.is_none_or(|status| status.borrow().sinks_committed.is_some());
        if failure.is_none() && !is_finished {
            let why = "it ended before all sinks had committed the last checkpoint".to_owned();
            failure = Some(RunError::Broke { stage: CHECKPOINTS.to_owned(), why });
        }
        // A failure stops all loops, whoever else has told them to.
        let is_stopped = match failure {
            None => self.context.stopped.is_set(),
            Some(_) => stop.is_cancelled(),
        };
        let committed = self.meters.checkpoints.report();
        let checkpoint = (committed.number > 0).then_some(CheckpointNumber(committed.number));
        Ended { is_stopped, failure, cuts: self.context.cuts.take(), checkpoint }
    }
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod idle_tests;
#[cfg(test)]
pub(crate) mod last_tests;
#[cfg(test)]
pub(crate) mod tests;
