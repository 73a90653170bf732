//! Every verb tells what it does, and a wrong command line what is wrong with it.

use snapbox::assert_data_eq;
use snapbox::data::Data;

use crate::scene::Scene;

const VERBS: [&str; 30] = [
    "new",
    "build",
    "inspect",
    "push",
    "pull",
    "login",
    "logout",
    "validate",
    "graph",
    "lock",
    "bundle",
    "run",
    "up",
    "deploy",
    "test",
    "list",
    "status",
    "history",
    "diff",
    "pause",
    "resume",
    "restart",
    "rollback",
    "delete",
    "events",
    "dlq",
    "replay",
    "registry",
    "doctor",
    "completions",
];

const OF_NODE: [&str; 2] = ["start", "unit"];

const OF_DLQ: [&str; 5] = ["list", "show", "replay", "export", "purge"];

const OF_REGISTRY: [&str; 8] = ["list", "tag", "copy", "delete", "serve", "gc", "fsck", "load"];

#[track_caller]
fn is_as_in(snapshot: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots").join(snapshot);
    assert_data_eq!(text, Data::read_from(&path, None).raw());
}

#[test]
fn the_help_of_every_verb() {
    let scene = Scene::new();
    is_as_in("help.txt", &scene.run(&["--help"]).code(0).stdout);
    for verb in VERBS {
        let ran = scene.run(&[verb, "--help"]).code(0);
        assert_eq!(ran.stderr, "", "{verb}");
        is_as_in(&format!("help-{verb}.txt"), &ran.stdout);
    }
    for verb in OF_NODE {
        let ran = scene.run(&["node", verb, "--help"]).code(0);
        is_as_in(&format!("help-node-{verb}.txt"), &ran.stdout);
    }
    for verb in OF_DLQ {
        let ran = scene.run(&["dlq", verb, "--help"]).code(0);
        is_as_in(&format!("help-dlq-{verb}.txt"), &ran.stdout);
    }
    for verb in OF_REGISTRY {
        let ran = scene.run(&["registry", verb, "--help"]).code(0);
        is_as_in(&format!("help-registry-{verb}.txt"), &ran.stdout);
    }
}

#[test]
fn the_version_is_data() {
    let ran = Scene::new().run(&["--version"]).code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("conveyor 0.1.0\n", ""));
}

#[test]
fn a_wrong_command_line_is_told_and_has_code_2() {
    let scene = Scene::new();
    let cases: [(&[&str], &str); 12] = [
        (&[], "Usage: conveyor"),
        (&["rn"], "unrecognized subcommand 'rn'"),
        (&["run"], "required arguments were not provided"),
        (&["run", "a.yaml", "--metrics", "nowhere"], "invalid value 'nowhere' for '--metrics <ADDR>'"),
        (&["run", "a.yaml", "--threads", "0"], "0 is not in 1..=1024"),
        (&["graph", "a.yaml", "--format", "svg"], "[possible values: text, dot, mermaid, json]"),
        (&["run", "a.yaml", "--dead-letters-max-bytes", "much"], "a size is a number and a unit"),
        (&["run", "a.yaml", "--dead-letters-max-age", "old"], "such as 90s, 10m, 12h or 30d"),
        (&["dlq", "show", "x"], "it is the number of an entry"),
        (&["dlq", "list", "--since", "soon"], "it is a time such as 2026-08-01T12:00:00Z"),
        (&["replay", "a.yaml", "--record", "1"], "--stage <STAGE>"),
        (&["completions", "tcl"], "invalid value 'tcl' for '<SHELL>'"),
    ];
    for (args, expected) in cases {
        let ran = scene.run(args).code(2).says(&[expected]);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
}

#[test]
fn completions_are_there_for_every_shell() {
    let scene = Scene::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = scene.run(&["completions", shell]).code(0);
        assert!(VERBS.iter().all(|verb| ran.stdout.contains(verb)), "{shell}");
    }
}

#[test]
fn doctor_says_what_is_there() {
    let ran = Scene::new().run(&["doctor", "--output", "json"]).code(0);
    let findings = ran.json();
    let names: Vec<&str> =
        findings["findings"].as_array().into_iter().flatten().filter_map(|f| f["what"].as_str()).collect();
    assert_eq!(names, ["engine", "cache", "cargo", "Rust for WebAssembly"]);
}

#[test]
fn doctor_says_what_is_missing_and_what_to_type() {
    let scene = Scene::new();
    let ran = scene.command(&["doctor"]).env("PATH", "").env("CONVEYOR_WASM_RUST", "debain").output();
    let ran = crate::scene::Ran::of(ran.expect("it starts")).code(1);
    assert!(ran.stdout.contains("missing  cargo"), "{}", ran.stdout);
    assert!(ran.stdout.contains("https://rustup.rs"), "{}", ran.stdout);
    assert!(ran.stdout.contains("rustup target add wasm32-unknown-unknown"), "{}", ran.stdout);
}

#[test]
fn an_environment_filter_that_is_wrong_is_told() {
    let scene = Scene::new();
    let ran = scene.command(&["completions", "bash"]).env("CONVEYOR_LOG", "stage=loud").output();
    crate::scene::Ran::of(ran.expect("it starts")).code(0).says(&["CONVEYOR_LOG is not understood"]);
}

#[test]
fn built_in_connectors_can_be_inspected() {
    let scene = Scene::new();
    let ran = scene.run(&["inspect", "file"]).code(0);
    assert!(ran.stdout.contains("as a source:") && ran.stdout.contains("as a sink:"), "{}", ran.stdout);
    let data = scene.run(&["inspect", "generate", "--output", "json"]).code(0).json();
    assert!(data["config_schema"]["source"]["properties"]["rate"].is_object(), "{data}");
    scene.run(&["inspect", "nothing"]).code(2).says(&["name a `.wasm` file", "stdin"]);
}
