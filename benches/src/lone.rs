//! A few stages between prepared batches and a sink that counts, with a dead-letter store as `run` has one.

use std::sync::Arc;

use anyhow::{Result, ensure};
use arrow::array::BinaryArray;
use engine::Engine;
use flow::letters::{Group, Identity, Letters, LettersError, Store, StoreOptions};
use model::batch::Batch;
use model::manifest::OnError;

use crate::guests;
use crate::measure::{Clock, ROUND, Round};
use crate::pipeline::{self, Pipeline};
use crate::prepared::{self, Count, Prepared, Seen};
use crate::workload::BATCH_RECORDS;

/// Batches that one run carries, at least: starting it, and making its dead letters durable, is a small part of it.
const RUN_BATCHES: usize = 16_384;
/// The record that kills a stage which is told so.
pub const POISON: &[u8] = b"POISON";
/// What stands in its place where nothing is to be killed.
pub const HARMLESS: &[u8] = b"REMEDY";

/// What goes in, and what is to come of it.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The share of the records that comes out, about.
    pub keeps: f64,
    /// Whether one record for each turn of the batches is poison, and refused by the first stage.
    pub poisoned: bool,
}

/// `count` batches in which one record is `odd`, somewhere in the middle.
pub fn with_one(odd: &[u8], values: &[BinaryArray], count: usize) -> Result<Arc<[Batch]>> {
    let mut values: Vec<BinaryArray> = values.iter().cycle().take(count).cloned().collect();
    let (batch, row) = (count / 2, BATCH_RECORDS * 2 / 3);
    let replaced = |(at, value)| if at == row { Some(odd) } else { value };
    values[batch] = values[batch].iter().enumerate().map(replaced).collect();
    Ok(prepared::batches(&values)?.into())
}

/// A pipeline of few stages.
pub struct Lone {
    pipeline: Pipeline,
    batches: Arc<[Batch]>,
    ends: Ends,
}

impl Lone {
    /// `stages`: each as it stands in a manifest, without `from`; `GUEST(name)` is the path of a stage.
    pub async fn new(engine: &Engine, stages: &[&str], batches: Arc<[Batch]>, ends: Ends) -> Result<Self> {
        let mut manifest = "pipeline: lone\nstages:\n  in: { source: generate }\n".to_owned();
        let mut from = "in".to_owned();
        for (number, stage) in stages.iter().enumerate() {
            let name = format!("s{number}");
            manifest.push_str(&format!("  {name}: {{ {}, from: {from} }}\n", guests::named(stage)));
            from = name;
        }
        manifest.push_str(&format!("  out: {{ sink: discard, from: {from} }}\n"));
        let pipeline = Pipeline::new(engine, &manifest).await?;
        Ok(Self { pipeline, batches, ends })
    }

    /// Runs it once; what comes out has to be what is expected.
    pub async fn check(&self) -> Result<()> {
        self.run().await.map(|_| ())
    }

    /// As many runs as fill the time of a round. What is counted begins when everything is open.
    pub async fn round(&self) -> Result<Round> {
        let mut round = Round::default();
        while round.busy < ROUND {
            round += self.run().await?;
        }
        Ok(round)
    }

    /// Once through all batches.
    pub async fn run(&self) -> Result<Round> {
        let turns = RUN_BATCHES.div_ceil(self.batches.len());
        let count = turns * self.batches.len();
        let seen = Seen::default();
        let source = Prepared::new(self.batches.clone(), count, &seen);
        let letters = tempfile::tempdir()?;
        let store = StoreOptions::new(letters.path()).open()?;
        let letters = Box::new(Kept { store, identity: identity() });
        let sink = Box::new(Count(seen.clone()));
        let run = self.pipeline.refusing(Box::new(source), sink, OnError::DeadLetter, letters)?;
        let clock = Clock::start(&[]);
        let reports = pipeline::finish(run).await?;
        let sent = (count * BATCH_RECORDS) as u64;
        let round = clock.stop(sent);
        ensure!(reports[0].records_out == sent, "the source gave {} records", reports[0].records_out);
        let (refused, kept) = (reports[1].rejected, seen.records());
        let share = kept as f64 / sent as f64;
        let poison = if self.ends.poisoned { turns as u64 } else { 0 };
        ensure!(
            refused == poison && (share - self.ends.keeps).abs() < 0.01,
            "{kept} of {sent} came out, {refused} were refused"
        );
        let is_whole = self.ends.keeps < 1.0 || kept + refused == sent;
        ensure!(is_whole, "{kept} of {sent} came out, {refused} were refused, and nothing is filtered");
        Ok(round)
    }
}

/// A store, as `run` writes to it.
struct Kept {
    store: Store,
    identity: Identity,
}

impl Letters for Kept {
    fn put(&mut self, group: &Group) -> Result<(), LettersError> {
        self.store.put(&self.identity, group).map(|_| ())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        self.store.sync()
    }
}

fn identity() -> Identity {
    Identity { pipeline: "lone".into(), ..Identity::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    #[test]
    fn one_record_of_all_batches_is_poison() {
        let values = workload::batches();
        let batches = with_one(POISON, &values[..2], 5).expect("batches");
        assert_eq!(batches.len(), 5);
        let poison = |batch: &Batch| {
            let values = batch.columns()[0].values().clone();
            let values = values.as_any().downcast_ref::<BinaryArray>().expect("bytes").clone();
            values.iter().filter(|value| *value == Some(POISON)).count()
        };
        assert_eq!(batches.iter().map(poison).sum::<usize>(), 1);
        assert!(batches.iter().all(|batch| batch.rows() == BATCH_RECORDS));
    }
}
