//! Rows as CSV.
//!
//! A null is an empty field, or the text that `null` names; an empty text is `""`, so that the two differ.
//! Bytes are written as they are; timestamps, dates and numbers as in JSON; nested values as JSON.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use model::batch::Batch;
use model::convert::{CastError, cast_column};
use model::fields::Kind;

/// What separates and encloses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CsvStyle {
    pub(crate) delimiter: u8,
    pub(crate) header: bool,
    pub(crate) null: String,
}

pub(crate) struct CsvEncoder {
    style: CsvStyle,
}

impl CsvEncoder {
    pub(crate) fn new(style: CsvStyle) -> Self {
        Self { style }
    }

    /// The first line of a file.
    pub(crate) fn header(&self, schema: &Schema) -> Vec<u8> {
        let mut line = Vec::new();
        if self.style.header {
            for (place, field) in schema.fields().iter().enumerate() {
                if place > 0 {
                    line.push(self.style.delimiter);
                }
                self.write_text(field.name().as_bytes(), &mut line);
            }
            line.push(b'\n');
        }
        line
    }

    pub(super) fn encode(&self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let mut cells = Vec::with_capacity(batch.columns().len());
        for column in batch.columns() {
            let to = match Kind::of(column.values().data_type()) {
                Kind::Texts | Kind::Dictionaries => Kind::Texts,
                Kind::Blobs => Kind::Blobs,
                _ => Kind::Jsons,
            };
            let (values, _) = cast_column(column, to).map_err(|error| match error {
                CastError::Arrow(error) => error,
                CastError::Never { .. } => ArrowError::CastError(error.to_string()),
            })?;
            // A text of JSON has quotes around it that CSV does not need; lists and objects keep theirs.
            cells.push((values, to == Kind::Jsons));
        }
        for row in 0..batch.rows() {
            for (place, (values, json)) in cells.iter().enumerate() {
                if place > 0 {
                    out.push(self.style.delimiter);
                }
                self.write_cell(values, *json, row, out);
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn write_cell(&self, values: &ArrayRef, json: bool, row: usize, out: &mut Vec<u8>) {
        if values.is_null(row) {
            out.extend_from_slice(self.style.null.as_bytes());
            return;
        }
        let value = match values.data_type() {
            DataType::Binary => values.as_binary::<i32>().value(row),
            _ => values.as_string::<i32>().value(row).as_bytes(),
        };
        match value {
            b"null" if json => out.extend_from_slice(self.style.null.as_bytes()),
            [b'"', inner @ .., b'"'] if json => self.write_text(inner, out),
            value => self.write_text(value, out),
        }
    }

    fn write_text(&self, text: &[u8], out: &mut Vec<u8>) {
        let special = |byte: &u8| matches!(byte, b'"' | b'\n' | b'\r') || *byte == self.style.delimiter;
        let quoted = text.is_empty() || text == self.style.null.as_bytes() || text.iter().any(special);
        if !quoted {
            out.extend_from_slice(text);
            return;
        }
        out.push(b'"');
        for &byte in text {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}
