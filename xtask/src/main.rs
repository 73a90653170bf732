//! `cargo xtask VERB`: what a developer and CI type. Each verb installs what it needs, prints one clear line a
//! step, and ends with an exit code other than 0 at the first step that fails.

mod checks;
mod demo;
mod guests;
mod install;
mod places;
mod setup;
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
  guests   build every guest to a component
  hostile  build the guests of guests/hostile alone
  setup    install what is missing, and nothing else
  tidy     check the order of crates and modules, and the size of files and functions
  fmt      format every Rust file

Tools, build output and fetched data live in $XDG_CACHE_HOME/conveyor or ~/.cache/conveyor; nothing is put
into the clone.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [verb] = &args[..] else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let run: fn(&Places) -> anyhow::Result<()> = match verb.as_str() {
        "demo" => demo::run,
        "install" => install::run,
        "test" => checks::test,
        "guests" => |places| guests::build(places).map(|_| ()),
        "hostile" => guests::build_hostile,
        "setup" => setup::everything,
        "tidy" => tidy::run,
        "fmt" => checks::format,
        "help" | "-h" | "--help" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("there is no verb `{other}`\n\n{USAGE}");
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
