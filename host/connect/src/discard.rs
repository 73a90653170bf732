//! The sink `discard`: counts what comes and forgets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array as _, BinaryArray};
use async_trait::async_trait;
use flow::connector::{Barrier, Committed, ConnectError, Refusals, Sink};
use model::batch::Batch;
use model::convert::JsonWriter;
use model::ids::RecordId;
use model::plan::{Form, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{OpenSink, PlannedSink, SinkSpec, SpecError, options};

/// What stands under `with:`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// Hash every record, so that two runs can be compared: the sum, modulo 2^64, of xxh3 over each opaque
    /// value, or over each row as JSON. It does not depend on the order.
    #[serde(default)]
    checksum: bool,
}

/// What was thrown away. Others may look while the pipeline runs.
#[derive(Debug, Default)]
pub struct Totals {
    records: AtomicU64,
    checksum: AtomicU64,
}

impl Totals {
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// 0 unless asked for.
    pub fn checksum(&self) -> u64 {
        self.checksum.load(Ordering::Relaxed)
    }
}

/// What a checkpoint keeps.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Token {
    records: u64,
    /// In hexadecimal digits.
    checksum: String,
}

impl Totals {
    /// Counts on from what the last checkpoint knows.
    fn go_on(&self, token: &[u8]) -> Result<(), ConnectError> {
        let broken = |why: String| {
            let next = "go on with the version of Conveyor that wrote it, or begin anew with `run --reset`";
            ConnectError::failed("discard", format!("the checkpoint's token cannot be read: {why}"), next)
        };
        let token: Token = serde_json::from_slice(token).map_err(|error| broken(error.to_string()))?;
        let checksum = u64::from_str_radix(&token.checksum, 16).map_err(|error| broken(error.to_string()))?;
        self.records.store(token.records, Ordering::Relaxed);
        self.checksum.store(checksum, Ordering::Relaxed);
        Ok(())
    }
}

/// Takes everything.
pub struct Discard {
    totals: Arc<Totals>,
    checksum: Option<Checksum>,
}

enum Checksum {
    Opaque,
    Rows { writer: JsonWriter, row: Vec<u8> },
}

impl Discard {
    /// A sink that counts, and hashes if `checksum`.
    pub fn new(input: &Stream, checksum: bool) -> (Self, Arc<Totals>) {
        let totals = Arc::new(Totals::default());
        let checksum = checksum.then(|| match input {
            Stream::Opaque => Checksum::Opaque,
            Stream::Rows(schema) => Checksum::Rows { writer: JsonWriter::new(schema), row: Vec::new() },
        });
        (Self { totals: totals.clone(), checksum }, totals)
    }
}

pub(crate) fn plan(spec: &SinkSpec) -> Result<PlannedSink, SpecError> {
    let options: Options = options::read(&spec.with, "discard")?;
    let reads_columns = options.checksum;
    // Its totals are part of the checkpoint: what is counted again after a crash is counted once.
    Ok(PlannedSink::new(Form::Any, options).reading_columns(reads_columns).committing())
}

impl OpenSink for Options {
    fn open(
        self: Box<Self>,
        input: &Stream,
        committed: Option<Committed>,
    ) -> Result<Box<dyn Sink>, ConnectError> {
        let (sink, totals) = Discard::new(input, self.checksum);
        if let Some(Committed(Some(token))) = committed {
            totals.go_on(&token)?;
        }
        Ok(Box::new(sink))
    }
}

#[async_trait]
impl Sink for Discard {
    async fn write(&mut self, batch: &Batch, _ids: &[RecordId]) -> Result<Refusals, ConnectError> {
        self.totals.records.fetch_add(batch.rows() as u64, Ordering::Relaxed);
        let mut sum = 0u64;
        match &mut self.checksum {
            None => return Ok(Vec::new()),
            Some(Checksum::Opaque) => {
                let column = &batch.columns()[0];
                if let Some(values) = column.values().as_any().downcast_ref::<BinaryArray>() {
                    for at in
                        (0..batch.rows()).map(|row| column.rows().at(row)).filter(|&at| values.is_valid(at))
                    {
                        sum = sum.wrapping_add(xxh3_64(values.value(at)));
                    }
                }
            }
            Some(Checksum::Rows { writer, row }) => {
                let hash = |row: &mut Vec<u8>| {
                    sum = sum.wrapping_add(xxh3_64(row));
                    row.clear();
                };
                let written = writer.write(batch.columns(), batch.rows(), row, hash);
                written.map_err(|error| ConnectError::failed("discard", error, "leave `checksum` out"))?;
            }
        }
        self.totals.checksum.fetch_add(sum, Ordering::Relaxed);
        Ok(Vec::new())
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        let (records, checksum) = (self.totals.records(), format!("{:016x}", self.totals.checksum()));
        if barrier.is_last() {
            tracing::info!(records, checksum, "discarded");
        }
        let token = serde_json::to_vec(&Token { records, checksum });
        token.map_err(|error| ConnectError::failed("discard", error, "this is a defect: please report it"))
    }

    async fn commit(&mut self, _token: &[u8]) -> Result<(), ConnectError> {
        Ok(())
    }
}
