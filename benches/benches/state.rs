//! `cargo bench -p benches --bench state`: what checkpoints cost a pipeline with state, and how long a large state
//! takes to be there again after a crash.

use std::time::Duration;

use anyhow::Result;
use benches::keyed::{Keyed, Much, Recovered, Shape};
use benches::measure::{Contender, Rates, compare};
use benches::pipeline;
use benches::report::{Goal, Table};
use engine::EngineOptions;
use tokio::runtime::{Builder, Runtime};

const RECORDS: u64 = 2_000_000;
/// Longer than any round.
const RARELY: Duration = Duration::from_secs(3600);

const DEDUPE: Shape =
    Shape { stage: "transform: GUEST(dedupe), with: { columns: [customer] }", keys: 200_000 };
const TOTALS: Shape = Shape {
    stage: "transform: GUEST(totals), with: { by: [customer], sum: { spent: amount } }",
    keys: 10_000,
};

/// A row, how often it takes checkpoints, and which share of the rate of the first of its kind it must reach.
type Row = (&'static str, Shape, Duration, Option<f64>);

const ROWS: [Row; 6] = [
    ("totals of 10,000 keys, one checkpoint at the end", TOTALS, RARELY, None),
    ("the same, every second", TOTALS, Duration::from_secs(1), Some(0.95)),
    ("the same, every 100 ms", TOTALS, Duration::from_millis(100), Some(0.85)),
    ("200,000 keys seen, one checkpoint at the end", DEDUPE, RARELY, None),
    ("these, every second", DEDUPE, Duration::from_secs(1), Some(0.95)),
    ("these, every 100 ms", DEDUPE, Duration::from_millis(100), Some(0.85)),
];

const MUCH: [(&str, Much); 2] = [
    ("1 GiB in values of 100 bytes", Much { bytes: 1 << 30, value_bytes: 100 }),
    ("1 GiB in values of 1000 bytes", Much { bytes: 1 << 30, value_bytes: 1000 }),
];
const OPENED_SECONDS_MAX: f64 = 10.0;

fn main() -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let is_asked = |name: &str| word.as_deref().is_none_or(|word| name.contains(word));
    println!("{RECORDS} records each round\n");
    let rates = rates(&runtime, &is_asked)?;
    if !rates.is_empty() {
        println!("{}", table(&rates));
    }
    for (name, much) in MUCH.iter().filter(|(name, _)| is_asked(name)) {
        println!("{}", recovered(name, &much.recover(&runtime)?));
    }
    Ok(())
}

fn rates(runtime: &Runtime, is_asked: &dyn Fn(&str) -> bool) -> Result<Vec<Rates>> {
    let engine = pipeline::engine(EngineOptions { instances_max: 16, ..EngineOptions::default() })?;
    let mut contenders = Vec::new();
    for (name, shape, interval, _) in ROWS.into_iter().filter(|(name, ..)| is_asked(name)) {
        let keyed = runtime.block_on(Keyed::new(&engine, shape, RECORDS, interval))?;
        contenders.push(Contender { name, round: Box::new(move || keyed.round(runtime)) });
    }
    if contenders.is_empty() { Ok(Vec::new()) } else { compare(&mut contenders) }
}

fn table(rates: &[Rates]) -> Table {
    let mut table = Table::new([
        "row",
        "million records/s",
        "of the first",
        "must reach",
        "million records per second of work",
        "of the first",
    ]);
    let (mut first, mut first_work) = (f64::NAN, f64::NAN);
    for rates in rates {
        let (rate, work) = (rates.median_by_the_wall(), rates.median());
        let bound = ROWS.iter().find(|(name, ..)| *name == rates.name).and_then(|(.., bound)| *bound);
        if bound.is_none() {
            (first, first_work) = (rate, work);
        }
        let (share, share_work) = (rate / first, work / first_work);
        table.row([
            rates.name.to_owned(),
            format!("{:.2}", rate / 1e6),
            bound.map_or(String::new(), |_| format!("{share:.3}")),
            bound.map_or(String::new(), |bound| {
                format!("{bound:.2}: {}", Goal::AtLeast(bound).verdict(share))
            }),
            format!("{:.2}", work / 1e6),
            bound.map_or(String::new(), |_| format!("{share_work:.3}")),
        ]);
    }
    table
}

fn recovered(name: &str, found: &Recovered) -> Table {
    let mut table = Table::new([name, "found", "must be at most"]);
    let opened = found.opened.as_secs_f64();
    table.row(["entries".to_owned(), found.keys.to_string(), String::new()]);
    table.row(["file, MiB".to_owned(), (found.file_bytes >> 20).to_string(), String::new()]);
    table.row(["written, s".to_owned(), format!("{:.1}", found.written.as_secs_f64()), String::new()]);
    let verdict = Goal::AtMost(OPENED_SECONDS_MAX).verdict(opened);
    table.row([
        "opened after a crash, s".to_owned(),
        format!("{opened:.3}"),
        format!("{OPENED_SECONDS_MAX}: {verdict}"),
    ]);
    let read = found.first_read.as_secs_f64() * 1e3;
    table.row(["a thousand entries read then, ms".to_owned(), format!("{read:.1}"), String::new()]);
    table
}
