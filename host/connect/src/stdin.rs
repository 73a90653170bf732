//! The source `stdin`: lines, JSON lines, CSV, or all of it as one record.
//!
//! Where columns have to be found out, the first lines are read when the pipeline is planned, and kept.

use std::io::{Cursor, IsTerminal as _, Read};

use flow::connector::{ConnectError, Decode, Places, Source};
use model::limits::INFER_BYTES_MAX;
use model::manifest::TimeFrom;
use model::plan::places::Access;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::format::Format;
use crate::infer::{Sample, sample_reader};
use crate::input::{Compression, Input, failed, open_stream};
use crate::options::{self, OptionsError};
use crate::places;
use crate::read::{Described, ReadOptions, Reading, time_column};
use crate::stream::StreamSource;
use crate::{OpenSource, PlannedSource, Presence, SourceSpec, SpecError, Wanted};

/// What stands under `with:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// lines (which is the default), bytes, jsonl, csv, cri or zeek.
    format: Option<Format>,
    /// How it is packed. By default what it begins with says it.
    #[serde(default)]
    compression: Compression,
    /// CSV: whether the first row has the names of the columns. It has, unless this is false.
    header: Option<bool>,
    /// CSV without header: the names of the columns.
    columns: Option<Vec<String>>,
    /// CSV: what stands between fields. A comma by default.
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
    /// CSV: the text that stands for a null.
    null: Option<String>,
    /// The longest record; a longer one is refused and the rest goes on. 16MiB by default.
    #[serde(default, deserialize_with = "options::bytes")]
    #[schemars(with = "Option<String>")]
    record_bytes_max: Option<u64>,
}

struct StdinSource {
    spec: SourceSpec,
    reading: Reading,
    described: Described,
    input: Input,
}

pub(crate) fn plan(spec: &SourceSpec) -> Result<PlannedSource, SpecError> {
    let options: Options = options::read(&spec.with, "stdin")?;
    let format = options.format.unwrap_or(Format::Lines);
    if format == Format::Parquet {
        let message = "Parquet is read from its end, which standard input does not have";
        return Err(OptionsError::new("/format", message, "use the source `file`").into());
    }
    let compression = options.compression;
    let read = ReadOptions {
        header: options.header,
        columns: options.columns,
        delimiter: options.delimiter,
        quote: options.quote,
        escape: options.escape,
        comment: options.comment,
        skip_lines: options.skip_lines,
        decimal: options.decimal,
        null: options.null,
        record_bytes_max: options.record_bytes_max,
    };
    let reading = read.check(format, false)?;
    let (samples, input) = if reading.needs_sample() && spec.presence != Presence::Unread {
        if std::io::stdin().is_terminal() {
            let why = "its columns are found from its first lines, and a terminal has none yet";
            return Err(
                ConnectError::failed("stdin", why, "pipe something in, for example `< data.csv`").into()
            );
        }
        let (sample, reader) = sample_stdin(compression, &reading)?;
        (vec![sample], Input::Stream(reader))
    } else {
        (Vec::new(), Input::Stdin { compression })
    };
    let described = reading.describe(spec, &samples)?;
    if let TimeFrom::Column(name) = &spec.time {
        time_column(&described.stream, name)?;
    }
    let stream = described.stream.clone();
    let source = StdinSource { spec: spec.clone(), reading, described, input };
    let places = places::of_stream(std::io::stdin()).map_err(|error| failed("stdin", &error))?;
    Ok(PlannedSource::new(stream, source).at(Access::Reads, places).not_replaying())
}

fn sample_stdin(
    compression: Compression,
    reading: &Reading,
) -> Result<(Sample, Box<dyn Read + Send>), ConnectError> {
    let mut reader = open_stream(std::io::stdin(), "stdin", compression)?;
    let (data, ended) =
        sample_reader(&mut *reader, "stdin", INFER_BYTES_MAX, &|data| reading.has_record(data))?;
    let again = Cursor::new(data.clone()).chain(reader);
    Ok((Sample { name: "stdin".to_owned(), data, ended }, Box::new(again)))
}

impl OpenSource for StdinSource {
    fn open(self: Box<Self>, wanted: &Wanted, _from: &Places) -> Result<Box<dyn Source>, ConnectError> {
        let (make, output) = self.reading.decoders(&self.spec, &self.described, wanted)?;
        Ok(Box::new(StreamSource::open(self.input, output, make)?))
    }

    fn again(&self, wanted: &Wanted) -> Result<Option<Box<dyn Decode>>, ConnectError> {
        self.reading.again(&self.spec, &self.described, wanted).map(Some)
    }
}
