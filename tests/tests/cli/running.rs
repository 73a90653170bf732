//! Whole runs: what comes out, what is told at the end, several pipelines at once.

use std::io::Read as _;
use std::process::Stdio;

use crate::places;
use crate::scene::{Ran, Scene};

fn orders() -> Scene {
    let scene = Scene::with(
        "pipeline: orders\nstages:\n  in: { source: file, with: { path: in.csv } }\n  large: { transform: \
         GUEST(filter), from: in, with: { where: amount > 10 } }\n  out: { sink: file, from: large, with: { path: \
         out/large.jsonl } }\n",
    );
    scene.write("in.csv", "name,amount,note\na,5,x\nb,50,y\nc,,z\nd,11.5,w\n");
    scene
}

const LARGE: &str =
    "{\"name\":\"b\",\"amount\":50.0,\"note\":\"y\"}\n{\"name\":\"d\",\"amount\":11.5,\"note\":\"w\"}\n";

#[test]
fn rows_go_through_a_stage_and_the_summary_adds_up() {
    let scene = orders();
    let ran = scene.run_pipeline().code(0).says(&["pipeline orders: done", "4 read"]);
    assert_eq!(ran.stdout, "");
    assert_eq!(scene.read("out/large.jsonl"), LARGE);
    let rows: Vec<Vec<&str>> =
        ran.stderr.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let row = |name: &str| rows.iter().find(|row| row.first() == Some(&name)).expect(name);
    assert_eq!(row("stage")[..6], ["stage", "in", "forwarded", "made", "filtered", "rejected"]);
    assert_eq!(row("in")[..6], ["in", "4", "-", "-", "-", "0"]);
    assert_eq!(row("large")[..6], ["large", "4", "2", "0", "2", "0"]);
    assert_eq!(row("out")[..6], ["out", "2", "-", "-", "-", "0"]);
    assert!(!scene.path("orders.dead-letters").exists(), "nothing was refused");
}

#[test]
fn the_summary_is_data_when_asked_for() {
    let ran = orders().run(&["run", "pipeline.yaml", "--output", "json"]).code(0);
    assert_eq!(ran.stderr, "");
    let data = ran.json();
    let pipeline = &data["pipelines"][0];
    assert_eq!((&pipeline["pipeline"], &pipeline["end"]), (&"orders".into(), &"done".into()));
    let large = &pipeline["stages"][1];
    assert_eq!(
        (&large["stage"], &large["records_in"], &large["filtered"]),
        (&"large".into(), &4.into(), &2.into())
    );
    assert!(large["fuel_per_record"].as_f64() > Some(0.0), "{large}");
    assert_eq!(pipeline["dead_letters"]["records"], 0);
}

#[test]
fn config_can_be_set_from_the_command_line_and_the_environment() {
    let scene = orders();
    scene
        .run(&["run", "pipeline.yaml", "--set", "large.where=amount > 40", "--set", "out.path=few.jsonl"])
        .code(0);
    assert_eq!(scene.read("few.jsonl").lines().count(), 1);
    let manifest = scene.read("pipeline.yaml").replace("amount > 10", "\"amount > ${LEAST:-10}\"");
    scene.write("pipeline.yaml", manifest);
    let ran = scene.command(&["run", "pipeline.yaml"]).env("LEAST", "1").output();
    Ran::of(ran.expect("it starts")).code(0);
    assert_eq!(scene.read("out/large.jsonl").lines().count(), 3);
}

#[test]
fn paths_are_relative_to_the_manifest_and_dead_letters_to_the_caller() {
    let scene = orders();
    let manifest = scene.read("pipeline.yaml");
    scene.write("deep/pipeline.yaml", manifest).write("deep/in.csv", "name,amount,note\na,50,x\nb\n");
    scene.run(&["run", "deep/pipeline.yaml"]).code(0);
    assert_eq!(scene.read("deep/out/large.jsonl").lines().count(), 1);
    assert_eq!(scene.letters("orders.dead-letters").len(), 1);
}

