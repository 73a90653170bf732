//! The encoding of a batch, for what is kept and for what goes to another process: one Arrow IPC stream of one record batch.
//!
//! The columns of the records come first. Behind them stand, by name, what a record has beside its columns ([`KEY`],
//! [`TIME`], [`HEADERS`]), where it comes from ([`RECORD_ID`], [`SPLIT`], [`OFFSET`], [`REPLAY_OF`]), and whatever more the
//! writer knows of it. How many columns are the records' own, and the splits to which [`SPLIT`] points, stand beside the
//! stream: what many rows have in common is said once. Rows that nobody selected are not in it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, MapArray, RecordBatch, RecordBatchOptions,
    UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use crate::batch::{Batch, Column, Parts, Rows};
use crate::ids::RecordId;
use crate::lineage::{KeptRows, Lineage, Origin};

/// The id of a record: sixteen bytes.
pub const RECORD_ID: &str = "record-id";
/// The source and the split of a record: an index into a table of both.
pub const SPLIT: &str = "split";
/// The place of a record in its split.
pub const OFFSET: &str = "offset";
/// The dead letter as which a record came in again; null where it did not.
pub const REPLAY_OF: &str = "replay-of";
pub const KEY: &str = "key";
/// Event time.
pub const TIME: &str = "time";
pub const HEADERS: &str = "headers";

/// What is known of each row beside its columns, by name.
pub type Beside = Vec<(&'static str, ArrayRef)>;

/// Where the rows of a batch come from, as columns.
#[derive(Debug)]
pub struct LineageColumns {
    pub ids: ArrayRef,
    /// Indices into `sources`.
    pub splits: ArrayRef,
    pub offsets: ArrayRef,
    pub replays: ArrayRef,
    /// Sources and their splits.
    pub sources: Vec<(String, String)>,
}

impl LineageColumns {
    /// Of the first `rows` rows.
    pub fn of(lineage: &Lineage, rows: usize) -> Result<Self, ArrowError> {
        let mut ids = FixedSizeBinaryBuilder::with_capacity(rows, 16);
        let (mut offsets, mut replays) = (UInt64Builder::with_capacity(rows), UInt64Builder::new());
        let mut splits = UInt32Builder::with_capacity(rows);
        let mut table = Table::new();
        let origins: Vec<Origin> = (0..rows).map(|row| lineage.origin(row)).collect();
        for (row, origin) in origins.iter().enumerate() {
            ids.append_value(lineage.id(row).to_bytes())?;
            offsets.append_value(origin.offset);
            replays.append_option(lineage.letter(row));
            splits.append_value(table.index((&*origin.source, &*origin.split)));
        }
        Ok(Self {
            ids: Arc::new(ids.finish()),
            splits: Arc::new(splits.finish()),
            offsets: Arc::new(offsets.finish()),
            replays: Arc::new(replays.finish()),
            sources: table.take(|(source, split)| (source.to_owned(), split.to_owned())),
        })
    }
}

/// Different values, each with the place at which it first came.
#[derive(Debug)]
pub struct Table<T> {
    values: Vec<T>,
    places: HashMap<T, u32>,
}

impl<T: Copy + Eq + std::hash::Hash> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy + Eq + std::hash::Hash> Table<T> {
    pub fn new() -> Self {
        Self { values: Vec::new(), places: HashMap::new() }
    }

    /// The place of a value, which is put behind the others where it is new.
    pub fn index(&mut self, value: T) -> u32 {
        // Neighbours mostly say the same.
        if let Some(last) = self.values.last()
            && *last == value
        {
            return self.values.len() as u32 - 1;
        }
        let next = self.values.len() as u32;
        let place = *self.places.entry(value).or_insert(next);
        if place == next {
            self.values.push(value);
        }
        place
    }

    /// All values, by their places.
    pub fn take<O>(self, owned: impl Fn(T) -> O) -> Vec<O> {
        self.values.into_iter().map(owned).collect()
    }
}

/// Writes a batch behind what `out` has: its columns, then `beside`, then keys, times and headers.
pub fn write(batch: &Batch, beside: Beside, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().cloned().collect();
    let mut arrays = Vec::with_capacity(fields.len() + beside.len() + 3);
    for column in batch.columns() {
        arrays.push(compact(column.flat()?)?);
    }
    let mut more = beside;
    let parts = batch.parts();
    for (name, part) in [(KEY, &parts.keys), (TIME, &parts.times), (HEADERS, &parts.headers)] {
        if let Some(column) = part {
            more.push((name, compact(column.flat()?)?));
        }
    }
    for (name, array) in more {
        fields.push(Arc::new(Field::new(name, array.data_type().clone(), true)));
        arrays.push(array);
    }
    // A null in a column that says it has none would not be read back.
    let fields = fields.iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.rows()));
    let written = RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?;
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
    let mut writer = StreamWriter::try_new_with_options(out, &schema, options)?;
    writer.write(&written)?;
    writer.finish()
}

