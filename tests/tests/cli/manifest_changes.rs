//! `run --state` under a manifest that has changed: what is there and what comes are never mixed silently.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use flow::checkpoint::{RedbStore, StageMark};
use serde_json::{Value, json};

use crate::scene::{Ran, Scene};
use crate::stopping::signal;

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
const ORDERS: &str =
    "{\"id\":1,\"customer\":\"ann\",\"amount\":5}\n{\"id\":2,\"customer\":\"bob\",\"amount\":3}\n";
const MORE: &str = "{\"id\":3,\"customer\":\"ann\",\"amount\":7}\n";

fn run(scene: &Scene, more: &[&str]) -> Ran {
    let mut args = vec!["run", "pipeline.yaml", "--state", "state"];
    args.extend(more);
    scene.run(&args)
}

fn totals(with: &str) -> String {
    format!(
        "pipeline: p\nstages:\n  in: {{ source: file, schema: {{ id: int, customer: text, amount: int }}, with: {{ path: \
         in.jsonl }} }}\n  so-far: {{ transform: GUEST(totals), from: in, with: {{ {with} }} }}\n  out: {{ sink: file, \
         from: so-far, with: {{ path: out.jsonl }} }}\n"
    )
}

/// What is under `with` of `in` and of `out`, for a pipeline of these two.
fn files(source: &str, sink: &str) -> String {
    format!(
        "pipeline: p\nstages:\n  in: {{ source: file, with: {{ {source} }} }}\n  out: {{ sink: file, from: in, with: {{ \
         {sink} }} }}\n"
    )
}

/// The checkpoints become what they were before there were parts of marks.
fn make_old(scene: &Scene, with: &[(&str, Value)]) {
    let dir = scene.path("state/p");
    let opened = RedbStore::open(&dir).expect("a store");
    let (mut store, mut last_committed) = (opened.store, opened.last_committed.expect("a checkpoint"));
    let with: BTreeMap<&str, &Value> = with.iter().map(|(stage, with)| (*stage, with)).collect();
    for (stage, mark) in &mut last_committed.stages {
        let with = with.get(stage.as_str()).and_then(|with| with.as_object().cloned());
        *mark = StageMark {
            uses: mark.uses.clone(),
            with: Some(with.unwrap_or_default()),
            ..StageMark::default()
        };
    }
    store.adopt(&last_committed, &[], &[]).expect("written");
}

#[test]
fn state_of_another_config_is_refused_and_may_be_forgotten() {
    let scene = Scene::with(&totals("by: [customer], sum: { spent: amount }"));
    scene.write("in.jsonl", ORDERS);
    run(&scene, &[]).code(0);
    scene.write("in.jsonl", ORDERS.to_owned() + MORE);
    for (with, changed) in [
        ("by: [id], sum: { spent: amount }", "`by` changed"),
        ("key: true, sum: { spent: amount }", "`by` changed, `key` changed"),
        ("by: [customer], sum: { spent: id }", "`sum` changed"),
        ("by: [customer]", "`sum` changed"),
    ] {
        scene.write("pipeline.yaml", totals(with));
        let refused = run(&scene, &[]).code(2);
        refused.says(&[
            "cannot go on from checkpoint 1",
            "state of `so-far` (2 keys), which rests on another config",
            changed,
            "`--forget so-far`",
        ]);
    }
    // What the columns are called, and what is said that was meant anyway, changes nothing in the state.
    scene.write("pipeline.yaml", totals("sum: { total: amount }, key: false, by: [customer], count: orders"));
    run(&scene, &[]).code(0).says(&["goes on from checkpoint 1", "1 read"]);
    let last = r#"{"id":3,"customer":"ann","amount":7,"orders":2,"total":12}"#;
    assert_eq!(scene.read("out.jsonl").lines().last(), Some(last));
    scene.write("pipeline.yaml", totals("by: [id], sum: { spent: amount }"));
    scene.write("in.jsonl", ORDERS.to_owned() + MORE + MORE);
    run(&scene, &["--forget", "so-far"]).code(0).says(&["1 read"]);
    let last = r#"{"id":3,"customer":"ann","amount":7,"count":1,"spent":7}"#;
    assert_eq!(scene.read("out.jsonl").lines().last(), Some(last));
    run(&scene, &[]).code(0);
}

