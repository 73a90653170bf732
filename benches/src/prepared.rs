//! The two ends of the belt that is measured: a source that hands out prepared batches, and a sink that counts
//! or adds up what comes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, BinaryArray};
use async_trait::async_trait;
use flow::connector::{Barrier, ConnectError, PullLimits, Pulled, Refusals, Sink, Source};
use model::batch::{Batch, BatchError, Parts};
use model::ids::RecordId;
use model::lineage::{Lineage, Offsets, SourceRows};

use crate::workload::Checksum;

/// What the two ends saw of one run.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    pulled: Option<Instant>,
    first_arrival: Option<Instant>,
    latencies: Vec<Duration>,
    records: u64,
    checksum: Checksum,
}

impl Seen {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records that reached the sink.
    pub fn records(&self) -> u64 {
        self.with(|inner| inner.records)
    }

    pub fn checksum(&self) -> Checksum {
        self.with(|inner| inner.checksum)
    }

    /// When the first batch reached the sink.
    pub fn first_arrival(&self) -> Option<Instant> {
        self.with(|inner| inner.first_arrival)
    }

    /// How long each batch was on its way, from the source that handed it out to the sink.
    pub fn latencies(&self) -> Vec<Duration> {
        self.with(|inner| inner.latencies.clone())
    }
}

/// Prepared batches as a pipeline's own, with their lineage.
pub fn batches(values: &[BinaryArray]) -> Result<Vec<Batch>, BatchError> {
    let mut offset = 0;
    let batch = |values: &BinaryArray| {
        let rows = SourceRows {
            pipeline: "belt".into(),
            source: "in".into(),
            split: "0".into(),
            offsets: Offsets::From(offset),
        };
        offset += arrow::array::Array::len(values) as u64;
        Batch::from_values(values.clone(), Parts::default(), Lineage::of_source(rows))
    };
    values.iter().map(batch).collect()
}

/// Hands out `left` batches, taking the prepared ones in turn.
pub struct Prepared {
    batches: Arc<[Batch]>,
    next: usize,
    left: usize,
    seen: Seen,
    timed: bool,
}

impl Prepared {
    pub fn new(batches: Arc<[Batch]>, count: usize, seen: &Seen) -> Self {
        Self { batches, next: 0, left: count, seen: seen.clone(), timed: false }
    }

    /// Notes when it hands out a batch, for a [`Stopwatch`] at the other end.
    pub fn timed(self) -> Self {
        Self { timed: true, ..self }
    }
}

#[async_trait]
impl Source for Prepared {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let batch = self.batches[self.next % self.batches.len()].clone();
        self.next += 1;
        if self.timed {
            self.seen.with(|inner| inner.pulled = Some(Instant::now()));
        }
        Ok(Some(Pulled { batch: Some(batch), ..Pulled::default() }))
    }
}

/// Counts what comes, as `discard` does.
pub struct Count(pub Seen);

/// Adds up what comes, value by value.
pub struct Sum(pub Seen);

/// Notes how long each batch was on its way from a source that is `timed`.
pub struct Stopwatch(pub Seen);

macro_rules! sink {
    ($sink:ident, $see:expr) => {
        #[async_trait]
        impl Sink for $sink {
            async fn write(&mut self, batch: &Batch, _: &[RecordId]) -> Result<Refusals, ConnectError> {
                let see: fn(&mut Inner, &Batch) = $see;
                self.0.with(|inner| {
                    inner.records += batch.rows() as u64;
                    see(inner, batch);
                });
                Ok(Refusals::new())
            }

            async fn flush(&mut self) -> Result<(), ConnectError> {
                Ok(())
            }

            async fn prepare(&mut self, _: Barrier) -> Result<Vec<u8>, ConnectError> {
                Ok(Vec::new())
            }

            async fn commit(&mut self, _: &[u8]) -> Result<(), ConnectError> {
                Ok(())
            }
        }
    };
}

sink!(Count, |_, _| ());
sink!(Stopwatch, |inner, _| {
    let now = Instant::now();
    inner.first_arrival.get_or_insert(now);
    inner.latencies.extend(inner.pulled.take().map(|pulled| now - pulled));
});
sink!(Sum, |inner, batch| {
    let column = &batch.columns()[0];
    let values = column.values().as_binary::<i32>();
    (0..batch.rows()).for_each(|row| inner.checksum.add(values.value(column.rows().at(row))));
});
