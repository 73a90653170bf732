//! The sink `file`: lines, bytes, JSON lines, CSV and Parquet, plain or packed, in one file or a row of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::FieldRef;
use disk::{Disk, SystemDisk};
use flow::checkpoint::{MarkPart, MarkParts};
use flow::connector::{Committed, ConnectError, Sink};
use model::convert::JsonWriter;
use model::plan::places::{Access, Place};
use model::plan::{Form, Stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::format::Format;
use crate::input::Compression;
use crate::options::{self, OptionsError};
use crate::places;
use crate::write::{
    CsvEncoder, CsvStyle, Delivery, EncodedSink, Encoder, FileOptions, IfExists, Next, Packing, Rotation,
    SetAside, Writing, part_name, path_of, resolved, row_names, set_file_aside, write_failed,
};
use crate::{Beside, OpenSink, PlannedSink, SinkSpec, SpecError};

/// What stands under `with:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// The file, relative to the manifest. Directories that are missing are made.
    path: String,
    /// By default what the name ends with: .csv, .tsv, .jsonl, .ndjson, .parquet, .txt, .log, each maybe with
    /// .gz or .zst behind it.
    format: Option<Format>,
    /// How the file is packed. By default what the name ends with: .gz or .zst.
    #[serde(default)]
    compression: Compression,
    /// What to do where the file is there already: replace it (the default), append to it, or fail. With
    /// `rotate`, files of earlier runs are kept, and `fail` refuses to begin beside them.
    if_exists: Option<IfExists>,
    /// Begin a new file by size or by time.
    rotate: Option<RotateOptions>,
    /// In a run with `--state`. exactly-once (the default): records are seen when a checkpoint has them, and once,
    /// whatever crashes. at-least-once: they are written in place and seen at once, and those since the last
    /// checkpoint come again after a crash; also for pipes and devices.
    #[serde(default)]
    delivery: Delivery,
    /// CSV: whether to begin with the names of the columns. Yes, unless this is false.
    header: Option<bool>,
    /// CSV: what stands between fields. A comma by default, a tab for .tsv.
    delimiter: Option<String>,
    /// CSV: what a null is written as. An empty field by default.
    null: Option<String>,
}

/// When to begin a new file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RotateOptions {
    /// When the file has this size on the disk, such as `64MiB`.
    #[serde(default, deserialize_with = "options::bytes")]
    #[schemars(with = "Option<String>")]
    size: Option<u64>,
    /// When the file is this old, such as `1h`.
    #[serde(default, deserialize_with = "options::duration")]
    #[schemars(with = "Option<String>")]
    every: Option<Duration>,
}

struct FileSink {
    spec: SinkSpec,
    said: Said,
}

/// What the options say, with what they leave open filled in.
struct Said {
    path: String,
    shape: Shape,
    compression: Compression,
    if_exists: IfExists,
    rotation: Option<Rotation>,
    delivery: Delivery,
}

pub(crate) fn plan(spec: &SinkSpec) -> Result<PlannedSink, SpecError> {
    let sink = FileSink { spec: spec.clone(), said: read(&spec.with)? };
    let (form, commits) = (sink.said.shape.form(), sink.said.delivery == Delivery::ExactlyOnce);
    let places = sink.places()?;
    let planned = PlannedSink::new(form, sink).at(Access::Writes, places);
    Ok(if commits { planned.committing() } else { planned })
}

/// The sink on a disk of the caller's, who writes to it himself.
pub(crate) fn open_on(
    disk: Arc<dyn Disk>,
    spec: &SinkSpec,
    input: &Stream,
    committed: Option<Committed>,
) -> Result<Box<dyn Sink>, SpecError> {
    let sink = FileSink { spec: spec.clone(), said: read(&spec.with)? };
    let (encoder, options) = sink.options(input, disk)?;
    let eager = options.rotation.is_some();
    let writing = Writing::Here(options.open(committed.as_ref())?);
    Ok(Box::new(EncodedSink::new(encoder, writing, eager)))
}

fn read(with: &Map<String, Value>) -> Result<Said, OptionsError> {
    let options: Options = options::read(with, "file")?;
    let path = options.path;
    let format = options.format.or_else(|| Format::of_name(&path)).ok_or_else(|| {
        let message = format!("the name `{path}` does not say what to write");
        OptionsError::new("/path", message, "set `format` to lines, bytes, jsonl, csv or parquet")
    })?;
    let sink = SinkOptions { header: options.header, delimiter: options.delimiter, null: options.null };
    let shape = sink.check(format, path.to_ascii_lowercase().contains(".tsv"))?;
    let compression = match options.compression {
        Compression::Auto => Compression::of_name(&path),
        said => said,
    };
    if format == Format::Parquet && compression != Compression::None {
        let message = "Parquet packs its own pages and is not packed again";
        return Err(OptionsError::new("/path", message, "let the name end with .parquet"));
    }
    let rotation = options.rotate.map(|rotate| Rotation { size: rotate.size, every: rotate.every });
    if let Some(Rotation { size: None | Some(0), every: None | Some(Duration::ZERO) }) = rotation {
        let message = "`rotate` says neither when a file is large enough nor when it is old enough";
        return Err(OptionsError::new(
            "/rotate",
            message,
            "set `size`, such as 64MiB, or `every`, such as 1h",
        ));
    }
    if options.if_exists == Some(IfExists::Append) && matches!(format, Format::Parquet | Format::Csv) {
        let message = format!("nothing can be appended to a file of format {}", format.as_str());
        return Err(OptionsError::new("/if-exists", message, "set `if-exists: replace`, or use `rotate`"));
    }
    if options.if_exists == Some(IfExists::Replace) && rotation.is_some() {
        let message = "with `rotate` no file is ever replaced: each has a number of its own";
        return Err(OptionsError::new("/if-exists", message, "remove it, or set `if-exists: fail`"));
    }
    let if_exists = options.if_exists.unwrap_or_default();
    let delivery = options.delivery;
    Ok(Said { path, shape, compression, if_exists, rotation, delivery })
}

