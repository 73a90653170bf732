//! The planning conversation: the planner says whom to ask, components answer through the engine, built-in
//! connectors by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use engine::{Access, CallError, Component, Failure};
use model::diagnostics::{Diagnostic, Diagnostics};
use model::manifest::{Pipeline, Stage};
use model::plan::{Answer, Ask, Form, Plan, Planner, Stream};
use model::stage::{SourcePlan, StagePlan};

use super::{Code, stage_limits};
use crate::report::frames;

/// What came of the conversation.
pub(super) struct Planned {
    pub plan: Plan,
    /// By stage; of sources that are components.
    pub splits: Vec<Vec<String>>,
    /// By stage; what components say that they rest on.
    pub fingerprints: Vec<Option<Fingerprint>>,
}

/// Parts by name.
pub(super) type Fingerprint = BTreeMap<String, String>;

/// What one component says beside its plan.
#[derive(Clone, Default)]
struct Beside {
    splits: Vec<String>,
    fingerprint: Option<Fingerprint>,
}

/// Plans the pipeline, or tells all that is wrong with it: `problems` were found before.
pub(super) async fn plan(
    pipeline: &Pipeline,
    codes: &[Option<Code>],
    access: &[Access],
    mut problems: Vec<Diagnostic>,
    keeps_all: bool,
) -> Result<Planned, Diagnostics> {
    let forms = codes.iter().map(|code| code.as_ref().map_or(Form::Any, form)).collect();
    let mut planner = Planner::new(pipeline, forms);
    if keeps_all {
        planner = planner.keeping_all();
    }
    let mut beside = vec![Beside::default(); pipeline.stages.len()];
    while let Some(ask) = planner.next_ask() {
        let stage = &pipeline.stages[ask.stage];
        let answer = match &codes[ask.stage] {
            None => Answer::Reported,
            Some(Code::BuiltIn(built_in)) => built_in.answer(),
            Some(Code::Component(component)) => {
                answer_of(component, stage, &access[ask.stage], &ask, &mut beside[ask.stage]).await
            }
        };
        planner.answer(answer);
    }
    let planned = planner.finish();
    match planned {
        Ok(plan) if problems.is_empty() => {
            let (splits, fingerprints) =
                beside.into_iter().map(|beside| (beside.splits, beside.fingerprint)).unzip();
            Ok(Planned { plan, splits, fingerprints })
        }
        Ok(_) => Err(pipeline.diagnostics(problems)),
        Err(more) => {
            problems.extend(more.iter().cloned());
            Err(pipeline.diagnostics(problems))
        }
    }
}

fn form(code: &Code) -> Form {
    match code {
        Code::BuiltIn(built_in) => built_in.form(),
        Code::Component(component) if component.kind().is_table() => Form::Table,
        Code::Component(_) => Form::Bytes,
    }
}

async fn answer_of(
    component: &Component,
    stage: &Stage,
    access: &Access,
    ask: &Ask,
    beside: &mut Beside,
) -> Answer {
    let config = serde_json::Value::Object(stage.with.value.clone());
    let (fields, limits) = (ask.fields.as_deref().unwrap_or_default(), stage_limits(stage));
    let planned = match component.plan_with(&config, fields, &limits, access).await {
        Ok(planned) => planned,
        Err(error) => return unanswered("plan", &error),
    };
    match component.fingerprint(&config, &limits, access).await {
        Ok(fingerprint) => beside.fingerprint = fingerprint,
        Err(error) => return unanswered("fingerprint", &error),
    }
    match planned {
        StagePlan::Transform(plan) => Answer::Transform(plan),
        StagePlan::Sink(plan) => Answer::Sink(plan),
        StagePlan::Source(SourcePlan { schema, splits: found }) => {
            beside.splits = found;
            match schema.map(|fields| fields.iter().map(|field| field.to_arrow()).collect::<Option<Vec<_>>>())
            {
                None => Answer::Source(Stream::Opaque),
                Some(Some(fields)) => Answer::Source(Stream::Rows(Arc::new(Schema::new(fields)))),
                Some(None) => refused("its schema has a column that is opaque".to_owned(), MEND),
            }
        }
    }
}

fn unanswered(what: &str, error: &CallError) -> Answer {
    if let CallError::Failure(Failure::Invalid(why)) = error {
        return refused(why.clone(), "change its config under `with`");
    }
    let backtrace = error.backtrace().map(|backtrace| format!("\n{}", frames(backtrace))).unwrap_or_default();
    refused(format!("asked for its {what}, {error}{backtrace}"), MEND)
}

const MEND: &str = "mend the component, or ask its author to";

fn refused(message: String, help: &str) -> Answer {
    Answer::Refused { pointer: String::new(), message, help: help.to_owned() }
}
