//! Built-in sources and sinks, one file each.
//!
//! All of them go the same two steps. [`plan_source`] and [`plan_sink`] read what stands under `with:`, look
//! at what is there, and say what will flow, without starting anything; `open` then takes what the plan made
//! of it, and gives a [`flow::connector::Source`] or [`flow::connector::Sink`]. What somebody typed wrong
//! comes out of the first step.

mod again;
mod csv;
mod decode;
mod digest;
mod discard;
mod file_sink;
mod file_source;
mod format;
mod generate;
mod http_sink;
mod http_source;
mod infer;
mod input;
mod options;
mod parquet_source;
mod place;
mod places;
mod read;
mod roots;
mod secrets;
mod stdin;
mod stdout;
mod stream;
mod template;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, SystemDisk};
use flow::checkpoint::MarkParts;
use flow::connector::{Committed, ConnectError, Decode, Places, Sink, Source};
use model::manifest::{ColumnType, TimeFrom, UnknownFields};
use model::plan::places::{Access, End, Place};
use model::plan::{Form, Stream};
use schemars::Schema;
use serde_json::{Map, Value};

pub use discard::{Discard, Totals};
pub use options::OptionsError;
pub use roots::{Roots, RootsError};
pub use secrets::Secrets;
pub use write::SetAside;

/// The sources that there are, by the names that a manifest uses.
pub const SOURCES: [&str; 4] = ["file", "generate", "http", "stdin"];
/// The sinks that there are.
pub const SINKS: [&str; 4] = ["discard", "file", "http", "stdout"];

/// What has to be there of the input of a source when it is planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// All that is named.
    #[default]
    There,
    /// A checkpoint may be behind some of it, which may be gone by now. What that does not know has to be there when the
    /// source is opened.
    MayBeGone,
    /// Nothing: it is not read. Files that are there are looked at for their columns.
    Unread,
}

/// A source as the manifest has it.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
    /// One of [`SOURCES`].
    pub connector: String,
    /// What stands under `with:`.
    pub with: Map<String, Value>,
    /// Declared columns; none of a type is as found.
    pub schema: Vec<(String, Option<ColumnType>)>,
    pub time: TimeFrom,
    pub unknown: UnknownFields,
    /// What relative paths are relative to: the directory of the manifest.
    pub base: PathBuf,
    /// Where its files may lie.
    pub roots: Roots,
    pub secrets: Secrets,
    /// Where a source that cannot be read again keeps what it has taken. None where nothing is kept.
    pub spool: Option<PathBuf>,
    pub presence: Presence,
}

/// A sink as the manifest has it.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    pub stage: Arc<str>,
    /// One of [`SINKS`].
    pub connector: String,
    /// What stands under `with:`.
    pub with: Map<String, Value>,
    /// What relative paths are relative to: the directory of the manifest.
    pub base: PathBuf,
    /// Where its files may lie.
    pub roots: Roots,
    pub secrets: Secrets,
}

/// Why a source or a sink cannot be planned.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum SpecError {
    #[error("there is no built-in {role} `{name}`; there are {known}")]
    Unknown { role: &'static str, name: String, known: String },
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// What of a source's records is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Indices into the stream's columns; only these are decoded, in this order. None: all of them.
    pub columns: Option<Vec<usize>>,
    /// Whether records carry their event time.
    pub times: bool,
}

/// A source that was looked at and not started.
pub struct PlannedSource {
    stream: Stream,
    replays: bool,
    end: End,
    opener: Box<dyn OpenSource>,
}

/// A sink whose options were read.
pub struct PlannedSink {
    form: Form,
    reads_columns: bool,
    commits: bool,
    end: End,
    opener: Box<dyn OpenSink>,
}

pub(crate) trait OpenSource: Send {
    /// `from`: where splits go on that were read before.
    fn open(self: Box<Self>, wanted: &Wanted, from: &Places) -> Result<Box<dyn Source>, ConnectError>;

