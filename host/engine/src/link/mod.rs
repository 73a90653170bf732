//! WIT imports -> host functions, one file per interface. What is not granted is linked to a denial: no
//! preopened directory, refused connections, seeded random, a clock that stands. Linking is the same for every
//! stage; what an instance may do is in its state. What this host does not know at all is linked
//! to a trap that names it, so that a component may import more than it uses.

mod clock;
mod dial;
mod http;
mod keyed;
pub(crate) mod log;
mod secrets;
mod state;
pub(crate) mod unknown;
mod wasi;

use wasmtime::component::Linker;

pub(crate) use state::State;

/// For components that import nothing but interfaces of the contract.
pub(crate) fn plain(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    log::add(&mut linker)?;
    secrets::add(&mut linker)?;
    keyed::add(&mut linker)?;
    Ok(linker)
}

/// For components that a language runtime or the preview 1 adapter made import WASI.
pub(crate) fn with_wasi(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = plain(engine)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    Ok(linker)
}
