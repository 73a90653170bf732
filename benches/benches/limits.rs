//! `cargo bench -p benches --bench limits`: what it costs that a stage is held within limits, that one record in a
//! million kills it, and that every batch gets an instance of its own.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use benches::lone::{Ends, HARMLESS, Lone, POISON, with_one};
use benches::measure::{self, Contender, Rates, compare};
use benches::report::{Goal, Table};
use benches::{pipeline, workload};
use engine::{Engine, EngineOptions};
use tokio::runtime::Runtime;

/// Records of which one is poison.
const MILLION_BATCHES: usize = 1_000_000 / workload::BATCH_RECORDS;

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

/// A row, and what it is held against.
struct Row {
    name: &'static str,
    /// Each as the manifest has it, all but `from`.
    stages: &'static [&'static str],
    metered: bool,
    ends: Ends,
    /// The row that it is held against, and how much of its rate must be reached.
    against: Option<(&'static str, f64)>,
}

impl Row {
    const fn new(name: &'static str, stages: &'static [&'static str], keeps: f64) -> Self {
        Self { name, stages, metered: true, ends: Ends { keeps, poisoned: false }, against: None }
    }

    const fn limits_off(self) -> Self {
        Self { metered: false, ..self }
    }

    const fn poisoned(self) -> Self {
        Self { ends: Ends { poisoned: true, ..self.ends }, ..self }
    }

    const fn against(self, row: &'static str, bound: f64) -> Self {
        Self { against: Some((row, bound)), ..self }
    }
}

const FILTER_OFF: &str = "the filter, limits off";
const FILTER: &str = "the filter, limits on";
const MAP_OFF: &str = "the map, limits off";
const BELT: &str = "three stages, the first of which some record would kill";
const ALONE: &str = "that stage alone";

/// It forwards everything, and panics on the record that `benches::lone` calls poison.
const POISONABLE: &str = "transform: GUEST(probe-run), with: { at: POISON, then: panic }";
const MAP: &str = "transform: GUEST(wrap)";
const MOST: &str = "transform: GUEST(filter-most)";

const ROWS: [Row; 9] = [
    Row::new(FILTER_OFF, &["transform: GUEST(filter-half)"], 0.5).limits_off(),
    Row::new(FILTER, &["transform: GUEST(filter-half)"], 0.5).against(FILTER_OFF, 1.0 / 1.5),
    Row::new("the filter, `isolation: batch`", &["transform: GUEST(filter-half), isolation: batch"], 0.5)
        .against(FILTER, 0.1),
    Row::new(MAP_OFF, &[MAP], 1.0).limits_off(),
    Row::new("the map, limits on", &[MAP], 1.0).against(MAP_OFF, 1.0 / 1.15),
    Row::new(BELT, &[POISONABLE, MAP, MOST], 0.9),
    Row::new("the three, one record in a million kills it", &[POISONABLE, MAP, MOST], 0.9)
        .poisoned()
        .against(BELT, 0.95),
    Row::new(ALONE, &[POISONABLE], 1.0),
    Row::new("alone, one record in a million kills it", &[POISONABLE], 1.0).poisoned().against(ALONE, 0.95),
];

/// `word`: only the rows that have it in their name, for a look with a profiler.
fn rates(runtime: &Runtime, word: Option<&str>) -> Result<Vec<Rates>> {
    let values = workload::batches();
    let metered = pipeline::engine(EngineOptions { instances_max: 64, ..EngineOptions::default() })?;
    let free = EngineOptions { metered: false, instances_max: 64, ..EngineOptions::default() };
    let free = pipeline::engine(free)?;
    let mut contenders = Vec::new();
    for row in ROWS.iter().filter(|row| word.is_none_or(|word| row.name.contains(word))) {
        let engine: &Engine = if row.metered { &metered } else { &free };
        // The same batches but for that record, so that nothing else is compared.
        let odd = if row.ends.poisoned { POISON } else { HARMLESS };
        let batches = with_one(odd, &values, MILLION_BATCHES)?;
        let lone = runtime.block_on(Lone::new(engine, row.stages, batches, row.ends))?;
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
