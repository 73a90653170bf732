//! Installs what is missing: Debian packages, Rust's own parts, the toolchains of guests, and real data. Versions stand in
//! `xtask/pins/` and nowhere else. What is there already costs no time and no network.

pub mod debian;
pub mod go;
pub mod npm;
pub mod peers;
pub mod pypi;
pub mod rust;

use std::path::PathBuf;

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
    clock();
    metrics(places);
    toolchains(places)?;
    go::ensure(places, go::CONFORMANCE)?;
    peers::light(places)?;
    data(places).map(|_| ())
}

/// The directory of the real data, for the demo and the tests: millions of flights and more, from the npm package
/// vega-datasets.
pub fn data(places: &Places) -> Result<PathBuf> {
    let python = pypi::ensure_node(places)?;
    let packages = npm::ensure(places, &python, "demo", npm::DEMO)?;
    Ok(packages.directory().join("node_modules/vega-datasets/data"))
}

/// What the host is built, formatted and linted with.
pub fn host() -> Result<()> {
    debian::ensure("linker", &["cc"])?;
    rust::component("rustfmt", "fmt")?;
    rust::component("clippy", "clippy")
}

/// What has the clock jump in a test, which is left out where it cannot be had.
pub fn clock() {
    if let Err(error) = debian::ensure("clock", &["faketime"]) {
        note(format!("the clock does not jump in the tests: {error:#}"));
    }
}

/// What reads our metrics in a test, which is left out where it cannot be had.
pub fn metrics(places: &Places) {
    let name = "promtool";
    if debian::find(name).is_some() {
        return;
    }
    // Where the tests look for it, beside the path.
    if let Err(error) = debian::unpacked(places, name) {
        note(format!("Prometheus does not read our metrics in the tests: {error:#}"));
    }
}

pub fn toolchains(places: &Places) -> Result<Toolchains> {
    let python = pypi::ensure(places)?;
    let js = npm::ensure(places, &python, "js", npm::JS)?;
    let wasm = rust::wasm()?;
    note(format!("toolchains: {}; {}; {}", wasm.name(), python.packages(), js.packages()));
    Ok(Toolchains { python, js, wasm })
}
