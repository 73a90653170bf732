//! `pairs`: whether a build is as fast as an earlier one. The two do the same work in turn, each with its own guests, and
//! each pair gives one ratio, so that a machine that is slow for a while is slow for both.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::places::Places;
use crate::setup::rust::cargo;
use crate::{guests, setup, step};

pub const USAGE: &str =
    "cargo xtask pairs REVISION [WORD...]: rows that have one of the words in their name, or all";

/// Pairs of which the median counts.
const PAIRS: usize = 20;
/// How long the work of one run is, at least, in nanoseconds.
const RUN_NANOS: f64 = 0.5e9;
/// What share of the earlier build's rate must be reached.
const BOUND: f64 = 0.98;
/// Where the middle half of the ratios is wider than this, time says too little and instructions are counted.
const SPREAD_MAX: f64 = 0.02;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    revision: String,
    words: Vec<String>,
}

impl Asked {
    pub fn read(args: &[String]) -> Result<Self> {
        match args {
            [revision, words @ ..] if !revision.starts_with('-') => {
                Ok(Self { revision: revision.clone(), words: words.to_vec() })
            }
            _ => bail!("an earlier revision is compared with this tree; {USAGE}"),
        }
    }

    fn takes(&self, row: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| row.contains(word.as_str()))
    }
}

pub fn run(places: &Places, asked: &Asked) -> Result<()> {
    setup::host()?;
    setup::debian::ensure("valgrind", &["valgrind"])?;
    guests::build(places)?;
    let after = Build::of(&places.root, &places.cache, &places.target)?;
    let before = earlier(places, &asked.revision)?;
    let rows = after.rows()?;
    let known = before.rows()?;
    println!(
        "\n| row | rate against {} | middle half | instructions against it | must reach |",
        asked.revision
    );
    println!("|---|---|---|---|---|");
    let mut is_missed = false;
    for row in rows.iter().filter(|row| asked.takes(row)) {
        if !known.contains(row) {
            println!("| {row} | not there before | | | |");
            continue;
        }
        let found = compare(&before, &after, row)?;
        is_missed |= !found.is_reached();
        println!("{}", found.line(row));
    }
    ensure!(!is_missed, "a row is slower than {BOUND} of what it was at {}", asked.revision);
    Ok(())
}

/// The executable of `benches/once.rs` and the cache with the guests that it takes.
struct Build {
    program: PathBuf,
    cache_home: PathBuf,
}

/// An earlier revision with a clone, a build directory, a cache and guests of its own; tools and fetched data are
/// shared.
fn earlier(places: &Places, revision: &str) -> Result<Build> {
    let git = |directory: &Path, args: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(directory).args(args);
        step::quiet(&format!("git {}", args.join(" ")), &mut command)
    };
    let commit = git(&places.root, &["rev-parse", "--verify", &format!("{revision}^{{commit}}")])?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let home = places.cache.join("pairs").join(&commit[..12]);
    let (tree, cache) = (home.join("tree"), home.join("cache/conveyor"));
    if !tree.join("Cargo.toml").exists() {
        std::fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        let shown = tree.display().to_string();
        git(&places.root, &["clone", "--quiet", "--shared", "--no-checkout", ".", &shown])?;
        git(&tree, &["checkout", "--quiet", "--detach", &commit])?;
    }
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    for shared in ["tools", "bench"] {
        let (ours, theirs) = (places.cache.join(shared), cache.join(shared));
        if !theirs.exists() {
            std::fs::create_dir_all(&ours).with_context(|| format!("cannot create {}", ours.display()))?;
            std::os::unix::fs::symlink(&ours, &theirs)
                .with_context(|| format!("cannot link {}", theirs.display()))?;
        }
    }
    if !cache.join("guests").exists() {
        // What has not changed since then need not be built again.
        let mut copy = Command::new("cp");
        step::run("copy guests", copy.arg("-a").arg(&places.guests).arg(cache.join("guests")))?;
    }
    // One build directory for both would be a trap: cargo tells the clones apart by the times of their files alone.
    let target = home.join("target");
    if !target.exists() {
        let mut link = Command::new("cp");
        step::run("link what is compiled", link.arg("-al").arg(&places.target).arg(&target))?;
        part(&places.target.join("release"), &target.join("release"))?;
    }
    step::run(
        &format!("build guests as of {revision}"),
        Command::new(cargo())
            .args(["run", "--quiet", "--release", "--package", "xtask", "--", "guests"])
            .current_dir(&tree)
            .env("CARGO_TARGET_DIR", &target)
            .env("XDG_CACHE_HOME", home.join("cache")),
    )?;
    Build::of(&tree, &cache, &target)
}

