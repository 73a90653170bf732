//! Runs the binding generators of C and Go, called as libraries so that no program has to be installed.

use std::path::Path;

use anyhow::{Context, Result};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator};

/// Changes whenever what is generated may.
pub const VERSION: &str = "wit-bindgen 0.63";

pub fn c(wit: &Path, world: &str, into: &Path) -> Result<()> {
    generate(wit, world, into, wit_bindgen_c::Opts::default().build())
}

pub fn go(wit: &Path, world: &str, into: &Path) -> Result<()> {
    generate(wit, world, into, wit_bindgen_go::Opts { quiet: true, ..Default::default() }.build())
}

fn generate(wit: &Path, world: &str, into: &Path, mut generator: Box<dyn WorldGenerator>) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).with_context(|| format!("cannot read {}", wit.display()))?;
    let world: WorldId = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    for (name, bytes) in files.iter() {
        let path = into.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(into))?;
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
