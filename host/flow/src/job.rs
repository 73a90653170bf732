//! What a pipeline runs with: its plan, what runs each of its stages, and the rules for what goes wrong.
//!
//! `run` turns a [`Job`] into loops.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Hits, Pool};
use model::limits::RECORD_BYTES_MAX;
use model::manifest::{OnError, OnFailure, Retry};
use model::plan::Plan;

use crate::checkpoint::{Checkpoint, CheckpointStore, Pace};
use crate::connector::{Figures, PullLimits, Sink, Source};
use crate::letters::Letters;
use crate::meters::Meters;
use crate::poison::Poison;
use crate::state::{StageState, StateGauge};

/// What runs a stage.
pub enum Part {
    Source {
        source: Box<dyn Source>,
        limits: PullLimits,
    },
    Transform(Transform),
    Sink(Box<dyn Sink>),
    /// Nothing, since it has failed for good: what comes for it is kept, and the rest goes on.
    Cut(CutOff),
    /// A source that is not read: what is made of records that it had refused comes out of it.
    Injected {
        record_bytes_max: u64,
    },
    /// Nothing: the job runs what is behind other stages.
    Absent,
}

/// A sink that failed for good in an earlier run of its pipeline.
#[derive(Clone, Debug)]
pub struct CutOff {
    /// The reason, in one line.
    pub why: Arc<str>,
    /// Whether it has committed its token of the last checkpoint.
    pub is_committed: bool,
}

/// What runs a transform.
#[derive(Clone)]
pub struct Transform {
    pub pool: Pool,
    /// What it remembers, where it does: the pool was given the same.
    pub state: Option<Arc<StageState>>,
}

/// A pipeline, ready to run.
pub struct Job {
    pub plan: Arc<Plan>,
    /// By stage of the plan, each of the stage's own role.
    pub parts: Vec<Part>,
    pub rules: Rules,
    pub letters: Box<dyn Letters>,
    /// Higher than that of any earlier run of the pipeline: sinks that are components were told it.
    pub epoch: u64,
    /// None where a run that dies begins anew.
    pub checkpoints: Option<Checkpoints>,
}

/// How a pipeline goes on after it died.
pub struct Checkpoints {
    pub store: Box<dyn CheckpointStore>,
    /// Where it goes on; sources and sinks were opened there.
    pub last_committed: Checkpoint,
    pub pace: Pace,
    pub recovery: Recovery,
}

/// What one run of a pipeline is told of those before it in this process, and of what may follow it.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Whether the pipeline may begin again at its last committed checkpoint. Otherwise any failure is for good.
    pub restarts: bool,
    /// Whether a sink that has failed for good is cut off in a run that begins at the last committed checkpoint, so that
    /// it lacks no record that it took since. Otherwise it is cut off where it is.
    pub restarts_to_cut: bool,
    /// Sinks that are cut off from the start, by stage of the plan, with the reason in one line.
    pub cut: BTreeMap<usize, Arc<str>>,
    pub poison: Poison,
    /// Counters that go on.
    pub meters: Option<Meters>,
}

/// What the manifest says of things that go wrong.
#[derive(Clone, Debug)]
pub struct Rules {
    /// By stage of the plan.
    pub on_error: Vec<OnError>,
    /// By stage of the plan.
    pub retry: Vec<Retry>,
    /// By stage of the plan: how large a record may be that it makes.
    pub record_bytes: Vec<u64>,
    pub on_failure: OnFailure,
    /// What all stages together may burn.
    pub fuel_per_second: Option<u64>,
}

impl Rules {
    /// As if the manifest said nothing.
    pub fn defaults(plan: &Plan) -> Self {
        let stages = plan.stages.len();
        Self {
            on_error: vec![OnError::default(); stages],
            retry: vec![Retry::default(); stages],
            record_bytes: vec![RECORD_BYTES_MAX as u64; stages],
            on_failure: OnFailure::default(),
            fuel_per_second: None,
        }
    }
}

impl Part {
    pub(crate) fn hits(&self) -> Option<Arc<Hits>> {
        match self {
            Self::Source { source, .. } => source.hits(),
            Self::Transform(transform) => Some(transform.pool.hits()),
            Self::Sink(sink) => sink.hits(),
            Self::Cut(_) | Self::Injected { .. } | Self::Absent => None,
        }
    }

    pub(crate) fn state(&self) -> Option<StateGauge> {
        match self {
            Self::Transform(Transform { state: Some(state), .. }) => Some(state.gauge().clone()),
            _ => None,
        }
    }

    pub(crate) fn is_uncommitted(&self) -> bool {
        matches!(self, Self::Cut(CutOff { is_committed: false, .. }))
    }

    pub(crate) fn figures(&self) -> Option<Arc<dyn Figures>> {
        match self {
            Self::Source { source, .. } => source.figures(),
            Self::Sink(sink) => sink.figures(),
            Self::Transform(_) | Self::Cut(_) | Self::Injected { .. } | Self::Absent => None,
        }
    }
}
