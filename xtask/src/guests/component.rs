//! Core modules become components.

use std::path::Path;

use anyhow::{Context, Result};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// A component from a core module that carries the description of its world, as bindings for Rust and C add it.
pub fn from_core(module: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(module)?;
    // Where it is not needed, it would still bring its version of WASI, which must fit the module's.
    if imports_preview1(module)? {
        encoder.adapter(ADAPTER_NAME, ADAPTER)?;
    }
    encoder.encode()
}

fn imports_preview1(module: &[u8]) -> Result<bool> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ImportSection(imports) = payload? {
            for import in imports.into_imports() {
                if import?.module == ADAPTER_NAME {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// The same for a module that carries none, as those of Go.
pub fn from_bare_core(mut module: Vec<u8>, wit: &Path, world: &str) -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).with_context(|| format!("cannot read {}", wit.display()))?;
    let world = resolve.select_world(&[package], Some(world))?;
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    from_core(&module)
}

/// The interfaces that a component exports: `conveyor:stage/transform@0.1.0`.
pub fn exports(component: &[u8]) -> Result<Vec<String>> {
    let decoded = wit_component::decode(component)?;
    let resolve = decoded.resolve();
    let wit_component::DecodedWasm::Component(_, world) = decoded else {
        anyhow::bail!("it is a WIT package, not a component");
    };
    Ok(resolve.worlds[world].exports.keys().map(|key| resolve.name_world_key(key)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module of one import, `MODULE.f`, written by hand: types, then imports.
    fn importing(module: &str) -> Vec<u8> {
        let mut bytes = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02".to_vec();
        bytes.push(module.len() as u8 + 6);
        bytes.extend([1, module.len() as u8]);
        bytes.extend(module.as_bytes());
        bytes.extend([1, b'f', 0, 0]);
        bytes
    }

    #[test]
    fn the_adapter_is_for_modules_that_import_preview_1() {
        assert!(imports_preview1(&importing(ADAPTER_NAME)).expect("a module"));
        assert!(!imports_preview1(&importing("wasi:clocks/monotonic-clock@0.2.0")).expect("a module"));
        assert!(imports_preview1(b"not wasm").is_err());
    }
}
