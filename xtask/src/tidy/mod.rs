//! What no compiler and no linter checks: the order of crates, circles of modules within one, modules that nothing reaches,
//! sizes of files and functions, names that say nothing, and modules that do not say what they are for.

mod circles;
mod ladder;
mod reach;
mod source;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::places::Places;
use crate::setup::rust::cargo;
use crate::step;

/// Something that is not as it should be, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub file: PathBuf,
    pub line: usize,
    pub message: String,
}

impl Finding {
    fn new(file: &Path, line: usize, message: impl Into<String>) -> Self {
        Finding { file: file.to_path_buf(), line, message: message.into() }
    }
}

pub fn run(places: &Places) -> Result<()> {
    step::say("tidy");
    let mut findings = vec![];
    let mut files = 0;
    for workspace in [&places.root, &places.guests_source()] {
        for package in packages(workspace)? {
            findings.extend(ladder::check(&package.manifest)?);
            let reached = reach::check(&package, &mut findings)?;
            findings.extend(circles::check(&package, &reached));
            files += reached.len();
            for file in &reached {
                findings.extend(source::check(file));
            }
        }
    }
    findings.extend(strays(places)?);
    findings.sort();
    findings.dedup();
    for Finding { file, line, message } in &findings {
        let file = file.strip_prefix(&places.root).unwrap_or(file);
        println!("{}:{line}: {message}", file.display());
    }
    if !findings.is_empty() {
        bail!("tidy found {} things to mend; they stand above", findings.len());
    }
    step::note(format!("{files} files are tidy"));
    Ok(())
}

/// What the clone has at its root.
const ROOT: [&str; 24] = [
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "clippy.toml",
    "demo",
    "deny.toml",
    "docs",
    "findings",
    "guests",
    "host",
    "registry",
    "rustfmt.toml",
    "sdk-rust",
    "tests",
    "wit",
    "xtask",
];

/// Files that git knows at the root, or does not ignore, and that do not belong there.
fn strays(places: &Places) -> Result<Vec<Finding>> {
    let listed = step::quiet(
        "list the files of the clone",
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(&places.root),
    )?;
    Ok(strays_among(String::from_utf8_lossy(&listed).lines(), |name| places.root.join(name).exists()))
}

fn strays_among<'a>(files: impl Iterator<Item = &'a str>, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let at_root = files.map(|file| file.split('/').next().unwrap_or(file));
    let stray = |name: &&str| !ROOT.contains(name) && exists(name);
    let told = |name| {
        Finding::new(
            Path::new(name),
            1,
            "does not belong at the root; ROOT of xtask/src/tidy/mod.rs lists what does",
        )
    };
    at_root.filter(stray).map(told).collect()
}

/// A package, and the files at which its compilation begins.
#[derive(Debug)]
pub struct Package {
    pub manifest: PathBuf,
    pub roots: Vec<Root>,
}

#[derive(Debug)]
pub struct Root {
    pub file: PathBuf,
    /// Tests and benches, which may do as they like with long functions.
    pub is_test: bool,
}

fn packages(workspace: &Path) -> Result<Vec<Package>> {
    let metadata = step::quiet(
        "read the workspace",
        Command::new(cargo()).args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(workspace),
    )?;
    let metadata: Value = serde_json::from_slice(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo names no packages")?;
    packages.iter().map(package).collect()
}

fn package(package: &Value) -> Result<Package> {
    let path = |value: &Value| value.as_str().map(PathBuf::from).context("cargo names no path");
    let targets = package["targets"].as_array().context("cargo names no targets")?;
    let root = |target: &Value| {
        let is_test = target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
        Ok(Root { file: path(&target["src_path"])?, is_test })
    };
    Ok(Package {
        manifest: path(&package["manifest_path"])?,
        roots: targets.iter().map(root).collect::<Result<_>>()?,
    })
}
