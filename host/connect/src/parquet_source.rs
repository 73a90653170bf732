//! Parquet files: only the wanted columns are read from the disk, and only their pages are unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flow::connector::{ConnectError, Cursor, Places, PullLimits, Pulled, Source};
use model::convert::{BAD_CAST, cast_array};
use model::fields::{FieldSpec, Kind, places};
use model::limits::{BATCH_RECORDS, READ_AHEAD};
use model::lineage::Offsets;
use model::manifest::{ColumnType, TimeFrom, UnknownFields};
use model::plan::{Stream, declared_field};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Compression;
use tokio::sync::mpsc;

use crate::decode::{Refusal, Taken};
use crate::input::{FilePlaces, InputFile, broken_off, check_places, failed};
use crate::place::{Changed, Mark, Place, cursor, read_places};
use crate::read::{output, time_column};
use crate::stream::Output;
use crate::{OpenSource, PlannedSource, SourceSpec, SpecError, Wanted};

/// Files that were looked at.
struct ParquetFiles {
    spec: SourceSpec,
    files: Vec<InputFile>,
    /// As they are in the files.
    found: SchemaRef,
    stream: Stream,
    foreign: Vec<ForeignCodec>,
}

/// A column that is packed in a way which this build does not unpack.
struct ForeignCodec {
    file: Arc<str>,
    column: String,
    codec: &'static str,
}

pub(crate) fn plan(spec: &SourceSpec, files: Vec<InputFile>) -> Result<PlannedSource, SpecError> {
    let mut found: Option<SchemaRef> = None;
    let mut foreign = Vec::new();
    for file in &files {
        let (_, metadata) = open(file)?;
        foreign.extend(foreign_codecs(file, &metadata));
        let schema = metadata.schema();
        let Some(first) = &found else {
            found = Some(Arc::new(Schema::new(schema.fields().clone())));
            continue;
        };
        check_same(&files[0], first, file, schema, spec.unknown)?;
    }
    let Some(found) = found else {
        let why = "no file matches";
        return Err(ConnectError::failed(
            &*spec.stage,
            why,
            "check the pattern; it is relative to the manifest",
        )
        .into());
    };
    if spec.unknown == UnknownFields::Rest {
        let why = "`unknown: rest` is for formats whose rows bring their own fields";
        return Err(ConnectError::failed(&*files[0].name, why, "use `unknown: ignore`").into());
    }
    let there = places(&found);
    for (name, _) in &spec.schema {
        if !there.contains_key(name.as_str()) {
            let why = format!("it has no column `{name}`, which `schema` declares");
            return Err(ConnectError::failed(&*files[0].name, why, "correct the name under `schema`").into());
        }
    }
    let declared: HashMap<&str, Option<ColumnType>> =
        spec.schema.iter().map(|(name, of_type)| (name.as_str(), *of_type)).collect();
    let field = |field: &Arc<Field>| match declared.get(field.name().as_str()) {
        Some(Some(column_type)) => Arc::new(declared_field(field.name(), *column_type)),
        _ => field.clone(),
    };
    let stream = Stream::Rows(Arc::new(Schema::new(found.fields().iter().map(field).collect::<Vec<_>>())));
    if let TimeFrom::Column(name) = &spec.time {
        time_column(&stream, name)?;
    }
    let planned = ParquetFiles { spec: spec.clone(), files, found, stream: stream.clone(), foreign };
    Ok(PlannedSource::new(stream, planned))
}

fn check_same(
    first: &InputFile,
    expected: &SchemaRef,
    file: &InputFile,
    schema: &SchemaRef,
    unknown: UnknownFields,
) -> Result<(), ConnectError> {
    let next = format!("give all files the columns of {}, or read them as sources of their own", first.name);
    let (there, known) = (places(schema), places(expected));
    for field in expected.fields() {
        let found = there.get(field.name().as_str()).map(|&index| schema.field(index));
        let why = match found {
            Some(found) if found.data_type() == field.data_type() => continue,
            Some(found) => {
                format!("its column `{}` is {}, not {}", field.name(), found.data_type(), field.data_type())
            }
            None => format!("it has no column `{}`", field.name()),
        };
        return Err(ConnectError::failed(&*file.name, why, next));
    }
    let extra = schema.fields().iter().find(|field| !known.contains_key(field.name().as_str()));
    match extra {
        Some(field) if unknown == UnknownFields::Reject => {
            let why = format!("its column `{}` is not in the schema", field.name());
            Err(ConnectError::failed(&*file.name, why, format!("set `unknown: ignore`, or {next}")))
        }
        _ => Ok(()),
    }
}

