//! The entries of a frame, read back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use model::batch::{Batch, Column, Parts};
use model::convert::{JsonWriter, to_json};
use model::ids::RecordId;
use model::lineage::{KeptRows, Lineage, Origin};

use super::entry::{
    ATTEMPTS, BACKTRACE, CODE, CUT, Form, HEADERS, Head, KEY, KeptAs, MESSAGE, OFFSET, RECORD_ID, REPLAY_OF,
    RefusedHead, SPLIT, TIME, head,
};
use super::shown::{Blob, Entry, EntryOrigin, RecordShown};

/// So many bytes of a record, and of some none, are what an earlier version kept.
const OLDER_BYTES_MAX: usize = 64 << 10;

/// The entries of one frame, read back.
#[derive(Debug)]
pub struct Kept {
    pub(super) head: RefusedHead,
    batch: RecordBatch,
}

impl Kept {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, String> {
        let (head, at) = head(payload)?;
        let Head::Refused(head) = head else { return Err("a frame of marks holds no entries".to_owned()) };
        let unread = |error: ArrowError| format!("the records of a frame cannot be read: {error}");
        let mut reader = StreamReader::try_new(&payload[at..], None).map_err(unread)?;
        let batch = reader.next().ok_or("a frame has no records")?.map_err(unread)?;
        let (rows, columns) = (batch.num_rows() as u64, batch.num_columns());
        if rows != head.count || columns < head.columns {
            return Err(format!("a frame of {} entries has {rows} records of {columns} columns", head.count));
        }
        let kept = Self { head: *head, batch };
        kept.check()?;
        Ok(kept)
    }

    /// That each column has its type, and each index its value, so that nobody has to ask again.
    fn check(&self) -> Result<(), String> {
        let is_bytes = || self.head.columns == 1 && *self.batch.column(0).data_type() == DataType::Binary;
        if !self.head.form.has_columns() && !is_bytes() {
            return Err("a frame of records without columns has columns".to_owned());
        }
        let types: [(&str, DataType, usize); 4] = [
            (SPLIT, DataType::UInt32, self.head.splits.len()),
            (CODE, DataType::UInt32, self.head.codes.len()),
            (BACKTRACE, DataType::UInt32, self.head.backtraces.len()),
            (ATTEMPTS, DataType::UInt32, usize::MAX),
        ];
        for (name, expected, values) in types {
            let array = self.about(name).filter(|array| *array.data_type() == expected);
            let array = array.ok_or_else(|| format!("a frame has no column `{name}` of {expected}"))?;
            let indices = array.as_primitive::<UInt32Type>();
            if indices.iter().flatten().any(|index| index as usize >= values) {
                return Err(format!("the column `{name}` of a frame points past its table"));
            }
        }
        for (name, expected) in [
            (RECORD_ID, DataType::FixedSizeBinary(16)),
            (OFFSET, DataType::UInt64),
            (MESSAGE, DataType::Utf8),
            (REPLAY_OF, DataType::UInt64),
        ] {
            if self.about(name).is_none_or(|array| *array.data_type() != expected) {
                return Err(format!("a frame has no column `{name}` of {expected}"));
            }
        }
        match self.about(CUT) {
            Some(cut) if *cut.data_type() != DataType::Boolean => {
                Err(format!("the column `{CUT}` of a frame says neither yes nor no"))
            }
            _ => Ok(()),
        }
    }

    fn about(&self, name: &str) -> Option<&ArrayRef> {
        let schema = self.batch.schema_ref();
        let at = schema.fields().iter().skip(self.head.columns).position(|field| field.name() == name)?;
        Some(self.batch.column(self.head.columns + at))
    }

    fn index(&self, name: &str, row: usize) -> Option<usize> {
        let column = self.about(name)?.as_primitive::<UInt32Type>();
        column.is_valid(row).then(|| column.value(row) as usize)
    }

    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn id(&self, row: usize) -> u64 {
        self.head.first + row as u64
    }

    pub fn pipeline(&self) -> &str {
        &self.head.pipeline
    }

    pub fn stage(&self) -> &str {
        &self.head.stage
    }

    pub fn form(&self) -> Form {
        self.head.form
    }

    /// As it is kept again where it is refused again.
    pub fn kept_as(&self) -> KeptAs {
        let source_columns = self.source_columns().map(Arc::from);
        KeptAs { form: self.form(), header: self.header().map(Arc::from), source_columns }
    }

    /// What the input of the records began with, where that is needed to read them.
    pub fn header(&self) -> Option<&str> {
        self.head.header.as_deref()
    }

    /// Names of the columns that the source gave which refused the records, where it was one and that is known.
    pub fn source_columns(&self) -> Option<&[String]> {
        self.head.source_columns.as_deref()
    }

    /// Whether a version kept it that kept no headers, and cut records without saying so.
    pub fn is_older(&self) -> bool {
        self.head.form == Form::Raw && self.about(CUT).is_none()
    }

    /// Whether only the beginning of a record is here.
    pub fn is_cut(&self, row: usize) -> bool {
        match self.about(CUT) {
            Some(cut) => cut.as_boolean().value(row),
            None => {
                let raw = self.batch.columns().first().and_then(|column| column.as_binary_opt::<i32>());
                let bytes = raw.map_or(0, |raw| raw.value(row).len());
                self.is_older() && (bytes == 0 || bytes >= OLDER_BYTES_MAX)
            }
        }
    }

