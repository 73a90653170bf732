//! `cargo bench -p benches --bench csv`: real work on a large CSV, in Conveyor, in native Rust and in DuckDB.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use benches::flights::{self, Content, DuckDb, Flights};
use benches::measure::{self, Clock, median};
use benches::pipeline;
use benches::report::{Goal, Table};
use engine::{Engine, EngineOptions};
use tokio::runtime::Runtime;

/// Rounds, of which the median counts; each contender runs once in each.
const ROUNDS: usize = 5;

/// Time that the core worked.
type Work<'a> = Box<dyn Fn(&Path) -> Result<Duration> + 'a>;

struct Contender<'a> {
    name: &'static str,
    run: Work<'a>,
    /// Conveyor must be at least this many times as fast.
    bound: Option<f64>,
    seconds: Vec<f64>,
}

fn main() -> Result<()> {
    let core = measure::pin_to_one_core()?;
    let flights = Flights::prepare()?;
    println!("{} rows, {:.0} MB, one core (number {core})\n", flights.rows, flights.bytes as f64 / 1e6);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let engine = pipeline::engine(EngineOptions::default())?;
    let mut contenders = contenders(&flights, &runtime, &engine);
    measure_all(&flights, &mut contenders)?;
    let conveyor = median(&contenders[0].seconds);
    let mut table = Table::new([
        "row",
        "s",
        "slowest and fastest round",
        "million rows/s",
        "Conveyor against it",
        "must reach",
    ]);
    for contender in &contenders {
        let seconds = median(&contender.seconds);
        let (fastest, slowest) = measure::spread(&contender.seconds);
        let times = seconds / conveyor;
        let verdict =
            contender.bound.map(|bound| format!("{bound}: {}", Goal::AtLeast(bound).verdict(times)));
        table.row([
            contender.name.to_owned(),
            format!("{seconds:.2}"),
            format!("{slowest:.2} to {fastest:.2}"),
            format!("{:.2}", flights.rows as f64 / seconds / 1e6),
            format!("{times:.2}"),
            verdict.unwrap_or_default(),
        ]);
    }
    println!("{table}");
    Ok(())
}

fn contenders<'a>(flights: &'a Flights, runtime: &'a Runtime, engine: &'a Engine) -> Vec<Contender<'a>> {
    let contender = |name, bound, run| Contender { name, run, bound, seconds: Vec::new() };
    let native = |program: fn(&Path, &Path) -> Result<u64, flights::NativeError>| -> Work<'a> {
        Box::new(move |output| {
            let clock = Clock::start(&[]);
            let rows = program(&flights.csv, output)?;
            Ok(clock.stop(rows).busy)
        })
    };
    let conveyor = |manifest: fn(&Path, &Path) -> String| -> Work<'a> {
        Box::new(move |output| {
            Ok(runtime.block_on(flights.run(engine, &manifest(&flights.csv, output)))?.busy)
        })
    };
    vec![
        contender("Conveyor, typed tables", None, conveyor(flights::tables)),
        contender("fused native Rust", Some(0.7), native(flights::fused)),
        contender("native Rust with serde_json values", Some(0.9), native(flights::with_values)),
        contender("DuckDB, one thread", Some(1.0), Box::new(|output| Ok(DuckDb::run(flights, output)?))),
        contender("Conveyor, JSON between the stages", None, conveyor(flights::json)),
    ]
}

/// Runs everybody in turn. The first round is checked and does not count.
fn measure_all(flights: &Flights, contenders: &mut [Contender<'_>]) -> Result<()> {
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let mut expected = None;
    for round in 0..=ROUNDS {
        for (index, contender) in contenders.iter_mut().enumerate() {
            if word.as_ref().is_some_and(|word| !contender.name.contains(word.as_str())) {
                continue;
            }
            let output = flights.output(&index.to_string())?;
            let took = (contender.run)(&output)?;
            if round > 0 {
                contender.seconds.push(took.as_secs_f64());
                continue;
            }
            let content = Content::of(&output)?;
            let expected = *expected.get_or_insert(content);
            ensure!(
                expected == content,
                "{} wrote other rows: {content:?}, not {expected:?}",
                contender.name
            );
        }
    }
    Ok(())
}
