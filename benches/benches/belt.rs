//! `cargo bench -p benches --bench belt`: how fast three small stages are, in native Rust, in Conveyor, behind
//! gRPC, and behind an ABI of lists of records.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use arrow::array::BinaryArray;
use benches::grpc::{Client, Records};
use benches::list_record::{self, Message};
use benches::measure::{self, Contender, compare, percentile, repeat};
use benches::native::Native;
use benches::pipeline::{self, Planned};
use benches::prepared::{self, Count, Prepared, Seen, Stopwatch, Sum};
use benches::report::Table;
use benches::sidecars::{self, Sidecars};
use benches::{guests, workload};
use model::batch::Batch;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Batches that one run of a pipeline carries.
const RUN_BATCHES: usize = 4_096;

fn main() -> Result<()> {
    if sidecars::serve_if_asked()? {
        return Ok(());
    }
    let core = measure::pin_to_one_core()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let batches = workload::batches();
    println!("core {core}");
    let sidecars = Sidecars::start()?;
    let mut contenders = vec![
        native(&batches)?,
        conveyor(&runtime, &batches)?,
        grpc(&runtime, &sidecars, &batches)?,
        list_of_records(&runtime, &batches)?,
    ];
    // `-- conveyor` runs the rows with that word in their name, for a look with a profiler.
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if let Some(word) = word {
        contenders.retain(|contender| contender.name.to_lowercase().contains(&word.to_lowercase()));
    }
    let rates = compare(&mut contenders)?;
    let mut table =
        Table::new(["row", "million records/s", "slowest and fastest round", "busy", "of native"]);
    for row in &rates {
        let (slowest, fastest) = row.spread();
        table.row([
            row.name.to_owned(),
            format!("{:.2}", row.median() / 1e6),
            format!("{:.2} to {:.2}", slowest / 1e6, fastest / 1e6),
            format!("{:.0}%", row.share() * 100.0),
            format!("{:.4}", row.median() / rates[0].median()),
        ]);
    }
    println!("{table}");
    let planned =
        runtime.block_on(async { Planned::new(&pipeline::engine()?, &pipeline::manifest()).await })?;
    let mut latencies = single_record(&runtime, &planned)?;
    println!("p50 {:?} p99 {:?}", percentile(&mut latencies, 0.5), percentile(&mut latencies, 0.99));
    Ok(())
}

/// How long a batch of one record takes through the three stages, from source to sink.
fn single_record(runtime: &Runtime, planned: &Planned) -> Result<Vec<Duration>> {
    let batches: Arc<[Batch]> = prepared::batches(&[workload::single()])?.into();
    for count in [1_000, 100_000] {
        let seen = Seen::default();
        let source = Prepared::new(batches.clone(), count, &seen).timed();
        let run = planned.run(Box::new(source), Box::new(Stopwatch(seen.clone())))?;
        runtime.block_on(run.run(CancellationToken::new()))?;
        ensure!(seen.records() == count as u64, "a record was lost");
        if count > 1_000 {
            return Ok(seen.latencies());
        }
    }
    Ok(Vec::new())
}

fn native(batches: &[BinaryArray]) -> Result<Contender<'_>> {
    let mut native = Native::default();
    ensure!(
        native.checksum(batches) == workload::expected(batches),
        "native Rust lets other records through"
    );
    let mut next = batches.iter().cycle();
    Ok(Contender {
        name: "native Rust",
        round: Box::new(move || {
            repeat(&[], || {
                for batch in next.by_ref().take(256) {
                    std::hint::black_box(native.run(std::hint::black_box(batch)));
                }
                Ok((256 * workload::BATCH_RECORDS) as u64)
            })
        }),
    })
}

fn conveyor<'a>(runtime: &'a Runtime, values: &[BinaryArray]) -> Result<Contender<'a>> {
    let planned =
        runtime.block_on(async { Planned::new(&pipeline::engine()?, &pipeline::manifest()).await })?;
    let batches: Arc<[Batch]> = prepared::batches(values)?.into();
    let seen = Seen::default();
    let source = Prepared::new(batches.clone(), batches.len(), &seen);
    let run = planned.run(Box::new(source), Box::new(Sum(seen.clone())))?;
    runtime.block_on(run.run(CancellationToken::new()))?;
    ensure!(seen.checksum() == workload::expected(values), "Conveyor lets other records through");
    Ok(Contender {
        name: "Conveyor",
        round: Box::new(move || {
            repeat(&[], || {
                let seen = Seen::default();
                let source = Prepared::new(batches.clone(), RUN_BATCHES, &seen);
                let run = planned.run(Box::new(source), Box::new(Count(seen)))?;
                runtime.block_on(run.run(CancellationToken::new()))?;
                Ok((RUN_BATCHES * workload::BATCH_RECORDS) as u64)
            })
        }),
    })
}

fn grpc<'a>(runtime: &'a Runtime, sidecars: &Sidecars, batches: &[BinaryArray]) -> Result<Contender<'a>> {
    let records: Vec<_> = batches.iter().map(Records::new).collect();
    let mut client = runtime.block_on(Client::connect(&sidecars.addresses))?;
    let children = sidecars.pids();
    let found = runtime.block_on(client.checksum(&records))?;
    ensure!(found == workload::expected(batches), "the sidecars let other records through");
    Ok(Contender {
        name: "three gRPC sidecars",
        round: Box::new(move || {
            repeat(&children, || {
                runtime.block_on(async {
                    for batch in &records {
                        client.run(batch).await?;
                    }
                    Ok(records.iter().map(|batch| batch.len() as u64).sum())
                })
            })
        }),
    })
}

fn list_of_records<'a>(runtime: &'a Runtime, batches: &[BinaryArray]) -> Result<Contender<'a>> {
    let prepared: Vec<Vec<Message>> = batches.iter().map(list_record::messages).collect();
    let component = guests::component("list-record")?;
    let mut stages = runtime.block_on(list_record::Stages::start(&component))?;
    let found = runtime.block_on(stages.checksum(&prepared))?;
    ensure!(found == workload::expected(batches), "`list<record>` lets other records through");
    Ok(Contender {
        name: "`list<record>` ABI",
        round: Box::new(move || {
            repeat(&[], || {
                runtime.block_on(async {
                    for batch in &prepared {
                        stages.run(batch).await?;
                    }
                    Ok(prepared.iter().map(|batch| batch.len() as u64).sum())
                })
            })
        }),
    })
}
