//! JSON objects, one by one, into columns of a given schema.
//!
//! Values go from the text straight into their columns; nothing is built in between, and the columns that
//! nobody wants are stepped over. A record that does not fit leaves no trace.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, NullBufferBuilder, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, Schema,
    SchemaRef, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use arrow::error::ArrowError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::json_scan::{Quoted, Scalar, Scanner};
use super::{BAD_JSON, BAD_ROW, shown, text, times};
use crate::batch::{Batch, BatchError, Column};
use crate::fields::{FieldSpec, Kind};
use crate::manifest::UnknownFields;
use crate::outcome::Rejection;

/// The column that gets what the schema does not know, where `unknown: rest` says so.
pub const REST: &str = "rest";

/// Why a record is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    pub code: &'static str,
    pub message: String,
}

/// Why there is no reader for a schema.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
pub enum JsonReaderError {
    #[error("column `{name}` is {found}, which is not read from JSON; declare it as another type")]
    Type { name: String, found: DataType },
    #[error("`unknown: rest` needs a last column `rest` of JSON text")]
    NoRest,
}

/// Gathers records into columns. See the module above for what becomes of what.
#[derive(Debug)]
pub struct JsonReader {
    schema: SchemaRef,
    columns: Vec<Cells>,
    /// Every field of the stream, in the order in which records are expected to have them.
    known: Vec<(Box<str>, Slot)>,
    by_name: HashMap<Box<str>, usize>,
    unknown: UnknownFields,
    /// Where the unknown fields of a record go, where anybody wants them.
    rest: Option<usize>,
    rest_text: Vec<u8>,
    rows: usize,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Column(usize),
    Unwanted,
}

impl JsonReader {
    /// Reads the columns `wanted` of `known`, in that order. With [`UnknownFields::Rest`] the last field of
    /// `known` is the column `rest`.
    pub fn new(known: &SchemaRef, wanted: &[usize], unknown: UnknownFields) -> Result<Self, JsonReaderError> {
        let last = known.fields().len().wrapping_sub(1);
        let rest = (unknown == UnknownFields::Rest).then_some(last);
        if rest.is_some() && known.fields().last().is_none_or(|field| field.name() != REST) {
            return Err(JsonReaderError::NoRest);
        }
        let mut reader = Self {
            schema: Arc::new(Schema::empty()),
            columns: Vec::with_capacity(wanted.len()),
            known: Vec::with_capacity(known.fields().len()),
            by_name: HashMap::new(),
            unknown,
            rest: None,
            rest_text: Vec::new(),
            rows: 0,
        };
        for (index, field) in known.fields().iter().enumerate() {
            if Some(index) == rest {
                continue;
            }
            reader.by_name.insert(field.name().as_str().into(), reader.known.len());
            reader.known.push((field.name().as_str().into(), Slot::Unwanted));
        }
        let mut fields = Vec::with_capacity(wanted.len());
        for (column, &index) in wanted.iter().enumerate() {
            let field = &known.fields()[index];
            let spec = FieldSpec::of(field);
            let store = Store::of(&spec, field.data_type()).ok_or_else(|| JsonReaderError::Type {
                name: field.name().clone(),
                found: field.data_type().clone(),
            })?;
            reader.columns.push(Cells::new(field.name(), field.data_type(), field.is_nullable(), store));
            if Some(index) == rest {
                reader.rest = Some(column);
            } else {
                reader.known[index].1 = Slot::Column(column);
            }
            fields.push(field.clone());
        }
        reader.schema = Arc::new(Schema::new(fields));
        Ok(reader)
    }

    /// The columns that are read.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows gathered since the last [`Self::take`].
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds one record, or says why not and is as if it had never been asked.
    pub fn push(&mut self, record: &[u8]) -> Result<(), RowError> {
        let read = self.read(record);
        match read {
            Ok(()) => self.rows += 1,
            Err(_) => self.columns.iter_mut().for_each(|column| column.truncate(self.rows)),
        }
        read
    }

    /// The columns gathered so far; the reader starts anew.
    pub fn take(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        self.rows = 0;
        self.columns.iter_mut().map(Cells::finish).collect()
    }

