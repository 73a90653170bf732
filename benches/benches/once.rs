//! `cargo bench -p benches --bench once -- ROW PASSES`: a fixed amount of the work of one row, for whoever compares two
//! builds (`cargo xtask pairs`). Prints how many records went through and how many nanoseconds the core worked for them.
//! `-- --list` prints the rows; `--untimed` behind the passes leaves the time at nothing.

use std::future::Future;
use std::path::Path;

use anyhow::{Context, Result, bail};
use benches::belt::Belt;
use benches::flights::{self, FORMATS, Flights, Formats};
use benches::limited::{self, Row};
use benches::measure::{self, Round};
use benches::{pipeline, workload};
use engine::{Engine, EngineOptions};

/// An engine that reserves little address space: a tool that counts instructions has less of it than the machine.
const INSTANCES: u32 = 8;

const USAGE: &str = "say which row and how many passes: `-- ROW PASSES`; `-- --list` lists the rows";

fn main() -> Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    match asked[..] {
        ["--list"] => {
            names().for_each(|name| println!("{name}"));
            Ok(())
        }
        [row, passes, ref rest @ ..] if matches!(rest, [] | ["--untimed"]) => {
            if !rest.is_empty() {
                measure::stop_clocks();
            }
            measure::pin_to_one_core()?;
            let passes = passes.parse().context(USAGE)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let round = runtime.block_on(run(row, passes))?;
            println!("{} {}", round.records, round.busy.as_nanos());
            Ok(())
        }
        _ => bail!(USAGE),
    }
}

const BELT: &str = "belt";
/// A manifest that reads the first path and writes the second.
type Manifest = fn(&Path, &Path) -> String;

const CSV: [(&str, Manifest); 2] =
    [("csv, typed tables", flights::tables), ("csv, JSON between the stages", flights::json)];

fn limited() -> impl Iterator<Item = &'static Row> {
    limited::ROWS.iter().filter(|row| row.metered)
}

fn names() -> impl Iterator<Item = &'static str> {
    let formats = FORMATS.iter().map(|format| format.name);
    std::iter::once(BELT).chain(CSV.map(|(name, _)| name)).chain(formats).chain(limited().map(|row| row.name))
}

async fn run(row: &str, passes: u32) -> Result<Round> {
    let engine = pipeline::engine(EngineOptions { instances_max: INSTANCES, ..EngineOptions::default() })?;
    if row == BELT {
        let belt = Belt::new(&engine, &workload::batches()).await?;
        return repeat(passes, || belt.once()).await;
    }
    if let Some((_, manifest)) = CSV.iter().find(|(name, _)| *name == row) {
        let flights = Flights::prepare()?;
        return repeat(passes, || written(&flights, &engine, |output| manifest(&flights.csv, output))).await;
    }
    if let Some(format) = FORMATS.iter().find(|format| format.name == row) {
        let formats = Formats::prepare()?;
        let manifest = |output: &Path| formats.manifest(format, output);
        return repeat(passes, || written(&formats.flights, &engine, manifest)).await;
    }
    let Some(row) = limited().find(|known| known.name == row) else {
        bail!("there is no row `{row}`; {USAGE}");
    };
    let lone = row.lone(&engine, &workload::batches()).await?;
    repeat(passes, || lone.run()).await
}

/// One run into a file, which is removed.
async fn written(flights: &Flights, engine: &Engine, manifest: impl Fn(&Path) -> String) -> Result<Round> {
    let output = flights.output(&std::process::id().to_string())?;
    let round = flights.run(engine, &manifest(&output)).await;
    std::fs::remove_file(&output)?;
    round
}

/// What is before the first pass is not counted.
async fn repeat<F: Future<Output = Result<Round>>>(
    passes: u32,
    mut pass: impl FnMut() -> F,
) -> Result<Round> {
    let mut round = Round::default();
    for _ in 0..passes {
        round += pass().await?;
    }
    Ok(round)
}
