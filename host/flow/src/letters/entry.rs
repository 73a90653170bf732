//! What a frame holds: a head in JSON, which stays readable whatever becomes of this code, and the records of the
//! group as one Arrow IPC stream, which is how they came.
//!
//! ```text
//! payload: length of the head u32  head (JSON)  records (Arrow IPC stream, one batch)
//! ```
//!
//! The first `columns` columns of the batch are the record's own; those behind them say, by name, what is known of
//! each record. What many records of a group have in common (codes, splits, backtraces) stands once in the head.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, RecordBatch, RecordBatchOptions, StringBuilder,
    UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use model::batch::{Batch, Column, Parts};
use model::convert::{JsonWriter, to_json};
use model::ids::RecordId;
use model::lineage::{KeptRows, Lineage, Origin};
use serde::{Deserialize, Serialize};

use super::mark::Range;
use super::segment::{FRAME_HEAD_BYTES, seal};
use super::shown::{Blob, Entry, EntryOrigin, RecordShown};
use super::{Group, LettersError};

/// What ran when a record was refused: the same for all records of one pipeline's run.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub pipeline: String,
    /// The file, as the user named it.
    pub manifest: String,
    pub revision: String,
    /// By stage, the digest of its component; what is built in has none.
    pub components: BTreeMap<String, String>,
}

/// What the records of a group are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Bytes of which a source could not make a record.
    Raw,
    /// Records that the host does not look into.
    Opaque,
    /// Rows, with the columns that anybody wanted.
    Rows,
}

/// The head of a frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Head {
    Refused(RefusedHead),
    Closed(ClosedHead),
}

/// Where a frame is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub at: u64,
    /// Bytes of the file that are durable.
    pub durable: u64,
    /// The next entry.
    pub next: u64,
}

impl Head {
    /// Where the frame was written; 0 where it does not say so.
    pub fn at(&self) -> u64 {
        match self {
            Self::Refused(head) => head.at,
            Self::Closed(head) => head.at,
        }
    }

