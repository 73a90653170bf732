//! What runs here, as the API tells it.

use async_trait::async_trait;
use control::state::{Content, PipelineId, PipelineName};
use flow::meters::{CheckpointReport, Meters, StageReport};
use tokio::time::Instant;

use super::now_us;
use super::pipelines::Pipelines;
use super::task::{Phase, Seen, SeenError, Task};
use crate::api::types::{CheckpointStatus, LastError, PipelineStatus, RunState, StageStatus, Time};
use crate::api::{Checked, Misfit, Running};
use crate::exit::Failure;

#[async_trait]
impl Running for Pipelines {
    fn status(&self, pipeline: PipelineId) -> Option<PipelineStatus> {
        Some(status(&*self.find(pipeline)?))
    }

    async fn check(&self, content: &Content, name: &PipelineName) -> Result<Checked, Misfit> {
        match self.fits(name, content).await {
            Ok(_) => Ok(Checked { content: content.clone(), warnings: Vec::new() }),
            Err(Failure::Full(why)) => Err(Misfit::Full { detail: format!("{why:#}") }),
            Err(failure) if failure.is_of_surroundings() => Err(Misfit::Failed { detail: failure.line() }),
            Err(Failure::Manifest(all)) => match all.first() {
                Some(first) => Err(Misfit::from(first)),
                None => Err(Misfit::Failed { detail: "it does not fit".to_owned() }),
            },
            Err(Failure::Ran(why)) => Err(Misfit::Failed { detail: format!("{why:#}") }),
            Err(failure) => Err(Misfit::Wrong { detail: failure.line(), problems: Vec::new() }),
        }
    }
}

fn status(task: &Task) -> PipelineStatus {
    let Seen { phase, since_us, restarts, meters, error, .. } = task.seen();
    let (state, retry_at) = match phase {
        Phase::Starting => (RunState::Starting, None),
        Phase::Running => (RunState::Running, None),
        Phase::BackingOff { until_us } => (RunState::BackingOff, Some(Time::of_us(until_us))),
        Phase::Stopping | Phase::Ended => (RunState::Stopping, None),
    };
    // Those of the supervisor, which begins again by itself, and those of the task around it.
    let report = meters.as_ref().map(|meters| meters.checkpoints.report());
    let restarts = restarts + report.as_ref().map_or(0, |report| report.restarts);
    PipelineStatus {
        state,
        since: Time::of_us(since_us),
        revision: task.revision.0,
        epoch: task.epoch.0,
        restarts,
        retry_at,
        last_error: error.map(last_error),
        last_checkpoint: report.and_then(|report| last_checkpoint(&report)),
        stages: meters.iter().flat_map(Meters::report).map(stage).collect(),
    }
}

fn last_error(error: SeenError) -> LastError {
    let SeenError { at_us, stage, message, next } = error;
    LastError { at: Time::of_us(at_us), stage, message, next }
}

fn last_checkpoint(report: &CheckpointReport) -> Option<CheckpointStatus> {
    let ago = Instant::now().into_std().saturating_duration_since(report.committed_at?);
    let ago_us = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
    Some(CheckpointStatus {
        number: report.number,
        taken_at: Time::of_us(now_us().saturating_sub(ago_us)),
        took_us: report.took_ms.saturating_mul(1000),
        bytes: report.bytes,
    })
}

fn stage(report: StageReport) -> StageStatus {
    StageStatus {
        stage: report.stage,
        role: report.role,
        records_in: report.records_in,
        records_out: report.records_out,
        filtered: report.filtered,
        rejected: report.rejected,
        retries: report.retries,
        deaths: report.deaths,
        lag: report.lag,
        fuel: report.fuel,
        fuel_per_record: report.fuel_per_record,
        batch_p50_us: report.batch_p50_us,
        batch_p99_us: report.batch_p99_us,
    }
}
