//! The way down: what flows where, asked stage by stage from the sources on, and checked.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::backward::{Draft, DraftEdge, DraftPort, DraftStage};
use super::{Conversion, Form, Plan, Stream, declared_schema};
use crate::convert::{can_cast, shown};
use crate::diagnostics::{Diagnostic, Diagnostics, Span};
use crate::fields::{FieldSpec, Kind, places};
use crate::limits;
use crate::manifest::suggest::nearest;
use crate::manifest::{KeyFrom, Pipeline, Role, Stage, TimeFrom};
use crate::stage::{SinkPlan, TransformPlan};

/// Which stage to ask, and what comes into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Index into the pipeline's stages.
    pub stage: usize,
    /// Every column that comes, for a stage of tables.
    pub fields: Option<Vec<FieldSpec>>,
}

/// What a stage said.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A source: what it can give.
    Source(Stream),
    Transform(TransformPlan),
    Sink(SinkPlan),
    /// A built-in sink. `columns`: whether it reads them at all.
    BuiltInSink {
        columns: bool,
    },
    /// The stage cannot work so: with its config, or with the fields that come. The pointer says which key
    /// of `with` is to blame; empty for all of it.
    Refused {
        pointer: String,
        message: String,
        help: String,
    },
    /// The stage cannot be asked, for a reason that is being told elsewhere. There will be no plan.
    Reported,
}

/// Asks and checks; see the module's head.
pub struct Planner<'p> {
    pipeline: &'p Pipeline,
    forms: Vec<Form>,
    /// Stages in an order in which inputs come first.
    order: Vec<usize>,
    at: usize,
    stages: Vec<Option<DraftStage>>,
    waiting: Option<DraftStage>,
    edges: Vec<DraftEdge>,
    problems: Vec<Diagnostic>,
    /// Whether a stage could not be asked.
    incomplete: bool,
    keeps_all: bool,
}

impl<'p> Planner<'p> {
    /// `forms[i]`: which form stage `i` takes. It says nothing for a source.
    pub fn new(pipeline: &'p Pipeline, forms: Vec<Form>) -> Self {
        let order = order(pipeline);
        let stages = pipeline.stages.iter().map(|_| None).collect();
        Self {
            pipeline,
            forms,
            order,
            at: 0,
            stages,
            waiting: None,
            edges: Vec::new(),
            problems: Vec::new(),
            incomplete: false,
            keeps_all: false,
        }
    }

    /// Lets every column through, wanted or not, for whoever looks at what leaves each stage.
    #[must_use]
    pub fn keeping_all(mut self) -> Self {
        self.keeps_all = true;
        self
    }

    /// The next stage to ask; none when all that can be asked have been.
    pub fn next_ask(&mut self) -> Option<Ask> {
        while self.waiting.is_none() {
            let &index = self.order.get(self.at)?;
            self.at += 1;
            self.waiting = self.prepare(index);
        }
        self.waiting.as_ref().map(|draft| Ask { stage: draft.index, fields: draft.fields.clone() })
    }

    /// Takes what the stage of the last [`Ask`] said.
    pub fn answer(&mut self, answer: Answer) {
        let Some(mut draft) = self.waiting.take() else { return };
        let stage = &self.pipeline.stages[draft.index];
        let before = self.problems.len();
        match answer {
            Answer::Refused { pointer, message, help } => {
                let message = format!("stage `{}` refuses: {message}", *stage.name);
                let refusal = Diagnostic::new("plan::refused", message);
                self.problems.push(refusal.label(stage.with.span_of(&pointer), "this").help(help));
            }
            Answer::Source(stream) => self.take_source(&mut draft, stage, stream),
            Answer::Transform(plan) => self.take_transform(&mut draft, stage, plan),
            Answer::Sink(plan) => {
                self.check_wanted(&draft, stage, &plan.wanted);
                draft.sink = Some(plan);
            }
            Answer::BuiltInSink { columns } => draft.reads_all = columns,
            Answer::Reported => {
                self.incomplete = true;
                return;
            }
        }
        if self.problems.len() == before {
            let index = draft.index;
            self.stages[index] = Some(draft);
        }
    }