    fn read(&mut self, record: &[u8]) -> Result<(), RowError> {
        let text = std::str::from_utf8(record).map_err(|error| {
            bad_json(format!("invalid UTF-8 at byte {}: {}", error.valid_up_to(), shown(record)))
        })?;
        let malformed = |error: super::json_scan::Malformed| bad_json(format!("{error}: {}", shown(record)));
        let mut scanner = Scanner::new(text);
        let mut expected = 0;
        self.rest_text.clear();
        let mut more = scanner.open().map_err(malformed)?;
        while more {
            let name = scanner.name().map_err(malformed)?;
            let at = match self.known.get(expected) {
                Some((known, _)) if **known == *name.raw() => Some(expected),
                _ => self.find(name.text().as_deref().unwrap_or_default()),
            };
            let value = scanner.value().map_err(malformed)?;
            match at {
                Some(at) => {
                    expected = at + 1;
                    if let Slot::Column(column) = self.known[at].1 {
                        self.columns[column].push(self.rows, value)?;
                    }
                }
                None => self.unknown(name.raw(), value)?,
            }
            more = scanner.next().map_err(malformed)?;
        }
        scanner.end().map_err(malformed)?;
        self.finish_row()
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    fn unknown(&mut self, name: &str, value: Scalar<'_>) -> Result<(), RowError> {
        match self.unknown {
            UnknownFields::Ignore => {}
            UnknownFields::Reject => {
                return Err(bad_row(format!(
                    "field `{}` is not in the schema; declare it, or set `unknown: ignore` or `unknown: rest`",
                    shown(name.as_bytes())
                )));
            }
            UnknownFields::Rest if self.rest.is_some() => {
                self.rest_text.extend_from_slice(if self.rest_text.is_empty() { b"{\"" } else { b",\"" });
                self.rest_text.extend_from_slice(name.as_bytes());
                self.rest_text.extend_from_slice(b"\":");
                value.write(&mut self.rest_text);
            }
            UnknownFields::Rest => {}
        }
        Ok(())
    }

    fn finish_row(&mut self) -> Result<(), RowError> {
        if let Some(rest) = self.rest
            && !self.rest_text.is_empty()
        {
            self.rest_text.push(b'}');
            self.columns[rest].push_raw(&self.rest_text);
        }
        for column in &mut self.columns {
            if column.valid.len() == self.rows {
                column.push(self.rows, Scalar::Null)?;
            }
        }
        Ok(())
    }
}

/// The rows of opaque records as columns, and those that are none.
pub fn from_json(batch: &Batch, reader: &mut JsonReader) -> Result<(Batch, Vec<Rejection>), BatchError> {
    let values = batch.columns()[0].values().as_any().downcast_ref::<BinaryArray>();
    let values = values.expect("the column of opaque records is binary: `Batch::new` has checked it");
    let rows = batch.columns()[0].rows();
    let (mut kept, mut rejections) = (Vec::with_capacity(batch.rows()), Vec::new());
    for row in 0..batch.rows() {
        let at = rows.at(row);
        let read = if values.is_null(at) {
            Err(bad_json("the record has no value, only a key: a deletion has no columns".to_owned()))
        } else {
            reader.push(values.value(at))
        };
        match read {
            Ok(()) => kept.push(row as u32),
            Err(RowError { code, message }) => {
                rejections.push(Rejection { row: row as u32, code: code.to_owned(), message });
            }
        }
    }
    let columns = reader.take().expect("columns of one reader are as long and of the types that it set up");
    let columns = columns.into_iter().map(Column::new).collect();
    let batch = if rejections.is_empty() { batch.clone() } else { batch.pick(&kept.into()) };
    Ok((batch.with_columns(reader.schema.clone(), columns)?, rejections))
}

fn bad_json(message: String) -> RowError {
    RowError { code: BAD_JSON, message }
}

fn bad_row(message: String) -> RowError {
    RowError { code: BAD_ROW, message }
}

/// One column while it grows.
#[derive(Debug)]
struct Cells {
    name: Box<str>,
    /// What the stream says; of texts and bytes it may differ from what is gathered, which is cast to it.
    data_type: DataType,
    nullable: bool,
    valid: NullBufferBuilder,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Bools(BooleanBufferBuilder),
    S32s(Vec<i32>),
    S64s(Vec<i64>),
    U64s(Vec<u64>),
    F32s(Vec<f32>),
    F64s(Vec<f64>),
    /// And whether they are points in time.
    Times(Vec<i64>, bool),
    Days(Vec<i32>),
    Texts(Varlen),
    Jsons(Varlen),
    Blobs(Varlen),
}

#[derive(Debug)]
struct Varlen {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Store {
    fn of(spec: &FieldSpec, data_type: &DataType) -> Option<Self> {
        let texts = || Varlen { bytes: Vec::new(), ends: vec![0] };
        Some(match (spec.kind, data_type) {
            (Kind::Jsons, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => Self::Jsons(texts()),
            (_, DataType::Boolean) => Self::Bools(BooleanBufferBuilder::new(0)),
            (_, DataType::Int32) => Self::S32s(Vec::new()),
            (_, DataType::Int64) => Self::S64s(Vec::new()),
            (_, DataType::UInt64) => Self::U64s(Vec::new()),
            (_, DataType::Float32) => Self::F32s(Vec::new()),
            (_, DataType::Float64) => Self::F64s(Vec::new()),
            (_, DataType::Timestamp(TimeUnit::Microsecond, zone)) => Self::Times(Vec::new(), zone.is_some()),
            (_, DataType::Date32) => Self::Days(Vec::new()),
            // A UUID is a text to stages, and bytes here.
            (Kind::Texts, DataType::FixedSizeBinary(_)) => return None,
            (Kind::Texts | Kind::Dictionaries, _) => Self::Texts(texts()),
            (_, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) => Self::Blobs(texts()),
            _ => return None,
        })
    }
}

impl Cells {
    fn new(name: &str, data_type: &DataType, nullable: bool, store: Store) -> Self {
        Self {
            name: name.into(),
            data_type: data_type.clone(),
            nullable,
            valid: NullBufferBuilder::new(0),
            store,
        }
    }

