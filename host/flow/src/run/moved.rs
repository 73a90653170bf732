//! How the loops of a pipeline tell the task that coordinates their checkpoints that there is something for the next one.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether something has moved since the last checkpoint began.
///
/// What a loop tells before it works a batch off, and before it looks whether a checkpoint has begun, is either in that
/// checkpoint or told for the next one: `forget` comes before the loops hear of it.
#[derive(Debug, Default)]
pub(super) struct Moved {
    is_told: AtomicBool,
    notify: Notify,
}

impl Moved {
    /// Something has moved. For all but the first since a checkpoint began this is one load.
    #[inline]
    pub fn tell(&self) {
        if !self.is_told() {
            self.tell_first();
        }
    }

    #[cold]
    fn tell_first(&self) {
        self.is_told.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    pub fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Relaxed)
    }

    /// A checkpoint begins, which has all that was told so far.
    pub fn forget(&self) {
        self.is_told.store(false, Ordering::Release);
    }

    /// Waits until something has moved.
    pub async fn told(&self) {
        while !self.is_told() {
            self.notify.notified().await;
        }
    }
}