    /// The plan, once [`Planner::next_ask`] has no more to ask.
    pub fn finish(mut self) -> Result<Plan, Diagnostics> {
        self.check_ports_are_read();
        if self.incomplete || !self.problems.is_empty() {
            return Err(self.pipeline.diagnostics(self.problems));
        }
        let stages = self.stages.into_iter().flatten().collect();
        Ok(Draft {
            pipeline: self.pipeline,
            order: self.order,
            stages,
            edges: self.edges,
            keeps_all: self.keeps_all,
        }
        .into_plan())
    }

    /// What comes into a stage. None where something in front of it is wrong already, or this is.
    fn prepare(&mut self, index: usize) -> Option<DraftStage> {
        let pipeline = self.pipeline;
        let stage = &pipeline.stages[index];
        let before = self.problems.len();
        let mut missing = false;
        let mut offered: Option<Stream> = None;
        let mut inputs = Vec::new();
        for input in &stage.from {
            let Some(from) = &self.stages[input.stage] else {
                missing = true;
                continue;
            };
            let wanted = input.port.as_ref().map(|port| port.as_str());
            let Some(port) = from.ports.iter().position(|p| wanted.is_none_or(|name| p.name == name)) else {
                let port = wanted.unwrap_or_default();
                let names: Vec<&str> = from.ports.iter().map(|p| p.name.as_str()).collect();
                let name = &*pipeline.stages[input.stage].name;
                self.problems.push(unknown_port(name.as_str(), port, &names, input.span));
                continue;
            };
            let Some((stream, conversion)) = self.convert(index, input.stage, port, input.span) else {
                continue;
            };
            match &offered {
                None => offered = Some(stream),
                Some(first) => match meet(first, &stream) {
                    Ok(both) => offered = Some(both),
                    Err(why) => self.problems.push(streams_differ(stage, input.span, &why)),
                },
            }
            inputs.push(self.edges.len());
            self.edges.push(DraftEdge { from: input.stage, port, to: index, conversion });
        }
        if missing || self.problems.len() > before {
            return None;
        }
        self.check_schema_is_read(stage, &inputs);
        let offered = offered.unwrap_or(Stream::Opaque);
        let form = self.forms[index];
        let fields = match (&offered, form) {
            (Stream::Rows(schema), Form::Table) => {
                Some(schema.fields().iter().map(|f| FieldSpec::of(f)).collect())
            }
            _ => None,
        };
        let mut draft = DraftStage::new(index, form, offered, fields, inputs);
        if *stage.role != Role::Source {
            draft.key = self.key(stage, &draft.offered);
        }
        (self.problems.len() == before).then_some(draft)
    }

    /// What comes by an edge once the host has converted it for the stage.
    fn convert(&mut self, to: usize, from: usize, port: usize, span: Span) -> Option<(Stream, Conversion)> {
        let stage = &self.pipeline.stages[to];
        let stream = self.stages[from].as_ref()?.ports[port].offered.clone();
        match (&stream, self.forms[to]) {
            (Stream::Rows(_), Form::Bytes) => Some((Stream::Opaque, Conversion::RowsToJson)),
            (Stream::Opaque, Form::Table) => {
                let sender = &*self.pipeline.stages[from].name;
                if stage.schema.columns.is_empty() {
                    self.problems.push(no_schema(stage, sender.as_str(), span));
                    return None;
                }
                let declared = match declared_schema(&stage.schema.columns) {
                    Ok(schema) => schema,
                    Err(column) => {
                        self.problems.push(infers_opaque(&column.name, column.name.span));
                        return None;
                    }
                };
                let unknown = stage.unknown.value;
                let conversion =
                    Conversion::JsonToRows { schema: declared.clone(), declared: declared.clone(), unknown };
                Some((Stream::Rows(declared), conversion))
            }
            _ => Some((stream, Conversion::None)),
        }
    }

    /// A schema that nothing parses by would be a wish that is not heard.
    fn check_schema_is_read(&mut self, stage: &Stage, inputs: &[usize]) {
        let parses = |&edge: &usize| matches!(self.edges[edge].conversion, Conversion::JsonToRows { .. });
        if *stage.role == Role::Source || inputs.iter().any(parses) {
            return;
        }
        if let Some(span) = stage.schema.span {
            let message =
                format!("`schema` of `{}` has no effect: nothing that comes is parsed here", *stage.name);
            let problem = Diagnostic::new("plan::schema-unused", message).label(span, "not read");
            self.problems
                .push(problem.help("remove it; rows that come typed have the fields of their source"));
        }
    }

