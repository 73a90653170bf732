//! What can go wrong with a component and with a call, each told in the words of whoever has to act on it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use model::limits;
use model::manifest::NameError;

use crate::backtrace::GuestBacktrace;
use crate::keyed::StateError;

/// Why an engine cannot be had on this machine.
#[derive(thiserror::Error, Debug)]
pub enum EngineError {
    #[error(
        "cannot reserve address space for {instances} instances: {source}; lift the limit (`ulimit -v`) or \
         set fewer instances"
    )]
    Reserve { instances: u32, source: wasmtime::Error },
    #[error("cannot start the thread that ticks the epochs: {0}")]
    Ticker(std::io::Error),
    #[error("cannot link the host's interfaces: {0}")]
    Link(wasmtime::Error),
}

/// Why a file is not a stage.
#[derive(thiserror::Error, Debug)]
pub enum LoadError {
    #[error("the component has {bytes} bytes, at most {} are taken", limits::COMPONENT_BYTES_MAX)]
    TooLarge { bytes: usize },
    #[error(
        "it is not WebAssembly: it starts with {found}, not with `\\0asm`; name the `.wasm` that was built"
    )]
    NotWasm { found: String },
    #[error("it is WebAssembly of version {version:#010x}, which this host does not know")]
    Version { version: u32 },
    #[error("it is truncated: it ends after {bytes} bytes inside {inside}; build or download it again")]
    Truncated { bytes: usize, inside: String },
    #[error("it is not valid WebAssembly: {why}")]
    Invalid { why: String },
    #[error(
        "it is a core module that cannot be made into a component: {why}; build it with bindings of the \
         contract, or with `conveyor build`"
    )]
    Componentize { why: String },
    #[error(
        "it is a component, but no stage: it exports {}; expected is `conveyor:stage/about@0.1.0` with one \
         of transform, table-transform, source, table-source, sink, table-sink of `conveyor:stage@0.1.0`",
        list(exports)
    )]
    NotAStage { exports: Vec<String> },
    #[error(
        "`{function}` of `{interface}` is not what the contract says: {why}; build it against the released \
         contract"
    )]
    Signature { interface: String, function: &'static str, why: String },
    #[error("it cannot be linked: {why}")]
    Link { why: String },
    #[error("asked what it is, `about.describe` failed: {0}")]
    About(CallError),
    #[error("the config schema that it gives in `about` is no JSON Schema: {why}")]
    Schema { why: String },
    #[error("compiling it was cut short: {why}")]
    Interrupted { why: String },
    #[error(
        "compiling it took more than {} s; build it smaller, or allow more with CONVEYOR_COMPILE_TIME",
        limit.as_secs_f64()
    )]
    CompileTime { limit: Duration },
    #[error(
        "compiling it took more than {} MiB of memory; build it smaller, or allow more with \
         CONVEYOR_COMPILE_MEMORY",
        limit_bytes >> 20
    )]
    CompileMemory { limit_bytes: usize },
    #[error("compiled, it has more than {} MiB; build it smaller", limit_bytes >> 20)]
    CodeTooLarge { limit_bytes: usize },
    #[error(
        "the process that compiles it, {}, cannot be started: {source}; look whether it is there and may be run",
        program.display()
    )]
    CompilerStart { program: PathBuf, source: std::io::Error },
    #[error("the process that compiled it ended {how}; try again, and report it if it stays so")]
    CompilerDied { how: String },
    #[error(
        "the process that compiled it answered with something else than its code: {why}; it has to be this \
         very version of Conveyor"
    )]
    CompilerAnswer { why: String },
}

