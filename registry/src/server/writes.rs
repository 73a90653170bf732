//! Turns: no more than some make something durable at once, each on a thread. Whoever waits for a turn has none, so that many
//! who push cost little, and those who read find a thread.

use std::sync::Arc;

use model::limits::REGISTRY_WRITES_AT_ONCE;
use tokio::sync::Semaphore;

use super::blocking;
use crate::refusal::Refusal;
use crate::store::StoreError;

/// Turns of those who make something durable.
#[derive(Clone, Debug)]
pub struct Writes(Arc<Semaphore>);

impl Default for Writes {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(REGISTRY_WRITES_AT_ONCE)))
    }
}

impl Writes {
    /// Makes something durable, once it is its turn.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        // It is never closed.
        let turn = self.0.clone().acquire_owned().await.ok();
        // The turn is over when the work is, also where nobody waits for it any more.
        blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    #[tokio::test]
    async fn no_more_write_at_once_than_have_a_turn_and_one_that_nobody_waits_for_keeps_its_own() {
        let writes = Writes::default();
        let (shut, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for _ in 0..REGISTRY_WRITES_AT_ONCE + 3 {
            let (writes, gate) = (writes.clone(), gate.clone());
            let task = tokio::spawn(async move {
                let opened = move || Ok(gate.lock().is_ok_and(|gate| gate.recv().is_err()));
                writes.blocking(opened).await.map_err(|refusal| refusal.message)
            });
            tokio::task::yield_now().await;
            task.abort();
        }
        tokio::task::yield_now().await;
        assert_eq!(writes.0.available_permits(), 0, "work goes on whose client has gone");
        drop(shut);
        assert_eq!(writes.blocking(|| Ok(7)).await.map_err(|refusal| refusal.message), Ok(7));
    }
}
