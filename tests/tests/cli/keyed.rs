//! Stages that keep state: exact whatever dies, and what a user sees of it.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::{Ran, Scene};

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);
const ORDERS: usize = 250_000;

/// Each order comes twice, a while apart; only the first counts towards the totals of its customer.
fn orders() -> Vec<u8> {
    let mut lines = Vec::with_capacity(ORDERS * 80);
    let mut line = |n: usize| {
        let customer = n * 7919 % 5000;
        writeln!(lines, "{{\"id\":{n},\"customer\":\"c{customer}\",\"amount\":{}}}", n % 100)
            .expect("in memory");
    };
    for n in 0..ORDERS + 3000 {
        if n < ORDERS {
            line(n);
        }
        if let Some(earlier) = n.checked_sub(3000) {
            line(earlier);
        }
    }
    lines
}

/// `isolation: batch` gives each batch an instance of its own.
fn scene() -> Scene {
    let scene = Scene::with(
        "pipeline: shop\ncheckpoint: { interval: 20ms }\nstages:\n  in: { source: file, schema: { id: int, customer: \
         text, amount: int }, with: { path: in.jsonl } }\n  first: { transform: GUEST(dedupe), from: in, with: { \
         columns: [id] } }\n  so-far: { transform: GUEST(totals), from: first, isolation: batch, with: { by: \
         [customer], sum: { spent: amount } } }\n  out: { sink: file, from: so-far, with: { path: out.jsonl } }\n",
    );
    scene.write("in.jsonl", orders());
    scene
}

/// The totals of each order, as they have to be.
fn assert_exact(text: &str) -> usize {
    let mut totals = vec![(0, 0); 5000];
    for (n, line) in text.lines().enumerate() {
        let (customer, amount) = (n * 7919 % 5000, n % 100);
        let (count, spent) = &mut totals[customer];
        (*count, *spent) = (*count + 1, *spent + amount);
        let expected = format!(
            "{{\"id\":{n},\"customer\":\"c{customer}\",\"amount\":{amount},\"count\":{count},\"spent\":{spent}}}"
        );
        assert_eq!(line, expected, "line {n}");
    }
    text.lines().count()
}