    /// Bytes of the file that were durable when the frame was written.
    pub fn durable(&self) -> u64 {
        match self {
            Self::Refused(head) => head.durable,
            Self::Closed(head) => head.durable,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ClosedHead {
    /// First, last, and why. None in a mark, which says what is durable and nothing else.
    pub ranges: Vec<Range>,
    pub at_us: i64,
    #[serde(default)]
    pub durable: u64,
    #[serde(default)]
    pub at: u64,
    /// The next entry; 0 where it is not said.
    #[serde(default)]
    pub next: u64,
}

impl ClosedHead {
    /// Whether it says of all that is before it that it is durable, and nothing else.
    pub fn is_mark(&self) -> bool {
        self.ranges.is_empty() && self.durable == self.at
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RefusedHead {
    /// Bytes of the file that were durable when this was written.
    #[serde(default)]
    pub durable: u64,
    /// Where in the file this was written.
    #[serde(default)]
    pub at: u64,
    /// The id of the first entry; the others follow it.
    pub first: u64,
    pub count: u64,
    pub pipeline: String,
    #[serde(default)]
    pub manifest: String,
    pub stage: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub component: Option<String>,
    pub revision: String,
    pub refused_at_us: i64,
    pub form: Form,
    /// How many of the columns are the record's own.
    pub columns: usize,
    pub codes: Vec<String>,
    /// Sources and their splits.
    pub splits: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub backtraces: Vec<String>,
}

// Names of the columns that say what is known of a record.
const RECORD_ID: &str = "record-id";
const SPLIT: &str = "split";
const OFFSET: &str = "offset";
const CODE: &str = "code";
const MESSAGE: &str = "message";
const BACKTRACE: &str = "backtrace";
const ATTEMPTS: &str = "attempts";
const REPLAY_OF: &str = "replay-of";
const KEY: &str = "key";
const TIME: &str = "time";
const HEADERS: &str = "headers";

/// Whether bytes can be a payload, at a glance.
fn is_payload(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let length = u32::from_le_bytes(*length) as usize;
    length > 1 && length <= rest.len() && rest[0] == b'{' && rest[length - 1] == b'}'
}

/// Writes the frame of a group into `out`, which is emptied before. `place.next`: the id of its first entry.
pub(super) fn encode(
    group: &Group,
    place: Place,
    identity: &Identity,
    now_us: i64,
    out: &mut Vec<u8>,
) -> Result<(), LettersError> {
    let failed = |error| LettersError::Encode { error };
    let about = About::of(group).map_err(failed)?;
    let component = identity.components.get(&*group.stage).cloned();
    let columns = group.rows.columns().len();
    let head = Head::Refused(RefusedHead {
        durable: place.durable,
        at: place.at,
        first: place.next,
        count: group.refusals.len() as u64,
        pipeline: identity.pipeline.clone(),
        manifest: identity.manifest.clone(),
        stage: group.stage.to_string(),
        component,
        revision: identity.revision.clone(),
        refused_at_us: now_us,
        form: group.form,
        columns,
        codes: about.codes,
        splits: about.splits,
        backtraces: about.backtraces,
    });
    begin(&head, out)?;
    write_records(group, about.columns, out).map_err(failed)?;
    seal(out)
}

/// Writes the frame of marks into `out`, which is emptied before.
pub(super) fn encode_marks(
    ranges: Vec<Range>,
    place: Place,
    at_us: i64,
    out: &mut Vec<u8>,
) -> Result<(), LettersError> {
    let Place { at, durable, next } = place;
    begin(&Head::Closed(ClosedHead { ranges, at_us, durable, at, next }), out)?;
    seal(out)
}

fn begin(head: &Head, out: &mut Vec<u8>) -> Result<(), LettersError> {
    let json =
        |error: serde_json::Error| LettersError::Encode { error: ArrowError::JsonError(error.to_string()) };
    out.clear();
    out.resize(FRAME_HEAD_BYTES + 4, 0);
    serde_json::to_writer(&mut *out, head).map_err(json)?;
    let length = (out.len() - FRAME_HEAD_BYTES - 4) as u32;
    out[FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn write_records(group: &Group, about: Vec<(Field, ArrayRef)>, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let rows = &group.rows;
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
    let mut arrays = Vec::with_capacity(fields.len() + about.len() + 3);
    for column in rows.columns() {
        arrays.push(compact(column.flat()?)?);
    }
    let parts = rows.parts();
    let parts = [(KEY, &parts.keys), (TIME, &parts.times), (HEADERS, &parts.headers)];
    let mut more = about;
    for (name, part) in parts {
        if let Some(column) = part {
            let array = compact(column.flat()?)?;
            more.push((Field::new(name, array.data_type().clone(), true), array));
        }
    }
    for (field, array) in more {
        fields.push(Arc::new(field));
        arrays.push(array);
    }
    // A null in a column that says it has none would not be read back.
    let fields = fields.iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.rows()));
    let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?;
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
    let mut writer = StreamWriter::try_new_with_options(out, &schema, options)?;
    writer.write(&batch)?;
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

/// What is known of each record of a group, as columns, and what many have in common.
struct About {
    columns: Vec<(Field, ArrayRef)>,
    codes: Vec<String>,
    splits: Vec<(String, String)>,
    backtraces: Vec<String>,
}

impl About {
    fn of(group: &Group) -> Result<Self, ArrowError> {
        let (lineage, rows) = (group.rows.lineage(), group.refusals.len());
        let mut ids = FixedSizeBinaryBuilder::with_capacity(rows, 16);
        let (mut offsets, mut replays) = (UInt64Builder::with_capacity(rows), UInt64Builder::new());
        let index = || UInt32Builder::with_capacity(rows);
        let (mut splits, mut codes, mut backtraces, mut attempts) = (index(), index(), index(), index());
        let mut messages = StringBuilder::new();
        let (mut split_table, mut code_table, mut trace_table) = (Table::new(), Table::new(), Table::new());
        let refusals = &group.refusals;
        let origins: Vec<Origin> = (0..rows).map(|row| lineage.origin(row)).collect();
        for (row, (refusal, origin)) in refusals.iter().zip(&origins).enumerate() {
            ids.append_value(lineage.id(row).to_bytes())?;
            offsets.append_value(origin.offset);
            replays.append_option(lineage.letter(row));
            splits.append_value(split_table.index((&*origin.source, &*origin.split)));
            codes.append_value(code_table.index(refusal.code.as_str()));
            backtraces.append_option(refusal.backtrace.as_deref().map(|trace| trace_table.index(trace)));
            attempts.append_value(refusal.attempts);
            messages.append_value(&refusal.message);
        }
        let columns: [(&str, ArrayRef); 8] = [
            (RECORD_ID, Arc::new(ids.finish())),
            (SPLIT, Arc::new(splits.finish())),
            (OFFSET, Arc::new(offsets.finish())),
            (CODE, Arc::new(codes.finish())),
            (MESSAGE, Arc::new(messages.finish())),
            (BACKTRACE, Arc::new(backtraces.finish())),
            (ATTEMPTS, Arc::new(attempts.finish())),
            (REPLAY_OF, Arc::new(replays.finish())),
        ];
        let field =
            |(name, array): (&str, ArrayRef)| (Field::new(name, array.data_type().clone(), true), array);
        Ok(Self {
            columns: columns.into_iter().map(field).collect(),
            codes: code_table.take(str::to_owned),
            splits: split_table.take(|(source, split)| (source.to_owned(), split.to_owned())),
            backtraces: trace_table.take(str::to_owned),
        })
    }
}

/// Different values, each with the place at which it first came.
struct Table<T> {
    values: Vec<T>,
    places: HashMap<T, u32>,
}

impl<T: Copy + Eq + std::hash::Hash> Table<T> {
    fn new() -> Self {
        Self { values: Vec::new(), places: HashMap::new() }
    }

    fn index(&mut self, value: T) -> u32 {
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

    fn take<O>(self, owned: impl Fn(T) -> O) -> Vec<O> {
        self.values.into_iter().map(owned).collect()
    }
}

/// The head of a payload, and where its records begin.
pub(super) fn head(payload: &[u8]) -> Result<(Head, usize), String> {
    if !is_payload(payload) {
        return Err("a frame does not begin with a head".to_owned());
    }
    let length = u32::from_le_bytes([payload[0], payload[1], payload[2], payload[3]]) as usize;
    let head: Head = serde_json::from_slice(&payload[4..4 + length])
        .map_err(|error| format!("the head of a frame cannot be read: {error}"))?;
    Ok((head, 4 + length))
}

/// The head of bytes that may be anything; none where they are no payload.
pub(super) fn head_at_a_glance(bytes: &[u8]) -> Option<Head> {
    if is_payload(bytes) { Some(head(bytes).ok()?.0) } else { None }
}

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
        let kept = Self { head, batch };
        kept.check()?;
        Ok(kept)
    }

    /// That each column has its type, and each index its value, so that nobody has to ask again.
    fn check(&self) -> Result<(), String> {
        let is_bytes = || self.head.columns == 1 && *self.batch.column(0).data_type() == DataType::Binary;
        if self.head.form != Form::Rows && !is_bytes() {
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
        Ok(())
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
            Form::Rows => to_json(&JsonWriter::new(batch.schema()), &batch)?,
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
