//! What a source of files or of standard input gives, worked out before anything runs, and the decoders that
//! give it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use flow::connector::{ConnectError, Decode};
use model::batch::opaque_schema;
use model::convert::{JsonReader, JsonReaderError, REST};
use model::limits::RECORD_BYTES_MAX;
use model::manifest::{ColumnType, TimeFrom, UnknownFields};
use model::plan::{Stream, declared_field};

use crate::again::{DecodeAgain, Layout};
use crate::csv::{CsvColumn, CsvDecoder, CsvLayout, Dialect, Target};
use crate::decode::{CRI_COLUMNS, CriColumn, CriDecoder, JsonLines, LineDecoder, PlainLines, WholeDecoder};
use crate::format::Format;
use crate::infer::{Sample, infer_csv, infer_jsonl};
use crate::options::OptionsError;
use crate::stream::{MakeDecoder, Output, Times};
use crate::{SourceSpec, Wanted};

/// How input is read, checked.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) format: Format,
    pub(crate) header: bool,
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) dialect: Dialect,
    pub(crate) null: Option<String>,
    pub(crate) record_bytes_max: usize,
}

/// The options of the formats, as `file` and `stdin` have them in common.
#[derive(Debug, Default)]
pub(crate) struct ReadOptions {
    pub(crate) header: Option<bool>,
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) delimiter: Option<String>,
    pub(crate) quote: Option<String>,
    pub(crate) null: Option<String>,
    pub(crate) record_bytes_max: Option<u64>,
}

/// Columns that a message names before it counts the others.
const COLUMNS_NAMED_MAX: usize = 20;

/// The longest record that an option may ask for: places in a piece of input are counted with 32 bits.
const RECORD_BYTES_CEILING: u64 = 1 << 30;

impl ReadOptions {
    pub(crate) fn check(self, format: Format, tabs: bool) -> Result<Reading, OptionsError> {
        let csv_only = [
            ("/header", self.header.is_some()),
            ("/columns", self.columns.is_some()),
            ("/delimiter", self.delimiter.is_some()),
            ("/quote", self.quote.is_some()),
            ("/null", self.null.is_some()),
        ];
        if let Some((pointer, _)) = csv_only.iter().find(|(_, given)| *given && format != Format::Csv) {
            let message =
                format!("`{}` is an option of CSV, and the format is {}", &pointer[1..], format.as_str());
            return Err(OptionsError::new(pointer, message, "remove it, or set `format: csv`"));
        }
        if self.columns.is_some() && self.header != Some(false) {
            let message = "`columns` names the columns of a file without header";
            return Err(OptionsError::new(
                "/columns",
                message,
                "set `header: false` beside it, or remove it",
            ));
        }
        let delimiter = match self.delimiter.as_deref() {
            None if tabs => b'\t',
            None => b',',
            Some(text) => one_byte("/delimiter", text)?,
        };
        let quote = match self.quote.as_deref() {
            None => Some(b'"'),
            Some("") => None,
            Some(text) => Some(one_byte("/quote", text)?),
        };
        if quote == Some(delimiter) {
            let message = "`quote` and `delimiter` are the same character";
            return Err(OptionsError::new(
                "/quote",
                message,
                "use two different ones, or `quote: \"\"` for none",
            ));
        }
        let max = self.record_bytes_max.unwrap_or(RECORD_BYTES_MAX as u64);
        if max == 0 || max > RECORD_BYTES_CEILING {
            let message = "`record-bytes-max` is from 1B to 1GiB".to_owned();
            return Err(OptionsError::new(
                "/record-bytes-max",
                message,
                "16MiB is what it is without the option",
            ));
        }
        Ok(Reading {
            format,
            header: self.header.unwrap_or(true),
            columns: self.columns,
            dialect: Dialect { delimiter, quote },
            null: self.null,
            record_bytes_max: max as usize,
        })
    }
}

pub(crate) fn one_byte(pointer: &str, text: &str) -> Result<u8, OptionsError> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
        _ => {
            let message = format!("`{}` is one ASCII character, not `{text}`", &pointer[1..]);
            Err(OptionsError::new(pointer, message, "use one such as `,`, `;`, `|` or a tab (`\"\\t\"`)"))
        }
    }
}

/// What a source gives.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) stream: Stream,
    /// Columns of the input with their types, without `rest`. Empty for opaque records.
    targets: Vec<Target>,
}

impl Reading {
    /// Whether the beginning of the input has to be looked at: for a header, or for the columns and types that
    /// the manifest does not declare.
    pub(crate) fn needs_sample(&self) -> bool {
        matches!(self.format, Format::Csv | Format::Jsonl)
    }

