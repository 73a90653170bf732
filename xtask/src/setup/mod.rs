//! Installs what is missing: Debian packages, Rust's own parts, and the toolchains of guests. Versions stand in
//! `xtask/pins/` and nowhere else. What is there already costs no time and no network.

pub mod debian;
pub mod npm;
pub mod pypi;
pub mod rust;

use anyhow::Result;

use crate::places::Places;
use crate::step::note;

/// The toolchains that guests are built with.
#[derive(Debug)]
pub struct Toolchains {
    pub python: pypi::Python,
    pub js: npm::Packages,
    pub wasm: rust::Wasm,
}

pub fn everything(places: &Places) -> Result<()> {
    host()?;
    toolchains(places).map(|_| ())
}

/// What the host is built, formatted and linted with.
pub fn host() -> Result<()> {
    debian::ensure("linker", &["cc"])?;
    rust::component("rustfmt", "fmt")?;
    rust::component("clippy", "clippy")
}

pub fn toolchains(places: &Places) -> Result<Toolchains> {
    let python = pypi::ensure(places)?;
    let js = npm::ensure(places, &python, "js", npm::JS)?;
    let wasm = rust::wasm()?;
    note(format!("toolchains: {}; {}; {}", wasm.name(), python.packages(), js.packages()));
    Ok(Toolchains { python, js, wasm })
}