    /// What sinks of the same run write, which is no rotated file of this source's.
    fn avoid(&mut self, written: &[Place]) {
        let _ = written;
    }

    /// What makes records of those that it has refused before; none of a source that refuses none.
    fn again(&self, wanted: &Wanted) -> Result<Option<Box<dyn Decode>>, ConnectError> {
        let _ = wanted;
        Ok(None)
    }
}

pub(crate) trait OpenSink: Send {
    /// `committed`: none in a run without checkpoints.
    fn open(
        self: Box<Self>,
        input: &Stream,
        committed: Option<Committed>,
    ) -> Result<Box<dyn Sink>, ConnectError>;
}

impl PlannedSource {
    pub(crate) fn new(stream: Stream, opener: impl OpenSource + 'static) -> Self {
        let end = End { access: Access::Reads, places: Vec::new() };
        Self { stream, replays: true, end, opener: Box::new(opener) }
    }

    /// A source that reads at places where others may write.
    pub(crate) fn at(self, access: Access, places: Vec<Place>) -> Self {
        Self { end: End { access, places }, ..self }
    }

    /// Where it reads outside of its pipeline.
    pub fn end(&self) -> &End {
        &self.end
    }

    /// A source whose records are gone once they were read.
    pub(crate) fn not_replaying(self) -> Self {
        Self { replays: false, ..self }
    }

    /// What it gives: opaque records, or rows of these columns.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether records can be read again from a place where it was before.
    pub fn replays(&self) -> bool {
        self.replays
    }

    /// The same, of a run whose sinks write at these places. A source that looks for files which were rotated away takes
    /// none of them for one.
    pub fn avoiding(mut self, written: &[Place]) -> Self {
        self.opener.avoid(written);
        self
    }

    /// Starts it. What flows has the wanted columns alone. `from`: where splits go on that were read before.
    pub fn open(self, wanted: &Wanted, from: &Places) -> Result<Box<dyn Source>, ConnectError> {
        self.opener.open(wanted, from)
    }

    /// What makes records of those that it has refused before, without opening it; none of a source that refuses none.
    pub fn again(&self, wanted: &Wanted) -> Result<Option<Box<dyn Decode>>, ConnectError> {
        self.opener.again(wanted)
    }
}

impl PlannedSink {
    pub(crate) fn new(form: Form, opener: impl OpenSink + 'static) -> Self {
        let end = End { access: Access::Writes, places: Vec::new() };
        Self { form, reads_columns: true, commits: false, end, opener: Box::new(opener) }
    }

    /// A sink that writes at places where others may read.
    pub(crate) fn at(self, access: Access, places: Vec<Place>) -> Self {
        Self { end: End { access, places }, ..self }
    }

    /// Where it writes outside of its pipeline.
    pub fn end(&self) -> &End {
        &self.end
    }

    /// A sink whose output is seen when a checkpoint is committed, and once.
    pub(crate) fn committing(self) -> Self {
        Self { commits: true, ..self }
    }

    pub(crate) fn reading_columns(self, reads_columns: bool) -> Self {
        Self { reads_columns, ..self }
    }

    /// What it takes; the plan converts what comes otherwise.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether it looks at the columns of rows. One that only counts does not, and nothing is decoded for it.
    pub fn reads_columns(&self) -> bool {
        self.reads_columns
    }

    /// Whether its output is seen when a checkpoint is committed, and once.
    pub fn commits(&self) -> bool {
        self.commits
    }

    /// Opens what it writes to: what cannot be written is found out here, before anything runs. `committed`: what
    /// the last checkpoint knows of it; none in a run without checkpoints.
    pub fn open(self, input: &Stream, committed: Option<Committed>) -> Result<Box<dyn Sink>, ConnectError> {
        self.opener.open(input, committed)
    }
}

