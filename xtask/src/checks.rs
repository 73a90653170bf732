//! `test`: everything that must hold, one step after another, as CI runs it. And `fmt`.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::places::Places;
use crate::setup::rust::cargo;
use crate::test_counts::Counts;
use crate::{conformance, demo, formats, guests, peers, setup, step, tidy};

pub fn test(places: &Places) -> Result<()> {
    let start = Instant::now();
    setup::host()?;
    setup::clock();
    setup::metrics(places);
    setup::debian::ensure("documents", &["curl"])?;
    for (name, workspace) in [("the host", &places.root), ("guests", &places.guests_source())] {
        step::run(
            &format!("format of {name} (mend it by `cargo xtask fmt`)"),
            at(workspace, places).args(["fmt", "--all", "--check"]),
        )?;
    }
    tidy::run(places)?;
    let components = guests::build(places)?;
    let data = setup::data(places)?;
    let suite = setup::go::ensure(places, setup::go::CONFORMANCE)?;
    let others = setup::peers::light(places)?;
    format_of_go(places)?;
    step::run(
        "lints of the host",
        at(&places.root, places).args([
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step::run(
        "lints of guests",
        guest_cargo(places).args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    )?;
    // Tests of the command line run the binary itself, which `cargo test` does not build by itself.
    let conveyor = demo::build_conveyor(places)?;
    let mut counts = Counts::default();
    let mut all_passed = step::watched(
        "tests of guests, run natively",
        guest_cargo(places).args(["test", "--workspace", "--no-fail-fast"]),
        |line| counts.add(line),
    )?;
    all_passed &= step::watched(
        "tests of the host",
        at(&places.root, places)
            .args(["test", "--release", "--workspace", "--no-fail-fast"])
            .env(guests::DIRECTORY, &components)
            .env(demo::DATA, &data)
            .env(conformance::PROGRAM, &suite)
            .env(peers::PROGRAMS, &others),
        |line| counts.add(line),
    )?;
    formats::short(places, &conveyor)?;
    demo::run(places)?;
    step::say(format!("all of it took {} s", start.elapsed().as_secs()));
    verdict(counts, all_passed)
}

/// Prints the closing line, alone on its line, as the last of the output.
fn verdict(counts: Counts, all_passed: bool) -> Result<()> {
    println!("{counts}");
    if !all_passed || counts.failed > 0 {
        bail!("a test failed, or did not compile: its name stands above");
    }
    if counts.passed == 0 {
        bail!("no test was run");
    }
    Ok(())
}

pub fn format(places: &Places) -> Result<()> {
    setup::host()?;
    step::run("format the host", at(&places.root, places).args(["fmt", "--all"]))?;
    step::run("format guests", at(&places.guests_source(), places).args(["fmt", "--all"]))?;
    let gofmt = setup::pypi::ensure(places)?.gofmt();
    step::run("format Go", { gofmt }.arg("-w").arg(places.guests_source()))
}

fn format_of_go(places: &Places) -> Result<()> {
    let step = "format of Go (mend it by `cargo xtask fmt`)";
    step::say(step);
    let mut gofmt = setup::pypi::ensure(places)?.gofmt();
    let listed = step::quiet(step, gofmt.arg("-l").arg(places.guests_source()))?;
    if !listed.is_empty() {
        bail!("{step}: these files differ\n{}", String::from_utf8_lossy(&listed));
    }
    Ok(())
}

/// Cargo in a workspace, building into the cache.
pub fn at(workspace: &Path, places: &Places) -> Command {
    let mut command = Command::new(cargo());
    command.current_dir(workspace).env("CARGO_TARGET_DIR", &places.target);
    command
}

/// The profile for guests is made for WebAssembly: natively, the one for development compiles sooner.
fn guest_cargo(places: &Places) -> Command {
    let mut command = at(&places.guests_source(), places);
    command.env("CARGO_TARGET_DIR", &places.guests);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_that_ran_and_passed_are_a_success() {
        let counts = |passed, failed| Counts { passed, failed, ignored: 0 };
        assert!(verdict(counts(3, 0), true).is_ok());
        assert!(verdict(counts(3, 1), true).is_err());
        assert!(verdict(counts(3, 0), false).is_err(), "a binary that crashed names no failed test");
        assert!(verdict(counts(0, 0), true).is_err());
    }
}
