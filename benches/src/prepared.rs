//! The two ends of the belt that is measured: a source that hands out prepared batches, and a sink that counts
//! or adds up what comes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, BinaryArray};
use async_trait::async_trait;
use flow::connector::{ConnectError, PullLimits, Pulled, Refusals, Sink, Source};
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
    first: Option<Instant>,
    arrivals: Vec<Instant>,
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

    /// Since the source was asked for the first time.
    pub fn since_first_pull(&self) -> Duration {
        self.with(|inner| inner.first.map(|first| first.elapsed()).unwrap_or_default())
    }

    /// When the first batch reached the sink.
    pub fn first_arrival(&self) -> Option<Instant> {
        self.with(|inner| inner.arrivals.first().copied())
    }

    /// How long each batch was on its way: from when it was pulled to when it arrived.
    pub fn latencies(&self, pulls: &[Instant]) -> Vec<Duration> {
        self.with(|inner| inner.arrivals.iter().zip(pulls).map(|(at, pulled)| *at - *pulled).collect())
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
}

impl Prepared {
    pub fn new(batches: Arc<[Batch]>, count: usize, seen: &Seen) -> Self {
        Self { batches, next: 0, left: count, seen: seen.clone() }
    }
}

#[async_trait]
impl Source for Prepared {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        if self.next == 0 {
            self.seen.with(|inner| inner.first = Some(Instant::now()));
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let batch = self.batches[self.next % self.batches.len()].clone();
        self.next += 1;
        Ok(Some(Pulled { batch: Some(batch), refused: Vec::new() }))
    }
}

/// Counts what comes, as `discard` does.
pub struct Count(pub Seen);

/// Adds up what comes, value by value.
pub struct Sum(pub Seen);

/// Notes when something comes.
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

            async fn prepare(&mut self, _: u64) -> Result<Vec<u8>, ConnectError> {
                Ok(Vec::new())
            }

            async fn commit(&mut self, _: &[u8]) -> Result<(), ConnectError> {
                Ok(())
            }
        }
    };
}

sink!(Count, |_, _| ());
sink!(Stopwatch, |inner, _| inner.arrivals.push(Instant::now()));
sink!(Sum, |inner, batch| {
    let column = &batch.columns()[0];
    let values = column.values().as_binary::<i32>();
    (0..batch.rows()).for_each(|row| inner.checksum.add(values.value(column.rows().at(row))));
});
