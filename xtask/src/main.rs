//! `cargo xtask VERB`: what a developer and CI type. Each verb installs what it needs, prints one clear line a
//! step, and ends with an exit code other than 0 at the first step that fails.

mod checks;
mod conformance;
mod damage;
mod demo;
mod faults;
mod formats;
mod guests;
mod install;
mod pairs;
mod peers;
mod places;
mod setup;
mod sim;
mod step;
mod test_counts;
mod tidy;

use std::process::ExitCode;

use places::Places;

const USAGE: &str = "\
cargo xtask VERB

  demo     install what is missing, build, and run a real pipeline over real data
  install  put the conveyor binary into ~/.cargo/bin
  test     everything that must hold: format, lints, tidy, guests, unit, integration and CLI tests
  faults   200 kills, 50 power cuts, a full disk, and a slow reader, against the binary; `faults commits`: 10,000 short
           runs beside busy cores, with a sink that commits and with one that does not; `faults node`: 200 kills of a
           node on which pipelines change
  conformance  every kind of run of the OCI conformance suite against the registry; `test` has one
  formats  files of pyarrow, DuckDB, Polars, fastparquet and others through the binary, compared by value: --files COUNT
           of each format, of --seed N
  damage   files that Conveyor keeps, damaged at random: --count COUNT times each, from --seed N on
  guests   build every guest to a component
  pairs    whether this tree is as fast as an earlier one: REVISION [WORD...], rows that have a word in their name
  peers    clients and registries of others (skopeo, oras, crane, regctl, wkg, cosign, docker-registry) against ours; `test`
           has those that are built soon
  hostile  build the guests of guests/hostile alone
  setup    install what is missing, and nothing else
  sim      the simulation of delivery: --seeds COUNT of them, or --seed N alone, with all that happens
  tidy     check the order of crates and modules, and the size of files and functions
  fmt      format every Rust file

Tools, build output and fetched data live in $XDG_CACHE_HOME/conveyor or ~/.cache/conveyor; nothing is put
into the clone.";

type Verb = Box<dyn Fn(&Places) -> anyhow::Result<()>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((verb, rest)) = args.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if matches!(verb.as_str(), "help" | "-h" | "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let run = match read(verb, rest) {
        Ok(run) => run,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match Places::find().and_then(|places| run(&places)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask {verb}: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a verb and the words behind it ask for.
fn read(verb: &str, rest: &[String]) -> anyhow::Result<Verb> {
    let run: Verb = match verb {
        "damage" => {
            let asked = damage::Asked::read(rest)?;
            return Ok(Box::new(move |places| damage::run(places, &asked)));
        }
        "formats" => {
            let asked = formats::Asked::read(rest)?;
            return Ok(Box::new(move |places| formats::run(places, &asked)));
        }
        "pairs" => {
            let asked = pairs::Asked::read(rest)?;
            return Ok(Box::new(move |places| pairs::run(places, &asked)));
        }
        "faults" => {
            let of = faults::Of::read(rest)?;
            return Ok(Box::new(move |places| faults::run(places, of)));
        }
        "sim" => {
            let asked = sim::Asked::read(rest)?;
            return Ok(Box::new(move |places| sim::run(places, &asked)));
        }
        "conformance" => Box::new(conformance::run),
        "demo" => Box::new(demo::run),
        "install" => Box::new(install::run),
        "peers" => Box::new(peers::run),
        "test" => Box::new(checks::test),
        "guests" => Box::new(|places| guests::build(places).map(|_| ())),
        "hostile" => Box::new(guests::build_hostile),
        "setup" => Box::new(setup::everything),
        "tidy" => Box::new(tidy::run),
        "fmt" => Box::new(checks::format),
        other => anyhow::bail!("there is no verb `{other}`\n\n{USAGE}"),
    };
    match rest {
        [] => Ok(run),
        [word, ..] => anyhow::bail!("`{verb}` takes no `{word}`\n\n{USAGE}"),
    }
}