impl LoadError {
    /// Whether it is told by what happened while it was compiled, so that it may be a stage all the same.
    pub fn is_of_compiling(&self) -> bool {
        match self {
            Self::Interrupted { .. }
            | Self::CompileTime { .. }
            | Self::CompileMemory { .. }
            | Self::CodeTooLarge { .. }
            | Self::CompilerStart { .. }
            | Self::CompilerDied { .. }
            | Self::CompilerAnswer { .. } => true,
            Self::TooLarge { .. }
            | Self::NotWasm { .. }
            | Self::Version { .. }
            | Self::Truncated { .. }
            | Self::Invalid { .. }
            | Self::Componentize { .. }
            | Self::NotAStage { .. }
            | Self::Signature { .. }
            | Self::Link { .. }
            | Self::About(_)
            | Self::Schema { .. } => false,
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// Why a call has no answer that can be used. But for `Failure`, the instance is gone with it.
#[derive(thiserror::Error, Debug)]
pub enum CallError {
    #[error("{0}")]
    Trap(Trap),
    #[error("out of fuel: the call used up {fuel}; raise `limits.fuel-per-record`, or look for a loop")]
    OutOfFuel { fuel: u64, backtrace: GuestBacktrace },
    #[error(
        "timed out: it ran for {} ms; raise `limits.batch-time`, or look for a loop", limit.as_millis()
    )]
    TimedOut { limit: Duration, backtrace: GuestBacktrace },
    #[error("out of memory: it asked for more than {limit_bytes} bytes; raise `limits.memory`")]
    OutOfMemory { limit_bytes: usize, backtrace: GuestBacktrace },
    #[error(
        "its answer is too large: more than the {limit_bytes} bytes that what came in allows; raise \
         `limits.output-bytes` or `limits.output-ratio`"
    )]
    OutputTooLarge { limit_bytes: usize },
    #[error(
        "it handed more than {limit_bytes} bytes to one call into the host; hand it less at a time, or raise \
         `limits.host-call-bytes`"
    )]
    HostCallTooLarge { limit_bytes: usize, backtrace: GuestBacktrace },
    #[error("it holds more handles than it may; close what is done with, or raise `limits.resources`")]
    TooManyResources { backtrace: GuestBacktrace },
    #[error("it wants more than the {limit} instances that it may have; raise `limits.instances`")]
    TooManyInstances { limit: u32 },
    #[error("a call into the host did not return within {} ms", limit.as_millis())]
    HostCallTimedOut { limit: Duration },
    #[error(
        "its calls into the host took more than {} ms together; hand it fewer records at a time, or raise \
         `limits.host-call-time`, of which all of them get {} times as much",
        limit.as_millis(), limits::HOST_WAITS_MAX
    )]
    HostCallsTimedOut { limit: Duration },
    #[error(
        "its `pull` was to be back within {} ms, and waited in the host for more than {} ms; let it answer none when \
         nothing has come by then, or raise `limits.host-call-time`",
        asked.as_millis(), limit.as_millis()
    )]
    PullTimedOut { asked: Duration, limit: Duration },
    #[error(
        "out of stack: its calls went deeper than {limit_bytes} bytes of stack; look for a recursion without end"
    )]
    StackOverflow { limit_bytes: usize, backtrace: GuestBacktrace },
    #[error("{error}")]
    State { error: StateError, backtrace: GuestBacktrace },
    #[error("{0}")]
    Failure(Failure),
    #[error("its answer breaks the contract: {0}")]
    BadAnswer(#[from] AnswerError),
    #[error("{0}")]
    Input(#[from] InputError),
    #[error("every instance that this process may have is taken; set more, or fewer stages")]
    NoRoom,
    #[error("it cannot be started: {0}")]
    Start(String),
}

impl CallError {
    /// The short, stable code under which this is counted.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::OutOfFuel { .. } => "out-of-fuel",
            Self::TimedOut { .. } => "timed-out",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::HostCallTimedOut { .. } | Self::HostCallsTimedOut { .. } | Self::PullTimedOut { .. } => {
                "host-call-timed-out"
            }
            Self::StackOverflow { .. } => "stack-overflow",
            Self::OutputTooLarge { .. } => "output-too-large",
            Self::HostCallTooLarge { .. } => "host-call-too-large",
            Self::TooManyResources { .. } => "too-many-resources",
            Self::TooManyInstances { .. } => "too-many-instances",
            Self::State { error, .. } => error.code(),
            Self::Failure(Failure::Retry { .. }) => "retry",
            Self::Failure(Failure::Invalid(_)) => "invalid",
            Self::Failure(Failure::Fatal(_)) => "fatal",
            Self::BadAnswer(_) => "bad-answer",
            Self::Input(_) => "bad-input",
            Self::NoRoom => "no-room",
            Self::Start(_) => "cannot-start",
        }
    }

    /// Whether the stage died on what it was given, so that it is worth finding out which record it was. Its own
    /// failures, and what the host lacks, are no deaths.
    pub fn is_death(&self) -> bool {
        match self {
            Self::Trap(_)
            | Self::OutOfFuel { .. }
            | Self::TimedOut { .. }
            | Self::OutOfMemory { .. }
            | Self::OutputTooLarge { .. }
            | Self::HostCallTooLarge { .. }
            | Self::TooManyResources { .. }
            | Self::HostCallTimedOut { .. }
            | Self::HostCallsTimedOut { .. }
            | Self::PullTimedOut { .. }
            | Self::StackOverflow { .. }
            | Self::BadAnswer(_) => true,
            Self::State { error, .. } => error.is_of_records(),
            Self::Failure(_)
            | Self::Input(_)
            | Self::TooManyInstances { .. }
            | Self::NoRoom
            | Self::Start(_) => false,
        }
    }

    pub fn backtrace(&self) -> Option<&GuestBacktrace> {
        match self {
            Self::Trap(trap) => Some(&trap.backtrace),
            Self::OutOfFuel { backtrace, .. }
            | Self::TimedOut { backtrace, .. }
            | Self::OutOfMemory { backtrace, .. }
            | Self::HostCallTooLarge { backtrace, .. }
            | Self::StackOverflow { backtrace, .. }
            | Self::State { backtrace, .. }
            | Self::TooManyResources { backtrace } => Some(backtrace),
            _ => None,
        }
    }
}

