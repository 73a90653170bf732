//! What becomes of dead letters, as their store and the checkpoints that close them say it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::RecordId;
use crate::lineage::Origin;

/// Why an entry is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A replay went through with it.
    Replayed,
    /// A replay was refused again: a newer entry stands for it.
    RefusedAgain,
    /// Somebody threw it away.
    Purged,
    /// Its record came again, and was not refused: a run that died had kept it, and the next one has delivered it.
    Delivered,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::RefusedAgain => "refused again",
            Self::Purged => "purged",
            Self::Delivered => "delivered by a later run",
        }
    }
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Of the letter, so that it is not taken for the one of that number in another store.
    pub record: RecordId,
    pub outcome: Outcome,
}

/// What becomes of letters with a checkpoint, by their numbers. It is part of the checkpoint, and is marked in their store
/// when that is committed, or by whoever goes on from it.
pub type Closing = BTreeMap<u64, Closed>;

/// How far sources have come: by source and split, the offset behind the last record.
pub type Reached = BTreeMap<Arc<str>, BTreeMap<Arc<str>, u64>>;

/// The offset behind the last record of a split; none where nothing says so.
pub fn behind(reached: &Reached, origin: &Origin) -> Option<u64> {
    reached.get(&origin.source)?.get(&origin.split).copied()
}
