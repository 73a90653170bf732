//! `faults`: more kills, power cuts and a longer slow reader than `test` has, against the binary itself. `faults
//! commits`: more runs that have to end with a commit. `faults node`: more kills of a node on which pipelines change.

use anyhow::{Result, bail};

use crate::checks::at;
use crate::places::Places;
use crate::{demo, guests, setup, step};

pub const USAGE: &str = "cargo xtask faults [commits | node]";

const COMMITS: &str = "10000";
const NODE_KILLS: &str = "200";

/// Which faults are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Those that strike the binary.
    Binary,
    /// Loops that are late when their last checkpoint is to be committed.
    Commits,
    /// Kills of a node that stays.
    Node,
}

impl Of {
    pub fn read(args: &[String]) -> Result<Self> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match args[..] {
            [] => Ok(Self::Binary),
            ["commits"] => Ok(Self::Commits),
            ["node"] => Ok(Self::Node),
            _ => bail!("there are no such faults: {}; {USAGE}", args.join(" ")),
        }
    }
}

/// What `test` has a few of, by the names that the tests look for.
const COUNTS: [(&str, &str); 4] = [
    ("CONVEYOR_FAULTS_KILLS", "200"),
    ("CONVEYOR_FAULTS_POWER_CUTS", "50"),
    ("CONVEYOR_FAULTS_PIPELINE_KILLS", "20"),
    ("CONVEYOR_FAULTS_SLOW_SECONDS", "60"),
];

pub fn run(places: &Places, of: Of) -> Result<()> {
    setup::host()?;
    let components = guests::build(places)?;
    if of == Of::Commits {
        return step::run(
            format!(
                "{COMMITS} short runs beside busy cores, each of a sink that commits and of one that traps"
            )
            .as_str(),
            at(&places.root, places)
                .args(["test", "--release", "--workspace", "--test", "it", "--", "commits::", "--nocapture"])
                .env(guests::DIRECTORY, &components)
                .env("CONVEYOR_FAULTS_COMMITS", COMMITS),
        );
    }
    if of == Of::Node {
        demo::build_conveyor(places)?;
        return step::run(
            format!("{NODE_KILLS} kills of a node while pipelines flow and change").as_str(),
            at(&places.root, places)
                .args([
                    "test",
                    "--release",
                    "--workspace",
                    "--test",
                    "cli",
                    "--",
                    "node::kills::",
                    "--nocapture",
                ])
                .env(guests::DIRECTORY, &components)
                .env("CONVEYOR_FAULTS_NODE_KILLS", NODE_KILLS),
        );
    }
    setup::clock();
    let data = setup::data(places)?;
    demo::build_conveyor(places)?;
    step::run(
        "200 kills, 20 of each of the other pipelines, 50 power cuts, a full disk, and a slow reader for a minute",
        at(&places.root, places)
            .args(["test", "--release", "--workspace", "--test", "cli", "--", "faults::", "--nocapture"])
            .env(guests::DIRECTORY, &components)
            .env(demo::DATA, &data)
            .envs(COUNTS),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_asked_for_by_name() {
        let read = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Of::read(&args).map_err(|error| error.to_string())
        };
        assert_eq!((read(""), read("commits")), (Ok(Of::Binary), Ok(Of::Commits)));
        assert_eq!(read("node"), Ok(Of::Node));
        assert!(read("commit").is_err_and(|error| error.contains("no such faults: commit")));
        assert!(read("commits commits").is_err());
    }
}
