//! A component's bytes -> code for this machine. Nothing of it runs here.

use super::binary::componentize;
use crate::error::LoadError;
use crate::symbols::{Index, extract};

/// What is kept of a component.
#[derive(Debug)]
pub(crate) struct Translated {
    /// As wasmtime serializes it.
    pub code: Vec<u8>,
    pub index: Index,
    /// The DWARF that `index` is of.
    pub debug: Vec<u8>,
}

pub(crate) fn translate(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Translated, Untranslated> {
    let component = componentize(bytes).map_err(Untranslated::Unfit)?;
    let code = engine.precompile_component(&component).map_err(Untranslated::of)?;
    let (index, debug) = extract(&component);
    Ok(Translated { code, index, debug })
}

/// Why there is no code.
pub(crate) enum Untranslated {
    Unfit(LoadError),
    NoMemory,
}

impl Untranslated {
    fn of(error: wasmtime::Error) -> Self {
        let no_memory = |cause: &(dyn std::error::Error + 'static)| {
            let errno = cause.downcast_ref() == Some(&rustix::io::Errno::NOMEM);
            let kind = cause.downcast_ref().map(std::io::Error::kind);
            errno
                || kind == Some(std::io::ErrorKind::OutOfMemory)
                || cause.is::<wasmtime::error::OutOfMemory>()
        };
        match error.chain().any(no_memory) {
            true => Self::NoMemory,
            false => Self::Unfit(LoadError::Invalid { why: format!("{error:#}") }),
        }
    }
}