    /// What comes out of it, from the samples and the declaration.
    pub(crate) fn describe(&self, spec: &SourceSpec, samples: &[Sample]) -> Result<Described, ConnectError> {
        let found = match self.format {
            Format::Lines | Format::Bytes | Format::Parquet => {
                return Ok(Described { stream: Stream::Opaque, targets: Vec::new() });
            }
            Format::Cri => return describe_cri(spec),
            Format::Csv => {
                let null = self.null.as_deref().map(str::as_bytes);
                infer_csv(samples, self.dialect, self.header, self.columns.as_deref(), null)?
            }
            Format::Jsonl => infer_jsonl(samples)?,
        };
        let name = || samples.first().map_or("the input".to_owned(), |sample| sample.name.clone());
        let is_csv = self.format == Format::Csv;
        let declared: HashMap<&str, Option<ColumnType>> =
            spec.schema.iter().map(|(name, of_type)| (name.as_str(), *of_type)).collect();
        let found_names: HashSet<&str> = found.iter().map(|found| found.name.as_str()).collect();
        for (column, of_type) in &spec.schema {
            let there = found_names.contains(column.as_str());
            // A field of JSON may be missing in every sampled row; its type has to come from somewhere, though.
            if !there && (is_csv && !found.is_empty() || of_type.is_none()) {
                let mut has: Vec<_> =
                    found.iter().take(COLUMNS_NAMED_MAX).map(|found| found.name.clone()).collect();
                if found.len() > has.len() {
                    has.push(format!("and {} more", found.len() - has.len()));
                }
                let has = has.join(", ");
                let why = format!("it has no column `{column}`, which `schema` declares; it has {has}");
                return Err(ConnectError::failed(name(), why, "correct the name under `schema`"));
            }
        }
        let mut targets: Vec<Target> = found
            .iter()
            .map(|found| {
                let declared = declared.get(found.name.as_str()).copied().flatten();
                let column_type = match declared {
                    // A time without an offset stays one.
                    Some(ColumnType::Timestamp) if found.is_local => ColumnType::LocalTimestamp,
                    declared => declared.unwrap_or(found.column_type),
                };
                Target { name: found.name.clone(), column_type, inferred: declared.is_none() }
            })
            .collect();
        for (name, of_type) in &spec.schema {
            if let (false, Some(column_type)) = (found_names.contains(name.as_str()), *of_type) {
                targets.push(Target { name: name.clone(), column_type, inferred: false });
            }
        }
        if targets.is_empty() {
            let next = "declare the columns under `schema`, or give a file that has rows";
            return Err(ConnectError::failed(
                name(),
                "there is nothing in it to tell its columns from",
                next,
            ));
        }
        if spec.unknown == UnknownFields::Rest && targets.iter().any(|target| target.name == REST) {
            let why = format!("it has a column `{REST}`, which is the one that `unknown: rest` makes");
            return Err(ConnectError::failed(name(), why, "rename the column, or set `unknown: ignore`"));
        }
        let mut fields: Vec<_> =
            targets.iter().map(|target| declared_field(&target.name, target.column_type)).collect();
        if spec.unknown == UnknownFields::Rest {
            fields.push(declared_field(REST, ColumnType::Json));
        }
        Ok(Described { stream: Stream::Rows(Arc::new(Schema::new(fields))), targets })
    }

    /// What makes the decoder of each split, and what becomes of the columns that it decodes.
    pub(crate) fn decoders(
        &self,
        spec: &SourceSpec,
        described: &Described,
        wanted: &Wanted,
    ) -> Result<(MakeDecoder, Output), ConnectError> {
        let (indices, output) = output(spec, &described.stream, wanted)?;
        let max = self.record_bytes_max;
        let make: MakeDecoder = match (self.format, &described.stream) {
            (Format::Csv, Stream::Rows(_)) => {
                let column = |&index: &usize| match described.targets.get(index) {
                    Some(target) => CsvColumn::Column(target.clone()),
                    None => CsvColumn::Rest,
                };
                let columns: Arc<[CsvColumn]> = indices.iter().map(column).collect();
                let layout = Arc::new(CsvLayout {
                    dialect: self.dialect,
                    header: self.header,
                    null: self.null.clone().map(String::into_bytes),
                    names: described.targets.iter().map(|target| target.name.clone()).collect(),
                    unknown: spec.unknown,
                    record_bytes_max: max,
                });
                Box::new(move |split| {
                    Box::new(CsvDecoder::new(layout.clone(), columns.clone(), split.clone()))
                })
            }
            (Format::Jsonl, Stream::Rows(schema)) => {
                let (schema, unknown) = (schema.clone(), spec.unknown);
                let reader = move || JsonReader::new(&schema, &indices, unknown);
                reader().map_err(|error: JsonReaderError| {
                    ConnectError::failed(&*spec.stage, error, "change the `schema` of the source")
                })?;
                Box::new(move |split| {
                    let reader = reader().expect("it was made once before, from the same schema");
                    Box::new(LineDecoder::new(JsonLines(reader), split.clone(), max))
                })
            }
            (Format::Cri, Stream::Rows(_)) => {
                let column = |&index: &usize| cri_column(&described.targets[index]);
                let columns: Vec<CriColumn> = indices.iter().map(column).collect();
                // Each record has its own time, and others may have none.
                let keeps_lines =
                    matches!(output.times, Times::Column { index, .. } if columns[index] != CriColumn::Time);
                Box::new(move |_| Box::new(CriDecoder::new(columns.clone(), keeps_lines, max)))
            }
            (Format::Bytes, _) => Box::new(move |_| Box::new(WholeDecoder::new(max))),
            _ => Box::new(move |split| Box::new(LineDecoder::new(PlainLines::default(), split.clone(), max))),
        };
        Ok((make, output))
    }
}

