//! What a stage says of itself, asked and checked: `about`, its plan, a source's schema and splits.
//!
//! Each question goes to a fresh instance within limits, and each answer is bounded before anybody uses it.
//! Whether the answers fit a pipeline is decided in `model`.

use std::collections::{BTreeMap, HashSet};

use model::convert::shown;
use model::fields::{FieldSpec, Kind as ModelKind};
use model::limits;
use model::manifest::Name;
use model::stage::{About, PortPlan, SinkPlan, SourcePlan, StageKind, StagePlan, TransformPlan};

use crate::access::Access;
use crate::contract::{self, AboutOut, Field, OutputOut, PartOut, SelectionOut};
use crate::engine::{Compiled, Component};
use crate::error::{AnswerError, CallError};
use crate::instance::{Budget, Instance};
use crate::link::log::StageLog;
use crate::meter::StageLimits;
use crate::signatures::{
    Answer, Describe, FINGERPRINT, Fingerprint, Plan, PlanSink, PlanTable, PlanTableSink, Schema, Signature,
    Splits,
};
use crate::texts::cut;
use wasmtime::component::TypedFunc;

/// Names of splits are as long as paths; there may be thousands.
const SPLITS_MAX: usize = 100_000;

pub(crate) async fn describe(compiled: &Compiled, instance: &mut Instance) -> Result<About, CallError> {
    let func: TypedFunc<<Describe as Signature>::Params, <Describe as Signature>::Results> =
        instance.func(compiled, "describe")?;
    let budget = asking(&StageLimits::default());
    let (about,) = instance.call(&func, (), budget).await?;
    let AboutOut { name, version, summary, config_schema, needs, hints } = about;
    let texts = [&name, &version, &summary, &config_schema].into_iter();
    let bytes = texts.chain(&needs).chain(hints.iter().flat_map(|(a, b)| [a, b])).map(String::len).sum();
    check_bytes("about", bytes)?;
    // It is printed, by `inspect` and in diagnostics.
    let [name, version, summary] = [name, version, summary].map(|text| cut(text, limits::ANSWER_BYTES_MAX));
    Ok(About { name, version, summary, config_schema, needs, hints })
}

/// What a question may use up, with room for the texts of its answer and for the lists that hold them.
fn asking(limits: &StageLimits) -> Budget {
    Budget { output_bytes: 4 * limits::ANSWER_BYTES_MAX, ..Budget::of(limits, 0) }
}

fn check_bytes(what: &str, bytes: usize) -> Result<(), AnswerError> {
    if bytes <= limits::ANSWER_BYTES_MAX {
        return Ok(());
    }
    let max = limits::ANSWER_BYTES_MAX;
    Err(AnswerError::TooLong { what: what.to_owned(), bytes, max })
}

/// Asks a fresh instance one question. Its config is JSON text; it is not opened.
struct Asked<'a> {
    compiled: &'a Compiled,
    instance: Instance,
    budget: Budget,
}

impl<'a> Asked<'a> {
    async fn of(component: &'a Component, limits: &StageLimits, access: &Access) -> Result<Self, CallError> {
        let compiled = &component.inner.compiled;
        let log = StageLog::new("".into(), component.about().name.as_str().into(), limits.log_lines);
        let instance = Instance::start(compiled, limits, log, access).await?;
        Ok(Self { compiled, instance, budget: asking(limits) })
    }

    async fn ask<P, R>(&mut self, function: &'static str, params: P) -> Result<R, CallError>
    where
        P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
        R: wasmtime::component::Lift + Send + Sync + 'static,
    {
        let func: TypedFunc<P, Answer<R>> = self.instance.func(self.compiled, function)?;
        self.instance.ask(&func, params, self.budget).await
    }
}

impl Component {
    /// The plan of this stage under `config`. `input`: every column that comes, for a table transform or a
    /// table sink; the others ignore it.
    pub async fn plan(
        &self,
        config: &serde_json::Value,
        input: &[FieldSpec],
        limits: &StageLimits,
    ) -> Result<StagePlan, CallError> {
        self.plan_with(config, input, limits, &Access::default()).await
    }

