//! `install`: the binary to where cargo puts those that it installs, out of the build directory of everything else,
//! so that nothing is compiled twice.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::places::Places;
use crate::{demo, setup, step};

pub fn run(places: &Places) -> Result<()> {
    setup::debian::ensure("linker", &["cc"])?;
    let built = demo::build_conveyor(places)?;
    let bin = bin()?;
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    let installed = bin.join("conveyor");
    // Beside it first: a binary that runs cannot be written over, only replaced.
    let beside = bin.join(".conveyor.new");
    fs::copy(&built, &beside).with_context(|| format!("cannot write {}", beside.display()))?;
    fs::rename(&beside, &installed).with_context(|| format!("cannot replace {}", installed.display()))?;
    step::say(format!("installed {}", installed.display()));
    Ok(())
}

fn bin() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(home).join("bin"));
    }
    let home =
        std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set: say where cargo lives")?;
    Ok(PathBuf::from(home).join(".cargo/bin"))
}
