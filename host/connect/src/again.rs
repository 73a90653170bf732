//! Records of what a source has refused: the same decoders, under the config that the source has now.
//!
//! Each of them is decoded by itself, behind the header of its file where the format has one. What does not become one
//! record, or none that the source passes over, is refused again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, new_empty_array};
use arrow::compute::concat;
use flow::connector::{ConnectError, Decode, Decoded, KeptRefused, PullLimits, Pulled};
use model::batch::{Batch, Column, Parts};
use model::convert::BAD_ROW;
use model::lineage::Offsets;
use model::outcome::Rejection;

use crate::decode::{Chunk, Decoder, JsonLines, LineRows as _, Taken, Window};
use crate::stream::{MakeDecoder, Output, Times};

/// What bytes of a record are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A line, which was kept without its end.
    Line,
    /// A row behind the header of its file.
    BehindHeader,
    /// All of a file.
    Whole,
}

/// Of a source that decodes text or bytes.
pub(crate) struct DecodeAgain {
    pub(crate) make: MakeDecoder,
    pub(crate) output: Output,
    pub(crate) layout: Layout,
}

const NO_LIMITS: PullLimits =
    PullLimits { records_max: usize::MAX, bytes_max: usize::MAX, delay: std::time::Duration::ZERO };

impl Decode for DecodeAgain {
    fn decode(&mut self, kept: KeptRefused<'_>) -> Result<Decoded, ConnectError> {
        let values = bytes_of(kept.rows, &self.output)?;
        let mut made = Made::default();
        for row in 0..values.len() {
            match self.one(kept, row, values.value(row)) {
                Ok(columns) => made.add(row, columns),
                Err(rejection) => made.rejections.push(rejection),
            }
        }
        made.into_records(&self.output, kept.rows)
    }

    fn needs_header(&self) -> bool {
        self.layout == Layout::BehindHeader
    }
}

impl DecodeAgain {
    /// The columns of the record that bytes are; none where the source passes it over.
    fn one(&self, kept: KeptRefused<'_>, row: usize, raw: &[u8]) -> Result<Option<Vec<ArrayRef>>, Rejection> {
        let refused =
            |code: &str, message: String| Rejection { row: row as u32, code: code.to_owned(), message };
        let mut bytes = Vec::with_capacity(raw.len() + 2);
        if self.layout == Layout::BehindHeader {
            let missing =
                || "its file had no header when it was refused, and has one now; run the source again";
            bytes.extend_from_slice(
                kept.header.ok_or_else(|| refused(BAD_ROW, missing().to_owned()))?.as_bytes(),
            );
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(raw);
        if self.layout != Layout::Whole {
            bytes.extend_from_slice(b"\r\n");
        }
        let split = kept.rows.lineage().origin(row).split;
        let mut decoder = (self.make)(&split);
        let taken = decode_all(&mut *decoder, &bytes);
        let (mut portions, mut refusals) = (Vec::new(), Vec::new());
        for taken in taken.map_err(|error| refused(BAD_ROW, format!("{}; {}", error.why, error.next)))? {
            refusals.extend(taken.refused);
            portions.extend((taken.rows > 0).then_some((taken.rows, taken.columns)));
        }
        match (&mut *portions, refusals.pop()) {
            ([], None) => Ok(None),
            ([(1, columns)], None) => Ok(Some(std::mem::take(columns))),
            ([], Some(refusal)) if refusals.is_empty() => {
                let again = refusal.of_split(&split);
                Err(refused(&again.code, without_line(&again.message).to_owned()))
            }
            _ => Err(refused(
                BAD_ROW,
                "its source makes several records of it now; run the source again".to_owned(),
            )),
        }
    }
}

/// Everything that a decoder makes of some bytes.
fn decode_all(decoder: &mut dyn Decoder, bytes: &[u8]) -> Result<Vec<Taken>, ConnectError> {
    let mut window = Window::default();
    window.append(Chunk::of(bytes));
    let mut all = Vec::new();
    decoder.scan(&mut window, true)?;
    loop {
        while decoder.ready() > 0 {
            all.push(decoder.take(&mut window, &NO_LIMITS));
        }
        let left = window.len();
        if left == 0 {
            return Ok(all);
        }
        decoder.scan(&mut window, true)?;
        if decoder.ready() == 0 && window.len() == left {
            return Ok(all);
        }
    }
}

/// What is said of a record without its line, which is one of what was put together here.
fn without_line(message: &str) -> &str {
    let rest =
        message.strip_prefix("line ").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let rest = rest.and_then(|rest| rest.strip_prefix(": ").or_else(|| rest.strip_prefix(", ")));
    rest.unwrap_or(message)
}

/// Of a source that gets its records one by one: each is JSON, where there are columns.
pub(crate) struct JsonAgain {
    pub(crate) rows: Option<JsonLines>,
    pub(crate) output: Output,
}

impl Decode for JsonAgain {
    fn decode(&mut self, kept: KeptRefused<'_>) -> Result<Decoded, ConnectError> {
        let values = bytes_of(kept.rows, &self.output)?;
        let mut made = Made::default();
        let Some(rows) = &mut self.rows else {
            made.rows = (0..values.len() as u64).collect();
            made.columns = vec![vec![Arc::new(values)]];
            return made.into_records(&self.output, kept.rows);
        };
        for row in 0..values.len() {
            match rows.push(values.value(row)) {
                Ok(()) => made.rows.push(row as u64),
                Err(error) => made.rejections.push(Rejection {
                    row: row as u32,
                    code: error.code.to_owned(),
                    message: error.message,
                }),
            }
        }
        made.columns = vec![rows.finish()];
        made.into_records(&self.output, kept.rows)
    }
}

/// The one column of records that are bytes.
fn bytes_of(rows: &Batch, output: &Output) -> Result<BinaryArray, ConnectError> {
    let flat = match rows.columns() {
        [column] => column.flat().map_err(|error| output.broken(error))?,
        _ => return Err(output.broken("records of bytes have one column")),
    };
    flat.as_binary_opt::<i32>().cloned().ok_or_else(|| output.broken("records of bytes are of another type"))
}

/// What was made of some of the rows that were kept.
#[derive(Default)]
pub(crate) struct Made {
    /// Of what was kept, ascending.
    pub(crate) rows: Vec<u64>,
    /// Portions of columns that follow one another.
    pub(crate) columns: Vec<Vec<ArrayRef>>,
    pub(crate) rejections: Vec<Rejection>,
}

impl Made {
    fn add(&mut self, row: usize, columns: Option<Vec<ArrayRef>>) {
        if let Some(columns) = columns {
            self.rows.push(row as u64);
            self.columns.push(columns);
        }
    }