    /// Adds the value of row `row`.
    fn push(&mut self, row: usize, value: Scalar<'_>) -> Result<(), RowError> {
        if self.valid.len() != row {
            return Err(bad_row(format!("field `{}` is there twice", self.name)));
        }
        if value == Scalar::Null {
            return self.push_null();
        }
        if self.try_push(value).is_none() {
            let mut json = Vec::new();
            value.write(&mut json);
            return Err(bad_row(format!(
                "field `{}` is {} ({}), which does not fit {}; declare another type for it under `schema`, such as \
                 `json`, which takes any value",
                self.name,
                value.kind(),
                shown(&json),
                self.wants()
            )));
        }
        self.valid.append_non_null();
        Ok(())
    }

    fn push_null(&mut self) -> Result<(), RowError> {
        if !self.nullable {
            return Err(bad_row(format!(
                "field `{}` is missing or null, and its column has no nulls",
                self.name
            )));
        }
        match &mut self.store {
            Store::Bools(values) => values.append(false),
            Store::S32s(values) | Store::Days(values) => values.push(0),
            Store::S64s(values) | Store::Times(values, _) => values.push(0),
            Store::U64s(values) => values.push(0),
            Store::F32s(values) => values.push(0.0),
            Store::F64s(values) => values.push(0.0),
            Store::Texts(values) | Store::Jsons(values) | Store::Blobs(values) => values.push(b"")?,
        }
        self.valid.append_null();
        Ok(())
    }

    fn push_raw(&mut self, json: &[u8]) {
        if let Store::Jsons(values) = &mut self.store
            && values.push(json).is_ok()
        {
            self.valid.append_non_null();
        }
    }

    /// None where the value does not fit; nothing is added then.
    fn try_push(&mut self, value: Scalar<'_>) -> Option<()> {
        match (&mut self.store, value) {
            (Store::Bools(values), Scalar::Bool(value)) => values.append(value),
            (Store::S32s(values), Scalar::Number(digits)) => {
                values.push(text::int(digits.as_bytes())?.try_into().ok()?)
            }
            (Store::S64s(values), Scalar::Number(digits)) => values.push(text::int(digits.as_bytes())?),
            (Store::U64s(values), Scalar::Number(digits)) => values.push(text::unsigned(digits.as_bytes())?),
            (Store::F32s(values), Scalar::Number(digits)) => values.push(text::float32(digits.as_bytes())?),
            (Store::F64s(values), Scalar::Number(digits)) => values.push(text::float(digits.as_bytes())?),
            (Store::F32s(values), Scalar::Text(quoted)) => values.push(no_number(quoted)? as f32),
            (Store::F64s(values), Scalar::Text(quoted)) => values.push(no_number(quoted)?),
            (Store::Times(values, zoned), Scalar::Text(quoted)) => {
                let text = quoted.text()?;
                let read = if *zoned { times::instant } else { times::local };
                values.push(read(text.as_bytes())?);
            }
            (Store::Days(values), Scalar::Text(quoted)) => {
                values.push(times::date(quoted.text()?.as_bytes())?)
            }
            (Store::Texts(values), Scalar::Text(quoted)) => values.push(quoted.text()?.as_bytes()).ok()?,
            (Store::Blobs(values), Scalar::Text(quoted)) => {
                values.push(&BASE64.decode(quoted.text()?.as_bytes()).ok()?).ok()?;
            }
            (Store::Jsons(values), value) => {
                let before = values.bytes.len();
                value.write(&mut values.bytes);
                values.close(before).ok()?;
            }
            _ => return None,
        }
        Some(())
    }

