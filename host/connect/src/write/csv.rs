//! Rows as CSV.
//!
//! A null is an empty field, or the text that `null` names; an empty text is `""`, so that the two differ. Where there is
//! one column, an empty line would be no row to most readers: there a null is `""`, and an empty text, which would be the
//! same, is refused unless `null` says how to write nulls.
//! Bytes are written as they are; timestamps, dates and numbers as in JSON; JSON and nested values as JSON.

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use flow::connector::Refusals;
use model::batch::Batch;
use model::convert::Form;
use model::outcome::Rejection;

/// An empty text would be read as a null.
const EMPTY_TEXT: &str = "empty-text";

/// What separates and encloses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CsvStyle {
    pub(crate) delimiter: u8,
    pub(crate) header: bool,
    pub(crate) null: String,
}

pub(crate) struct CsvEncoder {
    style: CsvStyle,
    /// Whether there is one column alone.
    alone: bool,
}

impl CsvEncoder {
    pub(crate) fn new(style: CsvStyle, schema: &Schema) -> Self {
        Self { style, alone: schema.fields().len() == 1 }
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

    pub(super) fn encode(&self, batch: &Batch, out: &mut Vec<u8>) -> Result<Refusals, ArrowError> {
        let mut refusals = Vec::new();
        let mut cells = Vec::with_capacity(batch.columns().len());
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            cells.push((Form::of(field, column.values())?, column.rows()));
        }
        if let ([(form, rows)], true) = (&cells[..], self.alone) {
            for row in 0..batch.rows() {
                if !self.write_alone(form, rows.at(row), out) {
                    let message = "an empty text alone in its row would be read as a null: set `null` of the sink, such as \
                                   `null: NA`, or write jsonl";
                    let (code, message) = (EMPTY_TEXT.to_owned(), message.to_owned());
                    refusals.push(Rejection { row: row as u32, code, message });
                }
            }
            return Ok(refusals);
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
        Ok(refusals)
    }

    /// Writes a row of one cell. `false` where nobody could tell what it was.
    fn write_alone(&self, form: &Form<'_>, at: usize, out: &mut Vec<u8>) -> bool {
        let (start, is_null, null) = (out.len(), form.is_null(at), self.style.null.as_bytes());
        if is_null {
            out.extend_from_slice(if null.is_empty() { b"\"\"" } else { null });
        } else {
            form.write_text(at, out);
            if out.len() == start && null.is_empty() {
                return false;
            }
            // A line of nothing but blanks is none to some readers.
            if out[start..].iter().all(u8::is_ascii_whitespace) {
                enclose(start, out);
            } else {
                self.enclose(start, out);
            }
        }
        out.push(b'\n');
        true
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
        let style = CsvStyle { delimiter: b',', header: true, null: "NA".into() };
        let encoder = CsvEncoder::new(style, &Schema::empty());
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
