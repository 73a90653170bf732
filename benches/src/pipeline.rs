//! A pipeline of bytes from its manifest, as `run` makes one, apart from its two ends: they are given.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use engine::{Component, Engine, EngineOptions, Pool, StageLimits, StageSetup};
use flow::connector::{PullLimits, Sink, Source};
use flow::letters::{DeadLetter, Letters, LettersError};
use flow::{Job, Part, Run};
use model::limits;
use model::manifest::{self, Context, OnError, Pipeline, Role, StageRef};
use model::plan::{Answer, Form, Plan, Planner, Stream, Work};
use model::stage::StagePlan;

use crate::guests;

/// The pipeline of the table. The paths are those of the cache.
pub fn manifest() -> String {
    let wasm = |name| guests::path(name).display().to_string();
    format!(
        "pipeline: belt
stages:
  in: {{ source: generate }}
  half: {{ transform: {}, from: in }}
  wrap: {{ transform: {}, from: half }}
  most: {{ transform: {}, from: wrap }}
  out: {{ sink: discard, from: most }}
",
        wasm("filter-half"),
        wasm("wrap"),
        wasm("filter-most")
    )
}

/// A planned pipeline whose components are loaded.
pub struct Planned {
    pub plan: Arc<Plan>,
    pools: Vec<Option<Pool>>,
}

impl Planned {
    /// Parses, loads and plans. Every source gives, and every sink takes, opaque records.
    pub async fn new(engine: &Engine, text: &str) -> Result<Self> {
        let nothing = |_: &str| None;
        let context = Context { sources: &["generate"], sinks: &["discard"], env: &nothing };
        let pipeline = manifest::parse("belt.yaml", text, &context)?;
        let mut components = Vec::new();
        for stage in &pipeline.stages {
            components.push(match &*stage.reference {
                StageRef::WasmFile(path) => Some(load(engine, path).await?),
                _ => None,
            });
        }
        let plan = Arc::new(plan(&pipeline, &components).await?);
        let pools = plan.stages.iter().zip(&components).zip(&pipeline.stages);
        let pools = pools.map(|((planned, component), stage)| {
            let Work::Transform(work) = &planned.work else { return None };
            Some(Pool::new(
                component.clone()?,
                StageSetup {
                    pipeline: plan.pipeline.clone(),
                    stage: planned.name.clone(),
                    config: stage.with.value.clone().into(),
                    input: work.fields.clone().unwrap_or_default(),
                    plan: work.plan.clone(),
                    limits: StageLimits::default(),
                },
            ))
        });
        let pools = pools.collect();
        Ok(Self { plan, pools })
    }

    /// A run of this pipeline between two ends. Instances stay warm from run to run.
    pub fn run(&self, source: Box<dyn Source>, sink: Box<dyn Sink>) -> Result<Run> {
        let limits = PullLimits {
            records_max: limits::BATCH_RECORDS,
            bytes_max: limits::BATCH_BYTES,
            delay: limits::BATCH_DELAY,
        };
        let (mut source, mut sink) = (Some(source), Some(sink));
        let parts = self.plan.stages.iter().zip(&self.pools).map(|(stage, pool)| match (stage.role, pool) {
            (Role::Source, _) => source.take().map(|source| Part::Source { source, limits }),
            (Role::Transform, pool) => pool.clone().map(Part::Transform),
            (Role::Sink, _) => sink.take().map(Part::Sink),
        });
        let parts = parts.collect::<Option<Vec<_>>>().context("one source, one sink")?;
        let on_error = vec![OnError::Fail; parts.len()];
        Ok(Job { plan: self.plan.clone(), parts, on_error, letters: Box::new(NoLetters) }.build()?)
    }

    /// The pools of the transforms, in order.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter().flatten()
    }
}

/// An engine with the cache that is kept beside the guests.
pub fn engine() -> Result<Engine> {
    let cache_dir = Some(guests::cache_dir().join("bench/compiled"));
    Ok(Engine::new(EngineOptions { cache_dir, ..EngineOptions::default() })?)
}

async fn load(engine: &Engine, path: &str) -> Result<Component> {
    let bytes = std::fs::read(path).with_context(|| format!("no {path}; `cargo xtask guests` builds it"))?;
    Ok(engine.load(bytes).await?)
}

async fn plan(pipeline: &Pipeline, components: &[Option<Component>]) -> Result<Plan> {
    let form = |component: &Option<Component>| match component {
        Some(component) if component.kind().is_table() => Form::Table,
        Some(_) => Form::Bytes,
        None => Form::Any,
    };
    let mut planner = Planner::new(pipeline, components.iter().map(form).collect());
    while let Some(ask) = planner.next_ask() {
        let stage = &pipeline.stages[ask.stage];
        let answer = match (&components[ask.stage], *stage.role) {
            (Some(component), _) => {
                let config = stage.with.value.clone().into();
                let fields = ask.fields.unwrap_or_default();
                match component.plan(&config, &fields, &StageLimits::default()).await? {
                    StagePlan::Transform(plan) => Answer::Transform(plan),
                    other => bail!("`{}` is no transform: {other:?}", *stage.name),
                }
            }
            (None, Role::Source) => Answer::Source(Stream::Opaque),
            (None, _) => Answer::BuiltInSink { columns: false },
        };
        planner.answer(answer);
    }
    Ok(planner.finish()?)
}

/// Nothing is refused here; if it were, the run would fail.
struct NoLetters;

impl Letters for NoLetters {
    fn put(&mut self, _: &DeadLetter) -> Result<(), LettersError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::prepared::{self, Prepared, Seen, Sum};
    use crate::workload;

    #[tokio::test(flavor = "current_thread")]
    async fn the_belt_lets_the_same_records_through() {
        let planned = Planned::new(&engine().expect("an engine"), &manifest()).await.expect("planned");
        let values = &workload::batches()[..3];
        let batches = prepared::batches(values).expect("batches");
        let seen = Seen::default();
        let source = Prepared::new(batches.into(), 3, &seen);
        let run = planned.run(Box::new(source), Box::new(Sum(seen.clone()))).expect("built");
        run.run(CancellationToken::new()).await.expect("runs");
        assert_eq!(seen.checksum(), workload::expected(values));
    }
}
