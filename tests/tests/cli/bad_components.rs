//! Components that are no stages, or not those that are wanted: told before anything runs, with exit code 2.

use crate::places;
use crate::scene::Scene;

fn with_stage(stage: &str) -> Scene {
    let scene = Scene::with(&format!(
        "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.txt }} }}\n  {stage}\n  \
         out: {{ sink: discard, from: mid }}\n"
    ));
    scene.write("in.txt", "a\nb\n");
    scene
}

#[test]
fn files_that_are_no_stage_are_told_by_what_is_wrong_with_them() {
    let whole = std::fs::read(places::guest("probe-run")).expect("a stage");
    let other = wat::parse_str(
        r#"(component
            (core module $m (func (export "run")))
            (core instance $i (instantiate $m))
            (func $run (canon lift (core func $i "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $cli)))"#,
    );
    let module = wat::parse_str(r#"(module (func (export "f")))"#);
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        ("empty", vec![], &["truncated"]),
        ("truncated", whole[..whole.len() / 2].to_vec(), &["truncated", "build or download it again"]),
        ("text", b"#!/bin/sh\n".to_vec(), &["it is not WebAssembly"]),
        ("other world", other.expect("good text"), &["it exports `wasi:cli/run@0.2.0`", "table-transform"]),
        ("core module", module.expect("good text"), &["is not a stage"]),
    ];
    for (name, bytes, expected) in cases {
        let scene = with_stage("mid: { transform: ./stage.wasm, from: in }");
        scene.write("stage.wasm", bytes);
        scene.run_pipeline().code(2).says(&["stage.wasm` is not a stage"]).says(expected);
        let inspected = scene.run(&["inspect", "stage.wasm"]).code(2).says(expected);
        assert_eq!(inspected.stdout, "", "{name}");
    }
}

#[test]
fn a_component_of_another_role_is_told_what_it_is() {
    let scene = with_stage("mid: { transform: GUEST(probe-sink), from: in }");
    scene.run_pipeline().code(2).says(&["`mid` stands as a transform, but its component is a sink"]);
}

#[test]
fn config_that_the_schema_refuses_is_underlined() {
    let scene = with_stage("mid: { transform: GUEST(probe-run), from: in, with: { at: 7, thn: panic } }");
    scene.run_pipeline().code(2).says(&[
        "`mid` does not take this config",
        "thn",
        "shows the schema of its config",
    ]);
}

#[test]
fn a_port_that_nobody_reads_or_has_is_told() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.txt } }\n  \
         mid: { transform: GUEST(probe-run), from: in, with: { at: a, then: log } }\n  \
         out: { sink: discard, from: mid.mian }\n",
    );
    scene.write("in.txt", "a\n");
    scene.run_pipeline().code(2).says(&["`mid` has no port `mian`", "did you mean `mid.main`?"]);
}

#[test]
fn a_stage_can_be_inspected() {
    let stage = places::guest("probe-run").display().to_string();
    let scene = Scene::new();
    let text = scene.run(&["inspect", &stage]).code(0).stdout;
    assert!(text.starts_with("stage     probe-run 0.1.0\n") && text.contains("sha256:"), "{text}");
    let data = scene.run(&["inspect", &stage, "--output", "json", "--with", r#"{"at":"a","then":"log"}"#]);
    let data = data.code(0).json();
    assert_eq!((&data["kind"], &data["ports"]), (&"transform".into(), &serde_json::json!(["main"])));
    assert_eq!(data["config_schema"]["required"], serde_json::json!(["at", "then"]));
}