#[test]
fn all_of_the_config_counts_for_a_stage_with_state_that_says_nothing() {
    let manifest = |with: &str| {
        format!(
            "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.txt }} }}\n  probe: {{ transform: \
             GUEST(probe-state), from: in{with} }}\n  pass: {{ transform: GUEST(probe-run), from: probe, with: {{ at: \
             AT, then: panic }} }}\n  out: {{ sink: file, from: pass, with: {{ path: out.txt }} }}\n"
        )
    };
    let scene = Scene::with(&manifest("").replace("AT", "never"));
    scene.write("in.txt", "add a\n");
    run(&scene, &[]).code(0);
    // One without state may change as it likes, and the default is what is not there.
    scene.write("pipeline.yaml", manifest(", with: { opens_with: null }").replace("AT", "nowhere"));
    run(&scene, &[]).code(0);
    scene.write("pipeline.yaml", manifest(", with: { opens_with: a }").replace("AT", "never"));
    run(&scene, &[]).code(2).says(&["state of `probe` (1 keys)", "`opens_with` changed", "`--forget probe`"]);
}

#[test]
fn a_source_that_reads_in_another_way_is_refused_or_begins_anew() {
    let out = "path: out.jsonl, format: jsonl";
    let source = |more: &str| files(&format!("path: in.csv{more}"), out);
    let scene = Scene::with(&source(""));
    scene.write("in.csv", "a,b;c\n1,2;3\n");
    run(&scene, &[]).code(0);
    scene.write("in.csv", "a,b;c\n1,2;3\n4,5;6\n");
    for (more, changed) in [
        (", delimiter: ';'", "`delimiter` was `,` and is `;`"),
        (", delimiter: \"\\t\"", "`delimiter` was `,` and is `\\t`"),
        (", quote: \"'\"", "`quote` was `\"` and is `'`"),
        (", quote: ''", "`quote` was `\"` and is empty"),
        (", header: false", "`header` was `true` and is `false`"),
        (", escape: \"\\\\\"", "`escape` is `\\`, and was not there"),
        (", comment: \"#\"", "`comment` is `#`, and was not there"),
        (", skip-lines: 1", "`skip-lines` is `1`, and was not there"),
        (", decimal: \",\"", "`decimal` is `,`, and was not there"),
        (", header: false, columns: [x, y]", "`columns` is `[\"x\",\"y\"]`, and was not there"),
        (", format: lines", "`format` was `csv` and is `lines`"),
        (", compression: none", "`compression` was `auto` and is `none`"),
    ] {
        scene.write("pipeline.yaml", source(more));
        let refused = run(&scene, &[]).code(2);
        refused.says(&["source `in` reads in another way", changed, "`--forget in`"]);
    }
    // What it is anyway may be said.
    scene.write("pipeline.yaml", source(", quote: '\"', header: true, format: csv, delimiter: ','"));
    run(&scene, &[]).code(0).says(&["1 read"]);
    scene.write("pipeline.yaml", source(", delimiter: ';'"));
    run(&scene, &["--forget", "in"]).code(0).says(&["2 read"]);
    let lines = [
        "{\"a\":1,\"b;c\":\"2;3\"}",
        "{\"a\":4,\"b;c\":\"5;6\"}",
        "{\"a,b\":\"1,2\",\"c\":3}",
        "{\"a,b\":\"4,5\",\"c\":6}",
    ];
    assert_eq!(scene.read("out.jsonl").lines().collect::<Vec<_>>(), lines);
    // A file with another header is another file.
    scene.write("in.csv", "a,b;d\n1,2;3\n4,5;6\n7,8;9\n");
    run(&scene, &[]).code(2).says(&["in.csv", "it was written anew"]);
}