/// What a file that has been begun rests on.
pub(crate) fn mark(with: &Map<String, Value>, input: &Stream) -> Option<MarkParts> {
    let Said { path, shape, compression, rotation, delivery, .. } = read(with).ok()?;
    let mut parts = MarkParts::new();
    let mut add = |name: &str, value: String| parts.insert(name.to_owned(), MarkPart::shown(value));
    add("path", path);
    add("format", shape.format.as_str().to_owned());
    add("compression", compression.as_str().to_owned());
    add("rotate", if rotation.is_some() { "yes" } else { "no" }.to_owned());
    add("delivery", delivery.as_str().to_owned());
    if shape.format == Format::Csv {
        add("delimiter", char::from(shape.style.delimiter).to_string());
        add("null", shape.style.null);
    }
    // Objects of JSON say themselves what is in them.
    let schema = input.batch_schema();
    let column = |field: &FieldRef| match shape.format {
        Format::Parquet => Some(format!("{} {}", field.name(), field.data_type())),
        Format::Csv => Some(field.name().clone()),
        _ => None,
    };
    let columns: Option<Vec<String>> = schema.fields().iter().map(column).collect();
    if let Some(columns) = columns {
        add("columns", Value::from(columns).to_string());
    }
    Some(parts)
}

/// See [`crate::set_file_aside`].
pub(crate) fn set_aside(disk: Arc<dyn Disk>, spec: &SinkSpec, token: &[u8]) -> Result<SetAside, SpecError> {
    let said = read(&spec.with)?;
    let path = spec.base.join(path_of(token).unwrap_or_else(|| said.path.clone()));
    spec.roots.check(&path).map_err(|error| {
        let next = "run with the `--allow-root` that it was written with";
        ConnectError::failed(path.to_string_lossy(), error.to_string(), next)
    })?;
    let is_row = said.rotation.is_some() && said.delivery == Delivery::ExactlyOnce;
    let next = Next { name: &said.path, path: &spec.base.join(&said.path), is_row };
    Ok(set_file_aside(disk, path, token, &next)?)
}

impl FileSink {
    /// All files that it makes or writes to.
    fn places(&self) -> Result<Vec<Place>, ConnectError> {
        let path = self.spec.base.join(&self.said.path);
        let find = || -> std::io::Result<Vec<Place>> {
            if self.said.rotation.is_some() {
                let names = row_names(&path).into_iter();
                return names.map(|name| places::beside(&path, name)).collect();
            }
            let mut all = places::of_file(&path)?;
            if !all.is_empty() {
                all.push(places::beside(&resolved(path.clone())?, part_name(&path))?);
            }
            Ok(all)
        };
        find().map_err(|error| write_failed(&path, &error))
    }

    /// What encodes `input`, and what is written to.
    fn options(self, input: &Stream, disk: Arc<dyn Disk>) -> Result<(Encoder, FileOptions), ConnectError> {
        let Self { spec, said: Said { path: name, shape, compression, if_exists, rotation, delivery } } =
            self;
        let (encoder, header) = shape.encoder(input);
        let lines = matches!(encoder, Encoder::Lines | Encoder::JsonText | Encoder::JsonRows(_));
        let packing = match (&encoder, compression) {
            (Encoder::Rows, _) => Packing::Parquet(input.batch_schema()),
            (_, Compression::Gzip) => Packing::Gzip,
            (_, Compression::Zstd) => Packing::Zstd,
            _ => Packing::None,
        };
        let path = spec.base.join(&name);
        spec.roots.check(&path).map_err(|error| {
            let next = "write elsewhere, or run with another `--allow-root`";
            ConnectError::failed(&name, error.to_string(), next)
        })?;
        let options = FileOptions { name, path, if_exists, packing, header, rotation, delivery, lines, disk };
        Ok((encoder, options))
    }
}

impl OpenSink for FileSink {
    fn open(
        self: Box<Self>,
        input: &Stream,
        committed: Option<Committed>,
    ) -> Result<Box<dyn Sink>, ConnectError> {
        let (encoder, options) = self.options(input, Arc::new(SystemDisk))?;
        let eager = options.rotation.is_some();
        let writing = Writing::behind(options.open(committed.as_ref())?)?;
        Ok(Box::new(EncodedSink::new(encoder, writing, eager)))
    }
}

