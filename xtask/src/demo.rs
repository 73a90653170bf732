//! `demo`: from a fresh clone to a real pipeline that has run over real data, and what to try next.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::places::Places;
use crate::setup::rust::cargo;
use crate::{guests, setup, step};

/// Where the manifest finds the data, and tests do; and where it is to write.
pub const DATA: &str = "CONVEYOR_DEMO_DATA";
const OUTPUT: &str = "CONVEYOR_DEMO_OUTPUT";

const LINES_SHOWN: usize = 3;

pub fn run(places: &Places) -> Result<()> {
    setup::debian::ensure("linker", &["cc"])?;
    let wasm = setup::rust::wasm()?;
    let data = setup::data(places)?;
    let output = places.cache.join("demo");
    std::fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
    guests::build_rust(places, wasm)?;
    let conveyor = build_conveyor(places)?;
    let manifest = places.root.join("demo/pipeline.yaml");
    step::run(
        "conveyor run demo/pipeline.yaml",
        Command::new(&conveyor)
            .arg("run")
            .arg(&manifest)
            .env(DATA, &data)
            .env(OUTPUT, &output)
            .env(guests::DIRECTORY, &places.guests),
    )?;
    show(&output)?;
    println!("{}", next(&data, &output, &places.guests));
    Ok(())
}

/// Builds the binary with the features of the whole workspace, as the tests do: wasmtime is compiled once.
pub fn build_conveyor(places: &Places) -> Result<PathBuf> {
    step::run(
        "build conveyor (ten minutes at first, for the WebAssembly engine; seconds from then on)",
        Command::new(cargo())
            .args(["build", "--release", "--workspace", "--bin", "conveyor"])
            .current_dir(&places.root)
            .env("CARGO_TARGET_DIR", &places.target),
    )?;
    Ok(places.target.join("release/conveyor"))
}

/// How many records each sink wrote, and the first of them.
fn show(output: &Path) -> Result<()> {
    let entries = std::fs::read_dir(output).with_context(|| format!("cannot read {}", output.display()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")) {
        let lines = BufReader::new(File::open(file)?).lines();
        let (first, count) = first(lines, LINES_SHOWN)?;
        println!("\n{} ({count} records)", file.display());
        for line in first {
            println!("  {line}");
        }
    }
    Ok(())
}

/// The first of some lines, and how many there are in all.
fn first(
    lines: impl Iterator<Item = std::io::Result<String>>,
    wanted: usize,
) -> Result<(Vec<String>, usize)> {
    let (mut first, mut count) = (vec![], 0);
    for line in lines {
        let line = line?;
        if first.len() < wanted {
            first.push(line);
        }
        count += 1;
    }
    Ok((first, count))
}

fn next(data: &Path, output: &Path, guests: &Path) -> String {
    format!(
        "
What to try next, in this directory:

  export {DATA}={}
  export {OUTPUT}={}
  export {}={}
  cargo xtask install                         # puts conveyor into ~/.cargo/bin
  conveyor graph demo/pipeline.yaml           # what flows where, and which columns are ever decoded
  conveyor run demo/pipeline.yaml             # after changing a threshold in it
  conveyor inspect $CONVEYOR_GUESTS/filter.wasm
  conveyor new my-stage --lang rust --kind transform

The README goes on from here with a tour that writes a stage from nothing.",
        data.display(),
        output.display(),
        guests::DIRECTORY,
        guests.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_are_shown_and_all_are_counted() {
        let lines = |count: usize| (0..count).map(|i| Ok(i.to_string()));
        assert_eq!(first(lines(5), 2).expect("lines"), (vec!["0".into(), "1".into()], 5));
        assert_eq!(first(lines(1), 2).expect("lines"), (vec!["0".into()], 1));
        assert_eq!(first(lines(0), 2).expect("lines"), (vec![], 0));
    }
}
