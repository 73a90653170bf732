//! Bytes -> a component that is known to be a stage: compiled once per digest, asked once what it is, and shared by
//! everybody who loads the same bytes.

use std::sync::Arc;

use model::ids::Digest;
use model::limits;
use model::stage::{About, StageKind};

use crate::access::Access;
use crate::compile::{self, ConfigSchema, Entry, Hit, Names, Translated, Untranslated, translate};
use crate::engine::{Compiled, Component, Engine, Inner, Shared};
use crate::error::LoadError;
use crate::instance::Instance;
use crate::link::log::StageLog;
use crate::meter::StageLimits;
use crate::plan;
use crate::signatures::*;
use crate::symbols::{Kept, Symbols};

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
        compile::check(&bytes)?;
        let room = self.shared.compiling.acquire().await.map_err(|error| interrupted(error.to_string()))?;
        let shared = self.shared.clone();
        // Seconds of work for an interpreter: not on the executor.
        let compiling = tokio::task::spawn_blocking(move || translated(&shared, &bytes));
        let Translated { code, index, debug } =
            compiling.await.map_err(|error| interrupted(error.to_string()))??;
        drop(room);
        let wasm = compile::from_compiler(&self.shared.wasm, &code)
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
        check_signatures(compiled, &mut instance)?;
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

/// Refuses a component that has the right names with other types, before anything runs.
pub(crate) fn check_signatures(compiled: &Compiled, instance: &mut Instance) -> Result<(), LoadError> {
    let mut check = Check { compiled, instance };
    check.of::<Describe>("describe")?;
    if compiled.function(FINGERPRINT).is_some() {
        check.of::<Fingerprint<'_>>(FINGERPRINT)?;
    }
    match compiled.kind {
        StageKind::Transform => {
            check.of::<Plan<'_>>("plan")?;
            check.of::<Open<'_>>("open")?;
            check.of::<Process<'_>>("process")
        }
        StageKind::TableTransform => {
            check.of::<PlanTable<'_>>("plan")?;
            check.of::<OpenTable<'_>>("open")?;
            check.of::<ProcessTable<'_>>("process")
        }
        StageKind::Source => {
            check.of::<Open<'_>>("open")?;
            check.of::<Pull>("pull")?;
            check.source()
        }
        StageKind::TableSource => {
            check.of::<Schema<'_>>("schema")?;
            check.of::<OpenTableSource<'_>>("open")?;
            check.of::<PullTable>("pull")?;
            check.source()
        }
        StageKind::Sink => {
            check.of::<PlanSink<'_>>("plan")?;
            check.of::<OpenSink<'_>>("open")?;
            check.of::<Write<'_>>("write")?;
            check.sink()
        }
        StageKind::TableSink => {
            check.of::<PlanTableSink<'_>>("plan")?;
            check.of::<OpenTableSink<'_>>("open")?;
            check.of::<WriteTable<'_>>("write")?;
            check.sink()
        }
    }
}

struct Check<'a> {
    compiled: &'a Compiled,
    instance: &'a mut Instance,
}

impl Check<'_> {
    fn of<S: Signature>(&mut self, function: &'static str) -> Result<(), LoadError> {
        let found = self.instance.func::<S::Params, S::Results>(self.compiled, function);
        let interface = match function {
            "describe" => "about",
            FINGERPRINT => FINGERPRINT,
            _ => self.compiled.kind.interface(),
        };
        found.map(|_| ()).map_err(|error| LoadError::Signature {
            interface: interface.to_owned(),
            function,
            why: error.to_string(),
        })
    }

    fn source(&mut self) -> Result<(), LoadError> {
        self.of::<Splits<'_>>("splits")?;
        self.of::<Assign<'_>>("assign")?;
        self.of::<Committed<'_>>("committed")
    }

    fn sink(&mut self) -> Result<(), LoadError> {
        self.of::<Prepare>("prepare")?;
        self.of::<Commit<'_>>("commit")
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
