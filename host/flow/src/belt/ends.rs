//! What the loops of a pipeline say of its end: why branches were cut, and whether sources were told to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::RunError;

/// Why branches were cut; one list for all loops of a pipeline.
#[derive(Clone, Default)]
pub(crate) struct Cuts(Arc<Mutex<Vec<RunError>>>);

impl Cuts {
    pub fn put(&self, error: RunError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(error);
    }

    pub fn take(&self) -> Vec<RunError> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a source of the pipeline was told to stop before its input had ended; one for all loops. It is said before
/// anything is that follows from it.
#[derive(Clone, Default)]
pub(crate) struct Stopped(Arc<AtomicBool>);

impl Stopped {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