    fn take_source(&mut self, draft: &mut DraftStage, stage: &Stage, stream: Stream) {
        if let Some(schema) = stream.schema() {
            if schema.fields().len() > limits::COLUMNS_MAX {
                let message = format!(
                    "`{}` has {} columns, the most is {}",
                    *stage.name,
                    schema.fields().len(),
                    limits::COLUMNS_MAX
                );
                self.problems.push(
                    Diagnostic::new("plan::columns", message).label(stage.reference.span, "this source"),
                );
            }
            if let Some(field) =
                schema.fields().iter().find(|field| field.name().len() > limits::COLUMN_NAME_BYTES_MAX)
            {
                let message = format!(
                    "`{}` has a column of which the name has {} bytes, the most is {}: {}",
                    *stage.name,
                    field.name().len(),
                    limits::COLUMN_NAME_BYTES_MAX,
                    shown(field.name().as_bytes())
                );
                let problem =
                    Diagnostic::new("plan::column-name", message).label(stage.reference.span, "this source");
                self.problems.push(problem.help("give it a shorter name in the data"));
            }
            if let Some(twice) = duplicate(schema.fields().iter().map(|field| field.name().as_str())) {
                let message = format!("`{}` has two columns of the name `{twice}`", *stage.name);
                let problem =
                    Diagnostic::new("plan::column-twice", message).label(stage.reference.span, "this source");
                self.problems.push(problem.help("rename one of them in the data"));
            }
        }
        if let TimeFrom::Column(column) = &stage.time.value {
            self.check_time(stage, column, &stream);
        }
        draft.key = self.key(stage, &stream);
        draft.ports = vec![DraftPort { name: "out".to_owned(), offered: stream, columns: Vec::new() }];
    }

    fn check_time(&mut self, stage: &Stage, column: &str, stream: &Stream) {
        let other = "name a column of type timestamp or date, or leave `time` away";
        let problem = match stream {
            Stream::Opaque => Some(("its records are opaque: there are no columns".to_owned(), other.into())),
            Stream::Rows(schema) => match schema.field_with_name(column) {
                Err(_) => Some((no_column(column, schema), other.into())),
                // A text may be a time. Whether it is would be found out where somebody asks for times, and only there.
                Ok(field) => match as_text(field) {
                    Some(what) => {
                        let help = format!("declare `schema: {{ {column}: timestamp }}`, or {other}");
                        Some((format!("`{column}` is {what}"), help))
                    }
                    None if can_cast(field, Kind::Times) => None,
                    None => {
                        Some((format!("`{column}` is {}, which is no time", field.data_type()), other.into()))
                    }
                },
            },
        };
        if let Some((problem, help)) = problem {
            let message = format!("`{}` cannot take its time from `{column}`: {problem}", *stage.name);
            let problem = Diagnostic::new("plan::time", message).label(stage.time.span, "this column");
            self.problems.push(problem.help(help));
        }
    }

    fn key(&mut self, stage: &Stage, stream: &Stream) -> Option<super::Key> {
        let key = stage.key.as_ref()?;
        let problem = match (&key.value, stream) {
            (KeyFrom::Pointer(pointer), Stream::Opaque) => return Some(super::Key::Pointer(pointer.clone())),
            (KeyFrom::Column(column), Stream::Rows(schema)) => match schema.index_of(column) {
                Ok(index) => return Some(super::Key::Column(index)),
                Err(_) => no_column(column, schema),
            },
            (KeyFrom::Pointer(_), Stream::Rows(_)) => "these are typed rows: name a column".to_owned(),
            (KeyFrom::Column(_), Stream::Opaque) => {
                "these are opaque records: give a JSON pointer, such as `/id`".to_owned()
            }
        };
        let message = format!("`{}` cannot take its key so: {problem}", *stage.name);
        self.problems.push(Diagnostic::new("plan::key", message).label(key.span, "this key"));
        None
    }

