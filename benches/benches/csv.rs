//! `cargo bench -p benches --bench csv`: real work on a large CSV, in Conveyor, in native Rust and in DuckDB.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use benches::flights::{self, Content, DuckDb, Flights};
use benches::measure::{self, median};
use benches::report::Table;

/// Rounds, of which the median counts; each contender runs once in each.
const ROUNDS: usize = 5;

struct Contender<'a> {
    name: &'static str,
    file: &'static str,
    run: Box<dyn Fn(&std::path::Path) -> Result<Duration> + 'a>,
}

fn main() -> Result<()> {
    let core = measure::pin_to_one_core()?;
    let flights = Flights::prepare()?;
    println!("{} rows, {:.0} MB, one core (number {core})\n", flights.rows, flights.bytes as f64 / 1e6);
    let contenders = [
        native("fused native Rust", "fused", &flights, flights::fused),
        native("native Rust with serde_json values", "values", &flights, flights::with_values),
        Contender {
            name: "DuckDB, one thread",
            file: "duckdb",
            run: Box::new(|output| Ok(DuckDb::run(&flights, output)?)),
        },
    ];
    let mut seconds = vec![Vec::new(); contenders.len()];
    let mut expected = None;
    for _ in 0..ROUNDS {
        for (contender, seconds) in contenders.iter().zip(&mut seconds) {
            let output = flights.output(contender.file)?;
            seconds.push((contender.run)(&output)?.as_secs_f64());
            if seconds.len() == 1 {
                let content = Content::of(&output)?;
                ensure!(
                    *expected.get_or_insert(content) == content,
                    "{} wrote other rows than {}: {content:?}",
                    contender.name,
                    contenders[0].name
                );
            }
        }
    }
    let mut table = Table::new(["row", "s", "rounds", "million rows/s"]);
    for (contender, seconds) in contenders.iter().zip(&seconds) {
        let middle = median(seconds);
        table.row([
            contender.name.to_owned(),
            format!("{middle:.2}"),
            seconds.iter().map(|s| format!("{s:.2}")).collect::<Vec<_>>().join(" "),
            format!("{:.2}", flights.rows as f64 / middle / 1e6),
        ]);
    }
    println!("{table}");
    Ok(())
}

fn native<'a>(
    name: &'static str,
    file: &'static str,
    flights: &'a Flights,
    program: fn(&std::path::Path, &std::path::Path) -> Result<u64, flights::NativeError>,
) -> Contender<'a> {
    let run = move |output: &std::path::Path| {
        let start = Instant::now();
        program(&flights.csv, output)?;
        Ok(start.elapsed())
    };
    Contender { name, file, run: Box::new(run) }
}
