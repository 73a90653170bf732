//! The source `file`: lines, whole files, JSON lines, CSV and Parquet, from one file or many, packed or not,
//! read once or followed as they grow.

use std::collections::BTreeMap;
use std::mem::take;
use std::time::Duration;

use flow::checkpoint::{MarkPart, MarkParts};
use flow::connector::{ConnectError, Decode, Places, Source};
use model::limits::{FOLLOW_POLL, ROTATE_WAIT};
use model::manifest::TimeFrom;
use model::plan::places::{Access, Place};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::csv::CsvForm;
use crate::format::Format;
use crate::infer::sample_files;
use crate::input::{Compression, Follow, Found, Input, Reach, check_places, find, go_on_where_grown};
use crate::options::{self, OneOrMany, OptionsError};
use crate::parquet_source;
use crate::place::read_places;
use crate::places;
use crate::read::{Described, ReadOptions, Reading, time_column};
use crate::stream::StreamSource;
use crate::{OpenSource, PlannedSource, Presence, SourceSpec, SpecError, Wanted};

/// What stands under `with:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// A file, a pattern such as `data/*.csv`, or a list of them; relative to the manifest. Each file is a
    /// split, and they are read in the order of their names.
    path: OneOrMany,
    /// By default what the name ends with: .csv, .tsv, .jsonl, .ndjson, .parquet, .txt, .log, each maybe with
    /// .gz or .zst behind it.
    format: Option<Format>,
    /// How the files are packed. By default what they begin with says it.
    #[serde(default)]
    compression: Compression,
    /// CSV: whether the first row has the names of the columns. It has, unless this is false.
    header: Option<bool>,
    /// CSV without header: the names of the columns. By default column_1, column_2 and so on.
    columns: Option<Vec<String>>,
    /// CSV: what stands between fields. A comma by default, a tab for .tsv.
    delimiter: Option<String>,
    /// CSV: what encloses fields. `"` by default; empty for nothing.
    quote: Option<String>,
    /// CSV: what makes a quote, a delimiter, a line break or itself an ordinary character when it stands before it, such
    /// as `\\` in files of MySQL and R. None by default; two quotes for one are read in any case.
    escape: Option<String>,
    /// CSV: what begins a line that is no row, such as `#`. None by default.
    comment: Option<String>,
    /// CSV: how many lines stand in front of the header, or of the first row where there is none.
    skip_lines: Option<u64>,
    /// CSV: what numbers have before their fraction, `.` or `,`. `.` by default.
    decimal: Option<String>,
    /// CSV: the text that stands for a null, such as `NA`. By default an empty field does; with this, an
    /// empty field of a text column is an empty text.
    null: Option<String>,
    /// Go on with new lines and new files until the pipeline is stopped.
    #[serde(default)]
    follow: bool,
    /// How often to look for new lines and files.
    #[serde(default, deserialize_with = "options::duration")]
    #[schemars(with = "Option<String>")]
    poll: Option<Duration>,
    /// How long a followed file that was rotated away has to be quiet before it is given up. 5s by default.
    #[serde(default, deserialize_with = "options::duration")]
    #[schemars(with = "Option<String>")]
    rotate_wait: Option<Duration>,
    /// The longest record; a longer one is refused and the rest goes on. 16MiB by default.
    #[serde(default, deserialize_with = "options::bytes")]
    #[schemars(with = "Option<String>")]
    record_bytes_max: Option<u64>,
}

struct FileSource {
    spec: SourceSpec,
    reading: Reading,
    described: Described,
    input: Input,
    /// Patterns that match nothing.
    unmatched: Vec<String>,
}

pub(crate) fn plan(spec: &SourceSpec) -> Result<PlannedSource, SpecError> {
    let options: Options = options::read(&spec.with, "file")?;
    let reading = reading(&options)?;
    let (format, compression, paths) = (reading.format, options.compression, options.path.to_vec());
    let (follow, poll) = (options.follow, options.poll.unwrap_or(FOLLOW_POLL));
    if follow {
        check_follow(format, compression, &paths, poll)?;
    } else {
        let follow_only = [
            ("/poll", options.poll, "`poll` is how often a followed file is looked at"),
            ("/rotate-wait", options.rotate_wait, "`rotate-wait` is for followed files"),
        ];
        if let Some((pointer, _, message)) = follow_only.iter().find(|(_, given, _)| given.is_some()) {
            let help = "set `follow: true` beside it, or remove it";
            return Err(OptionsError::new(pointer, *message, help).into());
        }
    }
    let found = find(&spec.base, &spec.roots, &paths, follow || spec.presence != Presence::There)?;
    let files = &found.files;
    let places = places::of_source(&spec.base, &paths, files)?;
    let access = if follow { Access::Follows } else { Access::Reads };
    if format == Format::Parquet {
        return Ok(parquet_source::plan(spec, found)?.at(access, places));
    }
    let samples = if reading.needs_sample() {
        let there: Vec<_> = files.iter().filter(|file| file.path.is_file()).cloned().collect();
        sample_files(&there, compression)?
    } else {
        Vec::new()
    };
    let described = reading.describe(spec, &samples)?;
    if let TimeFrom::Column(name) = &spec.time {
        time_column(&described.stream, name)?;
    }
    let input = if follow {
        Input::Follow(Follow {
            base: spec.base.clone(),
            reach: Reach { roots: spec.roots.clone(), written: Vec::new() },
            paths,
            poll,
            rotate_wait: options.rotate_wait.unwrap_or(ROTATE_WAIT),
            raw: compression == Compression::None,
            from: BTreeMap::new(),
        })
    } else {
        Input::Files { files: files.clone(), compression, from: BTreeMap::new() }
    };
    let stream = described.stream.clone();
    // What is read from a pipe or a device is gone.
    let replays = files.iter().all(|file| !file.path.exists() || file.path.is_file());
    let source = FileSource { spec: spec.clone(), reading, described, input, unmatched: found.unmatched };
    let planned = PlannedSource::new(stream, source).at(access, places);
    Ok(if replays { planned } else { planned.not_replaying() })
}

