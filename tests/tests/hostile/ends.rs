//! Stages that do not die of each record: sources, sinks, texts that are meant for a terminal, and batches of which the
//! records are spared.

use std::time::Duration;

use crate::beside::{self, Seen, Until};
use crate::cases::{BATCH_MS, compile, ports};
use crate::measure::{STOP_SLACK, alone, until_it_holds};
use crate::scene::{Ran, Scene};

const LIMITS: &str = "memory: 32MiB, batch-time: 150ms, fuel-per-record: 1000G, fuel-per-batch: 1000G";

/// Runs a manifest beside the healthy pipeline until nothing of what `check` finds and of the latencies misses.
#[track_caller]
fn beside_healthy(
    component: &str,
    manifest: &str,
    until: Until,
    check: impl Fn(&Scene, &Seen) -> Option<String>,
) {
    let _alone = alone();
    compile(component);
    until_it_holds(component, |attempt| {
        let (own, _) = beside::alone(attempt > 0);
        let scene = Scene::new();
        scene.write("hostile.yaml", manifest);
        let seen = beside::run(&scene, until);
        assert!(!seen.ran.stderr.contains('\u{1b}'), "it reached the terminal: {:?}", seen.ran.stderr);
        seen.latencies.misses(&own).into_iter().chain(check(&scene, &seen)).collect()
    });
}

fn in_time(seen: &Seen, deadline_ms: u64) -> Option<String> {
    let allowed = Duration::from_millis(deadline_ms) + STOP_SLACK;
    (seen.over_after > allowed)
        .then(|| format!("it was over after {:?}, {allowed:?} are allowed", seen.over_after))
}

#[track_caller]
fn spares_its_records(component: &str) {
    let manifest = format!(
        "pipeline: hostile\nstages:\n  in: {{ source: generate, with: {{ template: \"line {{{{seq}}}}\", count: 20 }}, \
         batch: {{ records: 2 }} }}\n  bad: {{ transform: GUEST(hostile/{component}), from: in, limits: {{ {LIMITS} }} }}\n  \
         out: {{ sink: file, from: {}, with: {{ path: out.txt }} }}\n",
        ports(component)
    );
    beside_healthy(component, &manifest, Until::Lasts(Duration::from_millis(300)), |scene, seen| {
        assert_eq!(seen.ran.code, Some(0), "{}", seen.ran.stderr);
        assert!(seen.ran.stderr.contains("(10 bad-answer)"), "{}", seen.ran.stderr);
        let lines: String = (0..20).map(|n| format!("line {n}\n")).collect();
        assert_eq!(scene.read("out.txt"), lines, "what it does well alone is delivered, once and in order");
        assert!(!scene.path("hostile.dead-letters").exists(), "no record is to blame");
        None
    });
}

#[test]
fn what_forwards_out_of_order_is_asked_again_for_each_record() {
    spares_its_records("forwarded-unsorted");
}

#[test]
fn what_makes_out_of_order_is_asked_again_for_each_record() {
    spares_its_records("origins-unsorted");
}

#[test]
fn what_refuses_a_record_twice_is_asked_again_for_each_record() {
    spares_its_records("rejected-twice");
}

#[test]
fn a_code_for_the_terminal_is_text() {
    let manifest = "pipeline: hostile\nstages:\n  in: { source: generate, with: { template: x, count: 3 }, batch: { records: \
                    1 } }\n  bad: { transform: GUEST(hostile/code-with-escapes), from: in }\n  out: { sink: discard, from: \
                    [bad, bad.side] }\n";
    beside_healthy("code-with-escapes", manifest, Until::Lasts(Duration::from_millis(300)), |scene, seen| {
        assert_eq!(seen.ran.code, Some(0), "{}", seen.ran.stderr);
        let letters = scene.letters("hostile.dead-letters");
        let codes: Vec<&str> = letters.iter().filter_map(|letter| letter["code"].as_str()).collect();
        assert_eq!(codes, ["\u{1b}[2Jbad\n"; 3], "in data it is what the stage said");
        let listed = scene.run(&["dlq", "list", "hostile.dead-letters"]).code(0).stdout;
        assert!(listed.contains(r"\u{1b}[2Jbad") && !listed.contains('\u{1b}'), "{listed:?}");
        None
    });
}

