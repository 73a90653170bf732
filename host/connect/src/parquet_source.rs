//! Parquet files: only the wanted columns are read from the disk, and only their pages are unpacked.
//!
//! Files of one source need not be alike: columns are widened where nothing is lost, and one that `schema` declares is
//! null where a file lacks it.

mod again;
mod checks;
mod embedded;
mod footer;
mod guard;
mod rewrite;
mod schema;
mod steps;
mod unify;
mod whole;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::thread;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flow::connector::{ConnectError, Cursor, Decode, Misfits, Places, PullLimits, Pulled, Source};
use model::batch::{Batch, Parts};
use model::convert::can_convert;
use model::fields::places;
use model::limits::{BATCH_RECORDS, READ_AHEAD};
use model::lineage::{Lineage, Offsets, SourceRows};
use model::manifest::{ColumnType, TimeFrom, UnknownFields};
use model::outcome::Rejection;
use model::plan::{Stream, declared_field};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use tokio::sync::mpsc;

use self::again::RowsAgain;
use self::guard::guarded;
pub(crate) use self::rewrite::schema_to_write;
use self::steps::{Given, RefusedRow, Steps};
use self::unify::widest;
use self::whole::whole;
use crate::decode::Taken;
use crate::input::{FilePlaces, Found, InputFile, broken_off, check_places, failed, no_match};
use crate::place::{Changed, Mark, Place, cursor, read_places};
use crate::read::{output, time_column};
use crate::stream::{Output, Times};
use crate::{OpenSource, PlannedSource, Presence, SourceSpec, SpecError, Wanted};

/// Files that were looked at.
struct ParquetFiles {
    spec: SourceSpec,
    found: Found,
    stream: Stream,
    /// Columns that cannot be read: of which file, and why.
    unreadable: BTreeMap<String, (Arc<str>, String)>,
}

pub(crate) fn plan(spec: &SourceSpec, found: Found) -> Result<PlannedSource, SpecError> {
    let is_there = |file: &&InputFile| spec.presence == Presence::There || file.path.exists();
    let files: Vec<&InputFile> = found.files.iter().filter(is_there).collect();
    let first = match files.first() {
        Some(first) => first.name.clone(),
        None if spec.presence == Presence::There => {
            return Err(no_match(&spec.stage).into());
        }
        None => spec.stage.clone(),
    };
    if spec.unknown == UnknownFields::Rest {
        let why = "`unknown: rest` is for formats whose rows bring their own fields";
        return Err(ConnectError::failed(&*first, why, "use `unknown: ignore`").into());
    }
    let declared = spec.schema.iter().map(|(name, of_type)| (name.as_str(), *of_type)).collect();
    let fields = if files.is_empty() { declared_alone(spec)? } else { Vec::new() };
    let mut columns = Columns { spec, declared, first, fields };
    let mut unreadable = BTreeMap::new();
    for file in files {
        let opened = schema::open(file)?;
        for (column, why) in opened.unreadable {
            unreadable.entry(column).or_insert_with(|| (file.name.clone(), why));
        }
        columns.add(file, &opened.schema)?;
    }
    let stream = Stream::Rows(Arc::new(columns.finish()?));
    if let TimeFrom::Column(name) = &spec.time {
        time_column(&stream, name)?;
    }
    let planned = ParquetFiles { spec: spec.clone(), found, stream: stream.clone(), unreadable };
    Ok(PlannedSource::new(stream, planned))
}

/// The columns that the manifest declares, where no file is left to look at.
fn declared_alone(spec: &SourceSpec) -> Result<Vec<Field>, ConnectError> {
    let field = |(name, of_type): &(String, Option<ColumnType>)| Some(declared_field(name, (*of_type)?));
    let fields: Option<Vec<Field>> = spec.schema.iter().map(field).collect();
    fields.filter(|fields| !fields.is_empty()).ok_or_else(|| {
        let why = "no file is left to tell its columns from";
        ConnectError::failed(
            &*spec.stage,
            why,
            "declare them with their types under `schema`, or put a file back",
        )
    })
}

/// The columns of the stream, while files are looked at.
struct Columns<'a> {
    spec: &'a SourceSpec,
    declared: HashMap<&'a str, Option<ColumnType>>,
    first: Arc<str>,
    fields: Vec<Field>,
}

