//! Bytes -> a component that is known to be a stage: compiled once per digest, in a process of its own where there
//! is a program for it, asked once what it is, and shared by everybody who loads the same bytes.

mod binary;
mod cache;
mod child;
mod debug;
mod fit;
mod schema;
mod translate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use model::ids::Digest;
use model::limits;
use model::stage::{About, StageKind};
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use crate::access::Access;
use crate::engine::{Engine, Shared};
use crate::error::LoadError;
use crate::instance::Instance;
use crate::link::log::StageLog;
use crate::link::unknown;
use crate::meter::StageLimits;
use crate::plan;
use crate::state::State;
pub use binary::componentize;
use cache::{Entry, Hit};
pub use child::{CompileBounds, CompileStageError, Compiler, compile_stage};
use debug::Kept;
pub(crate) use debug::Symbols;
use fit::{Functions, Names};
pub use schema::ConfigProblem;
use schema::ConfigSchema;
use translate::{Translated, Untranslated, translate};

pub(crate) use fit::{
    Assign, Commit, Committed, Describe, FINGERPRINT, Fingerprint, Open, OpenSink, OpenTable, OpenTableSink,
    OpenTableSource, Plan, PlanSink, PlanTable, PlanTableSink, Prepare, Process, ProcessTable, Pull,
    PullTable, Schema, Signature, Splits, Write, WriteTable,
};

/// A component that is a stage. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub compiled: Compiled,
    /// Of its bytes as they were given: before a core module is wrapped.
    digest: Digest,
    about: About,
    schema: ConfigSchema,
    names: Names,
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
    fn new(
        shared: &Arc<Shared>,
        wasm: &wasmtime::component::Component,
        names: &Names,
        symbols: Symbols,
    ) -> Result<Self, LoadError> {
        let (kind, functions) = fit::fit(wasm, names)?;
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

type Slot = tokio::sync::Mutex<Weak<Inner>>;

impl Loaded {
    fn slot(&self, digest: Digest) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody holds or waits for is forgotten, so that the map follows what is in use.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|held| held.strong_count() > 0)
        });
        slots.entry(digest).or_default().clone()
    }
}

impl Engine {
    /// A component or a core module with the contract in it, from its bytes.
    pub async fn load(&self, bytes: impl Into<bytes::Bytes>) -> Result<Component, LoadError> {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let slot = self.shared.loaded.slot(digest);
        let mut held = slot.lock().await;
        if let Some(inner) = held.upgrade() {
            return Ok(Component { inner });
        }
        let inner = match self.cached(digest)? {
            Some(inner) => inner,
            None => self.compile(digest, bytes).await?,
        };
        *held = Arc::downgrade(&inner);
        Ok(Component { inner })
    }

    /// A component that was compiled before, by its digest alone; none where it has to be compiled.
    pub async fn load_cached(&self, digest: Digest) -> Result<Option<Component>, LoadError> {
        let slot = self.shared.loaded.slot(digest);
        let mut held = slot.lock().await;
        if let Some(inner) = held.upgrade() {
            return Ok(Some(Component { inner }));
        }
        let Some(inner) = self.cached(digest)? else { return Ok(None) };
        *held = Arc::downgrade(&inner);
        Ok(Some(Component { inner }))
    }

    fn entry(&self, digest: Digest) -> Option<Entry> {
        let dir = self.shared.cache_dir.as_ref()?;
        Some(Entry::of(dir, &self.shared.wasm, &digest))
    }

    fn cached(&self, digest: Digest) -> Result<Option<Arc<Inner>>, LoadError> {
        let hit = self.entry(digest).and_then(|entry| entry.load(&self.shared.wasm));
        let Some(Hit { wasm, names, about, symbols }) = hit else { return Ok(None) };
        let compiled = Compiled::new(&self.shared, &wasm, &names, symbols)?;
        let schema = ConfigSchema::compile(&about.config_schema)?;
        Ok(Some(Arc::new(Inner { compiled, digest, about, schema, names })))
    }