fn start(scene: &Scene) -> Child {
    let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

fn seen(scene: &Scene) -> u64 {
    std::fs::metadata(scene.path("out.jsonl")).map_or(0, |there| there.len())
}

#[test]
fn totals_are_exact_and_repeats_stay_out_whenever_the_process_is_killed() {
    let scene = scene();
    let mut random = fastrand::Rng::with_seed(11);
    let (mut kills, mut went_on) = (0, 0);
    let begun = Instant::now();
    let last = loop {
        assert!(begun.elapsed() < PATIENCE, "it does not come to its end after {kills} kills");
        let mut child = start(&scene);
        let (before, waited) = (seen(&scene), Instant::now());
        let is_over = loop {
            if kills >= 8 || child.try_wait().expect("a child").is_some() {
                break true;
            }
            if seen(&scene) > before || waited.elapsed() > Duration::from_secs(5) {
                std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
                child.kill().expect("killed");
                break false;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let ran = Ran::of(child.wait_with_output().expect("an end"));
        went_on += u32::from(ran.stderr.contains("goes on from checkpoint"));
        if is_over {
            break ran;
        }
        kills += u32::from(ran.code.is_none());
        let out = std::fs::read_to_string(scene.path("out.jsonl")).unwrap_or_default();
        assert_exact(&out[..out.rfind('\n').map_or(0, |end| end + 1)]);
    };
    let ran = last.code(0);
    assert!(kills >= 3 && went_on >= 2, "{kills} kills, {went_on} runs went on: {}", ran.stderr);
    assert_eq!(assert_exact(&scene.read("out.jsonl")), ORDERS);
    let shown = scene.run(&["checkpoint", "inspect", "state"]).code(0);
    shown.prints(&["state of first  250,000 keys", "state of so-far  5,000 keys"]);
    let looked = scene.run(&["checkpoint", "inspect", "state", "--output", "json"]).code(0).json();
    let sizes = &looked[0]["states"];
    // A tag and eight bytes of key; and seven of a tag and a name, with a layout, a count and a sum.
    assert_eq!(sizes["first"], json!({ "keys": ORDERS, "bytes": ORDERS * 9 }));
    assert_eq!(sizes["so-far"]["keys"], 5000);
}

/// Lines for `probe-state`, which say what becomes of its state.
fn probe(lines: &str, stage: &str) -> Scene {
    let scene = Scene::with(&format!(
        "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.txt }}, batch: {{ records: 16 }} }}\n  probe: {{ \
         transform: GUEST(probe-state), from: in{stage} }}\n  out: {{ sink: file, from: probe, with: {{ path: out.txt }} \
         }}\n"
    ));
    scene.write("in.txt", lines);
    scene
}

fn codes(scene: &Scene) -> Vec<String> {
    let letters = scene.letters("p.dead-letters");
    letters.iter().map(|letter| letter["code"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Each line that is left adds one, in order: what a call did that failed never happened.
fn assert_counted(scene: &Scene, adds: usize) {
    let expected: String = (1..=adds).map(|n| format!("a {n}\n")).collect();
    let out: String = scene
        .read("out.txt")
        .lines()
        .filter(|line| line.starts_with("a "))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(out, expected);
}

#[test]
fn what_a_call_wrote_that_failed_never_happened() {
    let adds = |count: usize, every: usize, between: &str| -> String {
        (0..count)
            .map(|n| if n % every == every / 2 { format!("add a\n{between}\n") } else { "add a\n".into() })
            .collect()
    };
    for (between, stage, state, code) in [
        ("panic", "", false, Some("trap")),
        ("panic", ", isolation: batch", true, Some("trap")),
        ("panic-when-used", "", true, Some("trap")),
        ("loop", ", limits: { fuel-per-batch: 1M, fuel-per-record: 100k }", false, Some("out-of-fuel")),
        ("key 5000", "", true, Some("state-entry-too-large")),
        ("value 2000000", ", limits: { output-ratio: 1M }", false, Some("state-entry-too-large")),
        ("retry-once", ", retry: { backoff: 1ms..10ms }", true, None),
    ] {
        let scene = probe(&adds(200, 70, between), stage);
        let args: &[&str] = match state {
            true => &["run", "pipeline.yaml", "--state", "state", "--output", "json"],
            false => &["run", "pipeline.yaml", "--output", "json"],
        };
        let summary = scene.run(args).code(0).json();
        assert_counted(&scene, 200);
        let probe = &summary["pipelines"][0]["stages"][1];
        assert_eq!(probe["state"]["keys"], 1, "{between}: {probe}");
        match code {
            // In an instance that was not used before, it does no harm.
            Some(_) if between == "panic-when-used" => assert!(probe["deaths"].as_u64() > Some(0), "{probe}"),
            Some(code) => {
                assert_eq!(codes(&scene), [code, code, code], "{between}");
                assert!(probe["limits"][code].as_u64() >= Some(3), "{between}: {probe}");
            }
            None => assert!(probe["retries"].as_u64() > Some(0), "{between}: {probe}"),
        }
    }
}

#[test]
fn names_under_a_key_are_scanned_in_order_and_what_is_deleted_is_gone() {
    let lines =
        "put k b2 x\nput k a y\nput k b1 z\nput other b3 w\nscan k b\nadd k\nforget k\nget k\nscan k ";
    let scene = probe(&format!("{lines}\n"), "");
    scene.run(&["run", "pipeline.yaml", "--state", "state"]).code(0);
    let out = scene.read("out.txt");
    let answers: Vec<&str> = out.lines().skip(4).collect();
    assert_eq!(answers, ["b1=z b2=x", "k 1", "k is forgotten", "k 0", "a=y b1=z b2=x"]);
}

#[test]
fn state_that_gets_too_large_stops_the_run_with_what_to_do() {
    let lines: String = (0..100).map(|n| format!("put {n} name value\n")).collect();
    for (args, next) in [
        (&["run", "pipeline.yaml"][..], "--state DIR"),
        (&["run", "pipeline.yaml", "--state", "state"], "limits.state-bytes"),
    ] {
        let scene = probe(&lines, ", limits: { state-bytes: 500 }");
        scene.run(args).code(1).says(&["its state would have more than 500 bytes", next]);
    }
    let scene = probe("add a\n", ", limits: { state-bytes: 0 }");
    scene.run(&["validate", "pipeline.yaml"]).code(2).says(&["state-bytes"]);
}

#[test]
fn state_is_for_process_alone() {
    let scene = probe("add a\n", ", with: { opens_with: a }");
    scene.run(&["run", "pipeline.yaml"]).code(2).says(&["asks for its state outside of `process`"]);
}

fn manifest(stage: &str, transform: &str, with: &str) -> String {
    format!(
        "pipeline: p\nstages:\n  in: {{ source: file, schema: {{ n: int }}, with: {{ path: in.jsonl }} }}\n  {stage}: {{ \
         transform: GUEST({transform}), from: in, with: {with} }}\n  out: {{ sink: file, from: {stage}, with: {{ path: \
         out.jsonl }} }}\n"
    )
}

#[test]
fn state_goes_to_no_other_stage_unless_somebody_says_so() {
    let scene = Scene::with(&manifest("first", "dedupe", "{ columns: [n] }"));
    let mut input = String::new();
    let mut run = |more: &[&str]| {
        input.push_str("{\"n\":1}\n{\"n\":2}\n");
        scene.write("in.jsonl", &input);
        let mut args = vec!["run", "pipeline.yaml", "--state", "state"];
        args.extend(more);
        scene.run(&args)
    };
    run(&[]).code(0);
    assert_eq!(scene.read("out.jsonl").lines().count(), 2);
    // The stage has another name.
    scene.write("pipeline.yaml", manifest("unique", "dedupe", "{ columns: [n] }"));
    run(&[]).code(2).says(&[
        "state of `first` (2 keys)",
        "no such stage any more",
        "`--rename first=NEW`",
        "`--forget first`",
    ]);
    run(&["--rename", "first=unique"]).code(0).says(&["goes on from checkpoint 1", "4 read"]);
    assert_eq!(scene.read("out.jsonl").lines().count(), 2, "what was seen is still known");
    // It is another kind of stage.
    scene.write("pipeline.yaml", manifest("unique", "totals", "{ by: [n] }"));
    run(&[]).code(2).says(&["which was a `dedupe` and is a `totals`", "`--forget unique`"]);
    // It keeps no state at all.
    scene.write("pipeline.yaml", manifest("unique", "filter", "{ where: n > 0 }"));
    run(&[]).code(2).says(&["which keeps none now"]);
    scene.write("pipeline.yaml", manifest("unique", "dedupe", "{ columns: [n] }"));
    run(&["--forget", "unique"]).code(0).says(&["6 read"]);
    assert_eq!(scene.read("out.jsonl").lines().count(), 4, "it was forgotten, and both were new");
    let summary = run(&["--output", "json"]).code(0).json();
    assert_eq!(summary["pipelines"][0]["stages"][1]["state"]["keys"], 2);
    scene.run(&["run", "pipeline.yaml", "--forget", "unique"]).code(2).says(&["--state"]);
}

#[test]
fn a_stage_that_keeps_state_is_shown_to() {
    let scene = Scene::with(&manifest("first", "dedupe", "{ columns: [n] }"));
    scene.write("in.jsonl", "");
    scene.run(&["validate", "pipeline.yaml"]).code(0).says(&["state is kept by first"]);
    let dedupe = crate::places::guest("dedupe").display().to_string();
    scene.run(&["inspect", &dedupe]).code(0).prints(&["keeps state"]);
    let inspected: Value = scene.run(&["inspect", &dedupe, "--output", "json"]).code(0).json();
    assert_eq!(inspected["keeps_state"], true);
    let filter = crate::places::guest("filter").display().to_string();
    let inspected: Value = scene.run(&["inspect", &filter, "--output", "json"]).code(0).json();
    assert_eq!(inspected["keeps_state"], false);
    assert!(
        !inspected["imports"].to_string().contains("state"),
        "a stage without state imports nothing of it"
    );
}
