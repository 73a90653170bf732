//! Where the stages are that the tests run, and how the engine's tests get hold of them.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use engine::{Component, Engine, EngineOptions, Pool, StageLimits, StageSetup};
use model::fields::FieldSpec;
use model::stage::{StagePlan, TransformPlan};
use tempfile::TempDir;

/// The bytes of a stage of `guests/`, as `cargo xtask guests` built it.
pub fn guest(name: &str) -> Vec<u8> {
    let path = dir().join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}; run `cargo xtask guests`", path.display()),
    }
}

/// Where `cargo xtask guests` puts them.
pub fn dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("CONVEYOR_GUESTS") {
        return dir.into();
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    cache.expect("XDG_CACHE_HOME or HOME is set").join("conveyor").join("guests")
}

/// An engine for a few instances that keeps nothing on disk.
pub fn engine() -> Engine {
    Engine::new(EngineOptions { instances_max: 16, ..EngineOptions::default() }).expect("an engine")
}

/// A stage from an engine that all tests share, so that each component is compiled once.
pub async fn load(name: &str) -> Component {
    static SHARED: LazyLock<(TempDir, Engine)> = LazyLock::new(|| {
        let dir = TempDir::new().expect("a directory");
        let cache_dir = Some(dir.path().join("code"));
        (
            dir,
            Engine::new(EngineOptions { cache_dir, instances_max: 256, ..EngineOptions::default() })
                .expect("an engine"),
        )
    });
    SHARED.1.load(guest(name)).await.expect("a stage")
}

/// A transform with `config`, planned for `input`.
pub async fn plan_of(component: &Component, what: &str, input: &[FieldSpec]) -> TransformPlan {
    let config = serde_json::json!({ "do": what });
    match component.plan(&config, input, &StageLimits::default()).await {
        Ok(StagePlan::Transform(plan)) => plan,
        other => panic!("{other:?}"),
    }
}

/// A pool of a probe that is told to do `what`.
pub async fn probe(component: &Component, what: &str, input: &[FieldSpec], limits: StageLimits) -> Pool {
    let setup = setup(component, what, input, limits).await;
    Pool::new(component.clone(), setup)
}

/// How a probe is set up that is told to do `what`.
pub async fn setup(
    component: &Component,
    what: &str,
    input: &[FieldSpec],
    limits: StageLimits,
) -> StageSetup {
    StageSetup {
        pipeline: Arc::from("pipeline"),
        stage: Arc::from(what),
        config: serde_json::json!({ "do": what }),
        input: input.to_vec(),
        plan: plan_of(component, what, input).await,
        limits,
        access: engine::Access::default(),
        state: None,
    }
}
