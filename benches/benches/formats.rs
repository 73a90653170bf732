//! `cargo bench -p benches --bench formats`: a million flights from other formats than plain CSV, in Conveyor, in DuckDB
//! and in Polars.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use benches::flights::{FORMATS, Format, Formats, Peer};
use benches::measure::{self, median};
use benches::pipeline;
use benches::report::Table;
use engine::{Engine, EngineOptions};
use tokio::runtime::Runtime;

/// Rounds, of which the median counts; each contender runs once in each.
const ROUNDS: usize = 5;

#[derive(Clone, Copy)]
enum Contender {
    Conveyor,
    Peer(Peer),
}

const CONTENDERS: [(&str, Contender); 3] = [
    ("Conveyor", Contender::Conveyor),
    ("DuckDB, one thread", Contender::Peer(Peer::DuckDb)),
    ("Polars, one thread", Contender::Peer(Peer::Polars)),
];

struct Bench {
    formats: Formats,
    runtime: Runtime,
    engine: Engine,
}

fn main() -> Result<()> {
    let core = measure::pin_to_one_core()?;
    let bench = Bench {
        formats: Formats::prepare()?,
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        engine: pipeline::engine(EngineOptions::default())?,
    };
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    println!("{} rows, one core (number {core})\n", bench.formats.flights.rows);
    let mut table = Table::new(["row", "by", "s", "fastest and slowest round", "Conveyor against it"]);
    for format in FORMATS.iter().filter(|format| word.as_ref().is_none_or(|word| format.name.contains(word)))
    {
        let seconds = bench.row(format)?;
        let conveyor = median(&seconds[0]);
        for ((name, _), seconds) in CONTENDERS.iter().zip(&seconds) {
            let (fastest, slowest) = measure::spread(seconds);
            table.row([
                format.name.to_owned(),
                (*name).to_owned(),
                format!("{:.2}", median(seconds)),
                format!("{fastest:.2} to {slowest:.2}"),
                format!("{:.2}", median(seconds) / conveyor),
            ]);
        }
    }
    println!("{table}");
    Ok(())
}

impl Bench {
    /// Runs everybody in turn. The first round is checked and does not count.
    fn row(&self, format: &Format) -> Result<[Vec<f64>; CONTENDERS.len()]> {
        let mut seconds = [const { Vec::new() }; CONTENDERS.len()];
        let mut expected = None;
        for round in 0..=ROUNDS {
            for ((name, contender), seconds) in CONTENDERS.iter().zip(&mut seconds) {
                let output = self.formats.flights.output("formats")?;
                let took = self.once(*contender, format, &output)?;
                if round > 0 {
                    seconds.push(took.as_secs_f64());
                    continue;
                }
                let content = self.formats.content(&output)?;
                let expected = *expected.get_or_insert(content);
                ensure!(
                    expected == content,
                    "{name} wrote other rows of {}: {content:?}, not {expected:?}",
                    format.name
                );
            }
        }
        Ok(seconds)
    }

    fn once(&self, contender: Contender, format: &Format, output: &Path) -> Result<Duration> {
        match contender {
            Contender::Conveyor => {
                let manifest = self.formats.manifest(format, output);
                Ok(self.runtime.block_on(self.formats.flights.run(&self.engine, &manifest))?.busy)
            }
            Contender::Peer(peer) => self.formats.peer(peer, format, output),
        }
    }
}
