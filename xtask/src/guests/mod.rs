//! Builds every guest to a component in `<cache>/guests/`:
//!
//! - `<package>.wasm` for each library of the workspace `guests/`;
//! - `contract/{c,go,js,py,rust}-{bytes,table}.wasm`, the proof of the contract in five languages;
//! - `hostile/*.wasm`, the stages that mean no good.
//!
//! What has not changed is not built again. Tests find the directory in `CONVEYOR_GUESTS`.

mod bindings;
mod component;
mod contract;
mod fresh;
mod hostile;
mod rust;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::places::Places;
use crate::setup::rust::Wasm;
use crate::{setup, step};

pub use fresh::digest;

/// Tells tests where the components are.
pub const DIRECTORY: &str = "CONVEYOR_GUESTS";

/// Builds them all, and answers with the directory of the components.
pub fn build(places: &Places) -> Result<PathBuf> {
    let toolchains = setup::toolchains(places)?;
    build_rust(places, toolchains.wasm)?;
    contract::build(places, &toolchains)?;
    hostile::build(places, toolchains.wasm)?;
    step::note(format!("components are in {}", places.guests.display()));
    Ok(places.guests.clone())
}

/// Builds the hostile corpus alone.
pub fn build_hostile(places: &Places) -> Result<()> {
    hostile::build(places, setup::rust::wasm()?)
}

/// Builds those in Rust alone, which need no toolchain but Rust's.
pub fn build_rust(places: &Places, wasm: Wasm) -> Result<()> {
    let contract = places.guests.join("contract");
    std::fs::create_dir_all(&contract).with_context(|| format!("cannot create {}", contract.display()))?;
    rust::build(places, wasm)
}
