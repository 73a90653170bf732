//! Built-in connectors, as wiring sees them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use connect::{PlannedSink, PlannedSource, SetAside, SinkSpec, SourceSpec, SpecError, Wanted};
use flow::checkpoint::MarkParts;
use flow::connector::{Committed, ConnectError, ConnectErrorKind, Decode, Places, Sink, Source};
use model::diagnostics::Diagnostic;
use model::limits::RECORD_BYTES_MAX;
use model::manifest::{Pipeline, Role, Stage, StageRef};
use model::plan::places::{End, Place};
use model::plan::{Answer, Form, SourceWork, Stream};
use serde_json::{Map, Value};

use super::Policy;
use crate::exit::NO_ROOM;

/// A connector that read its config and looked at what is there. Opening takes out what was planned; who opens it
/// again plans it again. The locks are never waited for, and make a resolved pipeline something that tasks can look at.
pub enum BuiltIn {
    Source {
        spec: SourceSpec,
        stream: Stream,
        replays: bool,
        end: End,
        planned: Mutex<Option<PlannedSource>>,
    },
    Sink {
        spec: SinkSpec,
        form: Form,
        reads_columns: bool,
        end: End,
        planned: Mutex<Option<PlannedSink>>,
    },
}

/// The code of a problem with what stands under `with`.
const CONFIG: &str = "connector::config";
/// The key under `with` that `limits.record-bytes` stands for.
const RECORD_BYTES: &str = "record-bytes-max";

/// Plans the connector `name` for a stage, or says what is wrong with it.
pub(super) fn plan(
    stage: &Stage,
    name: &str,
    pipeline: &Pipeline,
    home: &Path,
    policy: &Policy,
) -> Result<BuiltIn, Diagnostic> {
    let planned = match *stage.role {
        Role::Source => {
            let columns = stage.schema.columns.iter();
            let declared = |column: &model::manifest::ColumnDecl| {
                (column.name.value.clone(), column.column_type.map(|column_type| column_type.value))
            };
            let spec = SourceSpec {
                pipeline: Arc::from(pipeline.name.as_str()),
                stage: Arc::from(stage.name.as_str()),
                connector: name.to_owned(),
                with: config_of_source(stage, name),
                schema: columns.map(declared).collect(),
                time: stage.time.value.clone(),
                unknown: stage.unknown.value,
                base: home.to_owned(),
                roots: policy.roots.clone(),
                secrets: policy.connector_secrets(),
                spool: policy.spool(pipeline.name.as_str(), stage.name.as_str()),
                presence: policy.presence(pipeline.name.as_str()),
            };
            connect::plan_source(&spec).map(|planned| BuiltIn::Source {
                spec,
                stream: planned.stream().clone(),
                replays: planned.replays(),
                end: planned.end().clone(),
                planned: Mutex::new(Some(planned)),
            })
        }
        _ => {
            let spec = SinkSpec {
                stage: Arc::from(stage.name.as_str()),
                connector: name.to_owned(),
                with: stage.with.value.clone(),
                base: home.to_owned(),
                roots: policy.roots.clone(),
                secrets: policy.connector_secrets(),
            };
            connect::plan_sink(&spec).map(|planned| BuiltIn::Sink {
                spec,
                form: planned.form(),
                reads_columns: planned.reads_columns(),
                end: planned.end().clone(),
                planned: Mutex::new(Some(planned)),
            })
        }
    };
    planned.map_err(|error| cannot_plan(stage, error))
}

/// What connectors do not take under `with`, of a pipeline that cannot be planned yet. Nothing is told here of what they
/// would find, and nothing is taken from standard input.
pub(super) fn config_problems(pipeline: &Pipeline, home: &Path) -> Vec<Diagnostic> {
    let policy = Policy::default();
    let problem = |stage: &Stage| match &stage.reference.value {
        StageRef::BuiltIn(name) if name != "stdin" => plan(stage, name, pipeline, home, &policy).err(),
        _ => None,
    };
    pipeline.stages.iter().filter_map(problem).filter(|problem| problem.code == CONFIG).collect()
}

/// How large a record of a stage may be: under `with`, it is the connector's own.
pub(super) fn record_bytes(stage: &Stage) -> u64 {
    let own = stage.with.value.get(RECORD_BYTES).and_then(Value::as_u64);
    let given = own.or(stage.limits.record_bytes.map(|bytes| bytes.value.0));
    given.unwrap_or(RECORD_BYTES_MAX as u64)
}

/// `limits.record-bytes` bounds the records of a source that reads them from somewhere.
fn config_of_source(stage: &Stage, name: &str) -> Map<String, Value> {
    let mut with = stage.with.value.clone();
    if let Some(bytes) = stage.limits.record_bytes
        && name != "generate"
    {
        with.entry(RECORD_BYTES).or_insert_with(|| bytes.value.0.into());
    }
    with
}

fn cannot_plan(stage: &Stage, error: SpecError) -> Diagnostic {
    match error {
        SpecError::Options(error) => {
            let message = format!("`{}` does not take this config: {}", *stage.name, error.message);
            let span = stage.with.span_of(&error.pointer);
            Diagnostic::new(CONFIG, message).label(span, "this").help(error.help)
        }
        SpecError::Connect(error) => cannot_open(stage, &error),
        SpecError::Unknown { .. } => {
            let problem = Diagnostic::new("connector::unknown", error.to_string());
            problem.label(stage.reference.span, "no such connector").help("name one of those that there are")
        }
    }
}

