//! A pipeline as the manifest says it: typed, checked by itself, and not yet matched with any component.
//!
//! Whoever holds a [`Pipeline`] may rely on: names are valid and unique, every input leads to a stage that has
//! outputs, sources have no inputs and everything else has at least one, the graph has no cycle, and every
//! source and transform is read by somebody. Which ports a stage has, which columns flow and whether a
//! component takes its config is the plan's to find out; the spans are here so that it can say where.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::names::Name;
use super::units::{Bytes, Duration, DurationRange, Fuel, Percent};
pub use crate::stage::Role;

use crate::diagnostics::{Diagnostic, Diagnostics, SourceText, Span, Spanned};
use crate::grants::Grants;
use crate::limits;

/// One manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    pub name: Spanned<Name>,
    pub description: Option<String>,
    /// In the order of the manifest.
    pub stages: Vec<Stage>,
    /// For a run that keeps its state.
    pub checkpoint: CheckpointDecl,
    /// For a revision that is deployed over another.
    pub gate: Gate,
    pub on_failure: OnFailure,
    /// The pipeline's share of a busy machine, against the weights of the others.
    pub weight: u32,
    pub quota: Quota,
    pub tests: Vec<Test>,
    /// The text that all spans in here are ranges of.
    pub text: SourceText,
}

/// How a revision that was deployed over another is told from one that is no good: where it fails, or refuses too much, the
/// one before goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Of the records that its sources gave.
    pub max_reject_rate: Percent,
    /// From its start.
    pub within: Duration,
}

impl Default for Gate {
    fn default() -> Self {
        Self { max_reject_rate: Percent(limits::DEPLOY_REJECT_RATE), within: Duration(limits::DEPLOY_WITHIN) }
    }
}

/// How often a run that keeps its state takes a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointDecl {
    pub interval: Duration,
    /// After which one that does not come to its end is told of.
    pub timeout: Duration,
}

impl Default for CheckpointDecl {
    fn default() -> Self {
        Self {
            interval: Duration(limits::CHECKPOINT_INTERVAL),
            timeout: Duration(limits::CHECKPOINT_TIMEOUT),
        }
    }
}

impl Pipeline {
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name.as_str() == name)
    }

    /// The stage that an [`Input`] or a test names.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.name.as_str() == name)
    }

    /// Problems found later, over this manifest's text.
    pub fn diagnostics(&self, list: Vec<Diagnostic>) -> Diagnostics {
        Diagnostics::new(self.text.clone(), list)
    }
}

/// One stage of the manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub name: Spanned<Name>,
    /// With the span of the key that says it: `source`, `transform`, `sink`.
    pub role: Spanned<Role>,
    pub reference: Spanned<StageRef>,
    /// Empty for a source, and for nothing else.
    pub from: Vec<Input>,
    pub with: Config,
    /// Of a source: what it reads. Of any other stage: what is in the opaque records that come to it, so that
    /// they can be parsed as JSON rows.
    pub schema: SchemaDecl,
    /// Sources only; elsewhere it is the default.
    pub time: Spanned<TimeFrom>,
    /// Goes with `schema`.
    pub unknown: Spanned<UnknownFields>,
    /// Sources and transforms only.
    pub key: Option<Spanned<KeyFrom>>,
    pub limits: Limits,
    /// Components only; elsewhere it is the default.
    pub grants: GrantsDecl,
    pub on_error: Spanned<OnError>,
    pub retry: Retry,
    /// Components only; elsewhere it is the default.
    pub isolation: Isolation,
    /// Sources only; elsewhere it is the default.
    pub batch: BatchDecl,
}

/// What stands under `grants`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrantsDecl {
    pub value: Grants,
    /// Of the key, where there is one.
    pub span: Option<Span>,
    /// By entry of `value.dirs`: where the host's path is said.
    pub dirs: Vec<Span>,
    /// By entry of `value.secrets`.
    pub secrets: Vec<Span>,
}

/// Where a stage's code is. Paths are as written: relative to the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageRef {
    /// A built-in connector.
    BuiltIn(String),
    /// A directory with a stage's source, to be built.
    Directory(String),
    /// A component or a core module.
    WasmFile(String),
    /// A component in an OCI registry, by a tag, by a digest or by both.
    Oci(OciRef),
}

impl fmt::Display for StageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(text) | Self::Directory(text) | Self::WasmFile(text) => f.write_str(text),
            Self::Oci(reference) => reference.fmt(f),
        }
    }
}

/// `registry.example/acme/large:1.2.0` or `registry.example/acme/large@sha256:...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciRef {
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

impl OciRef {
    /// The registry and the repository, without what says which version is meant.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for OciRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// One entry of `from`: `stage`, or `stage.port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Index into [`Pipeline::stages`].
    pub stage: usize,
    /// The named port; the stage's main one when absent.
    pub port: Option<Name>,
    /// The whole entry.
    pub span: Span,
}

/// What stands under `with`, as the stage's `open` gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub value: Map<String, Value>,
    /// The map, or the stage's reference when there is no `with`.
    pub span: Span,
    /// By JSON pointer (`/path`, `/columns/0`): the key that says it, or the item of a list. Keys that
    /// `--set` gave have none.
    pub keys: BTreeMap<String, Span>,
}

