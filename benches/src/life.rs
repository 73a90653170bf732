//! What a pipeline costs beside its throughput: how long one record takes, how long a start takes, and what it
//! holds while nothing comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use engine::{Engine, EngineOptions};
use flow::connector::{ConnectError, PullLimits, Pulled, Source};
use flow::{Job, Part};
use model::batch::Batch;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::measure::percentile;
use crate::pipeline::{self, Pipeline};
use crate::prepared::{self, Count, Prepared, Seen, Stopwatch};
use crate::report::{Goal, Table};
use crate::{guests, workload};

/// Records that go through one by one.
const SINGLES: usize = 100_000;
const INSTANTIATIONS: usize = 2_000;
const COLD_STARTS: usize = 50;
/// Pipelines that idle side by side.
const IDLE: usize = 300;

const KIB: f64 = 1024.0;

/// All figures, each with the most that it may be.
pub fn table(runtime: &Runtime) -> Result<Table> {
    let engine = pipeline::engine(EngineOptions::default())?;
    let mut table = Table::new(["figure", "found", "must be at most"]);
    let mut row = |name: &str, unit: &str, found: f64, most: Option<f64>| {
        let verdict = most.map(|most| format!("{most} {unit}: {}", Goal::AtMost(most).verdict(found)));
        table.row([name.to_owned(), format!("{found:.2} {unit}"), verdict.unwrap_or_default()]);
    };
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;

    let mut times = runtime.block_on(singles(&engine))?;
    row("one record through the three stages, p50", "us", us(percentile(&mut times, 0.5)), Some(10.0));
    row("the same, p99", "us", us(percentile(&mut times, 0.99)), None);

    let mut times = runtime.block_on(instantiations(&engine))?;
    row("instantiation of a warm component, opened, p50", "us", us(percentile(&mut times, 0.5)), Some(20.0));
    row("the same, p99", "us", us(percentile(&mut times, 0.99)), None);

    let [mut starts, mut loads] = runtime.block_on(cold_starts(&engine))?;
    let most = Some(5.0);
    row("cold start, manifest to first record out, p50", "ms", ms(percentile(&mut starts, 0.5)), most);
    row("of it, planned with code from the cache, p50", "ms", ms(percentile(&mut loads, 0.5)), None);

    let idle = runtime.block_on(idle(&engine))?;
    row("an idle pipeline of one stage, no instance", "KiB", idle.none_bytes / KIB, Some(100.0));
    row("the same with one warm instance", "KiB", idle.warm_bytes / KIB, Some(256.0));
    Ok(table)
}

/// How long batches of one record take through the three stages, from the source to the sink.
async fn singles(engine: &Engine) -> Result<Vec<Duration>> {
    let pipeline = Pipeline::new(engine, &pipeline::belt()).await?;
    let batches: Arc<[Batch]> = prepared::batches(&[workload::single()])?.into();
    let seen = Seen::default();
    let source = Prepared::new(batches, SINGLES, &seen).timed();
    let run = pipeline.between(Box::new(source), Box::new(Stopwatch(seen.clone())))?;
    pipeline::finish(run).await?;
    ensure!(seen.records() == SINGLES as u64, "a record was lost");
    Ok(seen.latencies())
}

/// How long it takes to instantiate a component that is loaded, and to open the stage in it.
async fn instantiations(engine: &Engine) -> Result<Vec<Duration>> {
    let pipeline = Pipeline::new(engine, &pipeline::belt()).await?;
    let pool = pipeline.pools.first().context("the belt has transforms")?;
    let mut times = Vec::with_capacity(INSTANTIATIONS);
    for _ in 0..INSTANTIATIONS {
        let start = Instant::now();
        let lease = pool.lease().await?;
        times.push(start.elapsed());
        // Dropped and not given back: the next lease has to make another.
        drop(lease);
    }
    Ok(times)
}

/// How long it takes from a manifest to the first record out, with nothing loaded and everything in the cache;
/// and how much of it goes by before anything is opened.
async fn cold_starts(engine: &Engine) -> Result<[Vec<Duration>; 2]> {
    let batches: Arc<[Batch]> = prepared::batches(&[workload::single()])?.into();
    let (mut starts, mut loads) = (Vec::new(), Vec::new());
    for _ in 0..COLD_STARTS {
        let seen = Seen::default();
        let source = Prepared::new(batches.clone(), 1, &seen);
        let start = Instant::now();
        let pipeline = Pipeline::new(engine, &pipeline::belt()).await?;
        loads.push(start.elapsed());
        let run = pipeline.between(Box::new(source), Box::new(Stopwatch(seen.clone())))?;
        pipeline::finish(run).await?;
        starts.push(seen.first_arrival().context("nothing arrived")? - start);
    }
    Ok([starts, loads])
}

struct Idle {
    none_bytes: f64,
    warm_bytes: f64,
}

/// Never has anything.
struct Silent;

#[async_trait]
impl Source for Silent {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        std::future::pending().await
    }
}

/// What a pipeline adds to the memory of the process: run and waiting, first with no instance, then with one.
async fn idle(engine: &Engine) -> Result<Idle> {
    let manifest = format!(
        "pipeline: idle
stages:
  in: {{ source: generate }}
  half: {{ transform: {}, from: in }}
  out: {{ sink: discard, from: half }}
",
        guests::path("filter-half").display()
    );
    let stop = CancellationToken::new();
    let mut runs = tokio::task::JoinSet::new();
    let mut held = Vec::new();
    // The first are not counted: they make what all share.
    let mut before = 0;
    for number in 0..IDLE + IDLE / 10 {
        if number == IDLE / 10 {
            before = resident_bytes()?;
        }
        let pipeline = Pipeline::new(engine, &manifest).await?;
        let mut job = pipeline.open().await?;
        let pools = silence(&mut job);
        pools.iter().for_each(engine::Pool::cool);
        runs.spawn(job.build()?.run(stop.clone()));
        tokio::task::yield_now().await;
        held.push((pipeline, pools));
    }
    let none = resident_bytes()?;
    for (_, pools) in &held {
        for pool in pools {
            pool.lease().await?.give_back();
            ensure!(pool.idle() == 1, "the instance was not kept");
        }
    }
    let warm = resident_bytes()?;
    ensure!(runs.len() == held.len() && runs.try_join_next().is_none(), "a pipeline ended by itself");
    stop.cancel();
    while let Some(ended) = runs.join_next().await {
        ended?.result()?;
    }
    let all = held.len() as f64;
    let none_bytes = none.saturating_sub(before) as f64 / IDLE as f64;
    Ok(Idle { none_bytes, warm_bytes: none_bytes + warm.saturating_sub(none) as f64 / all })
}

/// Takes the ends away; gives the pools.
fn silence(job: &mut Job) -> Vec<engine::Pool> {
    let mut pools = Vec::new();
    for part in &mut job.parts {
        match part {
            Part::Source { source, .. } => *source = Box::new(Silent),
            Part::Sink(sink) => *sink = Box::new(Count(Seen::default())),
            Part::Transform(transform) => pools.push(transform.pool.clone()),
            Part::Cut(_) | Part::Injected { .. } | Part::Absent => {}
        }
    }
    pools
}

/// What this process has in memory, without what it shares with files.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no RssAnon in the status")?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}
