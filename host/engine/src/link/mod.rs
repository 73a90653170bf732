//! WIT imports -> host functions, one file per interface. What is not granted is linked to a denial: no
//! preopened directory, refused connections, seeded random. What this host does not know at all is linked
//! to a trap that names it, so that a component may import more than it uses.

pub(crate) mod log;
pub(crate) mod unknown;
pub(crate) mod wasi;

use wasmtime::component::Linker;

use crate::state::State;

/// For components that import nothing but interfaces of the contract.
pub(crate) fn plain(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    log::add(&mut linker)?;
    Ok(linker)
}

/// For components that a language runtime or the preview 1 adapter made import WASI.
pub(crate) fn with_wasi(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = plain(engine)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}