fn open(file: &InputFile) -> Result<(File, ArrowReaderMetadata), ConnectError> {
    let opened = File::open(&file.path).map_err(|error| failed(&file.name, &error))?;
    if is_encrypted(&opened).map_err(|error| failed(&file.name, &error))? {
        let next = "decrypt it first: keys for Parquet are not taken";
        return Err(ConnectError::failed(&*file.name, "it is encrypted", next));
    }
    let load = || ArrowReaderMetadata::load(&opened, ArrowReaderOptions::default());
    let metadata = unbroken(&file.name, load)?.map_err(|error| {
        let why = format!("it is not Parquet, or damaged: {error}");
        ConnectError::failed(&*file.name, why, "check the file, or name its `format`")
    })?;
    Ok((opened, metadata))
}

/// What the library does with a file. It expects most damages, and panics on some: the end of the thread that reads
/// would look like the end of the file.
fn unbroken<T>(name: &str, read: impl FnOnce() -> T) -> Result<T, ConnectError> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| {
        ConnectError::failed(name, "it is damaged: its reader broke off", "fetch the file again")
    })
}

/// Whether the index at its end is encrypted, as its last bytes say.
fn is_encrypted(file: &File) -> std::io::Result<bool> {
    const MAGIC: &[u8; 4] = b"PARE";
    let mut last = [0; MAGIC.len()];
    match file.metadata()?.len().checked_sub(last.len() as u64) {
        Some(at) => file.read_exact_at(&mut last, at).map(|()| last == *MAGIC),
        None => Ok(false),
    }
}

fn foreign_codecs(file: &InputFile, metadata: &ArrowReaderMetadata) -> Vec<ForeignCodec> {
    let chunks = metadata.metadata().row_groups().iter().flat_map(|group| group.columns());
    let mut all: Vec<ForeignCodec> = Vec::new();
    for chunk in chunks {
        let codec = match chunk.compression() {
            Compression::BROTLI(_) => "brotli",
            Compression::LZO => "lzo",
            _ => continue,
        };
        let column = chunk.column_path().parts().first().cloned().unwrap_or_default();
        if !all.iter().any(|known| known.column == column) {
            all.push(ForeignCodec { file: file.name.clone(), column, codec });
        }
    }
    all
}

enum Piece {
    Rows(Rows),
    /// A file without rows.
    Empty(Arc<Split>),
    /// All files have been read. A thread that is gone without having said so has broken off.
    Done,
    Failed(ConnectError),
}

/// A file that is being read.
struct Split {
    name: Arc<str>,
    file: Mark,
    /// Of the whole file.
    rows: u64,
}

struct Rows {
    split: Arc<Split>,
    offset: u64,
    rows: RecordBatch,
}

impl Split {
    fn cursor(&self, offset: u64) -> Cursor {
        let ended = offset >= self.rows;
        cursor(&self.name, &Place { offset, ended, file: self.file, ..Place::default() })
    }
}

/// Reads on a thread of its own, one piece ahead of the belt.
struct ParquetSource {
    pieces: mpsc::Receiver<Piece>,
    /// A piece of which some rows are out already.
    current: Option<Rows>,
    /// What the decoded columns are cast to, where the manifest declares another type.
    casts: Vec<Option<(String, Kind)>>,
    output: Output,
}

