//! `formats`: files of the writers that people use, drawn at random, through `conveyor run`, and compared by value.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::places::Places;
use crate::setup::pypi;
use crate::{demo, setup, step};

pub const USAGE: &str = "cargo xtask formats [--files COUNT] [--seed N]";

const PINS: &str = include_str!("../pins/formats.txt");

/// How many files of each format the test command looks at, and the seed of which they are.
const SHORT: Asked = Asked { files: 5, seed: Some(1) };

/// What is asked for: how many files of each format, and of which seed.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    files: u32,
    seed: Option<u64>,
}

impl Asked {
    pub fn read(args: &[String]) -> Result<Self> {
        let mut asked = Self { files: 100, seed: None };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} has no value; {USAGE}"))?;
            let number: u64 =
                value.parse().with_context(|| format!("{flag} takes a number, not `{value}`"))?;
            match flag.as_str() {
                "--files" => asked.files = number.try_into().context("that many files are too many")?,
                "--seed" => asked.seed = Some(number),
                _ => bail!("there is no `{flag}`; {USAGE}"),
            }
        }
        Ok(asked)
    }
}

pub fn run(places: &Places, asked: &Asked) -> Result<()> {
    setup::debian::ensure("linker", &["cc"])?;
    let conveyor = demo::build_conveyor(places)?;
    compare(places, &conveyor, asked)
}

/// A few files of each format, with a binary that is there.
pub fn short(places: &Places, conveyor: &Path) -> Result<()> {
    compare(places, conveyor, &SHORT)
}

fn compare(places: &Places, conveyor: &Path, asked: &Asked) -> Result<()> {
    let python = pypi::ensure_pinned(places, "formats", PINS)?;
    let drawn =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::from(now.subsec_nanos()));
    let (files, seed) = (asked.files, asked.seed.unwrap_or_else(drawn));
    let directory = places.cache.join("formats");
    // What an earlier run left is not to be mistaken for what this one does.
    if directory.exists() {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    step::run(
        &format!("{files} files of each format, of seed {seed}"),
        python
            .python()
            .arg(places.root.join("xtask/python/formats.py"))
            .arg(conveyor)
            .arg(&directory)
            .args([files.to_string(), seed.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_files_and_of_which_seed_can_be_asked_for() {
        let read = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Asked::read(&args).map_err(|error| error.to_string())
        };
        assert_eq!(read(""), Ok(Asked { files: 100, seed: None }));
        assert_eq!(read("--files 3 --seed 7"), Ok(Asked { files: 3, seed: Some(7) }));
        for bad in ["--files", "--files many", "7", "--sed 1", "--files 99999999999"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