#[test]
fn a_sink_that_has_another_name_does_not_replace_what_it_has_committed() {
    let manifest = |name: &str, more: &str| {
        format!(
            "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.txt }} }}\n  {name}: {{ sink: file, from: \
             in, with: {{ path: out.txt{more} }} }}\n"
        )
    };
    let scene = Scene::with(&manifest("out", ""));
    scene.write("in.txt", "a\n");
    run(&scene, &[]).code(0);
    scene.write("in.txt", "a\nb\n");
    scene.write("pipeline.yaml", manifest("new", ""));
    run(&scene, &[]).code(2).says(&[
        "there is no sink `out` any more, and sink `new` is new",
        "`--rename out=new`",
        "`--forget out`",
    ]);
    run(&scene, &["--forget", "out"]).code(2).says(&["sink `new` would replace", "`if-exists` of `new`"]);
    assert_eq!(scene.read("out.txt"), "a\n");
    run(&scene, &["--rename", "out=new"]).code(0);
    assert_eq!(scene.read("out.txt"), "a\nb\n");
    scene.write("in.txt", "a\nb\nc\n");
    scene.write("pipeline.yaml", manifest("third", ", if-exists: append"));
    run(&scene, &[]).code(2).says(&["`--rename new=third`"]);
    run(&scene, &["--forget", "new"]).code(0);
    assert_eq!(scene.read("out.txt"), "a\nb\nc\n");
    // A sink of another kind, or none at all, has nothing to do with it.
    scene.write("in.txt", "a\nb\nc\nd\n");
    let other =
        manifest("last", "").replace("sink: file", "sink: stdout").replace(", with: { path: out.txt }", "");
    scene.write("pipeline.yaml", other);
    run(&scene, &[]).code(0);
    assert_eq!(scene.read("out.txt"), "a\nb\nc\n");
}

#[test]
fn a_sink_that_writes_in_another_way_is_refused_or_begins_a_new_file() {
    let sink = |more: &str| files("path: in.csv", &format!("path: out.csv{more}"));
    let scene = Scene::with(&sink(""));
    scene.write("in.csv", "a,b\n1,2\n");
    run(&scene, &[]).code(0);
    assert_eq!(scene.read("out.csv"), "a,b\n1,2\n");
    scene.write("in.csv", "a,b\n1,2\n3,4\n");
    for (more, changed) in [
        (", delimiter: ';'", "`delimiter` was `,` and is `;`"),
        (", compression: gzip", "`compression` was `none` and is `gzip`"),
        (", format: jsonl", "`format` was `csv` and is `jsonl`"),
        (", 'null': NA", "`null` was empty and is `NA`"),
        (", rotate: { size: 1MiB }", "`rotate` was `no` and is `yes`"),
        (", delivery: at-least-once", "`delivery` was `exactly-once` and is `at-least-once`"),
    ] {
        scene.write("pipeline.yaml", sink(more));
        let refused = run(&scene, &[]).code(2);
        refused
            .says(&["sink `out` writes in another way", changed, "`--new-file out`"])
            .says_nothing_of(&["not there"]);
    }
    let other = files("path: in.csv", "path: out.csv.gz");
    scene.write("pipeline.yaml", &other);
    run(&scene, &[]).code(2).says(&["`path` was `out.csv` and is `out.csv.gz`", "`compression` was `none`"]);
    let fewer = sink("")
        .replace("from: in,", "from: few,")
        .replace("  out:", "  few: { transform: GUEST(project), from: in, with: { columns: [b] } }\n  out:");
    scene.write("pipeline.yaml", &fewer);
    run(&scene, &[]).code(2).says(&["`columns` was `[\"a\",\"b\"]` and is `[\"b\"]`"]);
    assert_eq!(scene.read("out.csv"), "a,b\n1,2\n", "who is refused writes nothing");
    run(&scene, &["--new-file", "few"]).code(2).says(&["there is no sink `file` of that name"]);
    run(&scene, &["--forget", "out"]).code(2).says(&["`--new-file out` begins a new one"]);
    let begun = run(&scene, &["--new-file", "out"]).code(0);
    begun.says(&["`out` of `p` begins a new file", "out-000001.csv", "1 read"]);
    assert_eq!((scene.read("out.csv"), scene.read("out-000001.csv")), ("b\n4\n".into(), "a,b\n1,2\n".into()));
    // Under another name, the file keeps its own.
    scene.write("pipeline.yaml", &other);
    run(&scene, &["--new-file", "out"]).code(0).says(&["what it has written so far is in", "out.csv"]);
    assert_eq!(scene.read("out.csv"), "b\n4\n");
    assert!(scene.path("out.csv.gz").exists());
}