impl OpenSource for ParquetFiles {
    fn open(self: Box<Self>, wanted: &Wanted, from: &Places) -> Result<Box<dyn Source>, ConnectError> {
        let from: FilePlaces = read_places(from)?;
        check_places(&self.files, &from)?;
        let (indices, output) = output(&self.spec, &self.stream, wanted)?;
        let Stream::Rows(schema) = &self.stream else {
            return Err(ConnectError::failed(
                &*self.spec.stage,
                "it has no columns",
                "name another `format`",
            ));
        };
        let cast = |&index: &usize| {
            let (from, to) = (self.found.field(index), schema.field(index));
            (from.data_type() != to.data_type()).then(|| (to.name().clone(), FieldSpec::of(to).kind))
        };
        let casts = indices.iter().map(cast).collect();
        let names: Vec<String> =
            indices.iter().map(|&index| self.found.field(index).name().clone()).collect();
        if let Some(ForeignCodec { file, column, codec }) =
            self.foreign.iter().find(|foreign| names.contains(&foreign.column))
        {
            let why = format!("its column `{column}` is packed with {codec}, which is not unpacked here");
            let next = "write it with zstd, snappy, gzip or lz4";
            return Err(ConnectError::failed(&**file, why, next));
        }
        let (sender, pieces) = mpsc::channel(READ_AHEAD);
        let files = self.files;
        let read = move || {
            for file in &files {
                let from = from.get(&file.name);
                if from.is_some_and(|place| place.ended) {
                    continue;
                }
                let offset = from.map_or(0, |place| place.offset);
                let read = unbroken(&file.name, || read_file(file, offset, &names, &sender));
                if let Err(Some(error)) = read.unwrap_or_else(|broke| Err(Some(broke))) {
                    let _ = sender.blocking_send(Piece::Failed(error));
                    return;
                }
                if sender.is_closed() {
                    return;
                }
            }
            // Nobody who does not listen any more waits for the end.
            let _ = sender.blocking_send(Piece::Done);
        };
        thread::Builder::new().name("source-parquet".to_owned()).spawn(read).map_err(|error| {
            ConnectError::failed("the reading thread", error, "free some memory or threads")
        })?;
        Ok(Box::new(ParquetSource { pieces, current: None, casts, output }))
    }
}

/// Reads the rows from `offset` on. An error of none: nobody listens any more.
fn read_file(
    file: &InputFile,
    offset: u64,
    names: &[String],
    sender: &mpsc::Sender<Piece>,
) -> Result<(), Option<ConnectError>> {
    let broken = |error: &dyn std::fmt::Display| {
        ConnectError::failed(&*file.name, format!("it is damaged: {error}"), "fetch the file again")
    };
    let (opened, metadata) = open(file)?;
    let mark = Mark::of(&opened).map_err(|error| failed(&file.name, &error))?;
    let total = metadata.metadata().file_metadata().num_rows().max(0) as u64;
    if offset > total {
        return Err(Some(Changed::Shorter { known: offset, found: total }.of_file(&file.name)));
    }
    let split = Split { name: file.name.clone(), file: mark.unwrap_or_default(), rows: total };
    let split = Arc::new(split);
    if total == 0 {
        return sender.blocking_send(Piece::Empty(split)).map_err(|_| None);
    }
    let there = places(metadata.schema());
    let roots: Vec<usize> = names.iter().filter_map(|name| there.get(name.as_str()).copied()).collect();
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
    let (groups, skip) = groups_from(&metadata, offset);
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(opened, metadata);
    let builder = builder.with_projection(mask).with_batch_size(BATCH_RECORDS).with_row_groups(groups);
    let rows = if skip > 0 { builder.with_offset(skip).build() } else { builder.build() };
    // The reader keeps the order of the file.
    let mut order: Option<Vec<usize>> = None;
    let mut offset = offset;
    for rows in rows.map_err(|error| Some(broken(&error)))? {
        let rows = rows.map_err(|error| Some(broken(&error)))?;
        let order = match &order {
            Some(order) => order,
            None => {
                let schema = rows.schema();
                let there = places(&schema);
                let found: Option<Vec<usize>> =
                    names.iter().map(|name| there.get(name.as_str()).copied()).collect();
                order.insert(found.ok_or_else(|| Some(broken(&"a column is missing")))?)
            }
        };
        let rows = rows.project(order).map_err(|error| Some(broken(&error)))?;
        let count = rows.num_rows() as u64;
        let piece = Piece::Rows(Rows { split: split.clone(), offset, rows });
        sender.blocking_send(piece).map_err(|_| None)?;
        offset += count;
    }
    Ok(())
}

/// The row groups from that row on, and how many rows of the first of them come before it.
fn groups_from(metadata: &ArrowReaderMetadata, offset: u64) -> (Vec<usize>, usize) {
    let groups = metadata.metadata().row_groups();
    let mut left = offset;
    for (first, group) in groups.iter().enumerate() {
        let rows = group.num_rows().max(0) as u64;
        if left < rows {
            return ((first..groups.len()).collect(), left as usize);
        }
        left -= rows;
    }
    (Vec::new(), 0)
}

