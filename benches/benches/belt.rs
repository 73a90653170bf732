//! `cargo bench -p benches --bench belt`: how fast three small stages are, in native Rust, in Conveyor, behind
//! gRPC, and behind an ABI of lists of records; and what starting and idling cost.

use std::sync::Arc;

use anyhow::{Result, ensure};
use arrow::array::BinaryArray;
use benches::belt::Belt;
use benches::grpc::{Client, Records};
use benches::list_record::{self, Message};
use benches::measure::{self, Contender, Rates, compare, repeat};
use benches::native::Native;
use benches::report::{Goal, Table};
use benches::sidecars::{self, Sidecars};
use benches::{guests, life, pipeline, workload};
use engine::EngineOptions;
use tokio::runtime::Runtime;

const CONVEYOR: &str = "Conveyor, fuel and epochs and memory limits on";

fn main() -> Result<()> {
    if sidecars::serve_if_asked()? {
        return Ok(());
    }
    let core = measure::pin_to_one_core()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    println!(
        "Records of {} bytes in batches of {}, three stages, one core (number {core})\n",
        workload::RECORD_BYTES,
        workload::BATCH_RECORDS
    );
    let rates = rates(&runtime, word.as_deref())?;
    println!("{}", throughput(&rates));
    if word.is_none() {
        println!("{}", life::table(&runtime)?);
    }
    Ok(())
}

/// `word`: only the rows that have it in their name, for a look with a profiler.
fn rates(runtime: &Runtime, word: Option<&str>) -> Result<Vec<Rates>> {
    let batches = workload::batches();
    let sidecars = Sidecars::start()?;
    let unmetered = EngineOptions { metered: false, ..EngineOptions::default() };
    let mut contenders = vec![
        native(&batches)?,
        conveyor(CONVEYOR, runtime, EngineOptions::default(), &batches)?,
        grpc(runtime, &sidecars, &batches)?,
        list_of_records(runtime, &batches)?,
        conveyor("Conveyor, limits off", runtime, unmetered, &batches)?,
    ];
    if let Some(word) = word {
        contenders.retain(|contender| contender.name.contains(word));
    }
    compare(&mut contenders)
}

fn throughput(rates: &[Rates]) -> Table {
    let median = |name: &str| rates.iter().find(|row| row.name == name).map_or(f64::NAN, Rates::median);
    let conveyor = median(CONVEYOR);
    let mut table = Table::new([
        "row",
        "million records/s",
        "slowest and fastest round",
        "of the wall clock",
        "Conveyor against it",
        "must reach",
    ]);
    for row in rates {
        let (slowest, fastest) = row.spread();
        let times = conveyor / row.median();
        let bound = match row.name {
            NATIVE => Some(0.2),
            GRPC => Some(40.0),
            LIST => Some(12.0),
            _ => None,
        };
        table.row([
            row.name.to_owned(),
            format!("{:.2}", row.median() / 1e6),
            format!("{:.2} to {:.2}", slowest / 1e6, fastest / 1e6),
            format!("{:.0}%", row.share() * 100.0),
            format!("{times:.3}"),
            bound.map_or(String::new(), |bound| format!("{bound}: {}", Goal::AtLeast(bound).verdict(times))),
        ]);
    }
    table
}

const NATIVE: &str = "the same functions in native Rust";
const GRPC: &str = "three gRPC sidecar hops";
const LIST: &str = "`list<record>` ABI";

fn native(batches: &[BinaryArray]) -> Result<Contender<'_>> {
    let mut native = Native::default();
    ensure!(
        native.checksum(batches) == workload::expected(batches),
        "native Rust lets other records through"
    );
    let mut next = batches.iter().cycle();
    Ok(Contender {
        name: NATIVE,
        round: Box::new(move || {
            repeat(&[], || {
                for batch in next.by_ref().take(1_024) {
                    std::hint::black_box(native.run(std::hint::black_box(batch)));
                }
                Ok((1_024 * workload::BATCH_RECORDS) as u64)
            })
        }),
    })
}

fn conveyor<'a>(
    name: &'static str,
    runtime: &'a Runtime,
    options: EngineOptions,
    values: &[BinaryArray],
) -> Result<Contender<'a>> {
    let engine = pipeline::engine(EngineOptions { instances_max: 64, ..options })?;
    let belt = runtime.block_on(Belt::new(&engine, values))?;
    let found = runtime.block_on(belt.checksum())?;
    ensure!(found == workload::expected(values), "Conveyor lets other records through");
    let belt = Arc::new(belt);
    Ok(Contender { name, round: Box::new(move || runtime.block_on(belt.round())) })
}

fn grpc<'a>(runtime: &'a Runtime, sidecars: &Sidecars, batches: &[BinaryArray]) -> Result<Contender<'a>> {
    let records: Vec<_> = batches.iter().map(Records::new).collect();
    let mut client = runtime.block_on(Client::connect(&sidecars.addresses))?;
    let children = sidecars.pids();
    let found = runtime.block_on(client.checksum(&records))?;
    ensure!(found == workload::expected(batches), "the sidecars let other records through");
    Ok(Contender {
        name: GRPC,
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
        name: LIST,
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