impl Columns<'_> {
    fn declared(&self, name: &str) -> Option<Option<ColumnType>> {
        self.declared.get(name).copied()
    }

    fn next(&self) -> String {
        format!("give all files the columns of {}, or read them as sources of their own", self.first)
    }

    fn add(&mut self, file: &InputFile, found: &SchemaRef) -> Result<(), ConnectError> {
        let is_first = file.name == self.first;
        let there = places(found);
        for at in 0..self.fields.len() {
            let known = &self.fields[at];
            match there.get(known.name().as_str()) {
                Some(_) => {}
                None if self.declared(known.name()).is_some() => {
                    self.fields[at] = known.clone().with_nullable(true);
                }
                None => {
                    let why = format!("it has no column `{}`", known.name());
                    let next =
                        format!("declare it under `schema`, so that it is null there, or {}", self.next());
                    return Err(ConnectError::failed(&*file.name, why, next));
                }
            }
        }
        let known: HashMap<String, usize> =
            self.fields.iter().enumerate().map(|(at, field)| (field.name().clone(), at)).collect();
        for field in found.fields() {
            let declared = self.declared(field.name());
            let given = self.given(file, field, declared.flatten())?;
            match known.get(field.name()).copied() {
                Some(at) => self.fields[at] = self.widened(file, &self.fields[at], &given)?,
                None if is_first => self.fields.push(given),
                None if declared.is_some() => self.fields.push(given.with_nullable(true)),
                None if self.spec.unknown == UnknownFields::Reject => {
                    let why = format!("its column `{}` is not in the schema", field.name());
                    let next = format!("set `unknown: ignore`, declare it, or {}", self.next());
                    return Err(ConnectError::failed(&*file.name, why, next));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// A column of a file as the manifest declares it.
    fn given(
        &self,
        file: &InputFile,
        found: &Field,
        declared: Option<ColumnType>,
    ) -> Result<Field, ConnectError> {
        let Some(column_type) = declared else { return Ok(found.clone()) };
        let given = declared_as(found, column_type);
        if can_convert(found, &given) {
            return Ok(given);
        }
        let why = format!(
            "its column `{}` is {}, of which no value is {}",
            found.name(),
            found.data_type(),
            column_type.as_str()
        );
        Err(ConnectError::failed(&*file.name, why, "declare another type for it, or none"))
    }

    fn widened(&self, file: &InputFile, known: &Field, given: &Field) -> Result<Field, ConnectError> {
        widest(known, given).ok_or_else(|| {
            let (name, found, known) = (given.name(), given.data_type(), known.data_type());
            let why = format!("its column `{name}` is {found}, not {known}, and no type holds both");
            let next = format!("declare a type for it under `schema`, or {}", self.next());
            ConnectError::failed(&*file.name, why, next)
        })
    }

    fn finish(self) -> Result<Schema, ConnectError> {
        let schema = Schema::new(self.fields);
        let there = places(&schema);
        for (name, _) in &self.spec.schema {
            if !there.contains_key(name.as_str()) {
                let why = format!("it has no column `{name}`, which `schema` declares");
                return Err(ConnectError::failed(&*self.first, why, "correct the name under `schema`"));
            }
        }
        drop(there);
        Ok(schema)
    }
}

/// A time stays what it is in the file: a point in time, or local.
fn declared_as(found: &Field, declared: ColumnType) -> Field {
    use arrow::datatypes::DataType::{Date32, Date64, Timestamp};
    let is_local = matches!(found.data_type(), Timestamp(_, None) | Date32 | Date64);
    match declared {
        ColumnType::Timestamp if is_local => declared_field(found.name(), ColumnType::LocalTimestamp),
        declared => declared_field(found.name(), declared),
    }
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
    /// Rows that are none, ascending, and why.
    refused: Vec<RefusedRow>,
    /// One row for each of those, with all that the file has of it.
    whole: RecordBatch,
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
    output: Output,
}

impl ParquetFiles {
    /// The columns to give, and what becomes of them.
    fn given(&self, wanted: &Wanted) -> Result<(Given, Output), ConnectError> {
        let (indices, output) = output(&self.spec, &self.stream, wanted)?;
        let Stream::Rows(schema) = &self.stream else {
            return Err(ConnectError::failed(
                &*self.spec.stage,
                "it has no columns",
                "name another `format`",
            ));
        };
        let given: Vec<FieldRef> = indices.iter().map(|&index| schema.fields()[index].clone()).collect();
        let typed: HashSet<&str> = self
            .spec
            .schema
            .iter()
            .filter(|(_, of_type)| of_type.is_some())
            .map(|(name, _)| name.as_str())
            .collect();
        let declared = |field: &FieldRef| typed.contains(field.name().as_str());
        let columns = given.into_iter().map(|field| (declared(&field), field)).collect();
        let time = match output.times {
            Times::Column { index, .. } => Some(index),
            Times::Unwanted | Times::Now => None,
        };
        Ok((Given { columns, time }, output))
    }
}

impl OpenSource for ParquetFiles {
    fn again(&self, wanted: &Wanted) -> Result<Option<Box<dyn Decode>>, ConnectError> {
        let (given, output) = self.given(wanted)?;
        Ok(Some(Box::new(RowsAgain { given, output })))
    }

    fn open(mut self: Box<Self>, wanted: &Wanted, from: &Places) -> Result<Box<dyn Source>, ConnectError> {
        let from: FilePlaces = read_places(from)?;
        check_places(&self.found.files, &from)?;
        if self.spec.presence == Presence::MayBeGone {
            self.found.check_gone(&from)?;
        }
        let (given, output) = self.given(wanted)?;
        for (_, field) in &given.columns {
            if let Some((file, why)) = self.unreadable.get(field.name()) {
                let why = format!("its column `{}` cannot be read: {why}", field.name());
                let next = "leave it out with a projection, or write it as another type";
                return Err(ConnectError::failed(&**file, why, next));
            }
        }
        let (sender, pieces) = mpsc::channel(READ_AHEAD);
        let files = self.found.files;
        let read = move || {
            for file in &files {
                let from = from.get(&file.name);
                if from.is_some_and(|place| place.ended) {
                    continue;
                }
                let offset = from.map_or(0, |place| place.offset);
                let read = guarded(|| read_file(file, offset, &given, &sender));
                let read = read.unwrap_or_else(|said| Err(Some(damaged(file, &said))));
                if let Err(Some(error)) = read {
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
        Ok(Box::new(ParquetSource { pieces, current: None, output }))
    }
}

fn damaged(file: &InputFile, why: &dyn std::fmt::Display) -> ConnectError {
    ConnectError::failed(&*file.name, format!("it is damaged: {why}"), "fetch the file again")
}

/// Reads the rows from `offset` on, in the columns `given`. An error of none: nobody listens any more.
fn read_file(
    file: &InputFile,
    offset: u64,
    given: &Given,
    sender: &mpsc::Sender<Piece>,
) -> Result<(), Option<ConnectError>> {
    let broken = |error: &dyn std::fmt::Display| Some(damaged(file, error));
    let opened = schema::open(file)?;
    let metadata = opened.metadata.clone();
    let mark = Mark::of(&opened.file).map_err(|error| failed(&file.name, &error))?;
    let total = metadata.metadata().file_metadata().num_rows().max(0) as u64;
    if offset > total {
        return Err(Some(Changed::Shorter { known: offset, found: total }.of_file(&file.name)));
    }
    let split = Split { name: file.name.clone(), file: mark.unwrap_or_default(), rows: total };
    let split = Arc::new(split);
    if total == 0 {
        return sender.blocking_send(Piece::Empty(split)).map_err(|_| None);
    }
    let steps = Steps::new(given, &opened.schema, &opened.wide);
    let mask = ProjectionMask::roots(metadata.parquet_schema(), steps.columns());
    let (groups, skip) = groups_from(&metadata, offset);
    let reader = opened.file.try_clone().map_err(|error| failed(&file.name, &error))?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(reader, metadata);
    let builder = builder.with_projection(mask).with_batch_size(BATCH_RECORDS).with_row_groups(groups);
    let rows = if skip > 0 { builder.with_offset(skip).build() } else { builder.build() };
    let mut offset = offset;
    for rows in rows.map_err(|error| broken(&error))? {
        let found = rows.map_err(|error| broken(&error))?;
        let count = found.num_rows() as u64;
        let (rows, refused) = steps.take(&found).map_err(|(column, error)| {
            let next = "declare another type for it, or none";
            Some(ConnectError::failed(&*file.name, format!("its column `{column}`: {error}"), next))
        })?;
        let none = || RecordBatch::new_empty(Arc::new(Schema::empty()));
        let whole = match refused.is_empty() {
            true => none(),
            false => whole(&opened, offset, &found, &refused)
                .ok_or_else(|| broken(&"a row that is refused cannot be read again"))?,
        };
        let piece = Piece::Rows(Rows { split: split.clone(), offset, rows, refused, whole });
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
            let Rows { split, offset, rows, mut refused, whole } = match self.current.take() {
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
            let mut later = refused.split_off(refused.partition_point(|(row, ..)| (*row as usize) < count));
            let misfits = whole.slice(0, refused.len());
            if rest > 0 {
                let whole = whole.slice(refused.len(), later.len());
                later.iter_mut().for_each(|(row, ..)| *row -= count as u32);
                let rows = rows.slice(count, rest);
                self.current = Some(Rows { split: split.clone(), offset: next, rows, refused: later, whole });
            }
            let taken = taken(offset, &rows.slice(0, count), &refused)?;
            let cursor = Some(split.cursor(next));
            let mut pulled =
                self.output.pulled(taken, &split.name, cursor, |lost| vec![Vec::new(); lost.len()])?;
            if !refused.is_empty() {
                pulled.misfits = Some(self.misfits(&split.name, offset, &misfits, refused)?);
            }
            return Ok(Some(pulled));
        }
    }
}

impl ParquetSource {
    fn misfits(
        &self,
        split: &Arc<str>,
        offset: u64,
        rows: &RecordBatch,
        refused: Vec<RefusedRow>,
    ) -> Result<Misfits, ConnectError> {
        let lineage = Lineage::of_source(SourceRows {
            pipeline: self.output.pipeline.clone(),
            source: self.output.stage.clone(),
            split: split.clone(),
            offsets: Offsets::These(refused.iter().map(|(row, ..)| offset + u64::from(*row)).collect()),
        });
        let rows = Batch::from_arrow(rows, Parts::default(), lineage);
        let rows = rows.map_err(|error| self.output.broken(error))?;
        let rejection =
            |(row, (_, code, message)): (u32, RefusedRow)| Rejection { row, code: code.to_owned(), message };
        Ok(Misfits { rows, rejections: (0..).zip(refused).map(rejection).collect() })
    }
}

/// How many rows make a batch.
fn portion(rows: &RecordBatch, limits: &PullLimits) -> usize {
    let each = (rows.get_array_memory_size() / rows.num_rows().max(1)).max(1);
    limits.records_max.min((limits.bytes_max / each).max(1)).max(1)
}

/// The rows without those that are refused.
fn taken(offset: u64, rows: &RecordBatch, refused: &[RefusedRow]) -> Result<Taken, ConnectError> {
    let count = rows.num_rows();
    if refused.is_empty() {
        let columns: Vec<ArrayRef> = rows.columns().to_vec();
        return Ok(Taken { rows: count, columns, offsets: Offsets::From(offset), refused: Vec::new() });
    }
    let is_refused = |row: &u32| refused.binary_search_by_key(row, |(row, ..)| *row).is_ok();
    let keep: Vec<u32> = (0..count as u32).filter(|row| !is_refused(row)).collect();
    let offsets = Offsets::These(keep.iter().map(|&row| offset + u64::from(row)).collect());
    let rest = steps::pick(rows, keep)
        .map_err(|error| ConnectError::failed("the rows", error, "declare other types"))?;
    Ok(Taken { rows: rest.num_rows(), columns: rest.columns().to_vec(), offsets, refused: Vec::new() })
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
            let mut source = ParquetSource { pieces, current: None, output };
            if let Some(last) = last {
                assert!(sender.try_send(last).is_ok());
            }
            drop(sender);
            let pulled = runtime().block_on(source.pull(LIMITS));
            assert_eq!(pulled.err().map(|error| error.why), expected.map(str::to_owned));
        }
    }
}