/// More than any file has, so that a file is never full.
const NEVER_FULL: u64 = 1 << 60;

/// Changes the config so that a file that is there stays as it is and what comes goes behind it, or into a part of
/// its own where nothing can be appended. Says which of the two, where the config had to change.
pub(crate) fn beside(with: &mut Map<String, Value>, base: &Path) -> Option<Beside> {
    // What is wrong with the config is told where it is planned.
    let options: Options = options::read(with, "file").ok()?;
    let path = base.join(&options.path);
    let is_safe = options.rotate.is_some() || options.if_exists == Some(IfExists::Append);
    if is_safe || !path.metadata().is_ok_and(|there| there.is_file() && there.len() > 0) {
        return None;
    }
    let format = options.format.or_else(|| Format::of_name(&options.path))?;
    let appends =
        !matches!(format, Format::Csv | Format::Parquet) && options.if_exists != Some(IfExists::Fail);
    if appends {
        with.insert("if-exists".to_owned(), "append".into());
        return Some(Beside::Behind(path));
    }
    with.remove("if-exists");
    with.insert("rotate".to_owned(), serde_json::json!({ "size": NEVER_FULL }));
    Some(Beside::PartOf(path))
}

/// The options of the formats, as `file` and `stdout` have them in common.
#[derive(Debug)]
pub(crate) struct SinkOptions {
    pub(crate) header: Option<bool>,
    pub(crate) delimiter: Option<String>,
    pub(crate) null: Option<String>,
}

/// A format with its options, checked.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    format: Format,
    style: CsvStyle,
}

impl SinkOptions {
    pub(crate) fn check(self, format: Format, tabs: bool) -> Result<Shape, OptionsError> {
        let csv_only = [
            ("/header", self.header.is_some()),
            ("/delimiter", self.delimiter.is_some()),
            ("/null", self.null.is_some()),
        ];
        if let Some((pointer, _)) = csv_only.iter().find(|(_, given)| *given && format != Format::Csv) {
            let message = format!("`{}` is an option of CSV", &pointer[1..]);
            return Err(OptionsError::new(pointer, message, "remove it, or set `format: csv`"));
        }
        if let Format::Cri | Format::Zeek = format {
            let message = format!("the format {} is one to be read", format.as_str());
            return Err(OptionsError::new(
                "/format",
                message,
                "set `format` to lines, jsonl, csv or parquet",
            ));
        }
        let delimiter = match self.delimiter.as_deref() {
            None => {
                if tabs {
                    b'\t'
                } else {
                    b','
                }
            }
            Some(text) => crate::read::one_byte("/delimiter", text)?,
        };
        if delimiter == b'"' {
            let message = "fields are enclosed in `\"`, which cannot stand between them";
            return Err(OptionsError::new("/delimiter", message, "use another character"));
        }
        let (header, null) = (self.header.unwrap_or(true), self.null.unwrap_or_default());
        // It is written without quotes, which tell it from a text that is the same.
        let special = |char: &char| matches!(char, '"' | '\n' | '\r') || *char == char::from(delimiter);
        if let Some(char) = null.chars().find(special) {
            let message = format!("the text for a null has {char:?} in it, and would not be one field");
            let help = "use a text without quotes, line breaks and the delimiter, such as `null: NA`";
            return Err(OptionsError::new("/null", message, help));
        }
        Ok(Shape { format, style: CsvStyle { delimiter, header, null } })
    }
}

impl Shape {
    /// Rows as JSON lines, opaque records as lines.
    pub(crate) fn natural(input: &Stream) -> Self {
        let format = if *input == Stream::Opaque { Format::Lines } else { Format::Jsonl };
        Self { format, style: CsvStyle { delimiter: b',', header: true, null: String::new() } }
    }

    pub(crate) fn form(&self) -> Form {
        match self.format {
            Format::Lines | Format::Bytes => Form::Bytes,
            Format::Jsonl | Format::Cri | Format::Zeek => Form::Any,
            Format::Csv | Format::Parquet => Form::Table,
        }
    }

    /// What encodes `input`, and what each file begins with.
    pub(crate) fn encoder(&self, input: &Stream) -> (Encoder, Vec<u8>) {
        match (self.format, input) {
            (Format::Lines, _) => (Encoder::Lines, Vec::new()),
            (Format::Bytes, _) => (Encoder::Bytes, Vec::new()),
            (Format::Jsonl, Stream::Opaque) => (Encoder::JsonText, Vec::new()),
            (Format::Jsonl, Stream::Rows(schema)) => (Encoder::JsonRows(JsonWriter::new(schema)), Vec::new()),
            (Format::Csv, _) => {
                let encoder = CsvEncoder::new(self.style.clone(), &input.batch_schema());
                let header = encoder.header(&input.batch_schema());
                (Encoder::Csv(encoder), header)
            }
            // `check` has refused what is only read.
            (Format::Parquet | Format::Cri | Format::Zeek, _) => (Encoder::Rows, Vec::new()),
        }
    }
}