#[test]
fn records_go_to_stdout_and_words_do_not() {
    let scene = orders();
    let manifest = scene
        .read("pipeline.yaml")
        .replace("sink: file", "sink: stdout")
        .replace("from: large, with: { path: out/large.jsonl }", "from: large");
    scene.write("pipeline.yaml", manifest);
    let ran = scene.run_pipeline().code(0).says(&["pipeline orders: done"]);
    assert_eq!(ran.stdout, LARGE);
}

#[test]
fn a_reader_of_stdout_that_has_seen_enough_ends_the_run_well() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: generate, with: { template: \"line {{seq}}\" } }\n  out: { sink: \
         stdout, from: in }\n",
    );
    let mut child = scene
        .command(&["run", "pipeline.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut some = [0; 10];
    child.stdout.take().expect("a pipe").read_exact(&mut some).expect("records");
    let ran = Ran::of(child.wait_with_output().expect("it ends")).code(0);
    ran.says_nothing_of(&["error", "panicked"]);
}

#[test]
fn data_for_a_reader_that_has_gone_is_no_failure() {
    let scene = Scene::new();
    let mut child = scene
        .command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    Ran::of(child.wait_with_output().expect("it ends")).code(0).says_nothing_of(&["panicked"]);
}

#[test]
fn several_pipelines_run_at_once_with_meters_of_their_own() {
    let scene = orders();
    let other = scene.read("pipeline.yaml").replace("pipeline: orders", "pipeline: others");
    scene.write("other.yaml", other.replace("out/large", "out/other"));
    let ran = scene.run(&["run", "pipeline.yaml", "other.yaml", "--output", "json"]).code(0);
    let data = ran.json();
    let names: Vec<&str> =
        data["pipelines"].as_array().into_iter().flatten().filter_map(|p| p["pipeline"].as_str()).collect();
    assert_eq!(names, ["orders", "others"]);
    assert!(data["pipelines"].as_array().into_iter().flatten().all(|p| p["stages"][1]["records_in"] == 4));
    assert_eq!(scene.read("out/large.jsonl"), scene.read("out/other.jsonl"));
}

#[test]
fn when_one_of_several_fails_the_others_go_on_to_their_end() {
    let scene = Scene::with(
        "pipeline: counts\nstages:\n  in: { source: generate, with: { template: \"line {{seq}}\", rate: 1000, count: \
         800 } }\n  out: { sink: file, from: in, with: { path: counted.txt } }\n",
    );
    scene.write(
        "bad.yaml",
        "pipeline: bad\nstages:\n  in: { source: generate, with: { template: \"{{seq}}\", rate: 1000 } }\n  probe: { \
         transform: GUEST(probe-run), from: in, with: { at: \"20\", then: fail } }\n  out: { sink: discard, from: \
         probe }\n",
    );
    let ran = scene.run(&["run", "pipeline.yaml", "bad.yaml", "--output", "json"]).code(1);
    let ends: Vec<String> = ran.json()["pipelines"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pipeline| pipeline["end"].to_string())
        .collect();
    assert_eq!(ends, ["\"done\"", "\"failed\""]);
    let lines = scene.read("counted.txt");
    assert!(lines.ends_with("line 799\n") && lines.lines().count() == 800, "{lines}");
    ran.says(&["pipeline `bad` failed: ", "it does not go on", "the others go on (1 of them)"]);
}

#[test]
fn compiled_stages_are_kept_between_runs() {
    let scene = orders();
    let cache = scene.path("cache");
    for _ in 0..2 {
        let ran = scene.command(&["run", "pipeline.yaml"]).env("XDG_CACHE_HOME", &cache).output();
        Ran::of(ran.expect("it starts")).code(0);
    }
    let files = |dir: std::path::PathBuf| {
        let mut found = vec![dir];
        let mut files = 0;
        while let Some(dir) = found.pop() {
            for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
                if entry.path().is_dir() { found.push(entry.path()) } else { files += 1 }
            }
        }
        files
    };
    assert!(files(cache.join("conveyor/code")) >= 1, "nothing was kept");
    assert!(places::conveyor().exists());
}
