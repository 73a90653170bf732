//! Bytes -> the bytes of a component: what is no WebAssembly, or only the beginning of one, is told here;
//! core modules that carry the contract in a custom section are wrapped on the way in.

use std::borrow::Cow;

use model::limits;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Chunk, Parser, Payload};
use wit_component::ComponentEncoder;

use crate::error::LoadError;

const MAGIC: &[u8] = b"\0asm";
/// The version field of a core module, and of a component: the layer is its upper half.
const MODULE: u32 = 1;
const COMPONENT: u32 = 0x0001_000d;

/// A component as it is, a core module wrapped into one.
pub fn componentize(bytes: &[u8]) -> Result<Cow<'_, [u8]>, LoadError> {
    match check(bytes)? {
        Binary::Component => Ok(Cow::Borrowed(bytes)),
        Binary::Module { needs_wasi } => wrap(bytes, needs_wasi).map(Cow::Owned),
    }
}

/// What bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Component,
    /// A core module. `needs_wasi`: it imports WASI preview 1.
    Module {
        needs_wasi: bool,
    },
}

/// Whether the bytes are WebAssembly from beginning to end. Nothing is looked into, so it takes next to no time.
pub(crate) fn check(bytes: &[u8]) -> Result<Binary, LoadError> {
    if bytes.len() > limits::COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge { bytes: bytes.len() });
    }
    let head = &bytes[..bytes.len().min(MAGIC.len())];
    if head != MAGIC {
        return Err(not_wasm(bytes, head));
    }
    let Some(version) = bytes[MAGIC.len()..].first_chunk().map(|v| u32::from_le_bytes(*v)) else {
        return Err(LoadError::Truncated { bytes: bytes.len(), inside: "the header".into() });
    };
    match version {
        COMPONENT => check_whole(bytes).map(|_| Binary::Component),
        MODULE => check_whole(bytes).map(|needs_wasi| Binary::Module { needs_wasi }),
        version => Err(LoadError::Version { version }),
    }
}

fn not_wasm(bytes: &[u8], head: &[u8]) -> LoadError {
    if MAGIC.starts_with(head) && bytes.len() < MAGIC.len() {
        return LoadError::Truncated { bytes: bytes.len(), inside: "the header".into() };
    }
    LoadError::NotWasm { found: format!("`{}`", head.escape_ascii()) }
}

/// Walks all sections once, so that a file that ends too early is told from one that is wrong. Says whether
/// a core module imports WASI preview 1.
fn check_whole(bytes: &[u8]) -> Result<bool, LoadError> {
    let mut parser = Parser::new(0);
    let mut outer = Vec::new();
    let mut at = 0;
    let mut needs_wasi = false;
    let mut inside = "the header";
    loop {
        let chunk = parser.parse(&bytes[at..], true).map_err(|error| {
            if error.message().starts_with("unexpected end") {
                LoadError::Truncated { bytes: bytes.len(), inside: inside.to_owned() }
            } else {
                LoadError::Invalid { why: error.to_string() }
            }
        })?;
        let (consumed, payload) = match chunk {
            Chunk::Parsed { consumed, payload } => (consumed, payload),
            Chunk::NeedMoreData(_) => {
                return Err(LoadError::Truncated { bytes: bytes.len(), inside: inside.to_owned() });
            }
        };
        at += consumed;
        inside = name_of(&payload);
        match payload {
            Payload::ImportSection(imports) => {
                let mut imports = imports.into_imports();
                needs_wasi |= imports.any(|import| {
                    import.is_ok_and(|import| import.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME)
                });
            }
            Payload::ModuleSection { parser: inner, .. }
            | Payload::ComponentSection { parser: inner, .. } => {
                outer.push(std::mem::replace(&mut parser, inner));
            }
            Payload::End(_) => match outer.pop() {
                Some(next) => parser = next,
                None => return Ok(needs_wasi),
            },
            _ => {}
        }
    }
}

/// What is being read once `payload` has been: the parser says what a section was, not what it is short of.
fn name_of(payload: &Payload<'_>) -> &'static str {
    match payload {
        Payload::ModuleSection { .. } => "a core module",
        Payload::ComponentSection { .. } => "a nested component",
        Payload::CodeSectionStart { .. } | Payload::CodeSectionEntry(_) => "the code",
        Payload::CustomSection(_) => "the section behind a custom section",
        _ => "a section",
    }
}

fn wrap(bytes: &[u8], needs_wasi: bool) -> Result<Vec<u8>, LoadError> {
    let wrong = |error: &dyn std::fmt::Display| LoadError::Componentize { why: error.to_string() };
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(bytes).map_err(|e| wrong(&e.root_cause()))?;
    if needs_wasi {
        encoder
            .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
            .map_err(|e| wrong(&e.root_cause()))?;
    }
    encoder.encode().map_err(|e| wrong(&e.root_cause()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component with a module in it.
    fn component() -> Vec<u8> {
        wat::parse_str(r#"(component (core module (func (export "f") (result i32) i32.const 7)))"#)
            .expect("well-formed text")
    }

    #[test]
    fn what_is_no_wasm_is_told_by_what_it_starts_with() {
        let cases: [(&[u8], &str); 5] = [
            (b"#!/bin/sh\n", "starts with `#!/b`"),
            (b"", "truncated"),
            (b"\0as", "truncated"),
            (b"\0asm\x01\0", "truncated"),
            (b"\0asm\x07\0\0\0", "version 0x00000007"),
        ];
        for (bytes, expected) in cases {
            let error = componentize(bytes).expect_err("no component").to_string();
            assert!(error.contains(expected), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn a_component_cut_anywhere_is_truncated_or_whole() {
        let whole = component();
        assert!(componentize(&whole).is_ok());
        for len in 0..whole.len() {
            match componentize(&whole[..len]) {
                Err(LoadError::Truncated { bytes, .. }) => assert_eq!(bytes, len),
                // Cut between two sections, what is left is well-formed.
                Ok(_) => assert!(len >= 8),
                Err(other) => panic!("cut after {len}: {other}"),
            }
        }
    }

    #[test]
    fn a_module_that_carries_no_contract_is_refused() {
        let module = wat::parse_str(r#"(module (func (export "f")))"#).expect("well-formed text");
        // It wraps into a component that exports nothing; what it lacks is told when it is fitted.
        let wrapped = componentize(&module);
        assert!(matches!(&wrapped, Err(LoadError::Componentize { .. })) || wrapped.is_ok(), "{wrapped:?}");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let large = vec![0; limits::COMPONENT_BYTES_MAX + 1];
        assert!(matches!(componentize(&large), Err(LoadError::TooLarge { .. })));
    }
}
