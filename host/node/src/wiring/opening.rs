//! A resolved pipeline becomes a job: connectors are opened, and of every component one instance is started, so
//! that what cannot start is told before anything flows.

use std::sync::{Arc, Mutex};

use engine::{
    Component, KeyedState, Pool, SinkContext, SinkDriver, SinkSetup, SourceDriver, SourceSetup, StageSetup,
};
use flow::checkpoint::Checkpoint;
use flow::clock::wall_clock;
use flow::component::{ComponentSink, ComponentSource};
use flow::connector::{Committed, Places, PullLimits};
use flow::letters::Letters;
use flow::replay::{Decoders, Fates};
use flow::state::{StageState, StateLimits};
use flow::{Checkpoints, CutOff, Job, Part, Rules, Transform};
use model::diagnostics::Diagnostic;
use model::fields::FieldSpec;
use model::manifest::{OnFailure, Role, Stage};
use model::plan::{SinkWork, SourceWork, TransformWork, Work};
use serde_json::Value;

use super::builtin::record_bytes;
use super::{Code, ResolvedPipeline, stage_limits};
use crate::exit::Result;
use crate::report::frames;

/// Why a stage could not be opened, as a problem with its line in the manifest.
type Opened<T> = std::result::Result<T, Diagnostic>;

/// How records are sent in again.
pub struct Behind<'a> {
    /// By stage of the plan: which of them records go through.
    pub stages: &'a [bool],
    /// Without it, sinks count and are not opened, and no checkpoint is taken.
    pub writes: bool,
    pub epoch: u64,
    pub fates: &'a Fates,
    pub letters: Box<dyn Letters>,
    /// Through which sinks commit, and what stages remember.
    pub checkpoints: Option<Checkpoints>,
}

