//! `damage`: files that Conveyor keeps, struck at random, more often than `test` strikes them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::checks::at;
use crate::places::Places;
use crate::{guests, setup, step};

pub const USAGE: &str = "cargo xtask damage [--count COUNT] [--seed N]";

/// What is asked for: how often each kind of file is struck, and from which seed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    count: u64,
    seed: Option<u64>,
}

impl Asked {
    pub fn read(args: &[String]) -> Result<Self> {
        let mut asked = Self { count: 500, seed: None };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} has no value; {USAGE}"))?;
            let number = value.parse().with_context(|| format!("{flag} takes a number, not `{value}`"))?;
            match flag.as_str() {
                "--count" => asked.count = number,
                "--seed" => asked.seed = Some(number),
                _ => bail!("there is no `{flag}`; {USAGE}"),
            }
        }
        Ok(asked)
    }
}

pub fn run(places: &Places, asked: &Asked) -> Result<()> {
    setup::host()?;
    let components = guests::build(places)?;
    let drawn =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::from(now.subsec_nanos()));
    let (count, seed) = (asked.count, asked.seed.unwrap_or_else(drawn));
    step::run(
        &format!("damage each kind of file {count} times, from seed {seed}"),
        at(&places.root, places)
            .args(["test", "--release", "--workspace", "--test", "it", "--", "damage::", "--nocapture"])
            .env(guests::DIRECTORY, &components)
            .env("DAMAGE_COUNT", count.to_string())
            .env("DAMAGE_SEED", seed.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_and_from_which_seed_can_be_asked_for() {
        let read = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Asked::read(&args).map_err(|error| error.to_string())
        };
        assert_eq!(read(""), Ok(Asked { count: 500, seed: None }));
        assert_eq!(read("--count 3 --seed 7"), Ok(Asked { count: 3, seed: Some(7) }));
        for bad in ["--count", "--count many", "7", "--sed 1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
