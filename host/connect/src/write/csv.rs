//! Rows as CSV.
//!
//! A null is an empty field, or the text that `null` names; an empty text is `""`, so that the two differ.
//! Bytes are written as they are; timestamps, dates and numbers as in JSON; JSON and nested values as JSON.

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use model::batch::Batch;
use model::convert::Form;

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
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            cells.push((Form::of(field, column.values())?, column.rows()));
        }
        for row in 0..batch.rows() {
            for (place, (form, rows)) in cells.iter().enumerate() {
                if place > 0 {
                    out.push(self.style.delimiter);
                }
                self.write_cell(form, rows.at(row), out);
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn write_cell(&self, form: &Form<'_>, at: usize, out: &mut Vec<u8>) {
        if form.is_null(at) {
            out.extend_from_slice(self.style.null.as_bytes());
            return;
        }
        let start = out.len();
        form.write_text(at, out);
        self.enclose(start, out);
    }

    fn write_text(&self, text: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(text);
        self.enclose(start, out);
    }

    /// Puts quotes around what stands from `start` on, where it needs them.
    #[inline]
    fn enclose(&self, start: usize, out: &mut Vec<u8>) {
        let text = &out[start..];
        let special = |byte: &u8| matches!(byte, b'"' | b'\n' | b'\r') || *byte == self.style.delimiter;
        if text.is_empty() || text == self.style.null.as_bytes() || text.iter().any(special) {
            enclose(start, out);
        }
    }
}

fn enclose(start: usize, out: &mut Vec<u8>) {
    let quotes = out[start..].iter().filter(|&&byte| byte == b'"').count();
    let (mut from, end) = (out.len(), out.len() + quotes + 2);
    out.resize(end, b'"');
    // From the end, so that nothing is overwritten before it has been moved.
    let mut to = end - 1;
    while from > start {
        from -= 1;
        to -= 1;
        out[to] = out[from];
        if out[from] == b'"' {
            to -= 1;
            out[to] = b'"';
        }
    }
    out[start] = b'"';
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_put_around_what_needs_them() {
        let encoder = CsvEncoder::new(CsvStyle { delimiter: b',', header: true, null: "NA".into() });
        let cases = [
            ("plain", "plain"),
            ("", "\"\""),
            ("NA", "\"NA\""),
            ("a,b", "\"a,b\""),
            ("\"", "\"\"\"\""),
            ("say \"it\"\n", "\"say \"\"it\"\"\n\""),
        ];
        for (text, expected) in cases {
            let mut out = b"before,".to_vec();
            encoder.write_text(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out[7..]), expected, "{text:?}");
        }
    }
}
