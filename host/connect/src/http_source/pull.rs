//! The source itself: durable records of the spool as batches.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, MapArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use async_trait::async_trait;
use disk::is_full;
use flow::connector::{ConnectError, ConnectErrorKind, Figures, Places, PullLimits, Pulled, Source};
use flow::spool::{Chunk, Reader, SpoolError};
use model::batch::{Column, Parts};
use model::lineage::Offsets;
use model::stage::header_fields;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::answer::Responder;
use super::server::Server;
use crate::decode::{JsonLines, LineRows as _, Refusal, Taken};
use crate::place::{cursor, read_places};
use crate::stream::{Output, Times};

/// The name of its only split.
pub(super) const SPLIT: &str = "spool";

/// Where records go on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    /// The number of the next record.
    pub next: u64,
}

pub(super) struct HttpSource {
    server: Server,
    responder: Arc<Responder>,
    reader: Reader,
    output: Output,
    /// Of rows; opaque records need none.
    rows: Option<JsonLines>,
    split: Arc<str>,
    gathered: Gathered,
    /// When the first record was gathered that waits for more.
    since: Option<Instant>,
}

/// Records on their way into a batch.
#[derive(Default)]
struct Gathered {
    /// Of opaque records, and of others that may be refused later.
    values: Vec<u8>,
    ends: Vec<i32>,
    /// Of all records, good or not.
    numbers: Vec<u64>,
    times: Vec<i64>,
    labels: Labels,
    refused: Vec<Refusal>,
    bytes: usize,
    /// Behind the last one.
    next: u64,
}

/// Keys and headers, once a record has one.
#[derive(Default)]
struct Labels {
    runs: Vec<Run>,
    has_keys: bool,
    has_headers: bool,
}

/// What so many records, one behind the other, have in common.
#[derive(Default)]
struct Run {
    rows: usize,
    key: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

impl HttpSource {
    pub fn new(
        server: Server,
        responder: Arc<Responder>,
        reader: Reader,
        output: Output,
        rows: Option<JsonLines>,
    ) -> Self {
        let gathered = Gathered::default();
        Self { server, responder, reader, output, rows, split: SPLIT.into(), gathered, since: None }
    }

    /// Takes of the records at hand what still fits. False where nothing is at hand.
    fn gather(&mut self, limits: &PullLimits) -> bool {
        let Some(chunk) = self.reader.peek() else { return false };
        let gathered = &mut self.gathered;
        let left = limits.records_max.saturating_sub(gathered.count()).max(1);
        let chunk = chunk.head(left, limits.bytes_max.saturating_sub(gathered.bytes));
        let keeps_values = matches!(self.output.times, Times::Column { .. });
        gathered.push(&chunk, self.rows.as_mut(), keeps_values);
        let count = chunk.count();
        self.reader.advance(count);
        true
    }

    fn is_enough(&self, limits: &PullLimits) -> bool {
        self.gathered.count() >= limits.records_max || self.gathered.bytes >= limits.bytes_max
    }

    fn batch(&mut self) -> Result<Pulled, ConnectError> {
        let mut gathered = std::mem::take(&mut self.gathered);
        let refused = std::mem::take(&mut gathered.refused);
        self.since = None;
        let cursor = Some(cursor(&self.split, &Place { next: gathered.next }));
        let columns = match &mut self.rows {
            Some(rows) => rows.finish(),
            None => vec![opaque(std::mem::take(&mut gathered.values), std::mem::take(&mut gathered.ends))],
        };
        let numbers = &gathered.numbers;
        let rows = numbers.len() - refused.len();
        let offsets = match refused.is_empty() {
            true => offsets(numbers),
            false => {
                let is_good =
                    |number: &&u64| refused.binary_search_by_key(*number, |refused| refused.offset).is_err();
                Offsets::These(numbers.iter().filter(is_good).copied().collect())
            }
        };
        let taken = Taken { rows, columns, offsets, refused };
        let raws = |lost: &[u64]| lost.iter().map(|number| gathered.raw(*number).to_vec()).collect();
        let mut pulled = self.output.pulled(taken, &self.split, cursor, raws)?;
        let broken = |error: &dyn std::fmt::Display| self.output.broken(error);
        let mut parts = gathered.labels.columns(numbers.len()).map_err(|error| broken(&error))?;
        parts.times = Some(Column::new(Arc::new(TimestampMicrosecondArray::from(gathered.times))));
        if !pulled.refused.is_empty() {
            let lost: Vec<u64> = pulled.refused.iter().map(|refused| refused.offset).collect();
            let is_lost = |row: &u32| lost.binary_search(&numbers[*row as usize]).is_ok();
            let (lost, kept): (Vec<u32>, Vec<u32>) = (0..numbers.len() as u32).partition(is_lost);
            pulled.refused_parts = parts.pick(&lost.into());
            parts = parts.pick(&kept.into());
        }
        if let Some(batch) = pulled.batch.take() {
            if self.output.times != Times::Now {
                parts.times = batch.parts().times.clone();
            }
            pulled.batch = Some(batch.with_parts(parts).map_err(|error| broken(&error))?);
        }
        Ok(pulled)
    }

    fn failed(&self, error: &SpoolError) -> ConnectError {
        spool_failed(&self.output.stage, error)
    }
}

/// What a spool says, as connectors say it: what is wrong, and then what to do.
pub(super) fn spool_failed(stage: &str, error: &SpoolError) -> ConnectError {
    let text = error.to_string();
    let (why, next) = text.rsplit_once("; ").unwrap_or((&text, "look at the disk, and run again"));
    let failed = ConnectError::failed(format!("source `{stage}`"), why, next);
    match error {
        SpoolError::Io { kind, .. } if is_full(*kind) => {
            ConnectError { kind: ConnectErrorKind::Full, next: "free some space".to_owned(), ..failed }
        }
        _ => failed,
    }
}

impl Gathered {
    fn count(&self) -> usize {
        self.numbers.len()
    }

