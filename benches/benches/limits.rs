//! `cargo bench -p benches --bench limits`: what it costs that a stage is held within limits, that one record in a
//! million kills it, and that every batch gets an instance of its own.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use benches::limited::ROWS;
use benches::measure::{self, Contender, Rates, compare};
use benches::report::{Goal, Table};
use benches::{pipeline, workload};
use engine::{Engine, EngineOptions};
use tokio::runtime::Runtime;

fn main() -> Result<()> {
    let core = measure::pin_to_one_core()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    println!(
        "Records of {} bytes in batches of {}, one core (number {core})\n",
        workload::RECORD_BYTES,
        workload::BATCH_RECORDS
    );
    let rates = rates(&runtime, word.as_deref())?;
    println!("{}", table(&rates));
    Ok(())
}

/// `word`: only the rows that have it in their name, for a look with a profiler.
fn rates(runtime: &Runtime, word: Option<&str>) -> Result<Vec<Rates>> {
    let values = workload::batches();
    let metered = pipeline::engine(EngineOptions { instances_max: 64, ..EngineOptions::default() })?;
    let free = EngineOptions { metered: false, instances_max: 64, ..EngineOptions::default() };
    let free = pipeline::engine(free)?;
    let mut contenders = Vec::new();
    for row in ROWS.iter().filter(|row| word.is_none_or(|word| row.name.contains(word))) {
        let engine: &Engine = if row.metered { &metered } else { &free };
        let lone = runtime.block_on(row.lone(engine, &values))?;
        runtime.block_on(lone.check()).with_context(|| row.name)?;
        let lone = Arc::new(lone);
        contenders
            .push(Contender { name: row.name, round: Box::new(move || runtime.block_on(lone.round())) });
    }
    ensure!(!contenders.is_empty(), "no row has `{}` in its name", word.unwrap_or_default());
    compare(&mut contenders)
}

fn table(rates: &[Rates]) -> Table {
    let median = |name: &str| rates.iter().find(|row| row.name == name).map_or(f64::NAN, Rates::median);
    let mut table = Table::new([
        "row",
        "million records/s",
        "slowest and fastest round",
        "ms for a million",
        "of what it is held against",
        "must reach",
    ]);
    for rates in rates {
        let (slowest, fastest) = rates.spread();
        let against = ROWS.iter().find(|row| row.name == rates.name).and_then(|row| row.against);
        let share = against.map(|(name, bound)| (rates.median() / median(name), bound));
        table.row([
            rates.name.to_owned(),
            format!("{:.2}", rates.median() / 1e6),
            format!("{:.2} to {:.2}", slowest / 1e6, fastest / 1e6),
            format!("{:.2}", 1e9 / rates.median()),
            share.map_or(String::new(), |(share, _)| format!("{share:.3}")),
            share.map_or(String::new(), |(share, bound)| {
                format!("{bound:.3}: {}", Goal::AtLeast(bound).verdict(share))
            }),
        ]);
    }
    table
}