/// Reads the options of a source and looks at what it would read.
pub fn plan_source(spec: &SourceSpec) -> Result<PlannedSource, SpecError> {
    match spec.connector.as_str() {
        "file" => file_source::plan(spec),
        "generate" => generate::plan(spec),
        "http" => http_source::plan(spec),
        "stdin" => stdin::plan(spec),
        name => Err(unknown("source", name, &SOURCES)),
    }
}

/// Reads the options of a sink.
pub fn plan_sink(spec: &SinkSpec) -> Result<PlannedSink, SpecError> {
    match spec.connector.as_str() {
        "discard" => discard::plan(spec),
        "file" => file_sink::plan(spec),
        "http" => http_sink::plan(spec),
        "stdout" => stdout::plan(spec),
        name => Err(unknown("sink", name, &SINKS)),
    }
}

/// The sink `file` on a disk of the caller's, who writes to it himself: each call is done when it comes back, and
/// nothing runs beside. For simulations, which lose and tear what is on their disk.
pub fn open_file_on(
    disk: Arc<dyn Disk>,
    spec: &SinkSpec,
    input: &Stream,
    committed: Option<Committed>,
) -> Result<Box<dyn Sink>, SpecError> {
    file_sink::open_on(disk, spec, input, committed)
}

/// Where more of the same output goes, for a sink that would replace what it wrote before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// To the end of this file.
    Behind(PathBuf),
    /// Into a new file beside this one, with a number of its own.
    PartOf(PathBuf),
}

/// Changes what stands under `with:` so that the sink keeps what it wrote in earlier runs. None where it does so
/// anyway.
pub fn keep_earlier_output(connector: &str, with: &mut Map<String, Value>, base: &Path) -> Option<Beside> {
    match connector {
        "file" => file_sink::beside(with, base),
        _ => None,
    }
}

/// What the places of a source rest on under this config, with what it leaves open filled in. None of a source that has
/// nothing such.
pub fn source_mark(connector: &str, with: &Map<String, Value>) -> Option<MarkParts> {
    match connector {
        "file" => file_source::mark(with),
        "generate" => generate::mark(with),
        _ => None,
    }
}

/// What the output of a sink so far rests on under this config: with other values, what follows does not go behind it.
/// None of a sink that has nothing such.
pub fn sink_mark(connector: &str, with: &Map<String, Value>, input: &Stream) -> Option<MarkParts> {
    match connector {
        "file" => file_sink::mark(with, input),
        _ => None,
    }
}

/// Whether a sink `file` has a file to go on in, by the token of a checkpoint. Nobody knows what another token says.
pub fn has_file(token: &[u8]) -> bool {
    write::has_file(token)
}

/// Finishes the file of a sink `file` as the token says, and moves it out of the way where its name is needed, so that
/// the sink begins a new one when it is opened with the token that comes back. Doing it again, after a crash, is the same
/// as once.
pub fn set_file_aside(spec: &SinkSpec, token: &[u8]) -> Result<SetAside, SpecError> {
    file_sink::set_aside(Arc::new(SystemDisk), spec, token)
}

/// The JSON Schema of what a source takes under `with:`.
pub fn source_options(name: &str) -> Option<Schema> {
    Some(match name {
        "file" => schemars::schema_for!(file_source::Options),
        "generate" => schemars::schema_for!(generate::Options),
        "http" => schemars::schema_for!(http_source::Options),
        "stdin" => schemars::schema_for!(stdin::Options),
        _ => return None,
    })
}

/// The JSON Schema of what a sink takes under `with:`.
pub fn sink_options(name: &str) -> Option<Schema> {
    Some(match name {
        "discard" => schemars::schema_for!(discard::Options),
        "file" => schemars::schema_for!(file_sink::Options),
        "http" => schemars::schema_for!(http_sink::Options),
        "stdout" => schemars::schema_for!(stdout::Options),
        _ => return None,
    })
}

fn unknown(role: &'static str, name: &str, known: &[&str]) -> SpecError {
    SpecError::Unknown { role, name: name.to_owned(), known: known.join(", ") }
}

#[cfg(test)]
mod tests;