impl Config {
    /// Where to point for a problem with the value at a JSON pointer: at its key, or at the nearest key
    /// around it that the manifest has.
    pub fn span_of(&self, pointer: &str) -> Span {
        let mut at = pointer;
        loop {
            if let Some(span) = self.keys.get(at) {
                return *span;
            }
            match at.rfind('/') {
                Some(cut) => at = &at[..cut],
                None => return self.span,
            }
        }
    }
}

/// The fields that a source declares; what it does not is taken as found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaDecl {
    /// In the order of the manifest; empty means `infer`.
    pub columns: Vec<ColumnDecl>,
    /// The key `schema`, when it is there.
    pub span: Option<Span>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDecl {
    pub name: Spanned<String>,
    /// `None` for `infer`: the column must be there, its type is as found.
    pub column_type: Option<Spanned<ColumnType>>,
}

/// The types that a manifest can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    Bool,
    Int,
    Float,
    Text,
    /// A point in time.
    Timestamp,
    /// A date and a time of day, in whatever zone.
    LocalTimestamp,
    Date,
    Bytes,
    Json,
}

impl ColumnType {
    pub const ALL: [Self; 9] = [
        Self::Bool,
        Self::Int,
        Self::Float,
        Self::Text,
        Self::Timestamp,
        Self::LocalTimestamp,
        Self::Date,
        Self::Bytes,
        Self::Json,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "text",
            Self::Timestamp => "timestamp",
            Self::LocalTimestamp => "local-timestamp",
            Self::Date => "date",
            Self::Bytes => "bytes",
            Self::Json => "json",
        }
    }
}

/// Where a record's event time comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TimeFrom {
    /// The moment at which the source read it.
    #[default]
    Now,
    Column(String),
}

/// What becomes of a field that is not in the schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// The record is rejected.
    #[default]
    Reject,
    /// The field is dropped.
    Ignore,
    /// The field goes into the JSON column `rest`.
    Rest,
}

/// What sets a record's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFrom {
    Column(String),
    /// RFC 6901, for opaque records that hold JSON; begins with `/`.
    Pointer(String),
}

/// Bounds on a stage; what is absent has its default in `model::limits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Linear memories and tables of one instance.
    pub memory: Option<Spanned<Bytes>>,
    pub fuel_per_record: Option<Spanned<Fuel>>,
    /// Fuel for a batch beside what its records are worth.
    pub fuel_per_batch: Option<Spanned<Fuel>>,
    /// The guest's own running time for one batch.
    pub batch_time: Option<Spanned<Duration>>,
    /// The longest that one call of the guest into the host may take.
    pub host_call_time: Option<Spanned<Duration>>,
    /// Bytes that one call into the host may hand over.
    pub host_call_bytes: Option<Spanned<Bytes>>,
    /// Bytes of one answer.
    pub output_bytes: Option<Spanned<Bytes>>,
    /// Bytes of one answer for each byte that came in.
    pub output_ratio: Option<Spanned<Fuel>>,
    /// Log lines in a second; the rest is counted and dropped.
    pub log_lines: Option<Spanned<Fuel>>,
    /// Handles to things of the host that are open at once.
    pub resources: Option<Spanned<Fuel>>,
    /// Instances that are alive at once.
    pub instances: Option<Spanned<Fuel>>,
    /// All of the stage's state. Transforms only.
    pub state_bytes: Option<Spanned<Bytes>>,
    /// The longest single record. Sources only.
    pub record_bytes: Option<Spanned<Bytes>>,
}

/// What becomes of a record that a stage refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    #[default]
    DeadLetter,
    /// Counted and gone.
    Drop,
    /// The pipeline ends.
    Fail,
}

/// What a failed stage does to the pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// All of it stops.
    #[default]
    Stop,
    /// The branch that cannot go on is cut; what it would have got is counted.
    Continue,
}

/// How long a stage is tried again before it counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub attempts: u32,
    /// The first wait, and the longest.
    pub backoff: DurationRange,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: limits::RETRY_ATTEMPTS,
            backoff: DurationRange {
                from: Duration(limits::RETRY_BACKOFF),
                to: Duration(limits::RETRY_BACKOFF_MAX),
            },
        }
    }
}

/// What an instance may carry from one batch to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// An instance takes many batches.
    #[default]
    Stage,
    /// Each batch gets a fresh one.
    Batch,
}

/// What a pipeline may use up in a second; what is absent has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub fuel_per_second: Option<Fuel>,
}

/// When a source closes a batch: by whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchDecl {
    pub records: usize,
    /// Of values.
    pub bytes: Bytes,
    /// How long the first record may wait.
    pub delay: Duration,
}

impl Default for BatchDecl {
    fn default() -> Self {
        Self {
            records: limits::BATCH_RECORDS,
            bytes: Bytes(limits::BATCH_BYTES as u64),
            delay: Duration(limits::BATCH_DELAY),
        }
    }
}

/// One entry of `tests`.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    pub name: Spanned<String>,
    pub inputs: Vec<TestInput>,
    pub expect: Vec<Expect>,
}

/// Records that a test puts into a stage: a source is replaced by them, any other stage gets them as input.
#[derive(Clone, Debug, PartialEq)]
pub struct TestInput {
    /// Index into [`Pipeline::stages`].
    pub stage: Spanned<usize>,
    pub records: Vec<Spanned<Value>>,
}

/// Records that must leave a stage by a port, in this order; for a sink, those that reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// Index into [`Pipeline::stages`].
    pub stage: Spanned<usize>,
    /// The main port when absent.
    pub port: Option<Name>,
    pub records: Vec<Spanned<Value>>,
    /// The key `records`.
    pub span: Span,
}
