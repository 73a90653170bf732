//! `dlq replay --state`: through the checkpoints of the pipeline, so that stages know of it and the next run does.

use flow::checkpoint::RedbStore;

use crate::scene::{Ran, Scene};

/// Three orders, of which `check` takes the second only once its manifest is mended.
const ORDERS: &str = "{\"customer\":\"ann\",\"amount\":5}\n{\"customer\":\"ann\",\"amount\":7,\"coupon\":1}\n\
                      {\"customer\":\"bob\",\"amount\":2}\n";

fn totals(unknown: &str, sink: &str) -> String {
    format!(
        "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.jsonl, format: lines }} }}\n  check: {{ transform: \
         GUEST(filter), from: in, schema: {{ customer: text, amount: int }}, unknown: {unknown}, with: {{ where: amount > 0 }} \
         }}\n  so-far: {{ transform: GUEST(totals), from: check, with: {{ by: [customer], sum: {{ spent: amount }} }} }}\n  \
         out: {{ sink: file, from: so-far, with: {{ {sink} }} }}\n"
    )
}

fn run(scene: &Scene, more: &[&str]) -> Ran {
    scene.run(&[&["run", "pipeline.yaml", "--state", "state"], more].concat())
}

fn replay(scene: &Scene, more: &[&str]) -> Ran {
    scene.run(&[&["dlq", "replay", "pipeline.yaml"], more].concat())
}

/// A run that refused one order, and a mended manifest.
fn mended(sink: &str) -> Scene {
    let scene = Scene::with(&totals("reject", sink));
    scene.write("in.jsonl", ORDERS);
    run(&scene, &[]).code(0).says(&["1 x check: bad-row"]);
    scene.write("pipeline.yaml", totals("ignore", sink));
    scene
}

fn row(customer: &str, amount: u32, count: u32, spent: u32) -> String {
    format!("{{\"customer\":\"{customer}\",\"amount\":{amount},\"count\":{count},\"spent\":{spent}}}\n")
}

/// All that the sink has shown, in the order of its files.
fn shown(scene: &Scene) -> String {
    let files = std::fs::read_dir(scene.path(".")).expect("the directory").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("out")).collect();
    names.sort();
    names.iter().map(|name| scene.read(name)).collect()
}

#[test]
fn a_replay_goes_on_from_the_state_and_the_next_run_from_the_replay() {
    for sink in [
        "path: out.jsonl",
        "path: out.jsonl, delivery: at-least-once",
        "path: out.jsonl, rotate: { size: 1GiB }",
    ] {
        let scene = mended(sink);
        let dry = replay(&scene, &["--state", "state", "--dry-run"]).code(0);
        dry.says(&["entry 1: 1 record to `out`"]);
        replay(&scene, &["--state", "state"]).code(0).says(&["went through: 1; refused again: 0"]);
        let mut expected = [row("ann", 5, 1, 5), row("bob", 2, 1, 2), row("ann", 7, 2, 12)].concat();
        assert_eq!(shown(&scene), expected, "{sink}");
        // The next run cuts nothing back, and counts on.
        scene.write("in.jsonl", format!("{ORDERS}{{\"customer\":\"ann\",\"amount\":1}}\n"));
        run(&scene, &[]).code(0).says(&["1 read"]).says_nothing_of(&["cut back"]);
        expected.push_str(&row("ann", 1, 3, 13));
        assert_eq!(shown(&scene), expected, "{sink}");
        replay(&scene, &["--state", "state"]).code(0).says(&["nothing is open"]);
    }
}