    /// `keeps_values`: whether a good record may be refused later, for want of a time.
    fn push(&mut self, chunk: &Chunk<'_>, rows: Option<&mut JsonLines>, keeps_values: bool) {
        self.numbers.extend(chunk.first..chunk.first + chunk.count() as u64);
        if rows.is_none() || keeps_values {
            if self.ends.is_empty() {
                self.ends.push(0);
            }
            let mut end = self.values.len();
            self.ends.extend(chunk.lengths().map(|length| {
                end += length;
                // A batch has `BATCH_BYTES_MAX` of values, and one record more, at most.
                i32::try_from(end).unwrap_or(i32::MAX)
            }));
            self.values.extend_from_slice(chunk.bytes());
        }
        if let Some(rows) = rows {
            for (number, value) in (chunk.first..).zip(chunk.values()) {
                if let Err(error) = rows.push(value) {
                    self.refused.push(Refusal::new(number, error.code, error.message, value));
                }
            }
        }
        let count = chunk.count();
        self.times.extend(std::iter::repeat_n(chunk.time_us, count));
        self.labels.push(chunk, count);
        self.bytes += chunk.bytes().len();
        self.next = chunk.first + count as u64;
    }

    /// The bytes of a record, of a source that keeps them.
    fn raw(&self, number: u64) -> &[u8] {
        let Ok(at) = self.numbers.binary_search(&number) else { return &[] };
        match self.ends.get(at..at + 2) {
            Some(&[start, end]) => &self.values[start as usize..end as usize],
            _ => &[],
        }
    }
}

fn opaque(values: Vec<u8>, mut ends: Vec<i32>) -> ArrayRef {
    if ends.is_empty() {
        ends.push(0);
    }
    Arc::new(BinaryArray::new(OffsetBuffer::new(ends.into()), Buffer::from_vec(values), None))
}

fn offsets(numbers: &[u64]) -> Offsets {
    match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) if last - first + 1 == numbers.len() as u64 => Offsets::From(*first),
        _ => Offsets::These(numbers.into()),
    }
}

impl Labels {
    fn push(&mut self, chunk: &Chunk<'_>, rows: usize) {
        if !chunk.has_labels() {
            match self.runs.last_mut() {
                Some(Run { rows: count, key: None, headers }) if headers.is_empty() => *count += rows,
                _ => self.runs.push(Run { rows, ..Run::default() }),
            }
            return;
        }
        let key = chunk.key().map(<[u8]>::to_vec);
        let headers: Vec<_> =
            chunk.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        self.has_keys |= key.is_some();
        self.has_headers |= !headers.is_empty();
        self.runs.push(Run { rows, key, headers });
    }

    /// As columns of as many rows.
    fn columns(&self, rows: usize) -> Result<Parts, arrow::error::ArrowError> {
        let mut parts = Parts::default();
        if self.has_keys {
            let mut keys = BinaryBuilder::with_capacity(rows, 0);
            for Run { rows, key, .. } in &self.runs {
                (0..*rows).for_each(|_| keys.append_option(key.as_ref()));
            }
            parts.keys = Some(Column::new(Arc::new(keys.finish())));
        }
        if self.has_headers {
            let (mut names, mut values) = (StringBuilder::new(), BinaryBuilder::new());
            let mut lengths = Vec::with_capacity(rows);
            for Run { rows, headers, .. } in &self.runs {
                for _ in 0..*rows {
                    for (name, value) in headers {
                        names.append_value(name);
                        values.append_value(value);
                    }
                    lengths.push(headers.len());
                }
            }
            let (entry, fields) = header_fields();
            let entries = StructArray::try_new(
                fields,
                vec![Arc::new(names.finish()), Arc::new(values.finish())],
                None,
            )?;
            let ends = OffsetBuffer::from_lengths(lengths);
            let map = MapArray::try_new(entry, ends, entries, None, false)?;
            parts.headers = Some(Column::new(Arc::new(map)));
        }
        Ok(parts)
    }
}

#[async_trait]
impl Source for HttpSource {
    /// Cancel safe: what was gathered stays for the next pull.
    async fn pull(&mut self, limits: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        self.server.start().map_err(|error| {
            ConnectError::failed(&*self.output.stage, error, "free some memory or files, and run again")
        })?;
        loop {
            while !self.is_enough(&limits) && self.gather(&limits) {}
            if self.is_enough(&limits) {
                return self.batch().map(Some);
            }
            let ready = match self.gathered.count() {
                0 => self.reader.ready().await,
                _ => {
                    let since = *self.since.get_or_insert_with(Instant::now);
                    match timeout_at(since + limits.delay, self.reader.ready()).await {
                        Ok(ready) => ready,
                        Err(_) => return self.batch().map(Some),
                    }
                }
            };
            match ready {
                Ok(()) => {}
                // What is durable is delivered first.
                Err(_) if self.gathered.count() > 0 => return self.batch().map(Some),
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    async fn committed(&mut self, places: &Places) -> Result<(), ConnectError> {
        if let Some(place) = read_places::<Place>(places)?.remove(SPLIT) {
            self.reader.spool().release(place.next);
        }
        Ok(())
    }

    fn figures(&self) -> Option<Arc<dyn Figures>> {
        Some(self.responder.meter.clone())
    }
}
