//! What lies below the tables in memory: the state of a stage as the last committed checkpoint has it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::Packed;
use serde::{Deserialize, Serialize};

use crate::checkpoint_error::CheckpointError;

/// The state of one stage at the last committed checkpoint. Each read sees one checkpoint as a whole.
pub trait StateBase: fmt::Debug + Send + Sync {
    /// How much there is. It follows every checkpoint.
    fn gauge(&self) -> &StateGauge;

    /// The values of places, in their order; none where nothing is there.
    fn get(&self, places: &Packed) -> Result<Vec<Option<Vec<u8>>>, CheckpointError>;

    /// What is at places from `from` on and before `end`, ascending: at most `most`. Fewer than that are all there are.
    fn range(&self, from: &[u8], end: Option<&[u8]>, most: usize)
    -> Result<Vec<PlaceValue>, CheckpointError>;

    /// All of it, in order.
    fn each(&self, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), CheckpointError>;
}

/// A place, and the value there.
pub type PlaceValue = (Box<[u8]>, Box<[u8]>);

/// How much state a stage has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSize {
    pub keys: u64,
    /// Of keys, names and values.
    pub bytes: u64,
}

/// The same, while it changes. Whoever keeps the state writes it, anybody reads it.
#[derive(Clone, Debug, Default)]
pub struct StateGauge(Arc<(AtomicU64, AtomicU64)>);

impl StateGauge {
    pub fn set(&self, size: StateSize) {
        let (keys, bytes) = &*self.0;
        keys.store(size.keys, Ordering::Relaxed);
        bytes.store(size.bytes, Ordering::Relaxed);
    }

    pub fn get(&self) -> StateSize {
        let (keys, bytes) = &*self.0;
        StateSize { keys: keys.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
    }
}
