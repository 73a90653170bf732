//! From a manifest on disk to a job that can run.
//!
//! [`read`] makes a [`Draft`] of a file; [`Resolver::resolve`] loads what the stages name, asks them for their
//! plans and gives a [`ResolvedPipeline`], or everything that is wrong with it at once; [`ResolvedPipeline::open`]
//! opens what the stages stand for. Each step is the last one to know what came before it.

mod builtin;
mod compiling;
mod components;
mod manifest;
mod marks;
mod meeting;
mod opening;
mod planning;
mod policy;
mod reach;

use std::path::PathBuf;
use std::sync::Arc;

use engine::{Access, Component, Engine, EngineOptions, StageLimits};
use flow::letters::Identity;
use model::diagnostics::Diagnostics;
use model::ids::Revision;
use model::manifest::{Isolation, Pipeline, Role, Stage};
use model::plan::Plan;
use model::plan::places::Place;

use crate::exit::{Failure, Result};
use crate::places;
use crate::pulled::Puller;
use planning::Planned;

pub use builtin::{BuiltIn, connectors, describe_connector};
pub use components::read as read_component;
pub use manifest::{Deployed, Draft, read, read_lock_for_update, read_unlocked};
pub use meeting::{between, tell_written};
pub use opening::{Behind, epoch_now};
pub use policy::{KeptSecrets, Policy, spools_in};
pub use reach::{needs, needs_left};

/// Makes resolved pipelines of manifests: an engine, and what else that takes.
pub struct Resolver {
    pub engine: Engine,
    /// Whether a stage that is a directory is built. Without it, it is refused: building runs what the
    /// directory says, which running does not.
    pub builds: bool,
    /// Whether what is built is kept, so that runs take it by its digest.
    pub keeps_builds: bool,
    pub policy: Policy,
    /// Who brings what is in registries.
    pub puller: Arc<Puller>,
}

/// What stands behind a stage.
pub enum Code {
    BuiltIn(Box<BuiltIn>),
    Component(Component),
}

/// A pipeline in which everything fits together, not yet opened.
pub struct ResolvedPipeline {
    pub pipeline: Pipeline,
    /// What is typed to name it: the path of its manifest or of its bundle.
    file: String,
    /// The directory of the manifest: paths in it are relative to it.
    pub home: PathBuf,
    /// By stage.
    pub codes: Vec<Code>,
    /// By stage; the splits of sources that are components.
    splits: Vec<Vec<String>>,
    /// By stage; what components say that their state or their places rest on.
    fingerprints: Vec<Option<planning::Fingerprint>>,
    /// By stage; what it reaches.
    access: Vec<Access>,
    /// What sinks write, its own and those of pipelines that run beside it.
    written: Vec<Place>,
    pub plan: Arc<Plan>,
}

/// An engine that keeps what it compiles in the cache of this user, and compiles in processes of their own.
pub fn engine() -> Result<Engine> {
    let cache_dir = places::code();
    let compiler = Some(compiling::compiler()?);
    let engine = Engine::new(EngineOptions { cache_dir, compiler, ..EngineOptions::default() });
    engine.map_err(Failure::ran)
}

impl Resolver {
    pub fn new(builds: bool) -> Result<Self> {
        Self::under(Policy::default(), builds)
    }

    pub fn under(policy: Policy, builds: bool) -> Result<Self> {
        Self::of(engine()?, policy, builds)
    }

    /// With an engine that is there.
    pub fn of(engine: Engine, policy: Policy, builds: bool) -> Result<Self> {
        let puller = Arc::new(Puller::new(policy.pulling.clone())?);
        Ok(Self { engine, builds, keeps_builds: false, policy, puller })
    }

    /// What its components cannot do without, by stage; none where one cannot be loaded.
    pub async fn needs(&self, draft: &Draft) -> Vec<Option<Vec<model::grants::Need>>> {
        let (codes, _) = self.load(draft).await;
        let of = |code: Option<Code>| match code {
            Some(Code::Component(component)) => Some(needs(&component).0),
            _ => None,
        };
        codes.into_iter().map(of).collect()
    }

    /// Loads, checks and plans.
    pub async fn resolve(&self, draft: Draft) -> std::result::Result<ResolvedPipeline, Diagnostics> {
        self.resolve_with(draft, false).await
    }

    /// The same with every column kept, wanted or not, for those who look at what leaves each stage.
    pub async fn resolve_keeping_all(
        &self,
        draft: Draft,
    ) -> std::result::Result<ResolvedPipeline, Diagnostics> {
        self.resolve_with(draft, true).await
    }

