//! What the loops of a pipeline and the coordinator of its checkpoints tell one another: values, which say all that the other
//! side has to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::dead_letters::Reached;
use model::signal::Barrier;

use crate::connector::Places;
use crate::state::StateDelta;

/// One loop of a pipeline: a replica of the stage at its head, with all that is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoopId {
    /// Of the plan.
    pub stage: usize,
    pub replica: u32,
}

impl LoopId {
    /// The loop of a stage that has one replica.
    pub fn only(stage: usize) -> Self {
        Self { stage, replica: 0 }
    }
}

/// What one loop adds to a checkpoint: all that was before the barrier has been worked off there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    pub places: BTreeMap<Arc<str>, Places>,
    /// Only of splits that were read in this run.
    pub reached: Reached,
    pub tokens: BTreeMap<Arc<str>, Vec<u8>>,
    /// Only of stages whose state changed.
    pub states: BTreeMap<Arc<str>, StateDelta>,
    /// Dead letters from this number on may be of records that come to this loop behind the barrier.
    pub letters: u64,
}

/// What a loop tells the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoopReport {
    /// It has done its part in checkpoint `number`.
    Acked { number: u64, ack: Ack },
    /// It has nothing more to work off: what comes to it has ended, or sources were told to stop, `is_stopped`, and have.
    Ended { is_stopped: bool },
    /// Its sinks have committed the last checkpoint, `number`. `all_sinks`: whether each of them has.
    SinksCommitted { number: u64, all_sinks: bool },
}

/// What the coordinator tells all loops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoordinatorStatus {
    /// The checkpoint that began last.
    pub begun: Option<Barrier>,
    /// The one that was committed last.
    pub committed: Option<Barrier>,
    /// The last one of the run, once every loop has said that its sinks are done with it.
    pub sinks_committed: Option<u64>,
    /// Something has failed: nothing is committed any more.
    pub has_failed: bool,
}