#[test]
fn a_new_file_loses_nothing_of_what_was_prepared_and_not_committed() {
    let scene = Scene::with(&files("path: in.csv", "path: out.csv"));
    scene.write("in.csv", "a\n1\n2\n");
    let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
    command.env("CONVEYOR_FAULT", "sinks-committing@1");
    assert_eq!(Ran::of(command.output().expect("it runs")).code, None, "it was to die");
    assert!(!scene.path("out.csv").exists(), "nothing was committed yet");
    scene.write("in.csv", "a\n1\n2\n3\n");
    scene.write("pipeline.yaml", files("path: in.csv", "path: out.csv, 'null': NA"));
    run(&scene, &[]).code(2).says(&["`null` was empty", "`--new-file out`"]);
    run(&scene, &["--new-file", "out"]).code(0).says(&["goes on from checkpoint 1", "1 read"]);
    assert_eq!((scene.read("out-000001.csv"), scene.read("out.csv")), ("a\n1\n2\n".into(), "a\n3\n".into()));
}

#[test]
fn checkpoints_of_a_version_without_marks_are_taken_over() {
    let scene = Scene::with(&totals("by: [customer]"));
    scene.write("in.jsonl", ORDERS);
    run(&scene, &[]).code(0);
    make_old(&scene, &[("in", json!({ "path": "in.jsonl" })), ("out", json!({ "path": "out.jsonl" }))]);
    // What it says is held against what is there now, and the rest is believed.
    let changed = totals("by: [customer]").replace("in.jsonl }", "in.jsonl, compression: none }");
    scene.write("pipeline.yaml", changed.replace("out.jsonl }", "out.jsonl, format: csv }"));
    run(&scene, &[]).code(2).says(&[
        "`compression` was `auto` and is `none`",
        "`format` was `jsonl` and is `csv`",
        "`--new-file out`",
    ]);
    scene.write("pipeline.yaml", totals("by: [customer], sum: {}"));
    run(&scene, &[]).code(0).says(&["0 read"]);
    // From now on it is known, though no checkpoint was stored since.
    scene.write("pipeline.yaml", totals("by: [id]"));
    run(&scene, &[]).code(2).says(&["`by` changed"]);
    let (last_committed, _) = RedbStore::look(&scene.path("state/p")).expect("a look");
    let stages = last_committed.expect("a checkpoint").stages;
    assert!(stages.values().all(|mark| mark.with.is_none()), "{stages:?}");
}