/// How the files are read, with what the options leave open filled in.
fn reading(options: &Options) -> Result<Reading, OptionsError> {
    let paths = options.path.to_vec();
    let Some(first) = paths.first() else {
        let message = "`path` names no file";
        return Err(OptionsError::new("/path", message, "name a file or a pattern such as `data/*.csv`"));
    };
    let format = options.format.or_else(|| Format::of_name(first)).ok_or_else(|| {
        let message = format!("the name `{first}` does not say what is in the file");
        let help = "set `format` to lines, bytes, jsonl, csv, parquet, cri or zeek";
        OptionsError::new("/path", message, help)
    })?;
    let read = ReadOptions {
        header: options.header,
        columns: options.columns.clone(),
        delimiter: options.delimiter.clone(),
        quote: options.quote.clone(),
        escape: options.escape.clone(),
        comment: options.comment.clone(),
        skip_lines: options.skip_lines,
        decimal: options.decimal.clone(),
        null: options.null.clone(),
        record_bytes_max: options.record_bytes_max,
    };
    read.check(format, first.to_ascii_lowercase().contains(".tsv"))
}

/// What the places of its files rest on.
pub(crate) fn mark(with: &Map<String, Value>) -> Option<MarkParts> {
    let options: Options = options::read(with, "file").ok()?;
    let Reading { format, csv, columns, .. } = reading(&options).ok()?;
    let mut parts = MarkParts::new();
    let mut add = |name: &str, value: String| parts.insert(name.to_owned(), MarkPart::shown(value));
    add("format", format.as_str().to_owned());
    add("compression", options.compression.as_str().to_owned());
    if format == Format::Csv {
        let shown = |byte: Option<u8>| byte.map(|byte| char::from(byte).to_string());
        let CsvForm { dialect, header, skip_lines, decimal_comma, .. } = csv;
        add("header", header.to_string());
        add("delimiter", char::from(dialect.delimiter).to_string());
        add("quote", shown(dialect.quote).unwrap_or_default());
        // What is not said is no part, so that checkpoints of versions without these options are the same.
        if let Some(escape) = shown(dialect.escape) {
            add("escape", escape);
        }
        if let Some(comment) = shown(dialect.comment) {
            add("comment", comment);
        }
        if skip_lines > 0 {
            add("skip-lines", skip_lines.to_string());
        }
        if decimal_comma {
            add("decimal", ",".to_owned());
        }
        if let Some(columns) = columns {
            add("columns", Value::from(columns).to_string());
        }
    }
    Some(parts)
}

fn check_follow(
    format: Format,
    compression: Compression,
    paths: &[String],
    poll: Duration,
) -> Result<(), OptionsError> {
    let help = "remove `follow`, or follow the file that is written before it is packed";
    if matches!(format, Format::Parquet | Format::Bytes) {
        let message = format!("a file of format {} does not grow and cannot be followed", format.as_str());
        return Err(OptionsError::new("/follow", message, help));
    }
    let packed = |path: &String| Compression::of_name(path) != Compression::None;
    if matches!(compression, Compression::Gzip | Compression::Zstd)
        || compression == Compression::Auto && paths.iter().any(packed)
    {
        return Err(OptionsError::new("/follow", "a packed file cannot be followed", help));
    }
    if poll.is_zero() {
        return Err(OptionsError::new(
            "/poll",
            "`poll` is longer than nothing",
            "use for example `poll: 200ms`",
        ));
    }
    Ok(())
}

impl OpenSource for FileSource {
    fn avoid(&mut self, written: &[Place]) {
        if let Input::Follow(follow) = &mut self.input {
            follow.reach.written = written.to_vec();
        }
    }

    fn open(mut self: Box<Self>, wanted: &Wanted, from: &Places) -> Result<Box<dyn Source>, ConnectError> {
        let mut places = read_places(from)?;
        match &mut self.input {
            Input::Files { files, from, compression } => {
                check_places(files, &places)?;
                if self.spec.presence == Presence::MayBeGone {
                    let mut found = Found { files: take(files), unmatched: take(&mut self.unmatched) };
                    found.check_gone(&places)?;
                    *files = found.files;
                }
                if self.reading.format != Format::Bytes {
                    go_on_where_grown(files, *compression, &mut places)?;
                }
                *from = places;
            }
            Input::Follow(follow) => follow.from = places,
            Input::Stdin { .. } | Input::Stream(_) => {}
        }
        let (make, output) = self.reading.decoders(&self.spec, &self.described, wanted)?;
        Ok(Box::new(StreamSource::open(self.input, output, make)?))
    }

    fn again(&self, wanted: &Wanted) -> Result<Option<Box<dyn Decode>>, ConnectError> {
        self.reading.again(&self.spec, &self.described, wanted).map(Some)
    }
}
