//! Manifests that are wrong: one clear report each, exit code 2, and nothing runs.

use crate::scene::Scene;

fn lines_to(sink: &str) -> String {
    format!(
        "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.txt }} }}\n  out: {{ {sink}, from: in }}\n"
    )
}

#[test]
fn a_manifest_that_is_missing_or_a_directory_is_named() {
    let scene = Scene::new();
    for verb in ["run", "validate", "graph", "test"] {
        scene.run(&[verb, "none.yaml"]).code(2).says(&["none.yaml cannot be read", "name a pipeline.yaml"]);
        scene.run(&[verb, "."]).code(2).says(&["it is a directory: name the pipeline.yaml in it"]);
    }
}

#[test]
fn what_is_not_yaml_is_underlined() {
    let scene = Scene::with("pipeline: [unclosed\nstages: {");
    let ran = scene.run_pipeline().code(2).says(&["manifest::yaml", "pipeline.yaml: 1 problem"]);
    assert_eq!(ran.stdout, "");
    let scene = Scene::new();
    scene.write("pipeline.yaml", b"pipeline: \xff\xfe\n");
    scene.run_pipeline().code(2).says(&["is not UTF-8"]);
}

#[test]
fn a_yaml_bomb_ends_at_once() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(", ")));
    }
    let scene = Scene::with(&bomb);
    let start = std::time::Instant::now();
    scene.run_pipeline().code(2).says(&["pipeline.yaml: "]);
    assert!(start.elapsed().as_secs() < 5, "it took {:?}", start.elapsed());
}

#[test]
fn all_problems_come_together() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { sorce: file }\n  mid: { transform: ./none.wasm, from: inn }\n  \
         out: { sink: file, from: mid, with: { path: out.txt }, replicas: 3 }\n",
    );
    let ran = scene.run(&["validate", "pipeline.yaml", "--output", "json"]).code(2);
    let data = ran.json();
    assert!(data["files"][0]["count"].as_u64() >= Some(3), "{data}");
    scene.run_pipeline().code(2).says(&["did you mean `source`?", "did you mean `in`?", "replicas"]);
    // An edge that leads nowhere hides no config. Nothing is said of what is not there: the rest may have to change.
    scene.write(
        "edge.yaml",
        "pipeline: p\nstages:\n  in: { source: file, with: { path: none.csv, delimeter: ; } }\n  \
         more: { source: file, with: { path: none.txt } }\n  \
         out: { sink: file, from: [inn, more], with: { paht: out.txt } }\n",
    );
    for verb in ["validate", "run"] {
        let ran = scene.run(&[verb, "edge.yaml"]).code(2);
        ran.says(&["`inn`, which is no stage", "`delimeter`", "`paht`"]).says_nothing_of(&["No such file"]);
    }
}

#[test]
fn problems_with_stages_and_connectors_come_together() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.csv, delimeter: ; } }\n  \
         one: { transform: ./none.wasm, from: in }\n  two: { transform: ./dir, from: one }\n  \
         out: { sink: discard, from: two }\n",
    );
    scene.write("in.csv", "a\n1\n").write("dir/stage.rs", "");
    scene.run_pipeline().code(2).says(&[
        "`in` does not take this config",
        "none.wasm` cannot be read",
        "stage `two` is a directory, and nothing is built unless you say so",
        "add `--build`, or build it once with `conveyor build ./dir -o two.wasm`",
        "pipeline.yaml: 3 problems",
    ]);
}

#[test]
fn a_file_that_is_no_component_is_no_directory_either() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.csv } }\n  one: { transform: ./in.csv, from: in \
         }\n  out: { sink: discard, from: one }\n",
    );
    scene.write("in.csv", "a\n1\n");
    for more in [&["run", "pipeline.yaml"][..], &["run", "pipeline.yaml", "--build"]] {
        let ran = scene.run(more).code(2).says(&["`./in.csv` is a file, and no component by its name"]);
        assert!(!ran.stderr.contains("--build"), "{}", ran.stderr);
    }
}

#[test]
fn what_this_version_cannot_do_is_refused() {
    let scene = Scene::with(&lines_to("sink: stdout"));
    scene.write("in.txt", "a\n");
    let ran = scene.run(&["run", "pipeline.yaml", "--output", "json"]).code(2);
    ran.says(&["`out` of `p` writes records to stdout", "let it write to a file"]);
    scene.write(
        "two.yaml",
        "pipeline: q\nstages:\n  a: { source: stdin }\n  b: { source: stdin }\n  \
         out: { sink: discard, from: [a, b] }\n",
    );
    scene.run(&["run", "two.yaml"]).code(2).says(&["`a` of `q` and `b` of `q` all read stdin"]);
    scene.run(&["run", "pipeline.yaml", "pipeline.yaml"]).code(2).says(&["give each a name of its own"]);
    scene.run(&["run", "pipeline.yaml", "--set", "inn.path=x"]).code(2).says(&["did you mean `in`?"]);
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_anything_runs() {
    let scene = Scene::with(&lines_to("sink: file, with: { path: blocked/out.txt }"));
    scene.write("in.txt", "a\n").write("blocked", "a file where a directory should be");
    scene.run_pipeline().code(2).says(&["`out` cannot be opened", "blocked"]);
    assert_eq!(scene.read("blocked"), "a file where a directory should be");
}

#[test]
fn a_pipeline_that_is_fine_is_told_so_and_drawn() {
    let scene = Scene::with(&lines_to("sink: file, with: { path: out.jsonl }"));
    scene.write("in.txt", "a\n");
    scene.run(&["validate", "pipeline.yaml"]).code(0).says(&["pipeline.yaml: fine, 2 stages in 1 chain"]);
    let text = scene.run(&["graph", "pipeline.yaml"]).code(0).stdout;
    assert!(text.starts_with("pipeline p: 2 stages in one loop\n  loop 1: in -> out\n"), "{text}");
    for (format, start) in [("dot", "digraph \"p\" {"), ("mermaid", "flowchart LR"), ("json", "{")] {
        let text = scene.run(&["graph", "pipeline.yaml", "--format", format]).code(0).stdout;
        assert!(text.starts_with(start), "{format}: {text}");
    }
    assert!(!scene.path("out.jsonl").exists(), "something was written");
}
