//! `conveyor new` and `conveyor build`: a stage from nothing, as a newcomer makes it.

use std::path::PathBuf;
use std::process::Command;

use crate::scene::{Ran, Scene};

/// The forms of a stage: the arguments of `new`, and what the component is.
const FORMS: [(&str, &[&str], &str); 6] = [
    ("some-source", &["--kind", "source"], "source"),
    ("some-table-source", &["--kind", "source", "--table"], "table-source"),
    ("some-transform", &["--lang", "rust", "--kind", "transform"], "transform"),
    ("some-table-transform", &["--table"], "table-transform"),
    ("some-sink", &["--kind", "sink"], "sink"),
    ("some-table-sink", &["--kind", "sink", "--table"], "table-sink"),
];

fn new(scene: &Scene, name: &str, args: &[&str]) {
    let made = scene.run(&[&["new", name], args].concat()).code(0);
    assert_eq!(made.stdout, format!("{name}\n"));
}

#[test]
fn every_form_of_a_stage_builds_to_a_component() {
    let scene = Scene::new();
    for (name, args, kind) in FORMS {
        new(&scene, name, args);
        let built = scene.run(&["build", name]).code(0);
        assert_eq!(built.stdout, format!("{name}/{name}.wasm\n"));
        let file = format!("{name}/{name}.wasm");
        let data = scene.run(&["inspect", &file, "--output", "json"]).code(0).json();
        assert_eq!((&data["kind"], &data["name"]), (&kind.into(), &name.into()));
        assert_eq!(data["needs"], serde_json::json!([]));
    }
    scene.write(
        "pipeline.yaml",
        "pipeline: p\nstages:\n  in: { source: ./some-source/some-source.wasm, with: { count: 3, prefix: \"line \" } }\n  \
         keep: { transform: ./some-transform/some-transform.wasm, from: in, with: { contains: \"1\" } }\n  out: { sink: \
         ./some-sink/some-sink.wasm, from: keep, with: { prefix: \"it is \" } }\n",
    );
    scene.run_pipeline().code(0).says(&["INFO stage: it is line 1", "3 read"]).says_nothing_of(&["line 2"]);
    scene.write(
        "pipeline.yaml",
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.csv } }\n  tax: { transform: \
         ./some-table-transform/some-table-transform.wasm, from: in, with: { minimum: 10, rate: 0.5 } }\n  out: { sink: \
         ./some-table-sink/some-table-sink.wasm, from: tax, with: { column: total } }\n",
    );
    scene.write("in.csv", "amount\n1\n10\n").run_pipeline().code(0).says(&["total: 15"]);
    scene.write(
        "pipeline.yaml",
        "pipeline: p\nstages:\n  in: { source: ./some-table-source/some-table-source.wasm, with: { count: 4 } }\n  out: { \
         sink: stdout, from: in }\n",
    );
    let ran = scene.run_pipeline().code(0);
    assert_eq!(ran.stdout.lines().last(), Some("{\"number\":3,\"square\":9}"));
}

#[test]
fn every_form_of_a_stage_passes_its_own_tests() {
    let scene = Scene::new();
    for (name, args, _) in FORMS {
        new(&scene, name, args);
        let tested = Command::new("cargo")
            .args(["test", "--quiet"])
            .current_dir(scene.path(name))
            // What the six have in common is compiled once, and kept for the next time.
            .env("CARGO_TARGET_DIR", PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stages"))
            .output();
        let ran = Ran::of(tested.expect("cargo runs")).code(0);
        assert!(
            ran.stdout.contains("test result: ok") && !ran.stdout.contains(" 0 passed"),
            "{name}: {}",
            ran.stdout
        );
    }
}

#[test]
fn a_directory_is_built_by_run_only_when_told_to() {
    let scene = Scene::new();
    new(&scene, "keep", &[]);
    scene.write(
        "pipeline.yaml",
        "pipeline: p\nstages:\n  in: { source: generate, with: { template: \"line {{seq}}\", count: 20 } }\n  keep: { \
         transform: ./keep, from: in, with: { contains: \"7\" } }\n  out: { sink: stdout, from: keep }\n",
    );
    scene.run_pipeline().code(2).says(&["stage `keep` is a directory", "add `--build`"]);
    assert!(!scene.path("keep/Cargo.lock").exists(), "it was built all the same");
    let ran = scene.run(&["run", "--build", "pipeline.yaml"]).code(0);
    assert_eq!(ran.stdout, "line 7\nline 17\n");
}

#[test]
fn a_stage_that_does_not_build_is_told_by_its_compiler() {
    let scene = Scene::new();
    new(&scene, "broken", &[]);
    let code = scene.read("broken/src/lib.rs").replace("fn open(", "fn opn(");
    scene.write("broken/src/lib.rs", code);
    let ran = scene.run(&["build", "broken"]).code(1).says(&["error[E0407]", "what it says stands above"]);
    assert_eq!(ran.stdout, "");
    assert!(!scene.path("broken/broken.wasm").exists());
}

#[test]
fn what_cannot_be_built_or_made_is_told_with_code_2() {
    let scene = Scene::new();
    scene.write("go/go.mod", "module x\n").write("file", "");
    let cases: [(&[&str], &str); 7] = [
        (&["build", "none"], "it does not exist"),
        (&["build", "file"], "it is a file"),
        (&["build", "go"], "builds stages in Rust"),
        (&["build", "."], "make one with `conveyor new NAME`"),
        (&["new", "My_Stage"], "`my-stage` would be one"),
        (&["new", "go"], "is there already"),
        (&["new", "a", "--sdk", "go"], "is not the SDK"),
    ];
    for (args, expected) in cases {
        let ran = scene.run(args).code(2).says(&[expected]);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
}

#[test]
fn a_machine_without_a_way_to_webassembly_is_told_what_to_install() {
    let scene = Scene::new();
    new(&scene, "keep", &[]);
    // A compiler whose sysroot has no target, and no choice of Debian's.
    scene.write("rustc", "#!/bin/sh\necho /nowhere\n");
    let path = scene.path("rustc");
    let mut mode = std::fs::metadata(&path).expect("a file").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&path, mode).expect("made executable");
    let mut command = scene.command(&["build", "keep"]);
    let ran = command.env("RUSTC", &path).env("CONVEYOR_WASM_RUST", "wasm32-unknown-unknown").output();
    let ran = Ran::of(ran.expect("it starts")).code(1);
    ran.says(&[
        "this rustc has no wasm32-unknown-unknown",
        "rustup target add wasm32-unknown-unknown",
        "rustc-web",
    ]);
}
