//! Data that is wrong: what can be refused is refused and the rest goes on; what cannot ends the run, with what
//! was written before it in place.

use std::io::Write as _;
use std::process::Stdio;

use crate::scene::{Ran, Scene};

#[test]
fn a_missing_file_is_told_before_anything_runs() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: none.csv } }\n  out: { sink: file, from: in, \
         with: { path: out.jsonl } }\n",
    );
    scene.run_pipeline().code(2).says(&["none.csv", "pipeline.yaml: 1 problem"]);
    assert!(!scene.path("out.jsonl").exists());
}

fn csv() -> Scene {
    Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.csv } }\n  out: { sink: file, from: in, with: \
         { path: out.jsonl } }\n",
    )
}

#[test]
fn a_binary_file_given_as_csv_is_refused_and_nothing_panics() {
    let scene = csv();
    let bytes: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    scene.write("in.csv", bytes);
    let ran = scene.run_pipeline();
    assert!(matches!(ran.code, Some(0 | 2)), "{ran:?}");
    let ran = ran.says_nothing_of(&["panicked", "this is a defect"]);
    // Either the file is refused as a whole, or each of its rows is.
    let refused_rows = ran.stderr.contains("records were refused");
    let refused_file = ran.stderr.contains("pipeline.yaml: 1 problem");
    assert!(refused_rows || refused_file, "{}", ran.stderr);
}

#[test]
fn rows_that_do_not_fit_are_refused_and_the_rest_goes_on() {
    let scene = csv();
    scene.write("in.csv", b"name,amount\na,1\nb\nc,3\n\xff\xfe,4\nd,5,6\ne,7\n");
    let ran = scene.run_pipeline().code(0);
    let ran = ran.says(&["3 records were refused (3 x in: bad-row); they are in p.dead-letters: conveyor dlq list p.dead-letters"]);
    assert_eq!(ran.stdout, "");
    assert_eq!(scene.read("out.jsonl").lines().count(), 3);
    let letters = scene.letters("p.dead-letters");
    let places: Vec<u64> = letters.iter().filter_map(|letter| letter["origin"]["offset"].as_u64()).collect();
    assert_eq!(places, [1, 3, 4]);
    assert!(letters.iter().all(|letter| letter["stage"] == "in" && letter["pipeline"] == "p"), "{letters:?}");
    assert_eq!(letters[0]["record"], "b");
    assert!(letters[1]["record"]["base64"].is_string(), "{}", letters[1]);
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_rest_goes_on() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.txt }, limits: { record-bytes: 64 } }\n  out: \
         { sink: file, from: in, with: { path: out.txt } }\n",
    );
    scene.write("in.txt", format!("a\n{}\nb\n", "x".repeat(100_000)));
    scene.run_pipeline().code(0).says(&["1 record was refused"]);
    assert_eq!(scene.read("out.txt"), "a\nb\n");
    let letters = scene.letters("p.dead-letters");
    assert_eq!((letters.len(), letters[0]["origin"]["offset"].as_u64()), (1, Some(1)));
    assert!(letters[0].to_string().len() < 70_000, "the letter holds all of the line");
}

#[test]
fn a_line_of_a_gibibyte_is_refused_in_little_memory() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: stdin, with: { format: lines } }\n  out: { sink: file, from: in, \
         with: { path: out.txt } }\n",
    );
    let mut child = scene
        .command(&["run", "pipeline.yaml"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"before\n").expect("written");
    let megabyte = vec![b'x'; 1 << 20];
    for _ in 0..1024 {
        stdin.write_all(&megabyte).expect("written");
    }
    stdin.write_all(b"\nafter\n").expect("written");
    // Measured while it still waits for more: all of the line has gone through it.
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("/proc");
    drop(stdin);
    Ran::of(child.wait_with_output().expect("it ends")).code(0).says(&["1 record was refused"]);
    assert_eq!(scene.read("out.txt"), "before\nafter\n");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak_kib < 200 << 10, "it held {peak_kib} KiB");
}

/// A stage that goes wrong at record 9 of 12, in batches of four.
fn probe(then: &str) -> Scene {
    let scene = Scene::with(&format!(
        "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.txt }}, batch: {{ records: 4 }} }}\n  probe: \
         {{ transform: GUEST(probe-run), from: in, with: {{ at: line 9, then: {then} }} }}\n  out: {{ sink: file, \
         from: probe, with: {{ path: out.txt }} }}\n"
    ));
    let lines: String = (0..12).map(|n| format!("line {n}\n")).collect();
    scene.write("in.txt", lines);
    scene
}

/// The one open dead letter.
fn dead_letter(scene: &Scene) -> serde_json::Value {
    let listed = scene.run(&["dlq", "list", "--output", "json"]).code(0).json();
    let entries = listed["entries"].as_array().cloned().unwrap_or_default();
    assert_eq!(entries.len(), 1, "one record is at fault: {listed}");
    entries[0].clone()
}

