//! The entries of a frame, read back.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use model::batch::Batch;
use model::convert::{JsonWriter, to_json};
use model::encoding::{DecodeError, Encoded};
use model::ids::RecordId;
use model::lineage::Origin;

use super::entry::{ATTEMPTS, BACKTRACE, CODE, CUT, Form, Head, KeptAs, MESSAGE, RefusedHead, head};
use super::shown::{Blob, Entry, EntryOrigin, RecordShown};

/// So many bytes of a record, and of some none, are what an earlier version kept.
const OLDER_BYTES_MAX: usize = 64 << 10;

/// The entries of one frame, read back.
#[derive(Debug)]
pub struct Kept {
    pub(super) head: RefusedHead,
    records: Encoded,
}

impl Kept {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, String> {
        let (head, at) = head(payload)?;
        let Head::Refused(mut head) = head else {
            return Err("a frame of marks holds no entries".to_owned());
        };
        let unread = |error: DecodeError| format!("the records of a frame cannot be used: {error}");
        let splits = std::mem::take(&mut head.splits);
        let records = Encoded::read(&payload[at..], head.columns, splits).map_err(unread)?;
        let rows = records.rows() as u64;
        if rows != head.count {
            return Err(format!("a frame of {} entries has {rows} records", head.count));
        }
        let kept = Self { head: *head, records };
        kept.check().map_err(unread)?;
        match kept.head.form.has_columns() || kept.is_bytes() {
            true => Ok(kept),
            false => Err("a frame of records without columns has columns".to_owned()),
        }
    }

    fn is_bytes(&self) -> bool {
        matches!(self.records.columns(), [column] if *column.data_type() == DataType::Binary)
    }

    /// That each column has its type, and each index its value, so that nobody has to ask again.
    fn check(&self) -> Result<(), DecodeError> {
        self.records.check_index(CODE, self.head.codes.len())?;
        self.records.check_index(BACKTRACE, self.head.backtraces.len())?;
        self.records.check_index(ATTEMPTS, usize::MAX)?;
        self.records.check_type(MESSAGE, &DataType::Utf8)?;
        if self.records.beside(CUT).is_some() {
            self.records.check_type(CUT, &DataType::Boolean)?;
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.records.rows()
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
        self.head.form == Form::Raw && self.records.beside(CUT).is_none()
    }

    /// Whether only the beginning of a record is here.
    pub fn is_cut(&self, row: usize) -> bool {
        match self.records.beside(CUT) {
            Some(cut) => cut.as_boolean().value(row),
            None => {
                let raw = self.records.columns().first().and_then(|column| column.as_binary_opt::<i32>());
                let bytes = raw.map_or(0, |raw| raw.value(row).len());
                self.is_older() && (bytes == 0 || bytes >= OLDER_BYTES_MAX)
            }
        }
    }

    /// Whether a replay has sent it in.
    pub fn is_of_replay(&self, row: usize) -> bool {
        self.records.replay_of(row).is_some()
    }

    /// The columns of the records.
    pub fn schema(&self) -> SchemaRef {
        self.records.schema()
    }

    pub fn refused_at_us(&self) -> i64 {
        self.head.refused_at_us
    }

    pub fn code(&self, row: usize) -> &str {
        self.records.index(CODE, row).map_or("", |index| self.head.codes[index].as_str())
    }

    pub fn message(&self, row: usize) -> &str {
        self.records.beside(MESSAGE).map_or("", |column| column.as_string::<i32>().value(row))
    }

    pub fn backtrace(&self, row: usize) -> Option<&str> {
        self.records.index(BACKTRACE, row).map(|index| self.head.backtraces[index].as_str())
    }

    pub fn record_id(&self, row: usize) -> RecordId {
        self.records.record_id(row)
    }

    pub fn origin(&self, row: usize) -> Origin {
        self.records.origin(row)
    }

    /// These rows as they came into the stage, each under its old id.
    pub fn batch(&self, rows: &[u32]) -> Result<Batch, ArrowError> {
        self.records.batch(rows, |row| Some(self.id(row)))
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
                attempts: self.records.index(ATTEMPTS, row).unwrap_or(1) as u32,
                replay_of: self.records.replay_of(row),
                id: self.record_id(row).to_string(),
                origin: EntryOrigin {
                    source: origin.source.to_string(),
                    split: origin.split.to_string(),
                    offset: origin.offset,
                },
                time_us: self.records.time_us(row),
                key: self.records.key(row).map(Blob::new),
                headers: self.headers(row),
                record: RecordShown::of(values.is_valid(at).then(|| values.value(at)), self.head.form),
                cut: self.is_cut(row),
                state: self.head.state.clone(),
            }
        };
        Ok(rows.iter().map(|&row| row as usize).enumerate().map(entry).collect())
    }

    fn headers(&self, row: usize) -> Vec<(String, Blob)> {
        let Some(headers) = self.records.headers().filter(|headers| headers.is_valid(row)) else {
            return Vec::new();
        };
        let pairs = headers.value(row);
        let (Some(names), Some(values)) =
            (pairs.column(0).as_string_opt::<i32>(), pairs.column(1).as_binary_opt::<i32>())
        else {
            return Vec::new();
        };
        (0..pairs.len()).map(|at| (names.value(at).to_owned(), Blob::new(values.value(at)))).collect()
    }
}