    fn take_transform(&mut self, draft: &mut DraftStage, stage: &Stage, plan: TransformPlan) {
        if plan.outputs.is_empty() || plan.outputs.len() > limits::PORTS_MAX {
            let message = format!(
                "`{}` has {} ports, it may have 1 to {}",
                *stage.name,
                plan.outputs.len(),
                limits::PORTS_MAX
            );
            self.problems
                .push(Diagnostic::new("plan::ports", message).label(stage.reference.span, "this component"));
        }
        if let Some(twice) = duplicate(plan.outputs.iter().map(|output| output.name.as_str())) {
            let message = format!("`{}` has two ports of the name `{twice}`", *stage.name);
            self.problems.push(
                Diagnostic::new("plan::port-twice", message).label(stage.reference.span, "this component"),
            );
        }
        self.check_wanted(draft, stage, &plan.wanted);
        let schema = match &draft.offered {
            Stream::Opaque => None,
            Stream::Rows(schema) => Some(schema.clone()),
        };
        for output in &plan.outputs {
            let Some(schema) = &schema else {
                draft.ports.push(DraftPort {
                    name: output.name.clone(),
                    offered: Stream::Opaque,
                    columns: Vec::new(),
                });
                continue;
            };
            match DraftPort::of_table(schema, output) {
                Ok(port) => draft.ports.push(port),
                Err(why) => {
                    let message = format!("port `{}` of `{}` does not fit: {why}", output.name, *stage.name);
                    let problem =
                        Diagnostic::new("plan::output", message).label(stage.with.span, "with this config");
                    self.problems
                        .push(problem.help("check the columns that it is configured to select and set"));
                }
            }
        }
        draft.transform = Some(plan);
    }

    fn check_wanted(&mut self, draft: &DraftStage, stage: &Stage, wanted: &[FieldSpec]) {
        let Stream::Rows(schema) = &draft.offered else { return };
        let come = places(schema);
        for spec in wanted {
            let field = come.get(spec.name.as_str()).map(|&index| schema.field(index));
            let problem = match field {
                // Of a flood of problems only the first are shown, and looking for the name that was meant is slow.
                None if self.problems.len() > limits::DIAGNOSTICS_MAX => "no such column comes".to_owned(),
                None => no_column(&spec.name, schema),
                Some(field) if !can_cast(field, spec.kind) => {
                    format!("`{}` is {}, which cannot be cast to {}", spec.name, field.data_type(), spec.kind)
                }
                Some(_) => continue,
            };
            let message = format!("`{}` wants column `{}`: {problem}", *stage.name, spec.name);
            let problem =
                Diagnostic::new("plan::wanted", message).label(stage.with.span, "wanted with this config");
            self.problems.push(problem.help("name a column that comes, or change the stage in front of it"));
        }
    }

    /// A port that nobody reads would drop records without anybody having said so.
    fn check_ports_are_read(&mut self) {
        let froms = self.pipeline.stages.iter().flat_map(|stage| &stage.from);
        let read: HashSet<(usize, Option<&str>)> =
            froms.map(|from| (from.stage, from.port.as_ref().map(|port| port.as_str()))).collect();
        for (index, draft) in self.stages.iter().enumerate() {
            let Some(draft) = draft else { continue };
            let stage = &self.pipeline.stages[index];
            for (at, port) in draft.ports.iter().enumerate() {
                let is_first_read = at == 0 && read.contains(&(index, None));
                if !is_first_read && !read.contains(&(index, Some(port.name.as_str()))) {
                    let message = format!("nothing reads port `{}` of `{}`", port.name, *stage.name);
                    let problem =
                        Diagnostic::new("plan::port-unread", message).label(stage.name.span, "this stage");
                    let help = format!(
                        "add `from: {}.{}` to a stage; `sink: discard` drops its records",
                        *stage.name, port.name
                    );
                    self.problems.push(problem.help(help));
                }
            }
        }
    }
}

/// Stages so that inputs come first; within that, in the order of the manifest, read round after round. The manifest
/// has no cycle.
fn order(pipeline: &Pipeline) -> Vec<usize> {
    let stages = pipeline.stages.len();
    let mut readers = vec![Vec::new(); stages];
    for (reader, stage) in pipeline.stages.iter().enumerate() {
        stage.from.iter().for_each(|input| readers[input.stage].push(reader));
    }
    let mut missing: Vec<usize> = pipeline.stages.iter().map(|stage| stage.from.len()).collect();
    let mut rounds = vec![0; stages];
    let first = (0..stages).filter(|&stage| missing[stage] == 0).map(|stage| Reverse((0, stage)));
    let mut ready: BinaryHeap<Reverse<(usize, usize)>> = first.collect();
    let mut order = Vec::with_capacity(stages);
    while let Some(Reverse((round, stage))) = ready.pop() {
        order.push(stage);
        for &reader in &readers[stage] {
            // Whoever stands before what it reads has to wait for the next round.
            rounds[reader] = rounds[reader].max(round + usize::from(reader < stage));
            missing[reader] -= 1;
            if missing[reader] == 0 {
                ready.push(Reverse((rounds[reader], reader)));
            }
        }
    }
    order
}

