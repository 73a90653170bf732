//! Pipelines from their manifests, as `conveyor run` makes and runs them.

use std::io::Write;

use anyhow::{Context, Result, anyhow};
use engine::{Engine, EngineOptions, Pool};
use flow::connector::{PullLimits, Sink, Source};
use flow::letters::{Group, Letters, LettersError};
use flow::meters::StageReport;
use flow::{Job, Part, Rules, Run, Transform};
use model::limits;
use model::manifest::OnError;
use model::plan::{PlannedStage, Work};
use node::wiring::{self, ResolvedPipeline, Resolver};
use tokio_util::sync::CancellationToken;

use crate::guests;

/// The pipeline of the table.
pub fn belt() -> String {
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

/// An engine with a cache of its own, beside the guests.
pub fn engine(options: EngineOptions) -> Result<Engine> {
    let cache_dir = Some(guests::cache_dir().join("bench/code"));
    Ok(Engine::new(EngineOptions { cache_dir, ..options })?)
}

/// A planned pipeline whose components are loaded.
pub struct Pipeline {
    resolved: ResolvedPipeline,
    /// Of its transforms. Instances stay warm from run to run.
    pub pools: Vec<Pool>,
}

impl Pipeline {
    /// Reads, loads and plans.
    pub async fn new(engine: &Engine, manifest: &str) -> Result<Self> {
        let mut file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
        file.write_all(manifest.as_bytes())?;
        let draft = wiring::read(file.path()).map_err(|failure| anyhow!("{failure:?}"))?;
        let resolver = Resolver::of(engine.clone(), Default::default(), false);
        let resolver = resolver.map_err(|failure| anyhow!("{failure:?}"))?;
        let resolved = resolver.resolve(draft).await?;
        let pools = (0..resolved.plan.stages.len())
            .filter_map(|stage| Some(resolved.transform(stage)?.pool))
            .collect();
        Ok(Self { resolved, pools })
    }

    /// Opens everything that the manifest names; to be done once.
    pub async fn open(&self) -> Result<Job> {
        self.resolved.open(Box::new(Refuse), 1, None).await.map_err(|failure| anyhow!("{failure:?}"))
    }

    /// A run of its transforms between two other ends than the manifest names.
    pub fn between(&self, source: Box<dyn Source>, sink: Box<dyn Sink>) -> Result<Run> {
        self.refusing(source, sink, OnError::Fail, Box::new(Refuse))
    }

    /// The same, for stages that refuse records.
    pub fn refusing(
        &self,
        source: Box<dyn Source>,
        sink: Box<dyn Sink>,
        on_error: OnError,
        letters: Box<dyn Letters>,
    ) -> Result<Run> {
        let limits = PullLimits {
            records_max: limits::BATCH_RECORDS,
            bytes_max: limits::BATCH_BYTES,
            delay: limits::BATCH_DELAY,
        };
        let (mut source, mut sink, mut pools) = (Some(source), Some(sink), self.pools.iter());
        let part = |stage: &PlannedStage| match &stage.work {
            Work::Source(_) => source.take().map(|source| Part::Source { source, limits }),
            Work::Transform(_) => {
                pools.next().map(|pool| Part::Transform(Transform { pool: pool.clone(), state: None }))
            }
            Work::Sink(_) => sink.take().map(Part::Sink),
        };
        let plan = self.resolved.plan.clone();
        let parts: Option<Vec<_>> = plan.stages.iter().map(part).collect();
        let parts = parts.context("a pipeline with one source and one sink is needed")?;
        let rules = Rules { on_error: vec![on_error; parts.len()], ..Rules::defaults(&plan) };
        Ok(Job { plan, parts, rules, letters, epoch: 1, checkpoints: None }.build()?)
    }
}

/// Runs to the end; says what each stage did.
pub async fn finish(run: Run) -> Result<Vec<StageReport>> {
    let meters = run.meters();
    run.run(CancellationToken::new()).await.result()?;
    Ok(meters.report())
}

/// Nothing is to be refused in a bench.
pub struct Refuse;

impl Letters for Refuse {
    fn put(&mut self, group: &Group) -> Result<(), LettersError> {
        panic!("records were refused: {group:?}")
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepared::{self, Prepared, Seen, Sum};
    use crate::workload;

    #[tokio::test(flavor = "current_thread")]
    async fn the_belt_lets_the_same_records_through() {
        let engine =
            engine(EngineOptions { instances_max: 8, ..EngineOptions::default() }).expect("an engine");
        let pipeline = Pipeline::new(&engine, &belt()).await.expect("planned");
        let values = &workload::batches()[..3];
        let batches = prepared::batches(values).expect("batches");
        let seen = Seen::default();
        let source = Prepared::new(batches.into(), 3, &seen);
        let run = pipeline.between(Box::new(source), Box::new(Sum(seen.clone()))).expect("built");
        let reports = finish(run).await.expect("runs");
        assert_eq!(seen.checksum(), workload::expected(values));
        assert_eq!(reports[0].records_out, 3 * workload::BATCH_RECORDS as u64);
        assert!(reports[2].fuel > 0, "the wrapping was not metered");
    }
}