/// A connector that cannot get at its file, with the key that names the file.
fn cannot_open(stage: &Stage, error: &ConnectError) -> Diagnostic {
    let message = format!("`{}` cannot be opened: {}: {}", *stage.name, error.what, error.why);
    let span = stage.with.span_of("/path");
    let code = if error.kind == ConnectErrorKind::Full { NO_ROOM } else { "connector::open" };
    Diagnostic::new(code, message).label(span, "this").help(error.next.clone())
}

impl BuiltIn {
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Sink { form, .. } => *form,
            Self::Source { .. } => Form::Any,
        }
    }

    pub(super) fn answer(&self) -> Answer {
        match self {
            Self::Source { stream, .. } => Answer::Source(stream.clone()),
            Self::Sink { reads_columns, .. } => Answer::BuiltInSink { columns: *reads_columns },
        }
    }

    /// Where it reads or writes outside of its pipeline.
    pub(super) fn end(&self) -> &End {
        match self {
            Self::Source { end, .. } | Self::Sink { end, .. } => end,
        }
    }

    /// Whether its records can be read again.
    pub(super) fn replays(&self) -> bool {
        !matches!(self, Self::Source { replays: false, .. })
    }

    /// What a checkpoint of it rests on, under the config `with` or else its own. `input`: what comes into a sink.
    pub fn mark(&self, with: Option<&Map<String, Value>>, input: &Stream) -> Option<MarkParts> {
        match self {
            Self::Source { spec, .. } => connect::source_mark(&spec.connector, with.unwrap_or(&spec.with)),
            Self::Sink { spec, .. } => connect::sink_mark(&spec.connector, with.unwrap_or(&spec.with), input),
        }
    }

    /// Sets aside the file that a sink `file` wrote; none of anything else.
    pub fn set_file_aside(&self, token: &[u8]) -> Option<Result<SetAside, SpecError>> {
        match self {
            Self::Sink { spec, .. } if spec.connector == "file" => Some(connect::set_file_aside(spec, token)),
            _ => None,
        }
    }

    /// `written`: where sinks of the same run write.
    pub(super) fn open_source(
        &self,
        stage: &Stage,
        work: &SourceWork,
        from: &Places,
        written: &[Place],
    ) -> Result<Box<dyn Source>, Diagnostic> {
        let Self::Source { spec, stream, planned, .. } = self else { return Err(not_of(stage)) };
        let planned = match planned.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(planned) => planned,
            None => connect::plan_source(spec).map_err(|error| cannot_plan(stage, error))?,
        };
        if planned.stream() != stream {
            let message = format!("what `{}` reads has other columns than when the run began", *stage.name);
            let problem =
                Diagnostic::new("connector::open", message).label(stage.with.span_of("/path"), "this");
            return Err(problem.help("run the pipeline again"));
        }
        let wanted = Wanted { columns: work.wanted.clone(), times: work.times };
        planned.avoiding(written).open(&wanted, from).map_err(|error| cannot_open(stage, &error))
    }

    /// What makes records of those that the source has refused; none of one that refuses none.
    pub(super) fn again(
        &self,
        stage: &Stage,
        work: &SourceWork,
    ) -> Result<Option<Box<dyn Decode>>, Diagnostic> {
        let Self::Source { planned, .. } = self else { return Err(not_of(stage)) };
        let wanted = Wanted { columns: work.wanted.clone(), times: work.times };
        let planned = planned.lock().unwrap_or_else(PoisonError::into_inner);
        let again = planned.as_ref().map(|planned| planned.again(&wanted)).transpose();
        again.map(Option::flatten).map_err(|error| cannot_open(stage, &error))
    }

    pub(super) fn open_sink(
        &self,
        stage: &Stage,
        input: &Stream,
        committed: Option<Committed>,
    ) -> Result<Box<dyn Sink>, Diagnostic> {
        let Self::Sink { spec, planned, .. } = self else { return Err(not_of(stage)) };
        let planned = match planned.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(planned) => planned,
            None => connect::plan_sink(spec).map_err(|error| cannot_plan(stage, error))?,
        };
        planned.open(input, committed).map_err(|error| cannot_open(stage, &error))
    }
}

fn not_of(stage: &Stage) -> Diagnostic {
    let message = format!("`{}` is not a connector of this role", *stage.name);
    Diagnostic::new("connector::role", message).label(stage.role.span, "as this")
}

/// The names of the built-in connectors, sources first.
pub fn connectors() -> Vec<&'static str> {
    let sinks = connect::SINKS.iter().filter(|name| !connect::SOURCES.contains(name));
    connect::SOURCES.iter().chain(sinks).copied().collect()
}

/// What `inspect` shows of a connector: the schema of its config, by role. None where there is no such one.
pub fn describe_connector(name: &str) -> Option<Value> {
    let options = [("source", connect::source_options(name)), ("sink", connect::sink_options(name))];
    let there: Map<String, Value> = options
        .into_iter()
        .filter_map(|(role, schema)| Some((role.to_owned(), schema?.to_value())))
        .collect();
    (!there.is_empty()).then(|| serde_json::json!({ "connector": name, "config_schema": there }))
}
