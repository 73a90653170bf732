//! `sim`: the simulation of delivery over more seeds than `test` runs, or over one of them with all that happens in it.

use anyhow::{Context, Result, bail};

use crate::checks::at;
use crate::places::Places;
use crate::{setup, step};

pub const USAGE: &str = "cargo xtask sim [--seeds COUNT] [--seed N] [--bug NAME]";

/// The tests that run seeds as they are asked to.
const TEST: &str = "seeds::nothing_is_lost_or_doubled_whatever_crashes";

/// What is asked for; nothing is 200 seeds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    seeds: Option<u64>,
    seed: Option<u64>,
    bug: Option<String>,
}

impl Asked {
    pub fn read(args: &[String]) -> Result<Self> {
        let mut asked = Self::default();
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} has no value; {USAGE}"))?;
            let number = || value.parse().with_context(|| format!("{flag} takes a number, not `{value}`"));
            match flag.as_str() {
                "--seeds" => asked.seeds = Some(number()?),
                "--seed" => asked.seed = Some(number()?),
                "--bug" => asked.bug = Some(value.clone()),
                _ => bail!("there is no `{flag}`; {USAGE}"),
            }
        }
        if asked.seeds.is_some() && asked.seed.is_some() {
            bail!("`--seeds` runs many and `--seed` repeats one: name one of the two");
        }
        Ok(asked)
    }
}

pub fn run(places: &Places, asked: &Asked) -> Result<()> {
    setup::host()?;
    let shown = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    step::run(
        "simulate delivery",
        at(&places.root, places)
            .args(["test", "--release", "--workspace", "--test", "sim", "--", "--exact", TEST, "--nocapture"])
            .env("SIM_SEEDS", shown(asked.seeds))
            .env("SIM_SEED", shown(asked.seed))
            .env("SIM_BUG", asked.bug.as_deref().unwrap_or_default()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_seeds_or_one_of_them_are_asked_for() {
        let read = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Asked::read(&args).map_err(|error| error.to_string())
        };
        assert_eq!(read(""), Ok(Asked::default()));
        assert_eq!(read("--seeds 10000"), Ok(Asked { seeds: Some(10_000), ..Asked::default() }));
        let bug = Some("NoChecksum".to_owned());
        assert_eq!(read("--seed 7 --bug NoChecksum"), Ok(Asked { seeds: None, seed: Some(7), bug }));
        for bad in ["--seeds", "--seeds many", "--seed 1 --seeds 2", "7", "--sed 1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