/// Without what selected rows do not use of the values behind them.
fn compact(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::Dictionary(_, _) => {
            arrow_select::dictionary::garbage_collect_any_dictionary(array.as_any_dictionary())?
        }
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        _ => array,
    })
}

/// Why bytes are no encoded batch.
#[derive(thiserror::Error, Debug)]
pub enum DecodeError {
    #[error("its records cannot be read: {0}")]
    Arrow(#[from] ArrowError),
    #[error("it has no records")]
    Empty,
    #[error("it has {found} columns, and {columns} are said to be the records' own")]
    Columns { columns: usize, found: usize },
    #[error("it has no column `{name}` of {expected}")]
    Column { name: &'static str, expected: DataType },
    #[error("its column `{name}` points past its table")]
    Index { name: &'static str },
}

/// A batch, read back. Of its lineage is known what its rows were, not how they came to be.
#[derive(Debug)]
pub struct Encoded {
    batch: RecordBatch,
    /// How many columns are the records' own.
    columns: usize,
    sources: Vec<(String, String)>,
}

impl Encoded {
    /// Reads what [`write`] wrote, and checks that it has the columns of a lineage. `columns` and `sources`: as they stood
    /// beside the stream.
    pub fn read(bytes: &[u8], columns: usize, sources: Vec<(String, String)>) -> Result<Self, DecodeError> {
        let mut reader = StreamReader::try_new(bytes, None)?;
        let batch = reader.next().ok_or(DecodeError::Empty)??;
        let found = batch.num_columns();
        if found < columns {
            return Err(DecodeError::Columns { columns, found });
        }
        let read = Self { batch, columns, sources };
        read.check_index(SPLIT, read.sources.len())?;
        read.check_type(RECORD_ID, &DataType::FixedSizeBinary(16))?;
        read.check_type(OFFSET, &DataType::UInt64)?;
        read.check_type(REPLAY_OF, &DataType::UInt64)?;
        Ok(read)
    }

    /// That there is a column of this name and type beside the records' own.
    pub fn check_type(&self, name: &'static str, expected: &DataType) -> Result<&ArrayRef, DecodeError> {
        let array = self.beside(name).filter(|array| array.data_type() == expected);
        array.ok_or_else(|| DecodeError::Column { name, expected: expected.clone() })
    }

    /// That each index of a column is one of `values` values, so that nobody has to ask again.
    pub fn check_index(&self, name: &'static str, values: usize) -> Result<(), DecodeError> {
        let indices = self.check_type(name, &DataType::UInt32)?.as_primitive::<UInt32Type>();
        let is_past = indices.iter().flatten().any(|index| index as usize >= values);
        if is_past { Err(DecodeError::Index { name }) } else { Ok(()) }
    }

    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The columns of the records.
    pub fn columns(&self) -> &[ArrayRef] {
        &self.batch.columns()[..self.columns]
    }

    /// The fields of the records.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.batch.schema_ref().fields().iter().take(self.columns).cloned();
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// What is known of each row beside its columns, by name.
    pub fn beside(&self, name: &str) -> Option<&ArrayRef> {
        let schema = self.batch.schema_ref();
        let at = schema.fields().iter().skip(self.columns).position(|field| field.name() == name)?;
        Some(self.batch.column(self.columns + at))
    }

    /// A value of a column of indices.
    pub fn index(&self, name: &str, row: usize) -> Option<usize> {
        let column = self.beside(name)?.as_primitive_opt::<UInt32Type>()?;
        column.is_valid(row).then(|| column.value(row) as usize)
    }

    fn number(&self, name: &str, row: usize) -> Option<u64> {
        let column = self.beside(name)?.as_primitive::<UInt64Type>();
        column.is_valid(row).then(|| column.value(row))
    }

    pub fn record_id(&self, row: usize) -> RecordId {
        let bytes = self.beside(RECORD_ID).map(|column| column.as_fixed_size_binary().value(row));
        RecordId::from_bytes(bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default())
    }

    pub fn origin(&self, row: usize) -> Origin {
        let (source, split) = match self.index(SPLIT, row) {
            Some(index) => (self.sources[index].0.as_str(), self.sources[index].1.as_str()),
            None => ("", ""),
        };
        Origin { source: source.into(), split: split.into(), offset: self.number(OFFSET, row).unwrap_or(0) }
    }

    /// The dead letter as which a row came in again.
    pub fn replay_of(&self, row: usize) -> Option<u64> {
        self.number(REPLAY_OF, row)
    }

    /// Microseconds since the Unix epoch.
    pub fn time_us(&self, row: usize) -> Option<i64> {
        let times = self.beside(TIME)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        times.is_valid(row).then(|| times.value(row))
    }

    pub fn key(&self, row: usize) -> Option<&[u8]> {
        let keys = self.beside(KEY)?.as_binary_opt::<i32>()?;
        keys.is_valid(row).then(|| keys.value(row))
    }

    /// All headers, of which some rows have none.
    pub fn headers(&self) -> Option<&MapArray> {
        self.beside(HEADERS)?.as_map_opt()
    }

    /// These rows as they were, each under the id and with the origin that it had. `letter`: the dead letter to which a row
    /// goes back.
    pub fn batch(&self, rows: &[u32], letter: impl Fn(usize) -> Option<u64>) -> Result<Batch, ArrowError> {
        let rows_of = |column: &ArrayRef| Column::with_rows(column.clone(), Rows::At(rows.into()));
        let part = |name: &str| self.beside(name).map(rows_of);
        let parts = Parts { times: part(TIME), keys: part(KEY), headers: part(HEADERS) };
        let columns = self.columns().iter().map(rows_of).collect();
        let at = || rows.iter().map(|&row| row as usize);
        let lineage = Lineage::of_kept(KeptRows {
            ids: at().map(|row| self.record_id(row)).collect(),
            origins: at().map(|row| self.origin(row)).collect(),
            letters: at().map(letter).collect(),
        });
        Batch::new(self.schema(), rows.len(), columns, parts, lineage)
            .map_err(|error| ArrowError::SchemaError(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryArray, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::lineage::{Descent, Offsets, SourceRows};

    fn batch() -> Batch {
        let source = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "in".into(),
            split: "a.csv".into(),
            offsets: Offsets::These([3, 9].into()),
        });
        let lineage = source.through(&"s".into(), 1, Descent::Made { origins: [0, 0, 1].into() });
        let fields = [Field::new("n", DataType::Int64, false), Field::new("t", DataType::Utf8, true)];
        let columns: [ArrayRef; 2] = [
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            Arc::new(StringArray::from(vec![Some("a"), None, Some("c")])),
        ];
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(5), None, Some(7)]));
        let keys: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"k"), None, Some(b"")]));
        let parts = Parts { times: Some(Column::new(times)), keys: Some(Column::new(keys)), headers: None };
        let columns = columns.map(Column::new).to_vec();
        Batch::new(Arc::new(Schema::new(fields.to_vec())), 3, columns, parts, lineage).expect("a batch")
    }

    fn encode(batch: &Batch) -> (Vec<u8>, Vec<(String, String)>) {
        let LineageColumns { ids, splits, offsets, replays, sources } =
            LineageColumns::of(batch.lineage(), batch.rows()).expect("columns");
        let beside = vec![(RECORD_ID, ids), (SPLIT, splits), (OFFSET, offsets), (REPLAY_OF, replays)];
        let mut bytes = Vec::new();
        write(batch, beside, &mut bytes).expect("written");
        (bytes, sources)
    }

    fn values(batch: &Batch) -> Vec<ArrayRef> {
        let columns = batch.columns().iter().chain(batch.parts().present());
        columns.map(|column| column.flat().expect("flat")).collect()
    }

    #[test]
    fn a_batch_comes_back_with_its_values_ids_and_origins() {
        // Only what is selected is written.
        let whole = batch();
        for rows in [vec![0, 1, 2], vec![2], vec![1, 2]] {
            let batch = whole.pick(&rows.into());
            let (bytes, sources) = encode(&batch);
            let encoded = Encoded::read(&bytes, 2, sources).expect("read back");
            let all: Vec<u32> = (0..batch.rows() as u32).collect();
            let back = encoded.batch(&all, |row| encoded.replay_of(row)).expect("a batch");
            assert_eq!(values(&back), values(&batch));
            assert_eq!(back.ids(), batch.ids());
            for row in 0..batch.rows() {
                assert_eq!(back.lineage().origin(row), batch.lineage().origin(row));
                assert_eq!(back.lineage().letter(row), None);
            }
            // What came in again goes on as what it was.
            let again = encoded.batch(&all, |row| Some(40 + row as u64)).expect("a batch");
            let (bytes, sources) = encode(&again);
            let encoded = Encoded::read(&bytes, 2, sources).expect("read back");
            assert_eq!((encoded.replay_of(0), encoded.record_id(0)), (Some(40), batch.lineage().id(0)));
        }
    }

    #[test]
    fn what_is_no_encoded_batch_is_refused_by_name() {
        let (bytes, sources) = encode(&batch());
        let refused = |bytes: &[u8], columns, sources| {
            Encoded::read(bytes, columns, sources).map(|_| ()).expect_err("it is refused").to_string()
        };
        assert_eq!(refused(&bytes, 2, vec![]), "its column `split` points past its table");
        assert_eq!(
            refused(&bytes, 9, sources.clone()),
            "it has 8 columns, and 9 are said to be the records' own"
        );
        assert_eq!(
            refused(&bytes, 3, sources.clone()),
            "it has no column `record-id` of FixedSizeBinary(16)"
        );
        assert!(refused(&bytes[..bytes.len() / 2], 2, sources).starts_with("it"));
    }
}
