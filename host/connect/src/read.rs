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
use crate::csv::{
    CsvColumn, CsvDecoder, CsvForm, CsvLayout, Dialect, Named, Target, ZeekHeader, ZeekType, better,
};
use crate::decode::{CRI_COLUMNS, CriColumn, CriDecoder, JsonLines, LineDecoder, PlainLines, WholeDecoder};
use crate::format::Format;
use crate::infer::{Found, Sample, has_csv_row, infer_csv, infer_jsonl, infer_zeek};
use crate::options::OptionsError;
use crate::stream::{MakeDecoder, Output, Times};
use crate::{SourceSpec, Wanted};

/// How input is read, checked.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) format: Format,
    pub(crate) csv: CsvForm,
    /// Whether no option says how CSV is written.
    is_plain: bool,
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) record_bytes_max: usize,
}

/// The options of the formats, as `file` and `stdin` have them in common.
#[derive(Debug, Default)]
pub(crate) struct ReadOptions {
    pub(crate) header: Option<bool>,
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) delimiter: Option<String>,
    pub(crate) quote: Option<String>,
    pub(crate) escape: Option<String>,
    pub(crate) comment: Option<String>,
    pub(crate) skip_lines: Option<u64>,
    pub(crate) decimal: Option<String>,
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
            ("/escape", self.escape.is_some()),
            ("/comment", self.comment.is_some()),
            ("/skip-lines", self.skip_lines.is_some()),
            ("/decimal", self.decimal.is_some()),
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
        let csv = self.csv_form(format, tabs)?;
        let is_plain = self.delimiter.is_none()
            && self.quote.is_none()
            && self.escape.is_none()
            && self.comment.is_none()
            && self.skip_lines.is_none()
            && self.decimal.is_none();
        let max = self.record_bytes_max.unwrap_or(RECORD_BYTES_MAX as u64);
        if max == 0 || max > RECORD_BYTES_CEILING {
            let message = "`record-bytes-max` is from 1B to 1GiB".to_owned();
            return Err(OptionsError::new(
                "/record-bytes-max",
                message,
                "16MiB is what it is without the option",
            ));
        }
        Ok(Reading { format, csv, is_plain, columns: self.columns, record_bytes_max: max as usize })
    }

    /// A null that no field can be is a mistake.
    fn check_null(&self, delimiter: u8, quote: Option<u8>, escape: Option<u8>) -> Result<(), OptionsError> {
        let null = self.null.as_deref().unwrap_or_default().as_bytes();
        let ends = |byte: &u8| matches!(byte, b'\n' | b'\r') || *byte == delimiter;
        let is_quoted = quote.is_some() && null.first().copied() == quote;
        if !is_quoted && (escape.is_some() || !null.iter().any(ends)) {
            return Ok(());
        }
        let message =
            "no field without quotes can be the text for a null: it ends a field, or begins with a quote";
        let help = "give the text as it stands in the file, such as `null: NA`";
        Err(OptionsError::new("/null", message, help))
    }

    fn csv_form(&self, format: Format, tabs: bool) -> Result<CsvForm, OptionsError> {
        let zeek = format == Format::Zeek;
        let delimiter = match self.delimiter.as_deref() {
            None if tabs || zeek => b'\t',
            None => b',',
            Some(text) => one_byte("/delimiter", text)?,
        };
        let quote = match self.quote.as_deref() {
            None if zeek => None,
            None => Some(b'"'),
            Some("") => None,
            Some(text) => Some(one_byte("/quote", text)?),
        };
        let byte = |pointer: &str, text: &Option<String>| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|text| one_byte(pointer, text)).transpose()
        };
        // Two quotes for one are read in any case.
        let escape = byte("/escape", &self.escape)?.filter(|escape| Some(*escape) != quote);
        let comment = byte("/comment", &self.comment)?.or(zeek.then_some(b'#'));
        let signs =
            [("/delimiter", Some(delimiter)), ("/quote", quote), ("/escape", escape), ("/comment", comment)];
        for (place, (pointer, sign)) in signs.iter().enumerate() {
            let twin = signs[..place].iter().find(|(_, other)| sign.is_some() && other == sign);
            if let Some((twin, _)) = twin {
                let message = format!("`{}` and `{}` are the same character", &pointer[1..], &twin[1..]);
                return Err(OptionsError::new(pointer, message, "use two different ones"));
            }
        }
        self.check_null(delimiter, quote, escape)?;
        let decimal_comma = match self.decimal.as_deref() {
            None | Some(".") => false,
            Some(",") => true,
            Some(other) => {
                let message = format!("`decimal` is `,` or `.`, not `{other}`");
                return Err(OptionsError::new("/decimal", message, "set `decimal: \",\"`, or remove it"));
            }
        };
        Ok(CsvForm {
            dialect: Dialect { delimiter, quote, escape, comment },
            skip_lines: self.skip_lines.unwrap_or(0),
            header: self.header.unwrap_or(true),
            null: self.null.clone().map(String::into_bytes),
            decimal_comma,
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
        matches!(self.format, Format::Csv | Format::Jsonl | Format::Zeek)
    }

    /// Whether the beginning of what comes bit by bit has the first record in it: nobody waits for a second one.
    pub(crate) fn has_record(&self, data: &[u8]) -> bool {
        match self.format {
            Format::Csv => has_csv_row(data, &self.csv),
            Format::Zeek => !matches!(ZeekHeader::read(data, false), Ok(None)),
            _ => {
                let mut lines = data.split(|&byte| byte == b'\n');
                // What stands behind the last line break is no line yet.
                lines.next_back();
                lines.any(|line| !line.trim_ascii().is_empty())
            }
        }
    }

    /// The columns that were found, with what Zeek says that they are.
    fn find(
        &self,
        spec: &SourceSpec,
        samples: &[Sample],
    ) -> Result<(Vec<Found>, Option<Vec<ZeekType>>), ConnectError> {
        match self.format {
            Format::Csv => {
                let schema = spec.schema.iter().map(|(name, _)| name.as_str()).collect();
                let named = Named { schema, columns: self.columns.as_deref() };
                for sample in samples.iter().filter(|_| self.is_plain) {
                    if let Some(found) = better(&sample.data, sample.ended, &self.csv, &named) {
                        return Err(ConnectError::failed(&*sample.name, found.why, found.next));
                    }
                }
                Ok((infer_csv(samples, &self.csv, self.columns.as_deref())?, None))
            }
            Format::Zeek => infer_zeek(samples).map(|(found, types)| (found, Some(types))),
            _ => Ok((infer_jsonl(samples)?, None)),
        }
    }

    /// What comes out of it, from the samples and the declaration.
    pub(crate) fn describe(&self, spec: &SourceSpec, samples: &[Sample]) -> Result<Described, ConnectError> {
        let (found, zeek) = match self.format {
            Format::Lines | Format::Bytes | Format::Parquet => {
                return Ok(Described { stream: Stream::Opaque, targets: Vec::new() });
            }
            Format::Cri => return describe_cri(spec),
            Format::Csv | Format::Jsonl | Format::Zeek => self.find(spec, samples)?,
        };
        let name = || samples.first().map_or("the input".to_owned(), |sample| sample.name.clone());
        let declared: HashMap<&str, Option<ColumnType>> =
            spec.schema.iter().map(|(name, of_type)| (name.as_str(), *of_type)).collect();
        let found_names: HashSet<&str> = found.iter().map(|found| found.name.as_str()).collect();
        let may_come = self.format == Format::Jsonl || found.is_empty();
        check_declared(spec, &found, may_come)
            .map_err(|why| ConnectError::failed(name(), why, "correct the name under `schema`"))?;
        let mut targets = Vec::with_capacity(found.len());
        for (place, found) in found.iter().enumerate() {
            let zeek = zeek.as_ref().map(|types| types[place].clone());
            let declared = declared.get(found.name.as_str()).copied().flatten();
            let column_type = match declared {
                // A time without an offset stays one.
                Some(ColumnType::Timestamp) if found.is_local => ColumnType::LocalTimestamp,
                declared => declared.unwrap_or(found.column_type),
            };
            if zeek.as_ref().is_some_and(|zeek| !zeek.can_be(column_type)) {
                let (column, own) = (&found.name, found.column_type.as_str());
                let why =
                    format!("its column `{column}` is {own}, and cannot be read as {}", column_type.as_str());
                return Err(ConnectError::failed(name(), why, "remove it from `schema`, or declare text"));
            }
            targets.push(Target {
                name: found.name.clone(),
                column_type,
                inferred: declared.is_none(),
                zeek,
            });
        }
        for (name, of_type) in &spec.schema {
            if let (false, Some(column_type)) = (found_names.contains(name.as_str()), *of_type) {
                targets.push(Target { name: name.clone(), column_type, inferred: false, zeek: None });
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
            (Format::Csv | Format::Zeek, Stream::Rows(_)) => {
                let column = |&index: &usize| match described.targets.get(index) {
                    Some(target) => CsvColumn::Column(target.clone()),
                    None => CsvColumn::Rest,
                };
                let columns: Arc<[CsvColumn]> = indices.iter().map(column).collect();
                let layout = Arc::new(CsvLayout {
                    form: self.csv.clone(),
                    names: described.targets.iter().map(|target| target.name.clone()).collect(),
                    zeek: (self.format == Format::Zeek)
                        .then(|| described.targets.iter().filter_map(|target| target.zeek.clone()).collect()),
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
        let layout = match self.format {
            Format::Csv if self.csv.header => Layout::BehindHeader,
            Format::Zeek => Layout::BehindHeader,
            Format::Bytes => Layout::Whole,
            _ => Layout::Line,
        };
        // What is skipped in a file stands in front of its header, and was not kept.
        let mut reading = self.clone();
        reading.csv.skip_lines = 0;
        let (make, output) = reading.decoders(spec, described, wanted)?;
        Ok(Box::new(DecodeAgain { make, output, layout }))
    }
}

/// Whether what the schema declares was found. `may_come`: a field of JSON may be missing in every sampled row; its type has
/// to come from somewhere, though.
fn check_declared(spec: &SourceSpec, found: &[Found], may_come: bool) -> Result<(), String> {
    let names: HashSet<&str> = found.iter().map(|found| found.name.as_str()).collect();
    let is_missing = |(name, of_type): &&(String, Option<ColumnType>)| {
        (!may_come || of_type.is_none()) && !names.contains(name.as_str())
    };
    let Some((column, _)) = spec.schema.iter().find(is_missing) else { return Ok(()) };
    let mut has: Vec<_> = found.iter().take(COLUMNS_NAMED_MAX).map(|found| found.name.clone()).collect();
    if found.len() > has.len() {
        has.push(format!("and {} more", found.len() - has.len()));
    }
    let has = has.join(", ");
    Err(format!("it has no column `{column}`, which `schema` declares; it has {has}"))
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
        Target { name: (*name).to_owned(), column_type, inferred: false, zeek: None }
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

/// Of a source that gets its records one by one: what reads them into columns, where there are any, and what becomes of
/// them.
pub(crate) fn json_rows(
    spec: &SourceSpec,
    stream: &Stream,
    wanted: &Wanted,
) -> Result<(Option<JsonLines>, Output), ConnectError> {
    let (indices, output) = output(spec, stream, wanted)?;
    let Stream::Rows(schema) = stream else { return Ok((None, output)) };
    let reader = JsonReader::new(schema, &indices, spec.unknown)
        .map_err(|error| ConnectError::failed(&*spec.stage, error, "change the `schema` of the source"))?;
    Ok((Some(JsonLines(reader)), output))
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