#[async_trait]
impl Source for ParquetSource {
    async fn pull(&mut self, limits: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        loop {
            let Rows { split, offset, rows } = match self.current.take() {
                Some(rows) => rows,
                None => match self.pieces.recv().await {
                    None => return Err(broken_off()),
                    Some(Piece::Done) => return Ok(None),
                    Some(Piece::Failed(error)) => return Err(error),
                    Some(Piece::Empty(split)) => {
                        return Ok(Some(Pulled { cursor: Some(split.cursor(0)), ..Pulled::default() }));
                    }
                    Some(Piece::Rows(rows)) => rows,
                },
            };
            if rows.num_rows() == 0 {
                continue;
            }
            let count = rows.num_rows().min(portion(&rows, &limits));
            let rest = rows.num_rows() - count;
            let next = offset + count as u64;
            if rest > 0 {
                let rows = rows.slice(count, rest);
                self.current = Some(Rows { split: split.clone(), offset: next, rows });
            }
            let taken = self.cast(offset, rows.slice(0, count))?;
            return self.output.pulled(taken, &split.name, Some(split.cursor(next))).map(Some);
        }
    }
}

/// How many rows make a batch.
fn portion(rows: &RecordBatch, limits: &PullLimits) -> usize {
    let each = (rows.get_array_memory_size() / rows.num_rows().max(1)).max(1);
    limits.records_max.min((limits.bytes_max / each).max(1)).max(1)
}

impl ParquetSource {
    fn cast(&self, offset: u64, rows: RecordBatch) -> Result<Taken, ConnectError> {
        let count = rows.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.casts.len());
        let mut refused: Vec<(u32, String)> = Vec::new();
        for (column, cast) in rows.columns().iter().zip(&self.casts) {
            let Some((name, kind)) = cast else {
                columns.push(column.clone());
                continue;
            };
            let (cast, failed) = cast_array(column, *kind).map_err(|error| {
                ConnectError::failed(
                    format!("column `{name}`"),
                    error,
                    "declare another type for it, or none",
                )
            })?;
            columns.push(cast);
            refused.extend(
                failed.into_iter().map(|row| (row, format!("column `{name}`: the value is no {kind}"))),
            );
        }
        if refused.is_empty() {
            return Ok(Taken { rows: count, columns, offsets: Offsets::From(offset), refused: Vec::new() });
        }
        refused.sort_by_key(|(row, _)| *row);
        refused.dedup_by_key(|(row, _)| *row);
        let is_refused = |row: &u32| refused.binary_search_by_key(row, |(row, _)| *row).is_ok();
        let keep: Vec<u32> = (0..count as u32).filter(|row| !is_refused(row)).collect();
        let offsets = Offsets::These(keep.iter().map(|&row| offset + u64::from(row)).collect());
        let rows = keep.len();
        let keep = UInt32Array::from(keep);
        let columns = columns.iter().map(|column| take(column, &keep, None)).collect::<Result<_, _>>();
        let columns =
            columns.map_err(|error| ConnectError::failed("the rows", error, "declare other types"))?;
        let refusal = |(row, message)| Refusal::new(offset + u64::from(row), BAD_CAST, message, &[]);
        Ok(Taken { rows, columns, offsets, refused: refused.into_iter().map(refusal).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{LIMITS, runtime, spec};

    #[test]
    fn a_reading_thread_that_is_gone_is_not_the_end_of_the_input() {
        let rows = Stream::Rows(Arc::new(arrow::datatypes::Schema::empty()));
        let spec = spec(std::path::Path::new("/"), "file", serde_json::json!({ "path": "x.parquet" }));
        for (last, expected) in
            [(Some(Piece::Done), None), (None, Some("it broke off before the end of its input"))]
        {
            let (sender, pieces) = mpsc::channel(1);
            let (_, output) = output(&spec, &rows, &Wanted::default()).expect("an output");
            let mut source = ParquetSource { pieces, current: None, casts: Vec::new(), output };
            if let Some(last) = last {
                assert!(sender.try_send(last).is_ok());
            }
            drop(sender);
            let pulled = runtime().block_on(source.pull(LIMITS));
            assert_eq!(pulled.err().map(|error| error.why), expected.map(str::to_owned));
        }
    }
}