/// One stream out of two that meet: the same names and types, in the order of the first.
fn meet(a: &Stream, b: &Stream) -> Result<Stream, String> {
    let (a, b) = match (a, b) {
        (Stream::Opaque, Stream::Opaque) => return Ok(Stream::Opaque),
        (Stream::Rows(a), Stream::Rows(b)) => (a, b),
        (Stream::Opaque, Stream::Rows(_)) => {
            return Err("this one has typed rows, the others opaque records".into());
        }
        (Stream::Rows(_), Stream::Opaque) => {
            return Err("this one has opaque records, the others typed rows".into());
        }
    };
    let (in_a, in_b) = (places(a), places(b));
    let mut fields = Vec::with_capacity(a.fields().len());
    for field in a.fields() {
        let Some(other) = in_b.get(field.name().as_str()).map(|&index| b.field(index)) else {
            return Err(format!("this one has no column `{}`", field.name()));
        };
        if other.data_type() != field.data_type() {
            return Err(format!(
                "`{}` is {} here and {} before",
                field.name(),
                other.data_type(),
                field.data_type()
            ));
        }
        fields.push(field.as_ref().clone().with_nullable(field.is_nullable() || other.is_nullable()));
    }
    if let Some(more) = b.fields().iter().find(|field| !in_a.contains_key(field.name().as_str())) {
        return Err(format!("this one has a column `{}` that the others do not have", more.name()));
    }
    Ok(Stream::Rows(Arc::new(Schema::new(fields))))
}

fn duplicate<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

/// What a column holds that is made of texts.
fn as_text(field: &Field) -> Option<&'static str> {
    match FieldSpec::of(field).kind {
        Kind::Texts | Kind::Dictionaries => Some("text"),
        Kind::Jsons => Some("json"),
        _ => None,
    }
}

/// Says that a column is not there, which one may be meant, and which ones there are.
fn no_column(name: &str, schema: &SchemaRef) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    match nearest(name, names.iter().copied()) {
        Some(near) => format!("no such column comes; did you mean `{near}`?"),
        None => format!("no such column comes; there are {}", listed(&names)),
    }
}

fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

fn unknown_port(stage: &str, port: &str, names: &[&str], span: Span) -> Diagnostic {
    let problem = Diagnostic::new("plan::unknown-port", format!("`{stage}` has no port `{port}`"));
    let help = match nearest(port, names.iter().copied()) {
        Some(near) => format!("did you mean `{stage}.{near}`?"),
        None => format!("its ports are {}", listed(names)),
    };
    problem.label(span, "no such port").help(help)
}

fn streams_differ(stage: &Stage, span: Span, why: &str) -> Diagnostic {
    let message = format!("streams that meet in `{}` have different fields: {why}", *stage.name);
    let problem = Diagnostic::new("plan::streams-differ", message).label(span, "this one");
    problem.help("bring them to the same fields first, for example with a `project` stage")
}

fn no_schema(stage: &Stage, sender: &str, span: Span) -> Diagnostic {
    let message = format!("`{}` takes typed rows, `{sender}` sends opaque records", *stage.name);
    let problem = Diagnostic::new("plan::no-schema", message).label(span, "opaque records come from here");
    let help = format!(
        "say what is in them with `schema: {{ column: type }}` on `{}`, and they are parsed as JSON",
        *stage.name
    );
    problem.help(help)
}

fn infers_opaque(column: &str, span: Span) -> Diagnostic {
    let message = format!("the type of `{column}` cannot be inferred from a stream");
    let problem = Diagnostic::new("plan::no-type", message).label(span, "this column");
    problem.help("name its type: bool, int, float, text, timestamp, date, bytes or json")
}