/// Why a batch cannot go into a stage: the host did not make it as the plan says.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
pub enum InputError {
    #[error("{what} cannot go in: it is {found}, the plan says {expected}")]
    Type { what: String, found: String, expected: String },
    #[error("{found} columns cannot go in, the plan wants {expected}")]
    Columns { found: usize, expected: usize },
    #[error("{what} cannot go in: {bytes} bytes in one batch are more than offsets reach")]
    TooLarge { what: String, bytes: usize },
    #[error("headers cannot go in: they have {names} different names in one batch")]
    HeaderNames { names: usize },
}

/// How an answer breaks the contract.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// In the words of the runtime that took the values over.
    #[error("{0}")]
    Abi(String),
    #[error("{what} has {found} values for {rows} rows")]
    Length { what: String, found: usize, rows: usize },
    #[error("{what}: an empty list for {rows} rows; what is not there is said with none")]
    Empty { what: String, rows: usize },
    #[error("the bitmap of {what} has {found} bytes, {rows} rows need {expected}")]
    Bitmap { what: String, found: usize, rows: usize, expected: usize },
    #[error("offset {at} of {what} is {offset} after {before}: they must ascend from 0")]
    Offsets { what: String, at: usize, offset: u32, before: u32 },
    #[error("the offsets of {what} end at {end}, it has {bytes} bytes")]
    OffsetsEnd { what: String, end: u32, bytes: usize },
    #[error("value {row} of {what} is not UTF-8")]
    Utf8 { what: String, row: usize },
    #[error("value {row} of {what} is not one JSON value: `{text}`")]
    Json { what: String, row: usize, text: String },
    #[error("value {row} of {what} is text {index} of {texts}")]
    Dictionary { what: String, row: usize, index: u32, texts: usize },
    #[error("{what} is {found}, the plan says {expected}")]
    Kind { what: String, found: &'static str, expected: String },
    #[error("{what} has no value in row {row}, the plan says that it always has one")]
    Null { what: String, row: usize },
    #[error("{what}: there are {found}, the plan says {expected}")]
    Columns { what: String, found: usize, expected: usize },
    #[error("it emits by port {port}, its plan has {ports}")]
    Port { port: u32, ports: usize },
    #[error("it emits {found} times, its plan has {ports} ports")]
    Emissions { found: usize, ports: usize },
    #[error("it rejects {found} records of {rows}")]
    Rejections { found: usize, rows: usize },
    #[error("it rejects record {row} of a batch of {rows}")]
    Rejected { row: u32, rows: usize },
    #[error("it rejects record {row} twice")]
    RejectedTwice { row: u32 },
    #[error(
        "header {at} of {what} is of record {of} and name {name}; there are {rows} records, {names} names, and records must ascend"
    )]
    Header { what: String, at: usize, of: u32, name: u16, rows: usize, names: usize },
    #[error("it pulled from split {split}, {splits} are assigned")]
    Split { split: u32, splits: usize },
    #[error("offset {at} of what it pulled is {offset} after {before}: they must ascend")]
    Places { at: usize, offset: u64, before: u64 },
    #[error("it refuses offset {offset} after {before} was pulled of the same split: they must ascend")]
    RefusedPlace { offset: u64, before: u64 },
    #[error("it pulled offset {offset} twice: an offset names one record")]
    PlaceTwice { offset: u64 },
    #[error("{what}: {found} of them, at most {max} are taken")]
    TooMany { what: String, found: usize, max: usize },
    #[error("its {what} has {bytes} bytes of text, at most {max} are taken")]
    TooLong { what: String, bytes: usize, max: usize },
    #[error("{what}: name {at} is empty")]
    Unnamed { what: String, at: usize },
    #[error("{what}: name {at} has {bytes} bytes, at most {max} are taken")]
    LongName { what: String, at: usize, bytes: usize, max: usize },
    #[error("{what}: name {at}, `{name}`: {error}")]
    PortName { what: String, at: usize, name: String, error: NameError },
    #[error("the names of {what} have {bytes} bytes together, at most {max} are taken")]
    HeaderNames { what: String, bytes: usize, max: usize },
    #[error("{what}: `{name}` is there twice")]
    Twice { what: String, name: String },
    #[error("{what}: `{name}` is opaque, which a stage can neither get nor make")]
    Opaque { what: String, name: String },
    #[error("its plan has no output port, at least one is needed")]
    NoPort,
    #[error("the name of part {at} of its fingerprint has control characters, or more than {max} bytes")]
    PartName { at: usize, max: usize },
}

/// The stage says itself that the call failed.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    #[error("it asks for another try after {} ms: {message}", after.as_millis())]
    Retry { after: Duration, message: String },
    #[error("it cannot work with this: {0}")]
    Invalid(String),
    #[error("it gave up: {0}")]
    Fatal(String),
}

/// A stage died.
#[derive(Clone, Debug)]
pub struct Trap {
    /// What wasm says: `wasm trap: out of bounds memory access`.
    pub message: String,
    /// The last thing that it logged as an error or wrote to its stderr in this call: a panic message.
    pub last_words: Option<String>,
    pub backtrace: GuestBacktrace,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last_words {
            Some(words) => write!(f, "it trapped: {words} ({})", self.message),
            None => write!(f, "it trapped: {}", self.message),
        }
    }
}