    fn wants(&self) -> &'static str {
        match self.store {
            Store::Bools(_) => "bool",
            Store::S32s(_) => "a 32-bit int",
            Store::S64s(_) => "int",
            Store::U64s(_) => "an int that is not negative",
            Store::F32s(_) | Store::F64s(_) => "float",
            Store::Times(_, true) => "timestamp (RFC 3339, with `Z` or an offset)",
            Store::Times(_, false) => "local-timestamp (YYYY-MM-DDTHH:MM:SS, without an offset)",
            Store::Days(_) => "date (YYYY-MM-DD)",
            Store::Texts(_) => "text",
            Store::Jsons(_) => "json",
            Store::Blobs(_) => "bytes (base64)",
        }
    }

    fn truncate(&mut self, rows: usize) {
        if self.valid.len() <= rows {
            return;
        }
        self.valid.truncate(rows);
        match &mut self.store {
            Store::Bools(values) => values.truncate(rows),
            Store::S32s(values) | Store::Days(values) => values.truncate(rows),
            Store::S64s(values) | Store::Times(values, _) => values.truncate(rows),
            Store::U64s(values) => values.truncate(rows),
            Store::F32s(values) => values.truncate(rows),
            Store::F64s(values) => values.truncate(rows),
            Store::Texts(values) | Store::Jsons(values) | Store::Blobs(values) => values.truncate(rows),
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.valid.finish();
        let rows = nulls.as_ref().map(|nulls| nulls.len());
        Ok(match &mut self.store {
            Store::Bools(values) => {
                let values = values.finish();
                debug_assert!(rows.is_none_or(|rows| rows == values.len()));
                Arc::new(BooleanArray::new(values, nulls))
            }
            Store::S32s(values) => primitive::<Int32Type>(values, nulls)?,
            Store::S64s(values) => primitive::<Int64Type>(values, nulls)?,
            Store::U64s(values) => primitive::<UInt64Type>(values, nulls)?,
            Store::F32s(values) => primitive::<Float32Type>(values, nulls)?,
            Store::F64s(values) => primitive::<Float64Type>(values, nulls)?,
            Store::Times(values, _) => {
                let times = PrimitiveArray::<TimestampMicrosecondType>::try_new(
                    std::mem::take(values).into(),
                    nulls,
                )?;
                Arc::new(times.with_data_type(self.data_type.clone()))
            }
            Store::Days(values) => primitive::<Date32Type>(values, nulls)?,
            Store::Texts(values) | Store::Jsons(values) => {
                let (offsets, bytes) = values.finish();
                let texts = StringArray::try_new(offsets, bytes, nulls)?;
                if self.data_type == DataType::Utf8 {
                    Arc::new(texts)
                } else {
                    cast(&texts, &self.data_type)?
                }
            }
            Store::Blobs(values) => {
                let (offsets, bytes) = values.finish();
                let blobs = BinaryArray::try_new(offsets, bytes, nulls)?;
                if self.data_type == DataType::Binary {
                    Arc::new(blobs)
                } else {
                    cast(&blobs, &self.data_type)?
                }
            }
        })
    }
}

/// What JSON has no number for.
fn no_number(quoted: Quoted<'_>) -> Option<f64> {
    match quoted.raw() {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<arrow::buffer::NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(PrimitiveArray::<T>::try_new(std::mem::take(values).into(), nulls)?))
}

impl Varlen {
    fn push(&mut self, value: &[u8]) -> Result<(), RowError> {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.close(before)
    }

    /// Ends the value that was just written behind `before`.
    fn close(&mut self, before: usize) -> Result<(), RowError> {
        match i32::try_from(self.bytes.len()) {
            Ok(end) => self.ends.push(end),
            Err(_) => {
                self.bytes.truncate(before);
                return Err(bad_row("the batch would hold more than 2 GiB of one column".to_owned()));
            }
        }
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows + 1);
        self.bytes.truncate(self.ends[rows] as usize);
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        (OffsetBuffer::new(ends.into()), Buffer::from_vec(std::mem::take(&mut self.bytes)))
    }
}

#[cfg(test)]
mod tests;