    async fn compile(&self, digest: Digest, bytes: bytes::Bytes) -> Result<Arc<Inner>, LoadError> {
        let interrupted = |why: String| LoadError::Interrupted { why };
        // What is no component at all is told without a process.
        binary::check(&bytes)?;
        let room = self.shared.compiling.acquire().await.map_err(|error| interrupted(error.to_string()))?;
        let shared = self.shared.clone();
        // Seconds of work for an interpreter: not on the executor.
        let compiling = tokio::task::spawn_blocking(move || translated(&shared, &bytes));
        let Translated { code, index, debug } =
            compiling.await.map_err(|error| interrupted(error.to_string()))??;
        drop(room);
        let wasm = cache::from_compiler(&self.shared.wasm, &code)
            .map_err(|error| LoadError::CompilerAnswer { why: format!("{error:#}") })?;
        let names = Names::of(&wasm);
        let symbols = Symbols::new(index.clone(), Kept::Here(debug.clone()));
        let compiled = Compiled::new(&self.shared, &wasm, &names, symbols)?;
        let about = self.describe(&compiled).await?;
        let schema = ConfigSchema::compile(&about.config_schema)?;
        let translated = Translated { code, index, debug };
        if let Some(entry) = self.entry(digest)
            && let Err(error) = entry.save(&translated, &names, &about)
        {
            tracing::warn!(%digest, %error, "compiled code cannot be kept; it will be compiled again next time");
        }
        Ok(Arc::new(Inner { compiled, digest, about, schema, names }))
    }

    async fn describe(&self, compiled: &Compiled) -> Result<About, LoadError> {
        let log = StageLog::new("".into(), "about".into(), limits::LOG_LINES_PER_SECOND);
        let instance = Instance::start(compiled, &StageLimits::default(), log, &Access::default()).await;
        let mut instance = instance.map_err(LoadError::About)?;
        fit::check_signatures(compiled, &mut instance)?;
        plan::describe(compiled, &mut instance).await.map_err(LoadError::About)
    }
}

/// In a process of its own, where a program was named for it.
fn translated(shared: &Shared, bytes: &[u8]) -> Result<Translated, LoadError> {
    match &shared.compiler {
        Some(compiler) => compiler.translate(&shared.wasm, shared.metered, bytes),
        None => translate(&shared.wasm, bytes).map_err(|error| match error {
            Untranslated::Unfit(error) => error,
            Untranslated::NoMemory => LoadError::Interrupted { why: "there is no memory left".to_owned() },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineOptions;

    async fn load(text: &str) -> Result<Component, LoadError> {
        let engine = Engine::new(EngineOptions { instances_max: 4, ..EngineOptions::default() });
        engine.expect("an engine").load(wat::parse_str(text).expect("text")).await
    }

    #[tokio::test]
    async fn a_component_of_another_world_is_told_what_it_exports_and_what_was_expected() {
        let text = r#"(component
            (core module $m (func (export "run")))
            (core instance $i (instantiate $m))
            (func $run (canon lift (core func $i "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $cli)))"#;
        let Err(error) = load(text).await else { panic!("it was taken for a stage") };
        let text = error.to_string();
        assert!(text.contains("`wasi:cli/run@0.2.0`") && text.contains("table-transform"), "{text}");
    }

    #[tokio::test]
    async fn a_component_with_the_right_names_and_other_types_is_refused() {
        let text = r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $about (export "describe" (func $f)))
            (instance $transform (export "plan" (func $f)) (export "open" (func $f)) (export "process" (func $f)))
            (export "conveyor:stage/about@0.1.0" (instance $about))
            (export "conveyor:stage/transform@0.1.0" (instance $transform)))"#;
        match load(text).await {
            Err(LoadError::Signature { function: "describe", .. }) => {}
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was taken for a stage"),
        }
    }

    #[tokio::test]
    async fn a_fingerprint_without_its_function_is_refused() {
        let text = r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $about (export "describe" (func $f)))
            (instance $transform (export "plan" (func $f)) (export "open" (func $f)) (export "process" (func $f)))
            (export "conveyor:stage/about@0.1.0" (instance $about))
            (export "conveyor:stage/transform@0.1.0" (instance $transform))
            (export "conveyor:stage/fingerprint@0.1.0" (instance $about)))"#;
        let Err(error) = load(text).await else { panic!("it was taken for a stage") };
        assert!(error.to_string().starts_with("`fingerprint` of `fingerprint`"), "{error}");
    }

    #[tokio::test]
    async fn a_component_that_lacks_a_function_is_refused() {
        let text = r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $about (export "describe" (func $f)))
            (instance $transform (export "plan" (func $f)))
            (export "conveyor:stage/about@0.1.0" (instance $about))
            (export "conveyor:stage/transform@0.1.0" (instance $transform)))"#;
        let Err(error) = load(text).await else { panic!("it was taken for a stage") };
        assert!(error.to_string().starts_with("`open` of `transform`"), "{error}");
    }
}