#[test]
fn a_record_that_kills_its_stage_is_a_dead_letter_and_the_rest_is_delivered_in_order() {
    let cases = [
        ("panic", "trap", "not_to_my_liking"),
        ("loop", "out-of-fuel", "spin"),
        ("hoard", "out-of-memory", "fill_memory"),
    ];
    for (then, code, frame) in cases {
        let scene = probe(then);
        scene.run_pipeline().code(0).says(&["`probe` died in 2 calls"]);
        let written: String = (0..12).filter(|n| *n != 9).map(|n| format!("line {n}\n")).collect();
        assert_eq!(scene.read("out.txt"), written, "{then}");
        let entry = dead_letter(&scene);
        assert_eq!(entry["code"], code, "{then}: {entry}");
        let shown = scene.run(&["dlq", "show", "1"]).code(0).stdout;
        assert!(shown.contains(frame) && shown.contains("line 9"), "{then}: {shown}");
    }
}

#[test]
fn a_stage_that_gives_up_ends_the_run_and_what_was_written_is_there() {
    let records = "stage `probe` failed on records 8 to 11 of `in.txt` (source `in`)";
    let scene = probe("fail");
    let said = [records, "pipeline `p` failed", "next: ", "it gave up: it does not go on"];
    let ran = scene.run_pipeline().code(1).says(&said);
    assert_eq!(ran.stdout, "");
    let written: String = (0..8).map(|n| format!("line {n}\n")).collect();
    assert_eq!(scene.read("out.txt"), written);
}

#[test]
fn a_branch_that_cannot_go_on_is_cut_and_the_others_go_on() {
    let scene = probe("fail");
    let manifest = scene.read("pipeline.yaml");
    scene.write(
        "pipeline.yaml",
        format!(
            "{manifest}  all: {{ sink: file, from: in, with: {{ path: all.txt }} }}\non-failure: continue\n"
        ),
    );
    scene.run_pipeline().code(1).says(&["went on without a branch", "4 records did not reach it"]);
    assert_eq!(scene.read("all.txt").lines().count(), 12, "the other branch was held up");
    assert_eq!(scene.read("out.txt").lines().count(), 8, "what came before the failure is lost");
}

#[test]
fn a_stage_that_loops_is_stopped_by_time_too() {
    let scene = probe("loop");
    let manifest = scene.read("pipeline.yaml").replace(
        "then: loop }",
        "then: loop }, limits: { batch-time: 50ms, fuel-per-record: 1G, fuel-per-batch: 1000G }",
    );
    scene.write("pipeline.yaml", manifest);
    scene.run_pipeline().code(0);
    let entry = dead_letter(&scene);
    assert_eq!(entry["code"], "timed-out", "{entry}");
    assert_eq!(scene.read("out.txt").lines().count(), 11);
}

#[test]
fn a_failure_is_data_too() {
    let ran = probe("fail").run(&["run", "pipeline.yaml", "--output", "json"]).code(1);
    let data = ran.json();
    let error = &data["pipelines"][0]["error"];
    assert_eq!((&data["pipelines"][0]["end"], &error["stage"]), (&"failed".into(), &"probe".into()));
    assert_eq!(error["records"]["first"]["offset"], 8);
}

#[test]
fn what_becomes_of_a_refused_record_is_the_manifests_to_say() {
    let refused = probe("reject");
    refused.run_pipeline().code(0).says(&["1 record was refused (1 x probe: disliked); it is in"]);
    assert_eq!(refused.letters("p.dead-letters")[0]["record"], "line 9");
    assert_eq!(refused.read("out.txt").lines().count(), 11);

    let of = |on_error: &str| {
        let scene = probe("reject");
        let manifest = scene.read("pipeline.yaml");
        scene.write(
            "pipeline.yaml",
            manifest.replace("then: reject }", &format!("then: reject }}, on-error: {on_error}")),
        );
        scene
    };
    let dropped = of("drop");
    dropped.run_pipeline().code(0).says_nothing_of(&["refused"]);
    assert!(!dropped.path("p.dead-letters").exists());
    of("fail").run_pipeline().code(1).says(&["stage `probe` refused record 9", "disliked"]);

    let elsewhere = probe("reject");
    elsewhere.run(&["run", "pipeline.yaml", "--dead-letters", "deep/dead"]).code(0);
    assert_eq!(elsewhere.letters("deep/dead").len(), 1);
    let blocked = probe("reject");
    blocked.run(&["run", "pipeline.yaml", "--dead-letters", "in.txt/dead"]).code(1);
}

#[test]
fn what_a_stage_logs_is_told_with_its_name() {
    probe("log").run_pipeline().code(0).says(&["INFO stage: here it is record=line 9", "stage=\"probe\""]);
}
