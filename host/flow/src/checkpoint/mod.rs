//! Checkpoints: cuts through everything that flows, from which a pipeline goes on after it died.
//!
//! Aligned barriers, as in asynchronous barrier snapshotting (Carbone et al., "Lightweight Asynchronous Snapshots for
//! Distributed Dataflows", 2015). The [`Coordinator`] decides when a checkpoint begins, when it is committed, and
//! when all sinks have committed the last one; each source notes where it is and lets a barrier follow its records; a loop
//! at which streams meet waits until the barrier has come on all of them ([`Alignment`]); sinks prepare what came before
//! it. When all loops have acknowledged it, the checkpoint is stored with one synced write, which is the moment of truth;
//! then sinks commit and sources may release what they hold. Both deciders are values that are told what happened and say
//! what to do, so that a simulation can drive them. What loops and coordinator say to one another, `messages` has.

mod align;
pub mod compat;
mod coordinator;
mod file;
mod kept;
mod mark;
mod messages;
mod participant;
mod state_tables;
mod store;
mod takeover;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::dead_letters::{Closing, Reached, behind};
use model::lineage::Origin;

use crate::connector::Places;
use crate::state::{StateBase, StateDelta};

pub use crate::checkpoint_error::CheckpointError;
pub use align::{Alignment, Step};
pub use coordinator::{Coordinator, Effect, Mistake};
pub use mark::{Change, MarkPart, MarkParts, StageMark, config_parts};
pub use messages::{Ack, CoordinatorStatus, LoopId, LoopReport};
pub use participant::{BarrierStep, ON_BARRIER, Participant};
pub use store::{LastCommitted, Opened, RedbStore, Summary};

/// A cut: everything up to here was delivered, and nothing behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Ascending over all runs of a pipeline; 0 where there was none yet.
    pub number: u64,
    /// By stage: where its splits go on.
    pub places: BTreeMap<Arc<str>, Places>,
    /// By stage: what its sink commits.
    pub tokens: BTreeMap<Arc<str>, Vec<u8>>,
    /// By source and split: how far it has come, as dead letters name their records. An earlier version did not say so.
    pub reached: Reached,
    /// Dead letters from this number on may be of records that come again: those that `reached` is not behind.
    pub letters: u64,
    /// What has become of dead letters with it. Once it is committed, they are marked, and the next one has nothing of it.
    pub closing: Closing,
    /// By stage: what changed in its state since the one before. Once that is stored, nothing is here.
    pub states: BTreeMap<Arc<str>, StateDelta>,
}

impl Checkpoint {
    /// Whether the record of a dead letter may come again when a run goes on from here, as far as its source gives it.
    pub fn comes_again(&self, letter: u64, origin: &Origin) -> bool {
        letter >= self.letters && behind(&self.reached, origin).is_none_or(|behind| origin.offset >= behind)
    }

    /// Whether a split was read and an earlier version did not say how far.
    pub fn is_vague(&self, origin: &Origin) -> bool {
        let is_read =
            self.places.get(&origin.source).is_some_and(|places| places.contains_key(&origin.split));
        is_read && behind(&self.reached, origin).is_none()
    }
}

/// How often checkpoints begin, and how long one may take until somebody is told.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub interval: Duration,
    pub timeout: Duration,
}

/// Keeps checkpoints. A `put` that came back is durable; one that failed may be or not, and nothing is put after it.
pub trait CheckpointStore: Send {
    fn put(&mut self, checkpoint: &Checkpoint, took: Duration) -> Result<Stored, CheckpointError>;
    /// All sinks have committed the tokens of the last one.
    fn sinks_committed(&mut self) -> Result<(), CheckpointError>;
    /// The state of a stage as the last one has it, now and after each `put`.
    fn state(&mut self, stage: &str) -> Result<Arc<dyn StateBase>, CheckpointError> {
        Err(CheckpointError::NoState { stage: stage.to_owned() })
    }
}

/// What came of a `put`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// That were new in it.
    pub bytes: u64,
}