    /// Whether a replay has sent it in.
    pub fn is_of_replay(&self, row: usize) -> bool {
        self.number(REPLAY_OF, row).is_some()
    }

    /// The columns of the records.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.batch.schema_ref().fields().iter().take(self.head.columns).cloned();
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    pub fn refused_at_us(&self) -> i64 {
        self.head.refused_at_us
    }

    pub fn code(&self, row: usize) -> &str {
        self.index(CODE, row).map_or("", |index| self.head.codes[index].as_str())
    }

    pub fn message(&self, row: usize) -> &str {
        self.about(MESSAGE).map_or("", |column| column.as_string::<i32>().value(row))
    }

    pub fn backtrace(&self, row: usize) -> Option<&str> {
        self.index(BACKTRACE, row).map(|index| self.head.backtraces[index].as_str())
    }

    pub fn record_id(&self, row: usize) -> RecordId {
        let bytes = self.about(RECORD_ID).map(|column| column.as_fixed_size_binary().value(row));
        RecordId::from_bytes(bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default())
    }

    pub fn origin(&self, row: usize) -> Origin {
        let (source, split) = match self.index(SPLIT, row) {
            Some(index) => (self.head.splits[index].0.as_str(), self.head.splits[index].1.as_str()),
            None => ("", ""),
        };
        Origin { source: source.into(), split: split.into(), offset: self.number(OFFSET, row).unwrap_or(0) }
    }

    fn number(&self, name: &str, row: usize) -> Option<u64> {
        let column = self.about(name)?.as_primitive::<UInt64Type>();
        column.is_valid(row).then(|| column.value(row))
    }

    /// These rows as they came into the stage, each under its old id.
    pub fn batch(&self, rows: &[u32]) -> Result<Batch, ArrowError> {
        let rows_of =
            |column: &ArrayRef| Column::with_rows(column.clone(), model::batch::Rows::At(rows.into()));
        let part = |name: &str| self.about(name).map(rows_of);
        let parts = Parts { times: part(TIME), keys: part(KEY), headers: part(HEADERS) };
        let columns = self.batch.columns().iter().take(self.head.columns).map(rows_of).collect();
        let at = || rows.iter().map(|&row| row as usize);
        let lineage = Lineage::of_kept(KeptRows {
            ids: at().map(|row| self.record_id(row)).collect(),
            origins: at().map(|row| self.origin(row)).collect(),
            letters: at().map(|row| self.id(row)).collect(),
        });
        Batch::new(self.schema(), rows.len(), columns, parts, lineage)
            .map_err(|error| ArrowError::SchemaError(error.to_string()))
    }

    /// All that is known of these rows.
    pub fn entries(&self, rows: &[u32]) -> Result<Vec<Entry>, ArrowError> {
        let batch = self.batch(rows)?;
        let values = match self.head.form {
            Form::Rows | Form::Found => to_json(&JsonWriter::new(batch.schema()), &batch)?,
            Form::Raw | Form::Opaque => batch.columns()[0].flat()?.as_binary::<i32>().clone(),
        };
        let entry = |(at, row): (usize, usize)| {
            let origin = self.origin(row);
            Entry {
                entry: self.id(row),
                pipeline: self.head.pipeline.clone(),
                manifest: self.head.manifest.clone(),
                stage: self.head.stage.clone(),
                component: self.head.component.clone(),
                revision: self.head.revision.clone(),
                refused_at_us: self.head.refused_at_us,
                code: self.code(row).to_owned(),
                message: self.message(row).to_owned(),
                backtrace: self.backtrace(row).map(str::to_owned),
                attempts: self.index(ATTEMPTS, row).unwrap_or(1) as u32,
                replay_of: self.number(REPLAY_OF, row),
                id: self.record_id(row).to_string(),
                origin: EntryOrigin {
                    source: origin.source.to_string(),
                    split: origin.split.to_string(),
                    offset: origin.offset,
                },
                time_us: self.time_us(row),
                key: self.bytes(KEY, row).map(Blob::new),
                headers: self.headers(row),
                record: RecordShown::of(values.is_valid(at).then(|| values.value(at)), self.head.form),
                cut: self.is_cut(row),
                state: self.head.state.clone(),
            }
        };
        Ok(rows.iter().map(|&row| row as usize).enumerate().map(entry).collect())
    }

    fn time_us(&self, row: usize) -> Option<i64> {
        let times = self.about(TIME)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        times.is_valid(row).then(|| times.value(row))
    }

    fn bytes(&self, name: &str, row: usize) -> Option<&[u8]> {
        let column = self.about(name)?.as_binary_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    fn headers(&self, row: usize) -> Vec<(String, Blob)> {
        let headers = self.about(HEADERS).and_then(|headers| headers.as_map_opt());
        let Some(headers) = headers.filter(|headers| headers.is_valid(row)) else { return Vec::new() };
        let pairs = headers.value(row);
        let (Some(names), Some(values)) =
            (pairs.column(0).as_string_opt::<i32>(), pairs.column(1).as_binary_opt::<i32>())
        else {
            return Vec::new();
        };
        (0..pairs.len()).map(|at| (names.value(at).to_owned(), Blob::new(values.value(at)))).collect()
    }
}