    /// The same for a stage that is granted something: what is there to read may depend on it.
    pub async fn plan_with(
        &self,
        config: &serde_json::Value,
        input: &[FieldSpec],
        limits: &StageLimits,
        access: &Access,
    ) -> Result<StagePlan, CallError> {
        let config = config.to_string();
        let mut asked = Asked::of(self, limits, access).await?;
        Ok(match self.kind() {
            StageKind::Transform => StagePlan::Transform(plan_records(&mut asked, &config).await?),
            StageKind::TableTransform => StagePlan::Transform(plan_table(&mut asked, &config, input).await?),
            StageKind::Source | StageKind::TableSource => {
                StagePlan::Source(plan_source(&mut asked, &config, self.kind()).await?)
            }
            StageKind::Sink => StagePlan::Sink(plan_sink(&mut asked, &config).await?),
            StageKind::TableSink => StagePlan::Sink(plan_table_sink(&mut asked, &config, input).await?),
        })
    }

    /// What the state of this stage, or its place, rests on under `config`: values by name. None where it does not say.
    pub async fn fingerprint(
        &self,
        config: &serde_json::Value,
        limits: &StageLimits,
        access: &Access,
    ) -> Result<Option<BTreeMap<String, String>>, CallError> {
        if self.inner.compiled.function(FINGERPRINT).is_none() {
            return Ok(None);
        }
        let config = config.to_string();
        let params: <Fingerprint<'_> as Signature>::Params = (&config,);
        let mut asked = Asked::of(self, limits, access).await?;
        let parts: Option<Vec<PartOut>> = asked.ask(FINGERPRINT, params).await?;
        Ok(parts.map(fingerprint_of).transpose()?)
    }
}

fn fingerprint_of(parts: Vec<PartOut>) -> Result<BTreeMap<String, String>, AnswerError> {
    check_names(FINGERPRINT, parts.iter().map(|part| &part.name), limits::FINGERPRINT_PARTS_MAX)?;
    check_bytes(FINGERPRINT, parts.iter().map(|part| part.name.len() + part.value.len()).sum())?;
    let is_name = |part: &PartOut| {
        part.name.len() <= limits::FINGERPRINT_NAME_BYTES_MAX && !part.name.chars().any(char::is_control)
    };
    match parts.iter().position(|part| !is_name(part)) {
        Some(at) => Err(AnswerError::PartName { at, max: limits::FINGERPRINT_NAME_BYTES_MAX }),
        None => Ok(parts.into_iter().map(|part| (part.name, part.value)).collect()),
    }
}

async fn plan_records(asked: &mut Asked<'_>, config: &str) -> Result<TransformPlan, CallError> {
    let params: <Plan<'_> as Signature>::Params = (config,);
    let plan: contract::RecordPlanOut = asked.ask("plan", params).await?;
    let outputs = plan.outputs.into_iter().map(|name| PortPlan { name, select: None, set: Vec::new() });
    let outputs: Vec<PortPlan> = outputs.collect();
    check_ports(&outputs)?;
    Ok(TransformPlan {
        wanted: Vec::new(),
        times: plan.times,
        keys: plan.keys,
        headers: plan.headers,
        outputs,
    })
}

async fn plan_table(
    asked: &mut Asked<'_>,
    config: &str,
    input: &[FieldSpec],
) -> Result<TransformPlan, CallError> {
    let input = fields_in(input);
    let params: <PlanTable<'_> as Signature>::Params = (config, &input);
    let plan: contract::TablePlanOut = asked.ask("plan", params).await?;
    let wanted = fields_out("wanted", plan.wanted)?;
    let outputs = plan.outputs.into_iter().map(port).collect::<Result<Vec<_>, _>>()?;
    check_ports(&outputs)?;
    Ok(TransformPlan { wanted, times: plan.times, keys: plan.keys, headers: false, outputs })
}

fn port(output: OutputOut) -> Result<PortPlan, AnswerError> {
    let OutputOut { name, select, set } = output;
    let named = shown(name.as_bytes());
    let set = fields_out(&format!("port `{named}` sets"), set)?;
    if let Some(select) = &select {
        let what = format!("port `{named}` selects");
        check_columns(&what, select.iter().map(|one| &one.name))?;
        check_bytes("plan", select.iter().map(|one| one.name.len() + one.column.len()).sum())?;
    }
    let pair = |SelectionOut { name, column }| (name, column);
    let select = select.map(|list| list.into_iter().map(pair).collect());
    Ok(PortPlan { name, select, set })
}

async fn plan_source(asked: &mut Asked<'_>, config: &str, kind: StageKind) -> Result<SourcePlan, CallError> {
    let schema = if kind.is_table() {
        let params: <Schema<'_> as Signature>::Params = (config,);
        Some(fields_out("schema", asked.ask("schema", params).await?)?)
    } else {
        None
    };
    Ok(SourcePlan { schema, splits: ask_splits(asked, config).await? })
}

async fn ask_splits(asked: &mut Asked<'_>, config: &str) -> Result<Vec<String>, CallError> {
    let params: <Splits<'_> as Signature>::Params = (config,);
    check_splits(asked.ask("splits", params).await?).map_err(Into::into)
}

/// The splits that a source says there are.
pub(crate) fn check_splits(splits: Vec<String>) -> Result<Vec<String>, AnswerError> {
    check_names("splits", splits.iter(), SPLITS_MAX)?;
    Ok(splits)
}

async fn plan_sink(asked: &mut Asked<'_>, config: &str) -> Result<SinkPlan, CallError> {
    let params: <PlanSink<'_> as Signature>::Params = (config,);
    let plan: contract::SinkPlanOut = asked.ask("plan", params).await?;
    let contract::SinkPlanOut { times, keys, headers, ids, commits } = plan;
    Ok(SinkPlan { wanted: Vec::new(), times, keys, headers, ids, commits })
}

async fn plan_table_sink(
    asked: &mut Asked<'_>,
    config: &str,
    input: &[FieldSpec],
) -> Result<SinkPlan, CallError> {
    let input = fields_in(input);
    let params: <PlanTableSink<'_> as Signature>::Params = (config, &input);
    let plan: contract::TableSinkPlanOut = asked.ask("plan", params).await?;
    let contract::TableSinkPlanOut { wanted, times, keys, ids, commits } = plan;
    Ok(SinkPlan { wanted: fields_out("wanted", wanted)?, times, keys, headers: false, ids, commits })
}

fn check_ports(outputs: &[PortPlan]) -> Result<(), AnswerError> {
    if outputs.is_empty() {
        return Err(AnswerError::NoPort);
    }
    const WHAT: &str = "output ports";
    check_names(WHAT, outputs.iter().map(|port| &port.name), limits::PORTS_MAX)?;
    for (at, port) in outputs.iter().enumerate() {
        Name::parse(&port.name).map_err(|error| AnswerError::PortName {
            what: WHAT.to_owned(),
            at,
            name: shown(port.name.as_bytes()),
            error,
        })?;
    }
    Ok(())
}

fn check_columns<'a>(
    what: &str,
    names: impl ExactSizeIterator<Item = &'a String> + Clone,
) -> Result<(), AnswerError> {
    check_names(what, names.clone(), limits::COLUMNS_MAX)?;
    let max = limits::COLUMN_NAME_BYTES_MAX;
    match names.enumerate().find(|(_, name)| name.len() > max) {
        None => Ok(()),
        Some((at, name)) => Err(AnswerError::LongName { what: what.to_owned(), at, bytes: name.len(), max }),
    }
}

