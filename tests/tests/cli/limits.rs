//! Each limit of a manifest, reached: the code of the dead letter, the meter, and what is told at the end.

use crate::scene::Scene;
use crate::watching::Watched;

/// A stage that does `what` with every record; batches of `records`.
pub fn probe(what: &str, records: usize, settings: &str) -> Scene {
    Scene::with(&format!(
        "pipeline: p
stages:
  in: {{ source: stdin, with: {{ format: lines }}, batch: {{ records: {records} }} }}
  probe:
    transform: GUEST(probe-bytes)
    from: in
    with: {{ do: {what} }}
    grants: {{ http: [api.example.com:443] }}
    {settings}
  out: {{ sink: file, from: probe, with: {{ path: out.txt }} }}
  side: {{ sink: discard, from: probe.side }}
"
    ))
}

/// What the stage does, its limits, and the code of what becomes of it.
const DEATHS: [(&str, &str, &str); 11] = [
    ("hoard", "memory: 8MiB", "out-of-memory"),
    ("loop", "fuel-per-record: 1M, fuel-per-batch: 5M", "out-of-fuel"),
    ("loop", "batch-time: 40ms, fuel-per-record: 1000G, fuel-per-batch: 1000G", "timed-out"),
    ("sleep", "host-call-time: 50ms", "host-call-timed-out"),
    ("tell", "host-call-bytes: 1MiB", "host-call-too-large"),
    ("much", "output-bytes: 1MiB", "output-too-large"),
    ("much", "output-ratio: 2", "output-too-large"),
    ("leak", "resources: 16", "too-many-resources"),
    ("panic", "memory: 8MiB", "trap"),
    ("bad-index", "memory: 8MiB", "bad-answer"),
    ("bad-offsets", "memory: 8MiB", "bad-answer"),
];

#[test]
fn each_limit_has_a_code_a_meter_and_a_word_in_the_summary() {
    for (what, limits, code) in DEATHS {
        let case = format!("{what} with {limits}");
        let scene = probe(what, 1, &format!("limits: {{ {limits} }}"));
        let mut run = Watched::start(&scene, &["pipeline.yaml"]);
        run.write(b"a\n");
        let sample = run.until(&case, |sample| sample.count("p", "probe", "records_rejected") == 1);
        assert_eq!(sample.hits("p", "probe", code), 1, "{case}:\n{}", sample.text);
        assert_eq!(sample.count("p", "probe", "deaths"), 1, "{case}");
        run.wait().code(0).says(&["`probe` died in 1 calls", &format!("ran into its limits (1 {code})")]);
        let listed = scene.run(&["dlq", "list", "--output", "json"]).code(0).json();
        let entries = listed["entries"].as_array().expect("a list");
        assert_eq!((entries.len(), &entries[0]["code"]), (1, &code.into()), "{case}");
        assert_eq!(scene.read("out.txt"), "", "{case}");
    }
}

#[test]
fn log_lines_past_the_limit_are_counted_and_harm_nobody() {
    let scene = probe("flood", 1, "limits: { log-lines: 10 }");
    let mut run = Watched::start(&scene, &["pipeline.yaml"]);
    run.write(b"a\n");
    // A thousand lines, of which ten go through in a second; the flood may straddle two.
    let sample = run.until("a flood", |sample| sample.count("p", "probe", "records_forwarded") == 1);
    let dropped = sample.hits("p", "probe", "log-lines");
    assert!((970..=990).contains(&dropped), "{dropped} lines were dropped");
    let ran = run.wait().code(0);
    let lines = ran.stderr.lines().filter(|line| line.contains("wet")).count();
    assert_eq!(lines as u64, 1000 - dropped);
    assert_eq!(scene.read("out.txt"), "a\n");
}

#[test]
fn limits_out_of_bounds_are_refused_before_anything_runs() {
    let cases = [
        "memory: 2GiB",
        "fuel-per-record: 2000G",
        "batch-time: 1h",
        "output-bytes: 2GiB",
        "output-ratio: 0",
        "host-call-bytes: 1GiB",
        "log-lines: 1G",
        "resources: 1G",
        "instances: 0",
    ];
    for limits in cases {
        let scene = probe("all", 1, &format!("limits: {{ {limits} }}"));
        let (key, _) = limits.split_once(':').expect("a key");
        scene.run_pipeline().code(2).says(&["pipeline.yaml: 1 problem", key]);
    }
}
