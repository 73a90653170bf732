//! The bounded way between two loops.
//!
//! Bounded in bytes, and, where barriers have to come through, in the time that the receiver takes for them: a sender
//! waits until the receiver has taken enough, so a slow sink stops its source and memory stays flat. Room is made first
//! and the batch is sent into it, so a send that is dropped loses nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::batch::Batch;
use model::limits;
use model::signal::{Barrier, Signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::pacing::Drain;

/// A batch on its way, with the room that it takes up.
#[derive(Debug)]
pub struct Parcel {
    pub batch: Batch,
    _room: OwnedSemaphorePermit,
    stretch: Option<Stretch>,
    /// Since when the receiver has it.
    taken: Option<Instant>,
}

/// In what time what is on an edge is to be worked off, and what is known of that.
#[derive(Clone, Debug)]
struct Stretch {
    within: Duration,
    drain: Arc<Mutex<Drain>>,
}

impl Stretch {
    fn drain(&self) -> MutexGuard<'_, Drain> {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let (Some(stretch), Some(taken)) = (&self.stretch, self.taken) {
            let now = Instant::now();
            stretch.drain().worked_off(self.batch.weight_bytes(), now - taken, stretch.within, now);
        }
    }
}

#[derive(Clone, Debug)]
pub struct Sender {
    edge: usize,
    room: Arc<Semaphore>,
    stretch: Option<Stretch>,
    signals: mpsc::Sender<(usize, Signal<Parcel>)>,
    wanted: Arc<AtomicBool>,
}

/// Where the edges that meet in one stage end.
#[derive(Debug)]
pub struct Receiver {
    pub edges: Vec<usize>,
    signals: mpsc::Receiver<(usize, Signal<Parcel>)>,
    wanted: Arc<AtomicBool>,
}

/// The receiving loop is gone. Its own error says why.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

/// A receiver for the edges `edges`, and a sender for each, in their order. `within`: the time in which what is on an
/// edge is to be worked off; none where bytes alone bound it.
pub fn meeting(edges: &[usize], within: Option<Duration>) -> (Vec<Sender>, Receiver) {
    let (sender, signals) = mpsc::channel(limits::EDGE_BATCHES_MAX);
    let wanted = Arc::new(AtomicBool::new(true));
    let way = |&edge: &usize| Sender {
        edge,
        room: Arc::new(Semaphore::new(limits::EDGE_BYTES_MAX)),
        stretch: within.map(|within| Stretch { within, drain: Arc::default() }),
        signals: sender.clone(),
        wanted: wanted.clone(),
    };
    let senders = edges.iter().map(way).collect();
    (senders, Receiver { edges: edges.to_vec(), signals, wanted })
}

impl Sender {
    /// Whether anybody over there could still take a record. One that only counts what it gets takes none.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Waits for room, then sends. A batch heavier than the edge waits until the edge is empty.
    pub async fn send(&self, batch: Batch) -> Result<(), Closed> {
        let slot = self.signals.reserve().await.map_err(|_| Closed)?;
        let bytes = batch.weight_bytes().clamp(1, limits::EDGE_BYTES_MAX);
        let weight = match &self.stretch {
            Some(stretch) => stretch.drain().room(bytes, limits::EDGE_BYTES_MAX),
            None => bytes,
        };
        let room = self.room.clone().acquire_many_owned(weight as u32).await.map_err(|_| Closed)?;
        let parcel = Parcel { batch, _room: room, stretch: self.stretch.clone(), taken: None };
        slot.send((self.edge, Signal::Item(parcel)));
        Ok(())
    }

    /// Sends a barrier behind all that was sent.
    pub async fn forward_barrier(&self, barrier: Barrier) -> Result<(), Closed> {
        self.signals.send((self.edge, Signal::Barrier(barrier))).await.map_err(|_| Closed)
    }

    /// Says that nothing follows.
    pub async fn end(self) {
        // Where the receiver is gone, it does not wait for an end.
        let _ = self.signals.send((self.edge, Signal::End)).await;
    }
}

impl Receiver {
    /// What comes next, with the edge by which it comes; none when all senders are gone.
    pub async fn recv(&mut self) -> Option<(usize, Signal<Parcel>)> {
        let (edge, mut signal) = self.signals.recv().await?;
        if let Signal::Item(parcel) = &mut signal
            && parcel.stretch.is_some()
        {
            parcel.taken = Some(Instant::now());
        }
        Some((edge, signal))
    }

    /// What still comes is counted and goes nowhere, so that whoever feeds this need not read on for its sake.
    pub fn only_counts(&self) {
        self.wanted.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::BinaryArray;
    use model::batch::Parts;
    use model::lineage::{Lineage, Offsets, SourceRows};

    use super::*;

    fn batch(bytes: usize) -> Batch {
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "in".into(),
            split: "0".into(),
            offsets: Offsets::From(0),
        });
        let values = BinaryArray::from_iter_values([vec![0u8; bytes]]);
        Batch::from_values(values, Parts::default(), lineage).expect("a batch")
    }

    #[tokio::test]
    async fn a_full_edge_holds_its_sender_until_a_batch_is_taken() {
        let (senders, mut receiver) = meeting(&[7], None);
        let half = limits::EDGE_BYTES_MAX / 2 + 1;
        senders[0].send(batch(half)).await.expect("room for the first");
        let second = senders[0].send(batch(half));
        tokio::pin!(second);
        let early = tokio::time::timeout(Duration::from_millis(20), &mut second).await;
        assert!(early.is_err(), "the second batch went into an edge that has no room for it");
        let (edge, first) = receiver.recv().await.expect("the first");
        assert_eq!(edge, 7);
        drop(first);
        second.await.expect("room for the second");
    }

    #[tokio::test]
    async fn a_batch_heavier_than_the_edge_passes_alone() {
        let (senders, mut receiver) = meeting(&[0], None);
        senders[0].send(batch(limits::EDGE_BYTES_MAX * 2)).await.expect("an empty edge takes it");
        assert!(receiver.recv().await.is_some());
    }

    #[tokio::test]
    async fn the_receiver_ends_when_every_sender_has_and_senders_learn_that_it_is_gone() {
        let (senders, mut receiver) = meeting(&[0, 1], None);
        drop(senders);
        assert!(receiver.recv().await.is_none());
        let (senders, receiver) = meeting(&[0], None);
        assert!(senders[0].is_wanted());
        receiver.only_counts();
        assert!(!senders[0].is_wanted());
        drop(receiver);
        assert_eq!(senders[0].send(batch(1)).await, Err(Closed));
    }

    #[tokio::test]
    async fn an_edge_to_a_slow_receiver_holds_one_batch_at_a_time() {
        let (senders, mut receiver) = meeting(&[0], Some(Duration::from_millis(1)));
        senders[0].send(batch(100)).await.expect("room for the first");
        let first = receiver.recv().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(first);
        senders[0].send(batch(100)).await.expect("an empty edge takes it");
        let third = senders[0].send(batch(100));
        tokio::pin!(third);
        let early = tokio::time::timeout(Duration::from_millis(20), &mut third).await;
        assert!(early.is_err(), "two batches went into an edge that is worked off in longer than it may");
        drop(receiver.recv().await);
        third.await.expect("room for the third");
    }
}
