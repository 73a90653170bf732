//! Compiling is held within bounds, in a process of its own: what takes too long or too much is stopped and told.

use std::path::Path;
use std::time::{Duration, Instant};

use engine::{CompileBounds, Compiler, Engine, EngineOptions, LoadError};
use model::ids::Digest;

use crate::places;
use crate::scene::{Ran, Scene};

/// A number as WebAssembly writes it.
fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = value >> 7 != 0;
        bytes.push((value & 0x7f) as u8 | if more { 0x80 } else { 0 });
        value >>= 7;
        if !more {
            return bytes;
        }
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], leb(content.len()).as_slice(), content].concat()
}

/// A small component with one function of five instructions `times` over, which takes hundreds of megabytes and
/// seconds to compile. It is no stage.
pub fn bomb(times: usize) -> Vec<u8> {
    // x = x * x + 7
    let turns = [0x20, 0, 0x20, 0, 0x6c, 0x41, 7, 0x6a, 0x21, 0].repeat(times);
    let body = [&[0], turns.as_slice(), &[0x20, 0, 0x0b]].concat();
    let code = [&[1], leb(body.len()).as_slice(), &body].concat();
    let ty = section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]);
    let module = [b"\0asm\x01\0\0\0".as_slice(), &ty, &section(3, &[1, 0]), &section(10, &code)].concat();
    [b"\0asm\x0d\0\x01\0".as_slice(), &section(1, &module)].concat()
}

pub const PIPELINE: &str = "pipeline: p\nstages:\n  in: { source: generate }\n  mid: { transform: ./bomb.wasm, from: in }\n  \
                        out: { sink: discard, from: mid }\n";

#[test]
fn a_component_that_takes_too_much_to_compile_is_stopped_and_told_which() {
    let scene = Scene::with(PIPELINE);
    scene.write("bomb.wasm", bomb(200_000));
    let cases = [
        ("CONVEYOR_COMPILE_TIME", "150ms", "compiling it took more than 0.15 s; build it smaller"),
        (
            "CONVEYOR_COMPILE_MEMORY",
            "40MiB",
            "compiling it took more than 40 MiB of memory; build it smaller",
        ),
    ];
    for (variable, value, expected) in cases {
        for args in [["run", "pipeline.yaml"], ["validate", "pipeline.yaml"], ["inspect", "bomb.wasm"]] {
            let start = Instant::now();
            let ran =
                scene.command(&args).env(variable, value).env("XDG_CACHE_HOME", scene.path("cache")).output();
            Ran::of(ran.expect("it starts"))
                .code(2)
                .says(&["bomb.wasm", "cannot be compiled", expected, variable])
                .says_nothing_of(&["is not a stage"]);
            assert!(start.elapsed() < Duration::from_secs(30), "{args:?}: {:?}", start.elapsed());
        }
    }
    // With what it gets by itself, the same kind of component is compiled, and found to be no stage.
    scene.write("bomb.wasm", bomb(2000));
    scene.run(&["inspect", "bomb.wasm"]).code(2).says(&["is not a stage", "it exports nothing"]);
}

#[test]
fn bounds_that_make_no_sense_are_told() {
    let scene = Scene::new();
    let stage = places::guest("probe-bytes").display().to_string();
    for (variable, value) in [("CONVEYOR_COMPILE_TIME", "soon"), ("CONVEYOR_COMPILE_MEMORY", "1B")] {
        let ran = scene.command(&["inspect", &stage]).env(variable, value).output().expect("it starts");
        Ran::of(ran).code(2).says(&[variable, value, "has to be"]);
    }
}

#[test]
fn what_compiles_is_not_for_people() {
    let scene = Scene::new();
    assert!(!scene.run(&["--help"]).code(0).stdout.contains("compile-stage"));
    scene.run(&["compile-stage", "{}"]).code(1).says(&["this is no order of an engine"]);
}

fn engine(code: &Path, metered: bool, compiler: Option<Compiler>) -> Engine {
    let cache_dir = Some(code.to_owned());
    Engine::new(EngineOptions { cache_dir, instances_max: 4, metered, compiler }).expect("an engine")
}

fn compiler(bounds: CompileBounds) -> Compiler {
    Compiler { program: places::conveyor(), args: vec!["compile-stage".to_owned()], bounds }
}

#[tokio::test]
async fn code_of_the_child_is_that_of_this_process() {
    let bytes = std::fs::read(places::guest("probe-bytes")).expect("a stage");
    for metered in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let by_child = engine(&dir.path().join("code"), metered, Some(compiler(CompileBounds::default())));
        let stage = by_child.load(bytes.clone()).await.expect("it compiles");
        assert_eq!(stage.about().name, "probe-bytes");
        // It is kept under the settings of an engine that compiles by itself.
        let by_itself = engine(&dir.path().join("code"), metered, None);
        let kept = by_itself.load_cached(Digest::of(&bytes)).await.expect("no error");
        assert!(kept.is_some(), "metered: {metered}");
    }
}

#[tokio::test]
async fn bounds_of_an_engine_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    let bounds = CompileBounds { time: Duration::from_secs(60), ..CompileBounds::default() };
    let load = async |bounds| {
        let engine = engine(&dir.path().join("code"), true, Some(compiler(bounds)));
        engine.load(bomb(50_000)).await.err().expect("it is no stage")
    };
    let error = load(CompileBounds { memory_bytes: 40 << 20, ..bounds }).await;
    assert!(matches!(error, LoadError::CompileMemory { limit_bytes } if limit_bytes == 40 << 20), "{error}");
    let error = load(CompileBounds { time: Duration::from_millis(50), ..bounds }).await;
    assert!(matches!(error, LoadError::CompileTime { .. }), "{error}");
    let error = load(CompileBounds { code_bytes: 10_000, ..bounds }).await;
    assert!(matches!(error, LoadError::CodeTooLarge { limit_bytes: 10_000 }), "{error}");
    let error = load(bounds).await;
    assert!(matches!(error, LoadError::NotAStage { .. }), "{error}");
}

#[tokio::test]
async fn a_program_of_other_settings_is_not_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    // As one of another version would: it says what it was told, and not what was asked.
    let args = vec![
        "compile-stage".to_owned(),
        r#"{"metered":true,"settings":7,"memory_bytes":99999999}"#.to_owned(),
    ];
    let other = Compiler { args, ..compiler(CompileBounds::default()) };
    let Err(error) = engine(dir.path(), true, Some(other)).load(bomb(10)).await else {
        panic!("it was believed")
    };
    assert!(matches!(error, LoadError::CompilerDied { .. }), "{error}");
}
