//! The sink `stdout`: lines, JSON lines or CSV.
//!
//! When whoever reads it goes away, as `head` does, that is a clean end: the error that comes back says
//! [`flow::connector::ConnectErrorKind::Closed`].

use flow::connector::{Committed, ConnectError, Sink};
use model::plan::places::Access;
use model::plan::{Form, Stream};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::file_sink::{Shape, SinkOptions};
use crate::format::Format;
use crate::options;
use crate::places;
use crate::write::{EncodedSink, StdoutOutput, Writing};
use crate::{OpenSink, PlannedSink, SinkSpec, SpecError};

/// What stands under `with:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// lines, bytes, jsonl or csv. By default rows are written as jsonl and opaque records as lines.
    format: Option<Format>,
    /// CSV: whether to begin with the names of the columns. Yes, unless this is false.
    header: Option<bool>,
    /// CSV: what stands between fields. A comma by default.
    delimiter: Option<String>,
    /// CSV: what a null is written as. An empty field by default.
    null: Option<String>,
}

struct Stdout {
    shape: Option<Shape>,
}

pub(crate) fn plan(spec: &SinkSpec) -> Result<PlannedSink, SpecError> {
    let options: Options = options::read(&spec.with, "stdout")?;
    if options.format == Some(Format::Parquet) {
        let message = "Parquet is not written to standard output";
        return Err(crate::OptionsError::new("/format", message, "use the sink `file`").into());
    }
    let sink = SinkOptions { header: options.header, delimiter: options.delimiter, null: options.null };
    let shape = match options.format {
        Some(format) => Some(sink.check(format, false)?),
        None => {
            sink.check(Format::Lines, false)?;
            None
        }
    };
    let form = shape.as_ref().map_or(Form::Any, Shape::form);
    let places = places::of_stream(std::io::stdout())
        .map_err(|error| ConnectError::failed("stdout", error, "check where standard output leads"))?;
    Ok(PlannedSink::new(form, Stdout { shape }).at(Access::Sends, places))
}

impl OpenSink for Stdout {
    fn open(
        self: Box<Self>,
        input: &Stream,
        _committed: Option<Committed>,
    ) -> Result<Box<dyn Sink>, ConnectError> {
        let shape = self.shape.unwrap_or_else(|| Shape::natural(input));
        let (encoder, header) = shape.encoder(input);
        let writer = Writing::behind(StdoutOutput::new(header))?;
        Ok(Box::new(EncodedSink::new(encoder, writer, false)))
    }
}
