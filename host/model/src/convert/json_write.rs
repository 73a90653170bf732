//! Typed rows as JSON objects, straight from the columns behind their selections.
//!
//! Names are escaped once per schema; a row is then a run of copies. Texts are copied as they are unless a
//! check over the whole of them, sixteen bytes at a time, finds one to escape.

use arrow::array::BinaryArray;
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{FieldRef, Schema};
use arrow::error::ArrowError;

use super::forms::{Form, write_text};
use crate::batch::{Batch, Column, Rows};

/// Writes the rows of batches of one schema.
#[derive(Debug)]
pub struct JsonWriter {
    columns: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    /// `{"name":` for the first column, `,"name":` for the others.
    key: Key,
    field: FieldRef,
}

/// Bytes that are copied once for each row.
#[derive(Debug)]
enum Key {
    /// At most so many as are copied in one piece, without asking how many there are; how many count stands beside it.
    Short([u8; PIECE], usize),
    Long(Box<[u8]>),
}

/// Two vectors of sixteen bytes.
const PIECE: usize = 32;

impl Key {
    fn of(bytes: &[u8]) -> Self {
        let mut piece = [0; PIECE];
        match piece.get_mut(..bytes.len()) {
            Some(start) => {
                start.copy_from_slice(bytes);
                Self::Short(piece, bytes.len())
            }
            None => Self::Long(bytes.into()),
        }
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Short(piece, count) => {
                let end = out.len() + count;
                out.extend_from_slice(piece);
                out.truncate(end);
            }
            Self::Long(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl JsonWriter {
    pub fn new(schema: &Schema) -> Self {
        let name = |(index, field): (usize, &FieldRef)| {
            let mut key = vec![if index == 0 { b'{' } else { b',' }];
            write_text(field.name().as_bytes(), &mut key);
            key.push(b':');
            Name { key: Key::of(&key), field: field.clone() }
        };
        Self { columns: schema.fields().iter().enumerate().map(name).collect() }
    }

    /// Appends each row as one object and calls `end_row` behind it.
    pub fn write(
        &self,
        columns: &[Column],
        rows: usize,
        out: &mut Vec<u8>,
        mut end_row: impl FnMut(&mut Vec<u8>),
    ) -> Result<(), ArrowError> {
        let mut cells: Vec<(&Key, &Rows, Form<'_>)> = Vec::with_capacity(self.columns.len());
        for (name, column) in self.columns.iter().zip(columns) {
            cells.push((&name.key, column.rows(), Form::of(&name.field, column.values())?));
        }
        for row in 0..rows {
            for (key, rows, form) in &cells {
                key.write(out);
                form.write_json(rows.at(row), out);
            }
            if cells.is_empty() {
                out.push(b'{');
            }
            out.push(b'}');
            end_row(out);
        }
        Ok(())
    }

    /// Appends each row of `batch` as a line.
    pub fn write_lines(&self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.write(batch.columns(), batch.rows(), out, |out| out.push(b'\n'))
    }
}

/// The rows of a typed batch as opaque records that hold one JSON object each.
pub fn to_json(writer: &JsonWriter, batch: &Batch) -> Result<BinaryArray, ArrowError> {
    let mut bytes = Vec::with_capacity(batch.rows() * 64);
    let mut ends = Vec::with_capacity(batch.rows() + 1);
    ends.push(0usize);
    writer.write(batch.columns(), batch.rows(), &mut bytes, |out| ends.push(out.len()))?;
    if bytes.len() > i32::MAX as usize {
        let message = format!("the rows of a batch are {} bytes as JSON, more than 2 GiB", bytes.len());
        return Err(ArrowError::InvalidArgumentError(message));
    }
    let ends: Vec<i32> = ends.into_iter().map(|end| end as i32).collect();
    BinaryArray::try_new(OffsetBuffer::new(ends.into()), Buffer::from_vec(bytes), None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    fn lines(columns: Vec<(&str, ArrayRef)>, rows: Rows, count: usize) -> String {
        let fields: Vec<_> = columns
            .iter()
            .map(|(name, values)| arrow::datatypes::Field::new(*name, values.data_type().clone(), true))
            .collect();
        let columns: Vec<_> =
            columns.into_iter().map(|(_, values)| Column::with_rows(values, rows.clone())).collect();
        let mut out = Vec::new();
        let writer = JsonWriter::new(&Schema::new(fields));
        writer.write(&columns, count, &mut out, |out| out.push(b'\n')).expect("rows of plain types");
        String::from_utf8(out).expect("JSON is text")
    }

    #[test]
    fn selected_rows_are_written_from_where_they_are() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]))),
            ("say \"it\"", Arc::new(StringArray::from(vec!["a\u{1}\"\\\n", "unseen", "é"]))),
        ];
        let expected =
            "{\"n\":-3,\"say \\\"it\\\"\":\"é\"}\n{\"n\":1,\"say \\\"it\\\"\":\"a\\u0001\\\"\\\\\\n\"}\n";
        assert_eq!(lines(columns, Rows::At([2, 0].into()), 2), expected);
    }

    #[test]
    fn every_type_has_its_form() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
        let cases: Vec<(ArrayRef, &str)> = vec![
            (Arc::new(Float64Array::from(vec![1.0, f64::NAN])), "{\"c\":1.0}\n{\"c\":\"NaN\"}\n"),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![0, -1]).with_timezone("UTC")),
                "{\"c\":\"1970-01-01T00:00:00Z\"}\n{\"c\":\"1969-12-31T23:59:59.999999Z\"}\n",
            ),
            (Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..], b""])), "{\"c\":\"/wA=\"}\n{\"c\":\"\"}\n"),
            (Arc::new(BooleanArray::from(vec![Some(true), None])), "{\"c\":true}\n{\"c\":null}\n"),
            (Arc::new(list), "{\"c\":[1,null]}\n{\"c\":null}\n"),
        ];
        for (values, expected) in cases {
            let name = values.data_type().to_string();
            assert_eq!(lines(vec![("c", values)], Rows::All, 2), expected, "{name}");
        }
        assert_eq!(lines(vec![], Rows::All, 1), "{}\n");
    }

    proptest::proptest! {
        #[test]
        fn any_text_comes_back_through_serde_json(text: String) {
            let mut json = Vec::new();
            write_text(text.as_bytes(), &mut json);
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&json).expect("JSON"), text);
        }
    }
}