#[test]
fn last_words_for_the_terminal_are_text() {
    let manifest = "pipeline: hostile\nstages:\n  in: { source: generate, with: { template: x, count: 3 } }\n  bad: { \
                    transform: GUEST(hostile/fatal-with-escapes), from: in }\n  out: { sink: discard, from: [bad, \
                    bad.side] }\n";
    beside_healthy("fatal-with-escapes", manifest, Until::Fails, |_, seen| {
        assert_eq!(seen.ran.code, Some(1), "{}", seen.ran.stderr);
        let text = r"it gave up: \u{1b}[2J\u{1b}]0;owned\u{7}gone\u{9b}\r";
        assert!(seen.ran.stderr.contains(text), "{}", seen.ran.stderr);
        in_time(seen, 0)
    });
}

#[test]
fn a_source_of_nothing_keeps_no_thread_and_stops_when_told() {
    let manifest = "pipeline: hostile\nstages:\n  in: { source: GUEST(hostile/empty-source) }\n  out: { sink: discard, \
                    from: in }\n";
    beside_healthy("empty-source", manifest, Until::Stopped(Duration::from_millis(600)), |_, seen| {
        assert_eq!(seen.ran.code, Some(0), "{}", seen.ran.stderr);
        assert!(seen.ran.stderr.contains("pipeline hostile: stopped"), "{}", seen.ran.stderr);
        None
    });
}

#[test]
fn a_source_that_loops_is_stopped() {
    let manifest = format!(
        "pipeline: hostile\nstages:\n  in: {{ source: GUEST(hostile/loop-in-pull), limits: {{ {LIMITS} }} }}\n  out: {{ \
         sink: discard, from: in }}\n"
    );
    beside_healthy("loop-in-pull", &manifest, Until::Fails, |_, seen| {
        assert_eq!(seen.ran.code, Some(1), "{}", seen.ran.stderr);
        assert!(seen.ran.stderr.contains("timed out: it ran for 150 ms"), "{}", seen.ran.stderr);
        in_time(seen, BATCH_MS)
    });
}

#[test]
fn a_sink_that_loops_is_stopped() {
    let manifest = format!(
        "pipeline: hostile\nstages:\n  in: {{ source: generate, with: {{ template: x, count: 3 }} }}\n  out: {{ sink: \
         GUEST(hostile/loop-in-write), from: in, limits: {{ {LIMITS} }} }}\n"
    );
    beside_healthy("loop-in-write", &manifest, Until::Fails, |_, seen| {
        assert_eq!(seen.ran.code, Some(1), "{}", seen.ran.stderr);
        assert!(seen.ran.stderr.contains("timed out: it ran for 150 ms"), "{}", seen.ran.stderr);
        in_time(seen, BATCH_MS)
    });
}

/// A sink that does not commit, in a run that keeps checkpoints. The loop is held where it has looked for the last
/// checkpoint and found nothing, until everything else is over.
#[track_caller]
fn does_not_commit(component: &str, says: &str) {
    let scene = Scene::with(&format!(
        "pipeline: hostile\nstages:\n  in: {{ source: generate, with: {{ template: x, count: 3 }} }}\n  out: {{ sink: \
         GUEST(hostile/{component}), from: in, retry: {{ attempts: 1, backoff: 1ms..1ms }} }}\n"
    ));
    for run in ["first", "second"] {
        let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state", "--threads", "2"]);
        command.env("CONVEYOR_FAULT", "last-awaited@1+200");
        let ran = Ran::of(command.output().expect("the binary starts"));
        assert_eq!(ran.code, Some(1), "{run} run: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{run} run: {}", ran.stderr);
        let shown = scene.run(&["checkpoint", "inspect", "state"]).code(0).stdout;
        assert!(!shown.contains("committed by all sinks"), "{run} run: {shown}");
    }
    scene.run(&["run", "pipeline.yaml"]).code(1);
}

#[test]
fn a_sink_that_traps_in_its_commit_fails_its_pipeline() {
    does_not_commit("commit-traps", "wasm `unreachable` instruction executed");
}

#[test]
fn a_sink_whose_commit_fails_fails_its_pipeline() {
    does_not_commit("commit-fails", "it gave up: no");
}

#[test]
fn a_sink_that_asks_for_another_try_of_its_commit_for_ever_fails_its_pipeline() {
    does_not_commit("commit-asks-again", "its component: no\n");
}
