//! A component that is a stage, and those that this process holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use model::ids::Digest;
use model::stage::{About, StageKind};
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use super::Shared;
use crate::compile::{ConfigProblem, ConfigSchema, Functions, Names, fit};
use crate::error::LoadError;
use crate::link::{State, unknown};
use crate::symbols::Symbols;

/// A component that is a stage. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub compiled: Compiled,
    /// Of its bytes as they were given: before a core module is wrapped.
    pub digest: Digest,
    pub about: About,
    pub schema: ConfigSchema,
    pub names: Names,
}

/// Code that is linked and fitted, before it was asked what it is.
pub(crate) struct Compiled {
    shared: Arc<Shared>,
    pre: InstancePre<State>,
    pub kind: StageKind,
    functions: Functions,
    symbols: Arc<Symbols>,
}

impl Component {
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    pub fn kind(&self) -> StageKind {
        self.inner.compiled.kind
    }

    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.inner.about
    }

    /// The names of what it exports.
    pub fn exports(&self) -> &[String] {
        &self.inner.names.exports
    }

    /// The names of what it imports, used or not.
    pub fn imports(&self) -> &[String] {
        &self.inner.names.imports
    }

    /// Whether it can send HTTP requests: no language runtime imports that by itself.
    pub fn imports_http(&self) -> bool {
        self.inner.names.imports.iter().any(|name| name.starts_with("wasi:http/outgoing-handler@"))
    }

    /// Whether it keeps state.
    pub fn keeps_state(&self) -> bool {
        self.inner.names.imports.iter().any(|name| name.starts_with("conveyor:stage/state@"))
    }

    /// What is wrong with `config`, seen from the schema that the component gives; empty where nothing is.
    pub fn check_config(&self, config: &serde_json::Value) -> Vec<ConfigProblem> {
        self.inner.schema.check(config)
    }
}

impl Compiled {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        wasm: &wasmtime::component::Component,
        names: &Names,
        symbols: Symbols,
    ) -> Result<Self, LoadError> {
        let (kind, functions) = fit(wasm, names)?;
        let link = |error: wasmtime::Error| LoadError::Link { why: format!("{error:#}") };
        let mut linker = shared.linker(names.import_wasi()).map_err(link)?.clone();
        unknown::define_as_traps(&mut linker, wasm).map_err(link)?;
        let pre = linker.instantiate_pre(wasm).map_err(link)?;
        Ok(Self { shared: shared.clone(), pre, kind, functions, symbols: Arc::new(symbols) })
    }

    pub(crate) fn store(&self, state: State) -> Store<State> {
        Store::new(&self.shared.wasm, state)
    }

    pub(crate) fn is_metered(&self) -> bool {
        self.shared.metered
    }

    pub(crate) fn pre(&self) -> &InstancePre<State> {
        &self.pre
    }

    /// Where in its source its code is.
    pub(crate) fn symbols(&self) -> &Arc<Symbols> {
        &self.symbols
    }

    pub(crate) fn function(&self, name: &str) -> Option<&ComponentExportIndex> {
        self.functions.iter().find(|(of, _)| *of == name).map(|(_, index)| index)
    }
}

/// The components that this process holds. The lock of one digest is held while it is compiled, so that
/// nobody compiles it a second time meanwhile.
#[derive(Default)]
pub(crate) struct Loaded(Mutex<HashMap<Digest, Arc<Slot>>>);

pub(crate) type Slot = tokio::sync::Mutex<Weak<Inner>>;

impl Loaded {
    pub fn slot(&self, digest: Digest) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody holds or waits for is forgotten, so that the map follows what is in use.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|held| held.strong_count() > 0)
        });
        slots.entry(digest).or_default().clone()
    }
}
