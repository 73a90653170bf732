//! Sources and sinks that die: the pipeline goes back to its last checkpoint within its process.

use std::fmt::Write as _;

use serde_json::Value;

use crate::scene::Scene;

const LINES: usize = 3000;

/// Lines into a sink that commits files, with a second branch into one file. `with`: what the sink is told.
fn scene(settings: &str, with: &str) -> Scene {
    let scene = Scene::with(&format!(
        "pipeline: p\ncheckpoint: {{ interval: 20ms }}\n{settings}stages:\n  in: {{ source: file, with: {{ path: \
         in.txt }}, batch: {{ records: 64 }} }}\n  store:\n    sink: GUEST(probe-store)\n    from: in\n    with: \
         {with}\n    grants: {{ dirs: [{{ host: out, guest: /out, mode: rw }}] }}\n    retry: {{ attempts: 3, \
         backoff: 1ms..5ms }}\n  all: {{ sink: file, from: in, with: {{ path: all.txt }} }}\n"
    ));
    let mut lines = String::new();
    for n in 0..LINES {
        writeln!(lines, "record {n}").expect("in memory");
    }
    scene.write("in.txt", lines);
    std::fs::create_dir(scene.path("out")).expect("a directory");
    scene
}

fn run(scene: &Scene, code: i32) -> Value {
    let args = ["run", "pipeline.yaml", "--state", "state", "--output", "json"];
    let ran = scene.run(&args).code(code);
    let summary: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    summary["pipelines"][0].clone()
}

/// What the sink has committed, in order.
fn committed(scene: &Scene) -> Vec<String> {
    let entries = std::fs::read_dir(scene.path("out")).expect("a directory");
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with("part-"));
    names.sort();
    let read = |name: &String| scene.read(&format!("out/{name}"));
    names.iter().map(read).flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn all_but(missing: &[usize]) -> Vec<String> {
    (0..LINES).filter(|n| !missing.contains(n)).map(|n| format!("record {n}")).collect()
}

#[track_caller]
fn assert_same(found: &[String], expected: &[String]) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{} records instead of {}; the first that differs is {differs:?}: {:?} instead of {:?}",
        found.len(),
        expected.len(),
        differs.map(|at| &found[at]),
        differs.map(|at| &expected[at]),
    );
}

#[test]
fn records_that_kill_a_sink_are_found_and_all_others_are_delivered_once() {
    let scene = scene("", "{ poison: [record 70, record 71, record 2000] }");
    let pipeline = run(&scene, 0);
    assert_same(&committed(&scene), &all_but(&[70, 71, 2000]));
    let all: Vec<String> = scene.read("all.txt").lines().map(str::to_owned).collect();
    assert_same(&all, &all_but(&[]));
    assert_eq!(pipeline["stages"][0]["lag"], 0, "all that was read has a checkpoint behind it: {pipeline}");
    let letters = scene.letters("p.dead-letters");
    let found: Vec<(&Value, &Value)> =
        letters.iter().map(|letter| (&letter["origin"]["offset"], &letter["code"])).collect();
    let trap = &Value::from("trap");
    assert_eq!(found, [(&70.into(), trap), (&71.into(), trap), (&2000.into(), trap)]);
    let backtrace = letters[0]["backtrace"].as_str().expect("frames");
    assert!(backtrace.contains("die_of_poison"), "{backtrace}");
    let restarts = pipeline["checkpoints"]["restarts"].as_u64().expect("a number");
    assert!(
        (5..=7).contains(&restarts),
        "twice for each killer, but where the next is met alone: {pipeline}"
    );
}

#[test]
fn a_sink_that_dies_for_another_reason_loses_and_repeats_nothing() {
    for with in ["{ startles: [record 1500] }", "{ dies-in-prepare: true }", "{ dies-in-commit: true }"] {
        let scene = scene("", with);
        let pipeline = run(&scene, 0);
        assert_same(&committed(&scene), &all_but(&[]));
        assert_eq!(pipeline["checkpoints"]["restarts"], 1, "{with}: {pipeline}");
        assert!(!scene.path("p.dead-letters").exists(), "{with}: a record was blamed");
    }
}

#[test]
fn a_sink_that_names_things_by_the_checkpoint_finds_none_of_an_earlier_run_in_its_way() {
    let scene = scene("", "{}");
    for run in 1..=2 {
        scene.run(&["run", "pipeline.yaml"]).code(0);
        assert_eq!(committed(&scene).len(), run * LINES, "after run {run} without checkpoints");
    }
}

#[test]
fn a_sink_that_dies_on_everything_fails_when_its_tries_are_used_up() {
    let scene = scene("", "{ hopeless: true }");
    let pipeline = run(&scene, 1);
    let error = &pipeline["error"];
    assert_eq!(error["stage"], "store", "{error}");
    assert!(error["message"].as_str().is_some_and(|said| said.contains("this is poison")), "{error}");
    assert_eq!(pipeline["checkpoints"]["restarts"], 3, "{pipeline}");
    let lag = pipeline["stages"][0]["lag"].as_u64().expect("a number");
    assert!(lag > 0 && lag <= LINES as u64, "{lag} records come again: {pipeline}");
    // A batch may be a single record, and who is to blame then cannot be told.
    let blamed = pipeline["dead_letters"]["records"].as_u64().unwrap_or(0);
    assert!(blamed <= 3, "{blamed} records were blamed for what the sink does to all");
}

#[test]
fn a_branch_that_cannot_go_on_is_cut_when_its_tries_are_used_up() {
    let scene = scene("on-failure: continue\n", "{ hopeless: true }");
    let pipeline = run(&scene, 1);
    let stages = pipeline["stages"].as_array().expect("stages");
    let store = stages.iter().find(|stage| stage["stage"] == "store").expect("a stage");
    let letters = scene.letters("p.dead-letters");
    let (blamed, cut): (Vec<_>, Vec<_>) = letters.iter().partition(|letter| letter["code"] == "trap");
    assert!(blamed.len() <= 3 && store["is_cut"] == true, "{pipeline}");
    assert!(cut.iter().all(|letter| letter["code"] == "branch-cut"), "{:?}", cut.first());
    assert_eq!(pipeline["dead_letters"]["open_branch_cut"], cut.len(), "{}", pipeline["dead_letters"]);
    let mut kept: Vec<u64> =
        letters.iter().filter_map(|letter| letter["origin"]["offset"].as_u64()).collect();
    kept.sort_unstable();
    assert_eq!(kept, (0..LINES as u64).collect::<Vec<_>>(), "each record is kept once");
    let all: Vec<String> = scene.read("all.txt").lines().map(str::to_owned).collect();
    assert_same(&all, &all_but(&[]));
}

#[test]
fn a_source_that_keeps_dying_fails_when_its_tries_are_used_up() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: GUEST(probe-source), with: { do: die }, retry: { attempts: 2, backoff: \
         1ms..5ms } }\n  out: { sink: file, from: in, with: { path: out.txt } }\n",
    );
    let pipeline = run(&scene, 1);
    assert_eq!(
        (&pipeline["error"]["stage"], &pipeline["checkpoints"]["restarts"]),
        (&"in".into(), &2.into())
    );
}