impl Reading {
    /// What makes records of those that were refused.
    pub(crate) fn again(
        &self,
        spec: &SourceSpec,
        described: &Described,
        wanted: &Wanted,
    ) -> Result<Box<dyn Decode>, ConnectError> {
        let (make, output) = self.decoders(spec, described, wanted)?;
        let layout = match self.format {
            Format::Csv if self.header => Layout::BehindHeader,
            Format::Bytes => Layout::Whole,
            _ => Layout::Line,
        };
        Ok(Box::new(DecodeAgain { make, output, layout }))
    }
}

/// The columns of container logs are what they are; the time can be asked for as it stands.
fn describe_cri(spec: &SourceSpec) -> Result<Described, ConnectError> {
    let wrong = |why: String, next: &str| Err(ConnectError::failed(&*spec.stage, why, next));
    if spec.unknown == UnknownFields::Rest {
        let why = "`unknown: rest` is for formats whose rows bring their own fields".to_owned();
        return wrong(why, "remove it");
    }
    let declared = |name: &str| spec.schema.iter().find(|(declared, _)| declared == name);
    for (name, of_type) in &spec.schema {
        let Some((_, own)) = CRI_COLUMNS.iter().find(|(known, _)| known == name) else {
            let why = format!("the format cri has no column `{name}`, which `schema` declares");
            return wrong(why, "its columns are time, stream and text");
        };
        if of_type.is_some_and(|of_type| of_type != *own && of_type != ColumnType::Text) {
            let why = format!("the column `{name}` of the format cri is {} or text", own.as_str());
            return wrong(why, "change its type under `schema`");
        }
    }
    let target = |(name, own): &(&str, ColumnType)| {
        let column_type = declared(name).and_then(|(_, of_type)| *of_type).unwrap_or(*own);
        Target { name: (*name).to_owned(), column_type, inferred: false }
    };
    let targets: Vec<Target> = CRI_COLUMNS.iter().map(target).collect();
    let fields: Vec<_> =
        targets.iter().map(|target| declared_field(&target.name, target.column_type)).collect();
    Ok(Described { stream: Stream::Rows(Arc::new(Schema::new(fields))), targets })
}

fn cri_column(target: &Target) -> CriColumn {
    match (target.name.as_str(), target.column_type) {
        ("time", ColumnType::Text) => CriColumn::TimeText,
        ("time", _) => CriColumn::Time,
        ("stream", _) => CriColumn::Stream,
        _ => CriColumn::Text,
    }
}

/// Indices of the columns to decode, and what becomes of them: the wanted ones in their order, then the one
/// that times come from if nobody wants it otherwise.
pub(crate) fn output(
    spec: &SourceSpec,
    stream: &Stream,
    wanted: &Wanted,
) -> Result<(Vec<usize>, Output), ConnectError> {
    let known = stream.batch_schema();
    let mut indices: Vec<usize> = match (stream, &wanted.columns) {
        (Stream::Opaque, _) => vec![0],
        (Stream::Rows(_), Some(columns)) => columns.clone(),
        (Stream::Rows(schema), None) => (0..schema.fields().len()).collect(),
    };
    let schema: SchemaRef = match stream {
        Stream::Opaque => opaque_schema(),
        Stream::Rows(_) => Arc::new(Schema::new(
            indices.iter().map(|&index| known.fields()[index].clone()).collect::<Vec<_>>(),
        )),
    };
    let times = match &spec.time {
        _ if !wanted.times => Times::Unwanted,
        TimeFrom::Now => Times::Now,
        TimeFrom::Column(name) => {
            let at = time_column(stream, name)?;
            let index = indices.iter().position(|&index| index == at).unwrap_or_else(|| {
                indices.push(at);
                indices.len() - 1
            });
            Times::Column { index, field: known.fields()[at].clone() }
        }
    };
    let output = Output { pipeline: spec.pipeline.clone(), stage: spec.stage.clone(), schema, times };
    Ok((indices, output))
}

/// The column that `time:` names.
pub(crate) fn time_column(stream: &Stream, name: &str) -> Result<usize, ConnectError> {
    let found = match stream {
        Stream::Opaque => None,
        Stream::Rows(schema) => schema.fields().iter().position(|field| field.name() == name),
    };
    found.ok_or_else(|| {
        let why = "`time` names it, and the source has no such column";
        ConnectError::failed(format!("column `{name}`"), why, "correct the name, or set `time: now`")
    })
}