/// Names are there, unique, not empty, and within bounds.
fn check_names<'a>(
    what: &str,
    names: impl ExactSizeIterator<Item = &'a String>,
    max: usize,
) -> Result<(), AnswerError> {
    let what_text = || what.to_owned();
    let count = names.len();
    if count > max {
        return Err(AnswerError::TooMany { what: what_text(), found: count, max });
    }
    let (mut seen, mut bytes) = (HashSet::with_capacity(count), 0);
    for (i, name) in names.enumerate() {
        if name.is_empty() {
            return Err(AnswerError::Unnamed { what: what_text(), at: i });
        }
        if !seen.insert(name.as_str()) {
            return Err(AnswerError::Twice { what: what_text(), name: shown(name.as_bytes()) });
        }
        bytes += name.len();
    }
    check_bytes(what, bytes)
}

fn fields_out(what: &str, fields: Vec<Field>) -> Result<Vec<FieldSpec>, AnswerError> {
    check_columns(what, fields.iter().map(|field| &field.name))?;
    if let Some(field) = fields.iter().find(|field| field.kind == contract::Kind::Opaque) {
        return Err(AnswerError::Opaque { what: what.to_owned(), name: shown(field.name.as_bytes()) });
    }
    check_bytes(what, fields.iter().map(|field| field.logical.len()).sum())?;
    Ok(fields.into_iter().map(FieldSpec::from).collect())
}

pub(crate) fn fields_in(fields: &[FieldSpec]) -> Vec<Field> {
    fields.iter().map(Field::from).collect()
}

