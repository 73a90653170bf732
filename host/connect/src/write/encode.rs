//! Batches to the bytes of a format, and the sink that hands them over.

use std::time::Duration;

use arrow::array::{Array, BinaryArray};
use async_trait::async_trait;
use flow::connector::{Barrier, ConnectError, Refusals, Sink};
use memchr::{memchr, memchr2};
use model::batch::Batch;
use model::convert::{BAD_JSON, JsonWriter, is_json, shown};
use model::ids::RecordId;
use model::outcome::Rejection;

use super::csv::CsvEncoder;
use super::{Block, Writing};

/// An opaque record has a line break, and the format has one record a line.
const NEWLINE_IN_VALUE: &str = "newline-in-value";
/// An opaque record is a deletion: it has a key and no value.
const NO_VALUE: &str = "no-value";

/// How records become bytes.
pub(crate) enum Encoder {
    /// Opaque records, one a line. One with a line break in it would be read back as two, and is refused.
    Lines,
    /// Opaque records, one behind the other.
    Bytes,
    /// Opaque records that hold JSON, one a line: those that do not are refused, and line breaks between the
    /// parts of a value become spaces.
    JsonText,
    /// Rows as JSON objects.
    JsonRows(JsonWriter),
    Csv(CsvEncoder),
    /// Rows as they are: the output encodes them.
    Rows,
}

impl Encoder {
    fn encode(&self, batch: &Batch, out: &mut Vec<u8>) -> Result<Refusals, ConnectError> {
        let broken = |error: arrow::error::ArrowError| {
            ConnectError::failed("the rows", error, "leave that column out with a projection")
        };
        match self {
            Self::Lines => Ok(each_value(batch, |value| {
                if memchr(b'\n', value).is_some() {
                    let message = "the record has a line break in it; write it as jsonl or bytes".to_owned();
                    return Err((NEWLINE_IN_VALUE, message));
                }
                out.extend_from_slice(value);
                out.push(b'\n');
                Ok(())
            })),
            Self::Bytes => Ok(each_value(batch, |value| {
                out.extend_from_slice(value);
                Ok(())
            })),
            Self::JsonText => Ok(each_value(batch, |value| {
                if !is_json(value) {
                    return Err((BAD_JSON, format!("the record is not JSON: {}", shown(value))));
                }
                let start = out.len();
                out.extend_from_slice(value);
                if memchr2(b'\n', b'\r', value).is_some() {
                    // Inside of texts they are escaped, so that all there are stand between the parts.
                    let breaks = out[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r'));
                    breaks.for_each(|byte| *byte = b' ');
                }
                out.push(b'\n');
                Ok(())
            })),
            Self::JsonRows(writer) => writer.write_lines(batch, out).map(|()| Vec::new()).map_err(broken),
            Self::Csv(encoder) => encoder.encode(batch, out).map_err(broken),
            Self::Rows => Ok(Vec::new()),
        }
    }
}

fn each_value(batch: &Batch, mut write: impl FnMut(&[u8]) -> Result<(), (&'static str, String)>) -> Refusals {
    let column = &batch.columns()[0];
    let values = column.values().as_any().downcast_ref::<BinaryArray>();
    let values = values.expect("the column of opaque records is binary: `Batch::new` has checked it");
    let mut refusals = Vec::new();
    for row in 0..batch.rows() {
        let at = column.rows().at(row);
        let written = if values.is_null(at) {
            Err((NO_VALUE, "the record has a key and no value, which this format cannot say".to_owned()))
        } else {
            write(values.value(at))
        };
        if let Err((code, message)) = written {
            refusals.push(Rejection { row: row as u32, code: code.to_owned(), message });
        }
    }
    refusals
}

/// A sink that encodes here and writes over there.
pub(crate) struct EncodedSink {
    encoder: Encoder,
    writer: Writing,
    block: Vec<u8>,
    /// Whether each batch is handed over by itself.
    eager: bool,
}

impl EncodedSink {
    /// `eager`: hand each batch over by itself, so that outputs can be cut between them.
    pub(crate) fn new(encoder: Encoder, writer: Writing, eager: bool) -> Self {
        Self { encoder, writer, block: Vec::new(), eager }
    }

    async fn hand_over(&mut self) -> Result<(), ConnectError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(self.block.len() + self.block.len() / 4);
        let block = std::mem::replace(&mut self.block, next);
        self.writer.write(Block::Bytes(block)).await
    }
}

#[async_trait]
impl Sink for EncodedSink {
    async fn write(&mut self, batch: &Batch, _ids: &[RecordId]) -> Result<Refusals, ConnectError> {
        if let Encoder::Rows = self.encoder {
            let rows = batch.to_arrow().map_err(|error| {
                ConnectError::failed("the rows", error, "leave that column out with a projection")
            })?;
            self.writer.write(Block::Rows(rows)).await?;
            return Ok(Vec::new());
        }
        let refusals = self.encoder.encode(batch, &mut self.block)?;
        if self.eager || self.block.len() >= self.writer.piece_bytes() {
            self.hand_over().await?;
        }
        Ok(refusals)
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        self.hand_over().await?;
        self.writer.flush().await
    }

    async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.hand_over().await?;
        self.writer.prepare(barrier).await
    }

    async fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        self.writer.commit(token).await
    }

    fn due_in(&self) -> Option<Duration> {
        self.writer.due_in()
    }
}