/// Gives a build directory whose files are links to those of another what cargo writes in place, and locks, for itself.
fn part(theirs: &Path, ours: &Path) -> Result<()> {
    let (lock, marks) = (ours.join(".cargo-lock"), ours.join(".fingerprint"));
    if lock.exists() {
        std::fs::remove_file(&lock).with_context(|| format!("cannot remove {}", lock.display()))?;
    }
    if marks.exists() {
        std::fs::remove_dir_all(&marks).with_context(|| format!("cannot remove {}", marks.display()))?;
        let mut copy = Command::new("cp");
        step::run("copy cargo's marks", copy.arg("-a").arg(theirs.join(".fingerprint")).arg(&marks))?;
    }
    Ok(())
}

impl Build {
    fn of(tree: &Path, cache: &Path, target: &Path) -> Result<Self> {
        let step = format!("build the benches of {}", tree.display());
        step::say(&step);
        let built = step::quiet(
            &step,
            Command::new(cargo())
                .args(["bench", "--quiet", "--package", "benches", "--bench", "once", "--no-run"])
                .args(["--message-format", "json"])
                .current_dir(tree)
                .env("CARGO_TARGET_DIR", target),
        )?;
        let program = String::from_utf8_lossy(&built)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["target"]["name"] == "once")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .with_context(|| format!("{step}: cargo names no executable `once`"))?;
        let cache_home = cache.parent().context("a cache has a parent")?.to_owned();
        Ok(Self { program, cache_home })
    }

    fn rows(&self) -> Result<Vec<String>> {
        let listed = step::quiet("list the rows", self.command(&[]).arg("--list"))?;
        Ok(String::from_utf8_lossy(&listed).lines().map(str::to_owned).collect())
    }

    /// `under`: a program that runs it, and that program's options.
    fn command(&self, under: &[&str]) -> Command {
        let mut command = match under {
            [] => Command::new(&self.program),
            [program, options @ ..] => {
                let mut command = Command::new(program);
                command.args(options).arg(&self.program);
                command
            }
        };
        command.env("XDG_CACHE_HOME", &self.cache_home);
        command
    }

    /// Nanoseconds of work for one record.
    fn nanos(&self, row: &str, passes: u32) -> Result<f64> {
        let (records, nanos) = self.once(&[], row, passes)?.0;
        Ok(nanos / records)
    }

    /// Instructions for one record: two passes less one, so that the start is left out.
    fn instructions(&self, row: &str) -> Result<f64> {
        let count = |passes| -> Result<(f64, f64)> {
            let under =
                ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"];
            let ((records, _), words) = self.once(&under, row, passes)?;
            Ok((records, references(&words).with_context(|| format!("valgrind counted nothing: {words}"))?))
        };
        // Valgrind's processor is not this one, so that the first run compiles what is not in the cache of code.
        count(1)?;
        let (one, two) = (count(1)?, count(2)?);
        Ok((two.1 - one.1) / (two.0 - one.0))
    }

    /// Records and nanoseconds, and what was said on standard error.
    fn once(&self, under: &[&str], row: &str, passes: u32) -> Result<((f64, f64), String)> {
        let mut command = self.command(under);
        command.args([row, &passes.to_string()]);
        if !under.is_empty() {
            command.arg("--untimed");
        }
        let output = command.output()?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "`{row}` of {}: {words}", self.program.display());
        let numbers = printed.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
        match numbers.as_deref() {
            Ok([records, nanos]) => Ok(((*records, *nanos), words)),
            _ => bail!("`{row}` of {} printed `{printed}`", self.program.display()),
        }
    }
}