#[test]
fn values_that_may_be_secret_are_not_in_the_checkpoints() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: generate, schema: { n: int }, with: { template:          '{\"n\":{{seq}},\"${SECRET}\":0}', format: jsonl, count: 3 } }\n  so-far: { transform: GUEST(totals), from: in,          with: { by: [n], count: '${SECRET}-too' } }\n  out: { sink: discard, from: so-far }\n",
    );
    let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
    command.env("SECRET", "hunter2");
    Ran::of(command.output().expect("it runs")).code(0);
    let kept = std::fs::read(scene.path("state/p/checkpoints.redb")).expect("a store");
    let has = |text: &[u8]| kept.windows(text.len()).any(|bytes| bytes == text);
    assert!(has(b"template") && has(b"sha256"), "there are marks");
    assert!(!has(b"hunter2"), "a secret is in them");
}

#[test]
fn a_source_that_is_a_component_says_what_its_place_rests_on() {
    let manifest = |with: &str| {
        format!(
            "pipeline: p\ncheckpoint: {{ interval: 20ms }}\nstages:\n  in:\n    source: GUEST(probe-queue)\n    grants: {{ \
             dirs: [{{ host: held, guest: /held, mode: rw }}] }}\n    with: {{ {with} }}\n  out: {{ sink: file, from: in, \
             with: {{ path: out.txt }} }}\n"
        )
    };
    let scene = Scene::with(&manifest("wait-ms: 10"));
    scene.write("held/queue", "a 1\nb 2\n");
    let run_until = |bytes: u64, more: &[&str]| {
        let mut args = vec!["run", "pipeline.yaml", "--state", "state"];
        args.extend(more);
        let mut command = scene.command(&args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let begun = Instant::now();
        while std::fs::metadata(scene.path("out.txt")).map_or(0, |there| there.len()) < bytes {
            assert!(begun.elapsed() < PATIENCE, "it does not write");
            std::thread::sleep(Duration::from_millis(5));
        }
        signal(&child, "TERM");
        Ran::of(child.wait_with_output().expect("it ends")).code(0)
    };
    run_until(8, &[]);
    scene.write("pipeline.yaml", manifest("wait-ms: 10, field: 1"));
    run(&scene, &[]).code(2).says(&["source `in` reads in another way: `field` changed", "`--forget in`"]);
    run_until(12, &["--forget", "in"]);
    // What is no part of what it says may change.
    scene.write("held/queue", "a 1\nb 2\nc 3\n");
    scene.write("pipeline.yaml", manifest("wait-ms: 5, field: 1"));
    run_until(14, &[]);
    assert_eq!(scene.read("out.txt"), "a 1\nb 2\n1\n2\n3\n");
}

#[test]
fn a_sink_that_is_a_component_says_what_its_output_rests_on() {
    let manifest = |with: &str| {
        format!(
            "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.txt }} }}\n  store:\n    sink: \
             GUEST(probe-store)\n    from: in\n    with: {{ {with} }}\n    grants: {{ dirs: [{{ host: held, guest: \
             /held, mode: rw }}] }}\n"
        )
    };
    let scene = Scene::with(&manifest("suffix: a"));
    scene.write("in.txt", "1\n").write("held/empty", "");
    let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
    command.env("CONVEYOR_FAULT", "sinks-committing@1");
    assert_eq!(Ran::of(command.output().expect("it runs")).code, None, "it was to die");
    // What was prepared would be lost.
    scene.write("pipeline.yaml", manifest("suffix: b"));
    run(&scene, &[]).code(2).says(&["`suffix` changed", "is not committed yet"]);
    run(&scene, &["--forget", "store"])
        .code(2)
        .says(&["`--forget store` would lose what `store` has prepared"]);
    scene.write("pipeline.yaml", manifest("suffix: a, hopeless: false"));
    run(&scene, &[]).code(0);
    assert_eq!(scene.read("held/part-000001"), "1a\n");
    scene.write("pipeline.yaml", manifest("suffix: b"));
    run(&scene, &[])
        .code(2)
        .says(&["sink `store` writes in another way: `suffix` changed", "`--forget store`"]);
    scene.write("in.txt", "1\n2\n");
    run(&scene, &["--forget", "store"]).code(0).says(&["1 read"]);
    run(&scene, &[]).code(0);
}