impl From<Field> for FieldSpec {
    fn from(field: Field) -> Self {
        let Field { name, kind, nullable, logical } = field;
        Self { name, kind: kind.into(), nullable, logical }
    }
}

impl From<&FieldSpec> for Field {
    fn from(spec: &FieldSpec) -> Self {
        let FieldSpec { name, kind, nullable, logical } = spec.clone();
        Self { name, kind: kind.into(), nullable, logical }
    }
}

macro_rules! kinds {
    ($($kind:ident)*) => {
        impl From<contract::Kind> for ModelKind {
            fn from(kind: contract::Kind) -> Self {
                match kind { $(contract::Kind::$kind => Self::$kind,)* }
            }
        }

        impl From<ModelKind> for contract::Kind {
            fn from(kind: ModelKind) -> Self {
                match kind { $(ModelKind::$kind => Self::$kind,)* }
            }
        }
    };
}

kinds! { Bools S32s S64s U64s F32s F64s Times Days Texts Dictionaries Blobs Jsons Opaque }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_bounded_and_not_empty() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let cases = [
            (names(&["a", "b"]), 2, None),
            (names(&["a", "b"]), 1, Some("2 of them, at most 1")),
            (names(&["a", ""]), 2, Some("name 1 is empty")),
            (names(&["a", "b", "a"]), 3, Some("`a` is there twice")),
            (vec!["x".repeat(limits::ANSWER_BYTES_MAX + 1)], 1, Some("bytes of text")),
        ];
        for (names, max, expected) in cases {
            let found = check_names("it", names.iter(), max);
            match expected {
                None => assert!(found.is_ok(), "{found:?}"),
                Some(text) => assert!(found.expect_err("refused").to_string().contains(text), "{text}"),
            }
        }
    }

    #[test]
    fn names_of_ports_and_columns_have_a_form_and_a_length() {
        let port = |name: &str| PortPlan { name: name.to_owned(), select: None, set: vec![] };
        for (name, expected) in [
            ("main", None),
            ("late-2", None),
            ("a\nb", Some("output ports: name 1, `a\\nb`: '\\n' cannot stand in a name")),
            ("Main", Some("'M' cannot stand in a name")),
            (&"x".repeat(900_000), Some("at most 63 characters, this one has 900000")),
        ] {
            let found = check_ports(&[port("first"), port(name)]);
            match expected {
                None => assert!(found.is_ok(), "{found:?}"),
                Some(text) => {
                    let error = found.expect_err("refused").to_string();
                    assert!(error.contains(text) && error.len() < 300, "{error}");
                }
            }
        }
        let columns = |bytes: usize| check_columns("it sets", ["a".to_owned(), "é".repeat(bytes / 2)].iter());
        assert!(columns(limits::COLUMN_NAME_BYTES_MAX).is_ok());
        let error = columns(900_000).expect_err("refused").to_string();
        assert_eq!(error, "it sets: name 1 has 900000 bytes, at most 1024 are taken");
    }

    #[test]
    fn a_fingerprint_has_few_parts_with_short_names() {
        let part = |name: &str| PartOut { name: name.to_owned(), value: "v".repeat(1000) };
        let parts = |names: &[&str]| names.iter().map(|name| part(name)).collect::<Vec<_>>();
        let many = || (0..=limits::FINGERPRINT_PARTS_MAX).map(|n| part(&n.to_string())).collect();
        let long = PartOut { value: "v".repeat(limits::ANSWER_BYTES_MAX), ..part("a") };
        assert_eq!(fingerprint_of(parts(&["b", "a"])).expect("a fingerprint").len(), 2);
        for (parts, expected) in [
            (parts(&["a", "a"]), "`a` is there twice"),
            (parts(&["a", ""]), "name 1 is empty"),
            (many(), "65 of them, at most 64"),
            (parts(&["a", "b\u{1b}[2J"]), "name of part 1"),
            (parts(&[&"n".repeat(129)]), "name of part 0"),
            (vec![long], "bytes of text"),
        ] {
            let error = fingerprint_of(parts).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_opaque_column_cannot_be_wanted() {
        let field =
            Field { name: "d".into(), kind: contract::Kind::Opaque, nullable: true, logical: "".into() };
        let error = fields_out("wanted", vec![field]).expect_err("refused").to_string();
        assert!(error.contains("`d` is opaque"), "{error}");
    }
}
