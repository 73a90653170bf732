//! Typed rows as JSON objects, straight from the columns behind their selections.
//!
//! Names are escaped once per schema; a row is then a run of copies. Texts are copied as they are unless a
//! check over the whole of them, sixteen bytes at a time, finds one to escape.

use std::sync::LazyLock;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, DictionaryArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Schema, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::json::EncoderOptions;
use arrow::json::writer::{NullableEncoder, make_encoder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::text;
use crate::batch::{Batch, Column, Rows};
use crate::fields::{FieldSpec, Kind};

/// For the types that are left to arrow-json: its encoders borrow it.
static OPTIONS: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);

/// Writes the rows of batches of one schema.
#[derive(Debug)]
pub struct JsonWriter {
    columns: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    /// `{"name":` for the first column, `,"name":` for the others.
    key: Box<[u8]>,
    json: bool,
    field: FieldRef,
}

impl JsonWriter {
    pub fn new(schema: &Schema) -> Self {
        let name = |(index, field): (usize, &FieldRef)| {
            let mut key = vec![if index == 0 { b'{' } else { b',' }];
            write_text(field.name().as_bytes(), &mut key);
            key.push(b':');
            Name { key: key.into(), json: FieldSpec::of(field).kind == Kind::Jsons, field: field.clone() }
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
        let mut cells = Vec::with_capacity(self.columns.len());
        for (name, column) in self.columns.iter().zip(columns) {
            cells.push(Cells {
                key: &name.key,
                rows: column.rows(),
                nulls: column.values().nulls().filter(|nulls| nulls.null_count() > 0),
                values: Values::of(name, column.values())?,
            });
        }
        for row in 0..rows {
            for cell in &mut cells {
                cell.write(row, out);
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

/// A column while its rows are written.
struct Cells<'a> {
    key: &'a [u8],
    rows: &'a Rows,
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Bools(&'a BooleanArray),
    S32s(&'a [i32]),
    S64s(&'a [i64]),
    U64s(&'a [u64]),
    F32s(&'a [f32]),
    F64s(&'a [f64]),
    Times(&'a [i64]),
    Days(&'a [i32]),
    Texts(&'a StringArray),
    Jsons(&'a StringArray),
    Dictionaries(&'a DictionaryArray<UInt32Type>, &'a StringArray),
    Blobs(&'a BinaryArray),
    /// Narrow integers and coarser or finer timestamps, brought to the ones above when a batch comes.
    Widened(Widened),
    Others(NullableEncoder<'a>),
}

enum Widened {
    S64s(Vec<i64>),
    Times(Vec<i64>),
}

impl<'a> Values<'a> {
    fn of(name: &'a Name, values: &'a ArrayRef) -> Result<Self, ArrowError> {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        macro_rules! widened {
            ($type:ty) => {
                Widened::S64s(
                    values.as_primitive::<$type>().values().iter().map(|&value| value.into()).collect(),
                )
            };
        }
        macro_rules! times {
            ($type:ty, $micros:expr) => {
                Widened::Times(values.as_primitive::<$type>().values().iter().map($micros).collect())
            };
        }
        Ok(match values.data_type() {
            DataType::Boolean => Self::Bools(values.as_boolean()),
            DataType::Int32 => Self::S32s(values.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Self::S64s(values.as_primitive::<Int64Type>().values()),
            DataType::UInt64 => Self::U64s(values.as_primitive::<UInt64Type>().values()),
            DataType::Float32 => Self::F32s(values.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Self::F64s(values.as_primitive::<Float64Type>().values()),
            DataType::Date32 => Self::Days(values.as_primitive::<Date32Type>().values()),
            DataType::Utf8 if name.json => Self::Jsons(values.as_string()),
            DataType::Utf8 => Self::Texts(values.as_string()),
            DataType::Binary => Self::Blobs(values.as_binary()),
            DataType::Int8 => Self::Widened(widened!(Int8Type)),
            DataType::Int16 => Self::Widened(widened!(Int16Type)),
            DataType::UInt8 => Self::Widened(widened!(UInt8Type)),
            DataType::UInt16 => Self::Widened(widened!(UInt16Type)),
            DataType::UInt32 => Self::Widened(widened!(UInt32Type)),
            DataType::Timestamp(Microsecond, _) => {
                Self::Times(values.as_primitive::<TimestampMicrosecondType>().values())
            }
            DataType::Timestamp(Second, _) => {
                Self::Widened(times!(TimestampSecondType, |&s| s.saturating_mul(1_000_000)))
            }
            DataType::Timestamp(Millisecond, _) => {
                Self::Widened(times!(TimestampMillisecondType, |&ms| ms.saturating_mul(1000)))
            }
            DataType::Timestamp(Nanosecond, _) => {
                Self::Widened(times!(TimestampNanosecondType, |ns| ns.div_euclid(1000)))
            }
            DataType::Dictionary(keys, texts) if **keys == DataType::UInt32 && **texts == DataType::Utf8 => {
                let dictionary = values.as_dictionary::<UInt32Type>();
                Self::Dictionaries(dictionary, dictionary.values().as_string())
            }
            _ => Self::Others(make_encoder(&name.field, values, &OPTIONS)?),
        })
    }
}

impl Cells<'_> {
    #[inline]
    fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key);
        let at = self.rows.at(row);
        if self.nulls.is_some_and(|nulls| nulls.is_null(at)) {
            out.extend_from_slice(b"null");
            return;
        }
        match &mut self.values {
            Values::Bools(values) => out.extend_from_slice(if values.value(at) { b"true" } else { b"false" }),
            Values::S32s(values) => write_int(values[at], out),
            Values::S64s(values) => write_int(values[at], out),
            Values::U64s(values) => write_int(values[at], out),
            Values::F32s(values) => write_float(values[at], values[at].is_finite(), out),
            Values::F64s(values) => write_float(values[at], values[at].is_finite(), out),
            Values::Times(values) => write_time(values[at], out),
            Values::Days(values) => {
                out.push(b'"');
                text::write_date(values[at].into(), out);
                out.push(b'"');
            }
            Values::Texts(values) => write_text(values.value(at).as_bytes(), out),
            Values::Jsons(values) => write_json(values.value(at), out),
            Values::Dictionaries(dictionary, texts) => {
                let text = dictionary.keys().value(at) as usize;
                if texts.is_null(text) {
                    out.extend_from_slice(b"null");
                } else {
                    write_text(texts.value(text).as_bytes(), out);
                }
            }
            Values::Blobs(values) => {
                out.push(b'"');
                out.extend_from_slice(BASE64.encode(values.value(at)).as_bytes());
                out.push(b'"');
            }
            Values::Widened(Widened::S64s(values)) => write_int(values[at], out),
            Values::Widened(Widened::Times(values)) => write_time(values[at], out),
            Values::Others(encoder) if encoder.is_null(at) => out.extend_from_slice(b"null"),
            Values::Others(encoder) => encoder.encode(at, out),
        }
    }
}

#[inline]
fn write_int(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[inline]
fn write_float(value: impl zmij::Float, finite: bool, out: &mut Vec<u8>) {
    if finite {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

fn write_time(micros: i64, out: &mut Vec<u8>) {
    out.push(b'"');
    text::write_timestamp(micros, out);
    out.push(b'"');
}

/// JSON text as it is, on one line: outside of texts a line break is a space, inside there is none.
fn write_json(json: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(if json.is_empty() { b"null" } else { json.as_bytes() });
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// A JSON text with its quotes.
#[inline]
pub(super) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    // No early exit, so that it is compiled to vector instructions.
    let plain =
        text.iter().fold(true, |plain, &byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'));
    if plain {
        out.extend_from_slice(text);
    } else {
        write_escaped(text, out);
    }
    out.push(b'"');
}

#[cold]
fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
}

/// Rows of any array as JSON text, for columns that are wanted as such.
pub(super) fn array_to_json(field: &FieldRef, values: &ArrayRef) -> Result<StringArray, ArrowError> {
    let name =
        Name { key: Box::default(), json: FieldSpec::of(field).kind == Kind::Jsons, field: field.clone() };
    let mut cells = Cells { key: b"", rows: &Rows::All, nulls: None, values: Values::of(&name, values)? };
    let (mut bytes, mut ends) = (Vec::new(), vec![0i32]);
    for row in 0..values.len() {
        if values.is_valid(row) {
            cells.write(row, &mut bytes);
        }
        let end = i32::try_from(bytes.len());
        ends.push(end.map_err(|_| ArrowError::InvalidArgumentError("more than 2 GiB of JSON".to_owned()))?);
    }
    StringArray::try_new(OffsetBuffer::new(ends.into()), Buffer::from_vec(bytes), values.logical_nulls())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, ListArray, TimestampMicrosecondArray};

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
            (Arc::new(Float64Array::from(vec![1.0, f64::NAN])), "{\"c\":1.0}\n{\"c\":null}\n"),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![0, -1])),
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
