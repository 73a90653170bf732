//! Pipelines whose stages keep state, with the checkpoint store of `conveyor run --state` and a file that is committed
//! to; and a store with much state that is opened after a crash.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use engine::{Engine, Entries, KeyedState, Packed, Values};
use flow::checkpoint::{Checkpoint, CheckpointStore, Opened, Pace, RedbStore};
use flow::state::{StageState, StateLimits};
use flow::{Checkpoints, Recovery};
use node::wiring::{self, ResolvedPipeline, Resolver};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::guests;
use crate::measure::{Clock, Round};
use crate::pipeline::Refuse;

/// What is kept of what comes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The stage as the manifest has it, all but `from`.
    pub stage: &'static str,
    /// Different keys among the records.
    pub keys: u64,
}

/// A pipeline from a file of JSON lines through a stage with state into a file.
pub struct Keyed {
    dir: tempfile::TempDir,
    resolved: ResolvedPipeline,
    records: u64,
    interval: Duration,
}

impl Keyed {
    pub async fn new(engine: &Engine, shape: Shape, records: u64, interval: Duration) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let manifest = format!(
            "pipeline: keyed\nstages:\n  in: {{ source: file, schema: {{ id: int, customer: text, amount: int }}, with: {{ \
             path: in.csv, header: true }} }}\n  kept: {{ {}, from: in }}\n  out: {{ sink: file, from: kept, with: {{ path: \
             out.csv }} }}\n",
            guests::named(shape.stage)
        );
        let file = dir.path().join("keyed.yaml");
        std::fs::write(&file, manifest)?;
        let mut csv = std::io::BufWriter::new(std::fs::File::create(dir.path().join("in.csv"))?);
        writeln!(csv, "id,customer,amount")?;
        for n in 0..records {
            // All keys come up again and again, in another order each time.
            let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            writeln!(csv, "{n},customer-{},{}", key % shape.keys, n % 1000)?;
        }
        csv.flush()?;
        let draft = wiring::read(&file).map_err(|failure| anyhow!("{failure:?}"))?;
        let resolver = Resolver::of(engine.clone(), Default::default(), false);
        let resolver = resolver.map_err(|failure| anyhow!("{failure:?}"))?;
        let resolved = resolver.resolve(draft).await?;
        Ok(Self { dir, resolved, records, interval })
    }

    /// Reads all of it, from the beginning, with nothing remembered.
    pub fn round(&self, runtime: &Runtime) -> Result<Round> {
        let state = self.dir.path().join("state");
        let gone = std::fs::remove_dir_all(&state);
        ensure!(gone.is_ok() || !state.exists(), "{} cannot be removed", state.display());
        let Opened { mut store, .. } = RedbStore::open(&state)?;
        store.put(&Checkpoint::default(), Duration::ZERO)?;
        let pace = Pace { interval: self.interval, timeout: Duration::from_secs(60) };
        let checkpoints = Checkpoints {
            store: Box::new(store),
            last_committed: Checkpoint::default(),
            pace,
            recovery: Recovery::default(),
        };
        runtime.block_on(async {
            let job = self.resolved.open(Box::new(Refuse), 1, Some(checkpoints)).await;
            let run = job.map_err(|failure| anyhow!("{failure:?}"))?.build()?;
            let meters = run.meters();
            let clock = Clock::start(&[]);
            tokio::spawn(run.run(CancellationToken::new())).await?.result()?;
            let round = clock.stop(self.records);
            let read = meters.report().first().map_or(0, |source| source.records_in);
            ensure!(read == self.records, "{read} records were read of {}", self.records);
            Ok(round)
        })
    }
}

/// How much state a store gets that is opened again.
#[derive(Clone, Copy, Debug)]
pub struct Much {
    pub bytes: u64,
    pub value_bytes: usize,
}

/// What it took to have it, and to have it again.
#[derive(Clone, Copy, Debug)]
pub struct Recovered {
    pub keys: u64,
    pub file_bytes: u64,
    pub written: Duration,
    /// Until the store was open and the state as well.
    pub opened: Duration,
    /// One read of a thousand entries after that.
    pub first_read: Duration,
}

const STAGE: &str = "kept";

impl Much {
    /// Writes a state, copies the file as it is while the store is open, as a crash would leave it, and opens the copy.
    pub fn recover(self, runtime: &Runtime) -> Result<Recovered> {
        let dir = tempfile::tempdir()?;
        let (written, crashed) = (dir.path().join("written"), dir.path().join("crashed"));
        let begun = Instant::now();
        let keys = self.write(&written, &crashed)?;
        let took = begun.elapsed();
        std::fs::remove_dir_all(&written)?;
        let file = crashed.join("checkpoints.redb");
        let file_bytes = std::fs::metadata(&file)?.len();
        let begun = Instant::now();
        let Opened { mut store, last_committed } = RedbStore::open(&crashed)?;
        let state = StageState::over(store.state(STAGE)?, StateLimits::default())?;
        let opened = begun.elapsed();
        let last_committed = last_committed.context("there is no checkpoint")?;
        ensure!(last_committed.states[STAGE].keys == keys, "{:?} of {keys} keys", last_committed.states);
        let begun = Instant::now();
        let some: Vec<u64> = (0..1000).map(|n| n * (keys / 1000)).collect();
        let found = runtime.block_on(state.get(&entries(&some)?))?;
        ensure!((0..1000).all(|n| found.get(n).is_some()), "an entry is missing");
        Ok(Recovered { keys, file_bytes, written: took, opened, first_read: begun.elapsed() })
    }

    fn write(self, dir: &Path, copy: &Path) -> Result<u64> {
        let Opened { mut store, .. } = RedbStore::open(dir)?;
        let state = StageState::over(store.state(STAGE)?, StateLimits::default())?;
        let keys = self.bytes / (8 + self.value_bytes as u64);
        let value = vec![b'v'; self.value_bytes];
        let mut checkpoint = Checkpoint::default();
        let mut next = 0;
        while next < keys {
            let some: Vec<u64> = (next..keys.min(next + 1024)).collect();
            next += some.len() as u64;
            let values: Packed = some.iter().map(|_| &value).collect();
            state.begin();
            state.set(&entries(&some)?, &Values::of(values, some.iter().map(|_| true)))?;
            state.keep();
            if state.is_heavy() || next == keys {
                checkpoint.number += 1;
                checkpoint.states =
                    state.freeze().map(|delta| (Arc::from(STAGE), delta)).into_iter().collect();
                store.put(&checkpoint, Duration::ZERO)?;
                state.stored();
            }
        }
        std::fs::create_dir(copy)?;
        std::fs::copy(dir.join("checkpoints.redb"), copy.join("checkpoints.redb"))?;
        Ok(keys)
    }
}

fn entries(keys: &[u64]) -> Result<Entries> {
    let keys: Packed = keys.iter().map(|key| key.to_le_bytes()).collect();
    Ok(Entries::checked(keys, Packed::default())?)
}