    async fn resolve_with(
        &self,
        draft: Draft,
        keeps_all: bool,
    ) -> std::result::Result<ResolvedPipeline, Diagnostics> {
        let (access, mut problems) = reach::accesses(&draft.pipeline, &draft.home, &self.policy);
        let (codes, more) = self.load(&draft).await;
        problems.extend(more);
        let file = draft.file();
        let Draft { pipeline, home, .. } = draft;
        let planned = planning::plan(&pipeline, &codes, &access, problems, keeps_all).await?;
        let codes = codes.into_iter().flatten().collect();
        let Planned { plan, splits, fingerprints } = planned;
        let (plan, written) = (Arc::new(plan), Vec::new());
        let mut resolved =
            ResolvedPipeline { codes, splits, fingerprints, access, written, plan, pipeline, file, home };
        tell_written(std::slice::from_mut(&mut resolved));
        let clashes = meeting::within(&resolved);
        if clashes.is_empty() { Ok(resolved) } else { Err(resolved.pipeline.diagnostics(clashes)) }
    }
}

impl ResolvedPipeline {
    pub fn name(&self) -> &str {
        self.pipeline.name.as_str()
    }

    /// Its share of a busy machine.
    pub fn weight(&self) -> u32 {
        self.pipeline.weight
    }

    /// Whether all of its sources can be read again.
    pub fn replays(&self) -> bool {
        self.codes.iter().all(|code| match code {
            Code::BuiltIn(built_in) => built_in.replays(),
            Code::Component(_) => true,
        })
    }

    /// Whether a source of this name gives the records again that no checkpoint has.
    pub fn gives_again(&self, source: &str) -> bool {
        self.pipeline.index_of(source).is_some_and(|index| {
            *self.pipeline.stages[index].role == Role::Source
                && self.built_in(index).is_none_or(BuiltIn::replays)
        })
    }

    /// The component behind a stage, where there is one.
    pub fn component(&self, stage: usize) -> Option<&Component> {
        match self.codes.get(stage)? {
            Code::Component(component) => Some(component),
            Code::BuiltIn(_) => None,
        }
    }

    /// The connector behind a stage, where there is one.
    pub fn built_in(&self, stage: usize) -> Option<&BuiltIn> {
        match self.codes.get(stage)? {
            Code::BuiltIn(built_in) => Some(built_in),
            Code::Component(_) => None,
        }
    }

    /// What dead letters say of what ran.
    pub fn identity(&self) -> Identity {
        let component = |(index, stage): (usize, &Stage)| {
            Some((stage.name.to_string(), self.component(index)?.digest().to_string()))
        };
        let components: Vec<(String, String)> =
            self.pipeline.stages.iter().enumerate().filter_map(component).collect();
        let named = components.iter().map(|(stage, digest)| (stage.as_str(), digest.as_str()));
        Identity {
            pipeline: self.name().to_owned(),
            manifest: self.file.clone(),
            revision: Revision::of(&self.pipeline.text.text, named).to_string(),
            components: components.into_iter().collect(),
            state: None,
        }
    }

    /// Names of the sinks that are the built-in connector `name`.
    pub fn sinks_of(&self, name: &str) -> Vec<&str> {
        let is_sink =
            |stage: &&str| self.pipeline.stage(stage).is_some_and(|stage| *stage.role == Role::Sink);
        self.stages_of(name).into_iter().filter(is_sink).collect()
    }

    /// Names of the stages that are the built-in connector `name`.
    pub fn stages_of(&self, name: &str) -> Vec<&str> {
        let stages = self.pipeline.stages.iter();
        let named = stages.filter(|stage| stage.reference.value.to_string() == name);
        named.map(|stage| stage.name.as_str()).collect()
    }
}

/// The limits of a stage as the engine takes them.
pub fn stage_limits(stage: &Stage) -> StageLimits {
    let (given, default) = (&stage.limits, StageLimits::default());
    StageLimits {
        memory_bytes: given.memory.map_or(default.memory_bytes, |memory| memory.value.0 as usize),
        fuel_per_record: given.fuel_per_record.map_or(default.fuel_per_record, |fuel| fuel.value.0),
        fuel_per_call: given.fuel_per_batch.map_or(default.fuel_per_call, |fuel| fuel.value.0),
        batch_time: given.batch_time.map_or(default.batch_time, |time| time.value.0),
        host_call_time: given.host_call_time.map_or(default.host_call_time, |time| time.value.0),
        host_call_bytes: given
            .host_call_bytes
            .map_or(default.host_call_bytes, |bytes| bytes.value.0 as usize),
        output_bytes: given.output_bytes.map_or(default.output_bytes, |bytes| bytes.value.0 as usize),
        output_ratio: given.output_ratio.map_or(default.output_ratio, |ratio| ratio.value.0),
        record_bytes: given.record_bytes.map_or(default.record_bytes, |bytes| bytes.value.0),
        log_lines: given.log_lines.map_or(default.log_lines, |lines| lines.value.0 as u32),
        resources: given.resources.map_or(default.resources, |count| count.value.0 as usize),
        instances: given.instances.map_or(default.instances, |count| count.value.0 as u32),
        instance_calls: match stage.isolation {
            Isolation::Stage => default.instance_calls,
            Isolation::Batch => 1,
        },
    }
}