    /// As records of the source, each under the id of what it was made of. Their own times are those of the column that
    /// `time:` names, or else what was kept, or now.
    pub(crate) fn into_records(self, output: &Output, kept: &Batch) -> Result<Decoded, ConnectError> {
        let Self { rows, columns: portions, mut rejections } = self;
        let mut columns = Vec::new();
        for at in 0..portions.first().map_or(0, Vec::len) {
            let parts: Vec<&dyn Array> = portions.iter().map(|columns| &*columns[at]).collect();
            columns.push(concat(&parts).map_err(|error| output.broken(error))?);
        }
        let taken =
            Taken { rows: rows.len(), columns, offsets: Offsets::These(rows.into()), refused: Vec::new() };
        let Pulled { batch, refused, .. } =
            output.pulled(taken, &"".into(), None, |offsets| vec![Vec::new(); offsets.len()])?;
        rejections.extend(refused.into_iter().map(|refused| Rejection {
            row: refused.offset as u32,
            code: refused.code,
            message: refused.message,
        }));
        rejections.sort_by_key(|rejection| rejection.row);
        let row_of = |batch: &Batch, row: usize| batch.lineage().origin(row).offset as u32;
        let (picks, columns, times): (Arc<[u32]>, Vec<Column>, Option<Column>) = match &batch {
            None => {
                let empty = output.schema.fields().iter().map(|field| new_empty_array(field.data_type()));
                (Arc::default(), empty.map(Column::new).collect(), None)
            }
            Some(batch) => {
                let picks = (0..batch.rows()).map(|row| row_of(batch, row)).collect();
                (picks, batch.columns().to_vec(), batch.parts().times.clone())
            }
        };
        let kept = kept.pick(&picks);
        let Parts { times: kept_times, keys, headers } = kept.parts().clone();
        let times = match output.times {
            Times::Unwanted => None,
            Times::Now => kept_times.or(times),
            Times::Column { .. } => times,
        };
        let parts = Parts { times, keys, headers };
        let batch = Batch::new(output.schema.clone(), picks.len(), columns, parts, kept.lineage().clone());
        Ok(Decoded { batch: batch.map_err(|error| output.broken(error))?, rejections })
    }
}