/// The instructions that cachegrind tells of, as in `==1== I   refs:      1,234`.
fn references(words: &str) -> Option<f64> {
    let line = words.lines().find(|line| line.contains("refs:"))?;
    line.rsplit(':').next()?.trim().replace(',', "").parse().ok()
}

/// What came of the pairs of one row: rates of the later build against the earlier one.
#[derive(Debug)]
struct Found {
    median: f64,
    quartiles: (f64, f64),
    instructions: Option<f64>,
}

fn compare(before: &Build, after: &Build, row: &str) -> Result<Found> {
    // The first run compiles what is not in the cache of code, and says how long a pass takes.
    before.once(&[], row, 1)?;
    let ((_, nanos), _) = after.once(&[], row, 1)?;
    let passes = (RUN_NANOS / nanos).ceil().clamp(1.0, 1e4) as u32;
    let mut ratios = Vec::with_capacity(PAIRS);
    for pair in 0..PAIRS {
        ratios.push(match pair % 2 {
            0 => before.nanos(row, passes)? / after.nanos(row, passes)?,
            _ => (1.0 / after.nanos(row, passes)?) * before.nanos(row, passes)?,
        });
    }
    let mut found = Found::of(ratios);
    if found.spread() > SPREAD_MAX {
        found.instructions = Some(before.instructions(row)? / after.instructions(row)?);
    }
    Ok(found)
}

impl Found {
    fn of(mut ratios: Vec<f64>) -> Self {
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
        Self { median: at(0.5), quartiles: (at(0.25), at(0.75)), instructions: None }
    }

    fn spread(&self) -> f64 {
        (self.quartiles.1 - self.quartiles.0) / self.median
    }

    /// Instructions decide where they were counted.
    fn is_reached(&self) -> bool {
        self.instructions.unwrap_or(self.median) >= BOUND
    }

    fn line(&self, row: &str) -> String {
        let instructions = self.instructions.map(|ratio| format!("{ratio:.4}")).unwrap_or_default();
        let (low, high) = self.quartiles;
        let verdict = if self.is_reached() { "reached" } else { "MISSED" };
        format!(
            "| {row} | {:.3} | {low:.3} to {high:.3} | {instructions} | {BOUND}: {verdict} |",
            self.median
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_decides_and_instructions_where_pairs_spread() {
        let narrow = Found::of((0..20).map(|n| 0.975 + f64::from(n) / 2000.0).collect());
        assert!((narrow.median - 0.98).abs() < 0.001 && narrow.spread() < SPREAD_MAX, "{narrow:?}");
        let mut wide = Found::of((0..20).map(|n| 0.8 + f64::from(n) / 100.0).collect());
        assert!(wide.spread() > SPREAD_MAX && !wide.is_reached(), "{wide:?}");
        wide.instructions = Some(0.999);
        assert!(wide.is_reached() && wide.line("row").contains("0.9990"), "{}", wide.line("row"));
    }

    #[test]
    fn what_valgrind_counts_is_read() {
        let words = "==7== Cachegrind, a profiler\n==7== \n==7== I   refs:      12,345,678\n";
        assert_eq!(references(words), Some(12_345_678.0));
        assert_eq!(references("==7== killed"), None);
    }

    #[test]
    fn a_revision_comes_first() {
        let read =
            |words: &[&str]| Asked::read(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        let asked = read(&["main", "belt", "csv"]).expect("read");
        assert!(asked.takes("belt") && asked.takes("csv, typed tables") && !asked.takes("the map"));
        assert!(read(&["main"]).expect("read").takes("anything"));
        assert!(read(&[]).is_err() && read(&["--all"]).is_err());
    }
}
