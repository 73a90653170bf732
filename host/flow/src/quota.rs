//! The fuel that a pipeline may burn in a second, shared by its loops.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::share::FuelBucket;
use tokio::time::Instant;

/// Cheap to clone. Without a bound it costs nothing.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    bucket: Option<Arc<Mutex<FuelBucket>>>,
    since: Instant,
}

impl Quota {
    pub fn new(fuel_per_second: Option<u64>) -> Self {
        let bucket = fuel_per_second.map(|fuel| Arc::new(Mutex::new(FuelBucket::new(fuel, Duration::ZERO))));
        Self { bucket, since: Instant::now() }
    }

    /// A call burnt this.
    pub fn burn(&self, fuel: u64) {
        if let Some(mut bucket) = self.bucket() {
            bucket.burn(fuel);
        }
    }

    /// Waits until nothing is owed. Loops call it before they take the next batch, so that what feeds them waits
    /// too, up to the sources.
    pub async fn wait(&self) {
        while let Some(wait) = self.owed() {
            tokio::time::sleep(wait).await;
        }
    }

    /// How long the debt takes to pay.
    fn owed(&self) -> Option<Duration> {
        self.bucket()?.wait(self.since.elapsed())
    }

    fn bucket(&self) -> Option<MutexGuard<'_, FuelBucket>> {
        Some(self.bucket.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