impl ResolvedPipeline {
    /// Opens everything, once. All stages are tried, so that all that cannot be opened is told at once.
    /// `epoch`: higher than that of any earlier run. `checkpoints`: where sources and sinks go on; none in a run that
    /// begins anew when it dies.
    pub async fn open(
        &self,
        letters: Box<dyn Letters>,
        epoch: u64,
        mut checkpoints: Option<Checkpoints>,
    ) -> Result<Job> {
        let mut parts = Vec::with_capacity(self.codes.len());
        let mut problems = Vec::new();
        for index in 0..self.codes.len() {
            let state = self.state(index, checkpoints.as_mut())?;
            let last_committed = checkpoints.as_ref().map(|checkpoints| &checkpoints.last_committed);
            let part = self.part(index, epoch, last_committed, state).await;
            let why = checkpoints.as_ref().and_then(|checkpoints| checkpoints.recovery.cut.get(&index));
            match (why, part) {
                (Some(why), part) => parts.push(self.cut_off(index, part, last_committed, why.clone()).await),
                (None, Ok(part)) => parts.push(part),
                (None, Err(problem)) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(self.pipeline.diagnostics(problems).into());
        }
        Ok(Job { plan: self.plan.clone(), parts, rules: self.rules(), letters, epoch, checkpoints })
    }

    /// A sink that has failed for good. It is opened once more, so that it commits what the checkpoint has of it.
    async fn cut_off(
        &self,
        index: usize,
        part: Opened<Part>,
        last_committed: Option<&Checkpoint>,
        why: Arc<str>,
    ) -> Part {
        let token = last_committed.and_then(|last| last.tokens.get(&self.plan.stages[index].name));
        let is_committed = match (part, token) {
            (Ok(Part::Sink(mut sink)), Some(token)) => sink.commit(token).await.is_ok(),
            (_, token) => token.is_none(),
        };
        Part::Cut(CutOff { why, is_committed })
    }

    fn rules(&self) -> Rules {
        let pipeline = &self.pipeline;
        Rules {
            on_error: pipeline.stages.iter().map(|stage| stage.on_error.value).collect(),
            retry: pipeline.stages.iter().map(|stage| stage.retry).collect(),
            record_bytes: pipeline.stages.iter().map(record_bytes).collect(),
            on_failure: pipeline.on_failure,
            fuel_per_second: pipeline.quota.fuel_per_second.map(|fuel| fuel.0),
        }
    }

    /// What makes records of those that its sources have refused, by source.
    pub fn decoders(&self) -> Result<Decoders> {
        let mut decoders = Decoders::new();
        for (index, planned) in self.plan.stages.iter().enumerate() {
            if let (Work::Source(work), Code::BuiltIn(built_in)) = (&planned.work, &self.codes[index]) {
                let again = built_in.again(&self.pipeline.stages[index], work);
                let again = again.map_err(|problem| self.pipeline.diagnostics(vec![problem]))?;
                decoders.extend(again.map(|decoder| (index, Arc::new(Mutex::new(decoder)))));
            }
        }
        Ok(decoders)
    }

    /// Opens what records go through that are sent in again.
    pub async fn open_behind(&self, replay: Behind<'_>) -> Result<Job> {
        let Behind { stages, writes, epoch, fates, letters, mut checkpoints } = replay;
        let mut parts = Vec::with_capacity(self.codes.len());
        let mut problems = Vec::new();
        for (index, planned) in self.plan.stages.iter().enumerate() {
            if !stages[index] {
                parts.push(Part::Absent);
            } else if planned.role == Role::Source {
                let record_bytes_max = match &self.codes[index] {
                    Code::BuiltIn(_) => u64::MAX,
                    Code::Component(_) => stage_limits(&self.pipeline.stages[index]).record_bytes,
                };
                parts.push(Part::Injected { record_bytes_max });
            } else if planned.role == Role::Sink && !writes {
                parts.push(Part::Sink(fates.sink(&planned.name, None)));
            } else {
                let state = self.state(index, checkpoints.as_mut())?;
                let last_committed = checkpoints.as_ref().map(|checkpoints| &checkpoints.last_committed);
                match self.part(index, epoch, last_committed, state).await {
                    Ok(Part::Sink(sink)) => parts.push(Part::Sink(fates.sink(&planned.name, Some(sink)))),
                    Ok(part) => parts.push(part),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        if !problems.is_empty() {
            return Err(self.pipeline.diagnostics(problems).into());
        }
        // A branch that fails here is not cut: nothing of the replay is closed then, and nothing is committed.
        let rules = Rules { on_failure: OnFailure::Stop, ..self.rules() };
        let checkpoints = checkpoints.filter(|_| writes);
        Ok(Job { plan: self.plan.clone(), parts, rules, letters, epoch, checkpoints })
    }

    /// A transform with a state of its own that lasts as long as it does; none for other stages.
    pub fn transform(&self, index: usize) -> Option<Transform> {
        match (&self.plan.stages[index].work, &self.codes[index]) {
            (Work::Transform(work), Code::Component(component)) => {
                let keeps = self.keeps_state(index);
                let state = keeps.then(|| Arc::new(StageState::in_memory(self.state_limits(index))));
                Some(self.transform_of(index, work, component, state))
            }
            _ => None,
        }
    }

    /// Whether a stage is a transform that keeps state.
    pub fn keeps_state(&self, index: usize) -> bool {
        let is_transform = matches!(self.plan.stages[index].work, Work::Transform(_));
        is_transform && self.component(index).is_some_and(Component::keeps_state)
    }

    fn state_limits(&self, index: usize) -> StateLimits {
        let default = StateLimits::default();
        let given = self.pipeline.stages[index].limits.state_bytes;
        StateLimits { bytes_max: given.map_or(default.bytes_max, |bytes| bytes.value.0), ..default }
    }

    /// What a stage remembers: as the checkpoint has it, or nothing yet.
    fn state(&self, index: usize, checkpoints: Option<&mut Checkpoints>) -> Result<Option<Arc<StageState>>> {
        if !self.keeps_state(index) {
            return Ok(None);
        }
        let limits = self.state_limits(index);
        let state = match checkpoints {
            None => StageState::in_memory(limits),
            Some(checkpoints) => {
                let base = checkpoints.store.state(&self.plan.stages[index].name)?;
                StageState::over(base, limits)?
            }
        };
        Ok(Some(Arc::new(state)))
    }

    /// `last_committed`: none in a run without checkpoints. `state`: what the stage remembers, where it does.
    async fn part(
        &self,
        index: usize,
        epoch: u64,
        last_committed: Option<&Checkpoint>,
        state: Option<Arc<StageState>>,
    ) -> Opened<Part> {
        let (stage, planned) = (&self.pipeline.stages[index], &self.plan.stages[index]);
        let none = Places::new();
        let places = last_committed.and_then(|last| last.places.get(&planned.name)).unwrap_or(&none);
        let committed = last_committed.map(|last| Committed(last.tokens.get(&planned.name).cloned()));
        let component = match &self.codes[index] {
            Code::BuiltIn(built_in) => {
                return match &planned.work {
                    Work::Source(work) => {
                        let source = built_in.open_source(stage, work, places, &self.written)?;
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
                let transform = self.transform_of(index, work, component, state);
                let lease = transform.pool.lease().await.map_err(|error| cannot_start(stage, &error))?;
                lease.give_back();
                Ok(Part::Transform(transform))
            }
            Work::Sink(work) => self.component_sink(index, work, component, epoch, committed).await,
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
        epoch: u64,
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
                epoch,
                committed: committed.and_then(|committed| committed.0).into_iter().collect(),
                ..SinkContext::default()
            },
            limits: stage_limits(stage),
            access: self.access[index].clone(),
        };
        let driver = SinkDriver::open(component, setup).await.map_err(|error| cannot_start(stage, &error))?;
        let ids = sink.plan.ids;
        Ok(Part::Sink(Box::new(ComponentSink::new(driver, sink.mapping.clone(), planned.input.clone(), ids))))
    }

    fn transform_of(
        &self,
        index: usize,
        work: &TransformWork,
        component: &Component,
        state: Option<Arc<StageState>>,
    ) -> Transform {
        let stage = &self.pipeline.stages[index];
        let setup = StageSetup {
            pipeline: self.plan.pipeline.clone(),
            stage: Arc::from(stage.name.as_str()),
            config: config(stage),
            input: work.fields.clone().unwrap_or_default(),
            plan: work.plan.clone(),
            limits: stage_limits(stage),
            access: self.access[index].clone(),
            state: state.clone().map(|state| state as Arc<dyn KeyedState>),
        };
        Transform { pool: Pool::new(component.clone(), setup), state }
    }
}

/// The epoch of a run that has no store to count them in: the time, in microseconds since the Unix epoch.
pub fn epoch_now() -> u64 {
    u64::try_from(wall_clock()).unwrap_or_default()
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