#[test]
fn without_the_state_a_replay_through_it_is_refused_with_the_next_step() {
    let scene = mended("path: out.jsonl");
    let before = scene.read("out.jsonl");
    let next =
        format!("say `--state {}`", scene.path("state").canonicalize().expect("a directory").display());
    replay(&scene, &[]).code(2).says(&["stage `so-far` keeps state", &next, "`--dry-run`"]);
    // Past the stage with state, the file is still one of the checkpoint's.
    replay(&scene, &["--into", "out"]).code(2);
    assert_eq!(scene.read("out.jsonl"), before);
    let shown = scene.run(&["dlq", "show", "1"]).code(0);
    shown.prints(&["conveyor replay pipeline.yaml --stage check --record 1 --state state\n"]);

    let files = |unknown: &str| {
        totals(unknown, "path: out.jsonl")
            .replace("from: so-far", "from: check")
            .replace("  so-far:", "  # so-far:")
    };
    let scene = Scene::with(&files("reject"));
    scene.write("in.jsonl", ORDERS);
    run(&scene, &[]).code(0);
    scene.write("pipeline.yaml", files("ignore"));
    replay(&scene, &[])
        .code(2)
        .says(&["what sink `out` writes belongs to the checkpoints of `p`", "say `--state "]);
    let running = RedbStore::open(&scene.path("state/p")).expect("a store");
    replay(&scene, &[]).code(2).says(&["pipeline `p` is running"]);
    drop(running);
    let alone = ["replay", "pipeline.yaml", "--stage", "check", "--record", "1", "--state", "state"];
    scene.run(&alone).code(0).says(&["1 record to `out`"]);
    assert_eq!(scene.read("out.jsonl").lines().last(), Some(r#"{"customer":"ann","amount":7}"#));
}

#[test]
fn while_the_pipeline_runs_a_replay_is_refused_by_its_name() {
    let scene = mended("path: out.jsonl");
    let running = RedbStore::open(&scene.path("state/p")).expect("a store");
    for args in [&["--state", "state"][..], &["--state", "state", "--dry-run"]] {
        replay(&scene, args).code(2).says(&["pipeline `p` is running", "stop it, replay"]);
    }
    drop(running);
    replay(&scene, &["--state", "none"]).code(2).says(&["there are no checkpoints in none/p"]);
    assert!(!scene.path("none").exists(), "a directory was made");
}

#[test]
fn a_replay_that_fails_leaves_the_checkpoint_as_it_was() {
    let scene = mended("path: out.jsonl");
    let before = (scene.read("out.jsonl"), inspect(&scene));
    let broken = totals("ignore", "path: out.jsonl").replace(
        "  out:",
        "  lost: { sink: http, from: so-far, with: { url: 'http://127.0.0.1:9/' }, retry: { attempts: 1, backoff: 1ms..1ms } \
         }\n  out:",
    );
    scene.write("pipeline.yaml", broken);
    replay(&scene, &["--state", "state"]).code(1).says(&["stays open"]);
    assert_eq!((scene.read("out.jsonl"), inspect(&scene)), before);
    scene.write("pipeline.yaml", totals("ignore", "path: out.jsonl"));
    replay(&scene, &["--state", "state"]).code(0).says(&["went through: 1"]);
    assert_eq!(scene.read("out.jsonl").lines().last(), Some(row("ann", 7, 2, 12).trim_end()));
}

fn inspect(scene: &Scene) -> serde_json::Value {
    scene.run(&["checkpoint", "inspect", "state", "--output", "json"]).code(0).json()
}

/// Dies when it comes to a place of [`flow::fault`].
fn killed(scene: &Scene, args: &[&str], at: &str) {
    let mut command = scene.command(args);
    command.env("CONVEYOR_FAULT", at);
    let status = command.output().expect("the binary starts").status;
    assert_eq!(status.code(), None, "{at} has not struck");
}

const RUN: &[&str] = &["run", "pipeline.yaml", "--state", "state"];
const REPLAY: &[&str] = &["dlq", "replay", "pipeline.yaml", "--state", "state"];

/// A run that refused one order and died before a checkpoint had it, and a mended manifest.
fn died() -> Scene {
    let scene = Scene::with(&totals("reject", "path: out.jsonl"));
    scene.write("in.jsonl", ORDERS);
    killed(&scene, RUN, "letters-synced@1");
    scene.write("pipeline.yaml", totals("ignore", "path: out.jsonl"));
    scene
}

const ALL_IN_ORDER: [(&str, u32, u32, u32); 3] = [("ann", 5, 1, 5), ("ann", 7, 2, 12), ("bob", 2, 1, 2)];
const SECOND_LAST: [(&str, u32, u32, u32); 3] = [ALL_IN_ORDER[0], ALL_IN_ORDER[2], ALL_IN_ORDER[1]];

fn rows(of: [(&str, u32, u32, u32); 3]) -> String {
    of.map(|(customer, amount, count, spent)| row(customer, amount, count, spent)).concat()
}

#[test]
fn entries_whose_records_come_again_are_left_to_the_next_run() {
    let scene = died();
    replay(&scene, &["--state", "state"]).code(2).says(&["ended before a checkpoint had them", "`--record`"]);
    replay(&scene, &["--state", "state", "--record", "1"]).code(0).says(&["went through: 1"]);
}

#[test]
fn what_a_mended_run_has_delivered_of_a_killed_one_is_closed_and_not_replayed() {
    // Also where that run dies when its checkpoint is committed and the store does not know it yet.
    for (dies_at, then) in
        [(None, REPLAY), (Some("checkpoint-stored@1"), REPLAY), (Some("checkpoint-stored@1"), RUN)]
    {
        let scene = died();
        match dies_at {
            None => drop(run(&scene, &[]).code(0).says(&["3 read"])),
            Some(at) => killed(&scene, RUN, at),
        }
        scene.run(then).code(0);
        replay(&scene, &["--state", "state"]).code(0).says(&["nothing is open"]);
        let listed = scene.run(&["dlq", "list", "--all"]).code(0);
        listed.prints(&["bad-row (delivered by a later run)"]);
        run(&scene, &[]).code(0);
        assert_eq!(scene.read("out.jsonl"), rows(ALL_IN_ORDER), "{dies_at:?} {then:?}");
        // What the next run refuses is open, and goes through.
        scene.write("pipeline.yaml", totals("reject", "path: out.jsonl"));
        scene.write("in.jsonl", format!("{ORDERS}{{\"customer\":\"eve\",\"amount\":1,\"coupon\":1}}\n"));
        run(&scene, &[]).code(0).says(&["1 x check: bad-row"]);
        scene.write("pipeline.yaml", totals("ignore", "path: out.jsonl"));
        replay(&scene, &["--state", "state"]).code(0).says(&["went through: 1"]);
        assert_eq!(scene.read("out.jsonl"), rows(ALL_IN_ORDER) + &row("eve", 1, 1, 1));
    }
}

#[test]
fn what_a_run_refuses_again_stays_open_whatever_is_done_with_it() {
    for on_error in ["dead-letter", "drop"] {
        let scene = died();
        let manifest =
            totals("reject", "path: out.jsonl").replace("unknown: reject", "unknown: reject, on-error: ON");
        scene.write("pipeline.yaml", manifest.replace("ON", on_error));
        run(&scene, &[]).code(0).says(&["3 read"]);
        scene.write("pipeline.yaml", totals("ignore", "path: out.jsonl"));
        replay(&scene, &["--state", "state"]).code(0).says(&["went through: 1"]);
        assert_eq!(scene.read("out.jsonl"), rows(SECOND_LAST), "{on_error}");
    }
}

#[test]
fn a_replay_that_dies_between_its_checkpoint_and_its_mark_is_closed_by_whoever_comes_next() {
    for then in [REPLAY, RUN, &[REPLAY, &["--dry-run"]].concat()[..]] {
        let scene = mended("path: out.jsonl");
        killed(&scene, REPLAY, "checkpoint-stored@1");
        scene.run(&["dlq", "list", "--counts"]).code(0).prints(&["1  check  bad-row"]);
        let ran = scene.run(then).code(0).says_nothing_of(&["went through: 1"]);
        if then[0] == "dlq" {
            ran.says(&[
                "nothing is open; not all sinks have committed",
                "`conveyor run pipeline.yaml --state state`",
            ]);
        }
        replay(&scene, &["--state", "state"]).code(0).says(&["nothing is open"]);
        run(&scene, &[]).code(0);
        assert_eq!(scene.read("out.jsonl"), rows(SECOND_LAST), "{then:?}");
        scene.run(&["dlq", "list", "--all"]).code(0).prints(&["bad-row (replayed)"]);
    }
}

#[test]
fn what_is_to_be_forgotten_or_renamed_is_there() {
    let scene = mended("path: out.jsonl");
    let forget = run(&scene, &["--forget", "totals"]).code(2);
    forget.says(&["no checkpoint has anything of a stage `totals`", "one of in, out, so-far"]);
    run(&scene, &["--rename", "total=sums"]).code(2).says(&["of a stage `total`", "one of in, out, so-far"]);
    run(&scene, &["--forget", "so-far"]).code(0);
    // Whoever says it once more says what was done.
    run(&scene, &["--forget", "so-far"]).code(0);
}

#[test]
fn another_connector_of_the_same_name_gets_nothing_of_what_the_one_before_has_committed() {
    let manifest = |sink: &str| {
        format!(
            "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.txt }} }}\n  out: {{ sink: {sink}, from: in }}\n"
        )
    };
    let scene = Scene::with(&manifest("discard"));
    scene.write("in.txt", "one\n");
    run(&scene, &[]).code(0);
    scene.write("pipeline.yaml", manifest("file, with: { path: out.txt }"));
    scene.write("in.txt", "one\ntwo\n");
    let ran = run(&scene, &[]).code(0);
    ran.says(&["sink `out` of `p` was `discard` and is `file`", "1 read"]);
    assert_eq!(scene.read("out.txt"), "two\n");
    let inspected = inspect(&scene);
    assert!(!inspected.to_string().contains("checksum"), "{inspected}");
}

/// Two sources that meet in one sink, of which the first refuses a line.
#[test]
fn where_streams_meet_a_replay_waits_for_nobody_who_is_not_there() {
    let manifest = |schema: &str| {
        format!(
            "pipeline: p\nstages:\n  a: {{ source: file, schema: {{ n: {schema} }}, with: {{ path: a.jsonl }} }}\n  b: {{ source: \
             file, schema: {{ n: {schema} }}, with: {{ path: b.jsonl }} }}\n  out: {{ sink: file, from: [a, b], with: {{ path: \
             out.jsonl }} }}\n"
        )
    };
    for with_state in [false, true] {
        let state: &[&str] = if with_state { &["--state", "state"] } else { &[] };
        let scene = Scene::with(&manifest("int"));
        scene.write("a.jsonl", "{\"n\":\"one\"}\n").write("b.jsonl", "{\"n\":\"two\"}\n");
        scene
            .run(&[&["run", "pipeline.yaml"], state].concat())
            .code(0)
            .says(&["1 x a: bad-row", "1 x b: bad-row"]);
        scene.write("pipeline.yaml", manifest("text"));
        replay(&scene, &[&["--stage", "a"], state].concat()).code(0).says(&["went through: 1"]);
        assert_eq!(scene.read("out.jsonl"), "{\"n\":\"one\"}\n");
        replay(&scene, state).code(0).says(&["went through: 1"]);
        assert_eq!(scene.read("out.jsonl"), "{\"n\":\"one\"}\n{\"n\":\"two\"}\n");
    }
}
