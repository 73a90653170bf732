//! A wired pipeline becomes a job: connectors are opened, and of every component one instance is started, so
//! that what cannot start is told before anything flows.

use std::sync::Arc;

use engine::{Component, Pool, SinkContext, SinkDriver, SinkSetup, SourceDriver, SourceSetup, StageSetup};
use flow::checkpoint::Checkpoint;
use flow::component::{ComponentSink, ComponentSource};
use flow::connector::{Committed, Places, PullLimits};
use flow::letters::Letters;
use flow::replay::Fates;
use flow::run::Checkpoints;
use flow::{Job, Part, Rules};
use model::diagnostics::Diagnostic;
use model::fields::FieldSpec;
use model::manifest::{Role, Stage};
use model::plan::{SinkWork, SourceWork, TransformWork, Work};
use serde_json::Value;

use super::{Code, Wired, stage_limits};
use crate::exit::Result;
use crate::report::frames;

/// Why a stage could not be opened, as a problem with its line in the manifest.
type Opened<T> = std::result::Result<T, Diagnostic>;

impl Wired {
    /// Opens everything, once. All stages are tried, so that all that cannot be opened is told at once.
    /// `checkpoints`: where sources and sinks go on; none in a run that begins anew when it dies.
    pub async fn open(&self, letters: Box<dyn Letters>, checkpoints: Option<Checkpoints>) -> Result<Job> {
        let standing = checkpoints.as_ref().map(|checkpoints| &checkpoints.standing);
        let mut parts = Vec::with_capacity(self.codes.len());
        let mut problems = Vec::new();
        for index in 0..self.codes.len() {
            match self.part(index, standing).await {
                Ok(part) => parts.push(part),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(self.pipeline.diagnostics(problems).into());
        }
        Ok(Job { plan: self.plan.clone(), parts, rules: self.rules(), letters, checkpoints })
    }

    fn rules(&self) -> Rules {
        let pipeline = &self.pipeline;
        Rules {
            on_error: pipeline.stages.iter().map(|stage| stage.on_error.value).collect(),
            retry: pipeline.stages.iter().map(|stage| stage.retry).collect(),
            on_failure: pipeline.on_failure,
            fuel_per_second: pipeline.quota.fuel_per_second.map(|fuel| fuel.0),
        }
    }

    /// Opens what records go through that are sent in again: stages for which `is_behind` says so, and no source.
    /// Without `writes`, sinks count and are not opened.
    pub async fn open_behind(
        &self,
        is_behind: &[bool],
        writes: bool,
        fates: &Fates,
        letters: Option<Box<dyn Letters>>,
    ) -> Result<Job> {
        let mut parts = Vec::with_capacity(self.codes.len());
        let mut problems = Vec::new();
        for (index, planned) in self.plan.stages.iter().enumerate() {
            if !is_behind[index] {
                parts.push(Part::Absent);
            } else if planned.role == Role::Sink && !writes {
                parts.push(Part::Sink(fates.sink(&planned.name, None)));
            } else {
                match self.part(index, None).await {
                    Ok(Part::Sink(sink)) => parts.push(Part::Sink(fates.sink(&planned.name, Some(sink)))),
                    Ok(part) => parts.push(part),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        if !problems.is_empty() {
            return Err(self.pipeline.diagnostics(problems).into());
        }
        Ok(Job {
            plan: self.plan.clone(),
            parts,
            rules: self.rules(),
            letters: fates.letters(letters),
            checkpoints: None,
        })
    }

    /// The pool of a transform; none for other stages.
    pub fn pool(&self, index: usize) -> Option<Pool> {
        match (&self.plan.stages[index].work, &self.codes[index]) {
            (Work::Transform(work), Code::Component(component)) => Some(self.pool_of(index, work, component)),
            _ => None,
        }
    }

    /// `standing`: none in a run without checkpoints.
    async fn part(&self, index: usize, standing: Option<&Checkpoint>) -> Opened<Part> {
        let (stage, planned) = (&self.pipeline.stages[index], &self.plan.stages[index]);
        let none = Places::new();
        let places = standing.and_then(|standing| standing.places.get(&planned.name)).unwrap_or(&none);
        let committed = standing.map(|standing| Committed(standing.tokens.get(&planned.name).cloned()));
        let component = match &self.codes[index] {
            Code::BuiltIn(built_in) => {
                return match &planned.work {
                    Work::Source(work) => {
                        let source = built_in.open_source(stage, work, places)?;
                        Ok(Part::Source { source, limits: pull_limits(stage) })
                    }
                    _ => Ok(Part::Sink(built_in.open_sink(stage, &planned.input, committed)?)),
                };
            }
            Code::Component(component) => component,
        };
        match &planned.work {
            Work::Source(work) => self.component_source(index, work, component, places).await,
            Work::Transform(work) => {
                let pool = self.pool_of(index, work, component);
                let lease = pool.lease().await.map_err(|error| cannot_start(stage, &error))?;
                lease.give_back();
                Ok(Part::Transform(pool))
            }
            Work::Sink(work) => self.component_sink(index, work, component, committed).await,
        }
    }

    async fn component_source(
        &self,
        index: usize,
        work: &SourceWork,
        component: &Component,
        places: &Places,
    ) -> Opened<Part> {
        let (stage, planned) = (&self.pipeline.stages[index], &self.plan.stages[index]);
        let port = &planned.ports[0];
        let fields = |stream: &model::plan::Stream| match stream.schema() {
            Some(schema) => schema.fields().iter().map(|field| FieldSpec::of(field)).collect(),
            None => Vec::new(),
        };
        let wanted = work.wanted.iter().flatten();
        let setup = SourceSetup {
            pipeline: self.plan.pipeline.clone(),
            stage: planned.name.clone(),
            config: config(stage),
            schema: fields(&port.offered),
            wanted: wanted.filter_map(|&column| u32::try_from(column).ok()).collect(),
            limits: stage_limits(stage),
            access: self.access[index].clone(),
        };
        let driver =
            SourceDriver::open(component, setup).await.map_err(|error| cannot_start(stage, &error))?;
        let (pipeline, name) = (self.plan.pipeline.clone(), planned.name.clone());
        let source =
            ComponentSource::start(driver, pipeline, name, port.stream.clone(), &self.splits[index], places)
                .await;
        let source = source.map_err(|error| cannot_start(stage, &error))?;
        Ok(Part::Source { source: Box::new(source), limits: pull_limits(stage) })
    }

    async fn component_sink(
        &self,
        index: usize,
        work: &SinkWork,
        component: &Component,
        committed: Option<Committed>,
    ) -> Opened<Part> {
        let (stage, planned) = (&self.pipeline.stages[index], &self.plan.stages[index]);
        let Some(sink) = &work.component else {
            let message = format!("`{}` was planned as a connector, and is a component", *stage.name);
            return Err(Diagnostic::new("stage::role", message).label(stage.reference.span, "this"));
        };
        let setup = SinkSetup {
            pipeline: self.plan.pipeline.clone(),
            stage: planned.name.clone(),
            config: config(stage),
            input: sink.fields.clone().unwrap_or_default(),
            plan: sink.plan.clone(),
            context: SinkContext {
                committed: committed.and_then(|committed| committed.0).into_iter().collect(),
                ..SinkContext::default()
            },
            limits: stage_limits(stage),
            access: self.access[index].clone(),
        };
        let driver = SinkDriver::open(component, setup).await.map_err(|error| cannot_start(stage, &error))?;
        let ids = sink.plan.ids;
        Ok(Part::Sink(Box::new(ComponentSink::new(driver, sink.feed.clone(), planned.input.clone(), ids))))
    }

    fn pool_of(&self, index: usize, work: &TransformWork, component: &Component) -> Pool {
        let stage = &self.pipeline.stages[index];
        let setup = StageSetup {
            pipeline: self.plan.pipeline.clone(),
            stage: Arc::from(stage.name.as_str()),
            config: config(stage),
            input: work.fields.clone().unwrap_or_default(),
            plan: work.plan.clone(),
            limits: stage_limits(stage),
            access: self.access[index].clone(),
        };
        Pool::new(component.clone(), setup)
    }
}

fn config(stage: &Stage) -> Value {
    Value::Object(stage.with.value.clone())
}

fn pull_limits(stage: &Stage) -> PullLimits {
    let batch = &stage.batch;
    PullLimits { records_max: batch.records, bytes_max: batch.bytes.0 as usize, delay: batch.delay.0 }
}

fn cannot_start(stage: &Stage, error: &engine::CallError) -> Diagnostic {
    let backtrace = error.backtrace().map(|backtrace| format!("\n{}", frames(backtrace))).unwrap_or_default();
    let message = format!("`{}` cannot be started: {error}{backtrace}", *stage.name);
    let problem = Diagnostic::new("stage::start", message).label(stage.reference.span, "this component");
    problem.help("change its config, raise its `limits`, or mend the component")
}
