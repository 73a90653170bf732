//! Conveyor's own row: the belt from its manifest, between a source of prepared batches and a sink that counts.

use std::sync::Arc;

use anyhow::{Result, ensure};
use arrow::array::BinaryArray;
use engine::Engine;
use flow::connector::Sink;
use model::batch::Batch;

use crate::measure::{Clock, ROUND, Round};
use crate::pipeline::{self, Pipeline};
use crate::prepared::{self, Count, Prepared, Seen, Sum};
use crate::workload::{BATCH_RECORDS, Checksum};

/// Batches that one run carries: starting the run is a small part of it.
const RUN_BATCHES: usize = 4_096;

pub struct Belt {
    pipeline: Pipeline,
    batches: Arc<[Batch]>,
}

impl Belt {
    pub async fn new(engine: &Engine, values: &[BinaryArray]) -> Result<Self> {
        let pipeline = Pipeline::new(engine, &pipeline::belt()).await?;
        Ok(Self { pipeline, batches: prepared::batches(values)?.into() })
    }

    /// What comes out of all batches.
    pub async fn checksum(&self) -> Result<Checksum> {
        let seen = self.run(self.batches.len(), |seen| Box::new(Sum(seen))).await?.0;
        Ok(seen.checksum())
    }

    /// As many runs as fill the time of a round. What is counted begins when everything is open.
    pub async fn round(&self) -> Result<Round> {
        let mut round = Round::default();
        while round.busy < ROUND {
            round += self.once().await?;
        }
        Ok(round)
    }

    /// One run.
    pub async fn once(&self) -> Result<Round> {
        let (seen, run) = self.run(RUN_BATCHES, |seen| Box::new(Count(seen))).await?;
        ensure!(seen.records() > 0, "nothing came out");
        Ok(run)
    }

    async fn run(&self, count: usize, sink: fn(Seen) -> Box<dyn Sink>) -> Result<(Seen, Round)> {
        let seen = Seen::default();
        let source = Prepared::new(self.batches.clone(), count, &seen);
        let run = self.pipeline.between(Box::new(source), sink(seen.clone()))?;
        let clock = Clock::start(&[]);
        let reports = pipeline::finish(run).await?;
        let round = clock.stop(reports[0].records_out);
        ensure!(round.records == (count * BATCH_RECORDS) as u64, "the source gave {} records", round.records);
        Ok((seen, round))
    }
}
