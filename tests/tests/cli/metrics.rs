//! `run --metrics`: what Prometheus and a supervisor see.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::places;
use crate::scene::Scene;
use crate::watching::{PATIENCE, Watched, get, get_as};

#[test]
fn meters_and_readiness_are_served_on_the_address_that_was_asked_for() {
    let scene = Scene::with(
        "pipeline: endless\nstages:\n  in: { source: generate, with: { template: \"{{seq}}\", rate: 2000 } }\n  probe: \
         { transform: GUEST(probe-run), from: in, with: { at: \"5\", then: reject } }\n  out: { sink: discard, from: \
         probe }\n",
    );
    let run = Watched::start(&scene, &["pipeline.yaml"]);
    let sample = run.until("a refusal", |sample| {
        sample.count("endless", "probe", "records_rejected") == 1
            && sample.count("endless", "out", "batches") > 0
    });
    let text = sample.text;
    for name in ["records_in", "records_out", "fuel", "batches", "busy_seconds"] {
        let line = format!("conveyor_stage_{name}_total{{pipeline=\"endless\",stage=\"probe\"}} ");
        assert!(text.contains(&line), "{name}: {text}");
    }
    assert!(
        text.contains("conveyor_stage_batch_seconds{pipeline=\"endless\",stage=\"out\",quantile=\"0.99\"} "),
        "{text}"
    );
    assert_eq!(get(&run.address, "/livez").0, 200);
    assert_eq!(get(&run.address, "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(get(&run.address, "/elsewhere").0, 404);
    run.terminate();
    run.wait().code(0);
}

#[test]
fn a_pipeline_that_failed_is_named_while_the_others_go_on() {
    let scene = Scene::with(
        "pipeline: endless\nstages:\n  in: { source: generate, with: { template: \"{{seq}}\", rate: 1000 } }\n  out: { \
         sink: discard, from: in }\n",
    );
    scene.write(
        "bad.yaml",
        "pipeline: bad\nstages:\n  in: { source: generate, with: { template: \"{{seq}}\", rate: 1000 } }\n  probe: { \
         transform: GUEST(probe-run), from: in, with: { at: \"5\", then: fail } }\n  out: { sink: discard, from: probe \
         }\n",
    );
    let run = Watched::start(&scene, &["pipeline.yaml", "bad.yaml"]);
    let start = Instant::now();
    while get(&run.address, "/readyz") != (503, "not ready: failed: `bad`\n".to_owned()) {
        assert!(start.elapsed() < PATIENCE, "{:?}", get(&run.address, "/readyz"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(get(&run.address, "/livez").0, 200);
    let before = run.sample().count("endless", "in", "records_in");
    run.until("the other one goes on", |sample| sample.count("endless", "in", "records_in") > before);
    run.terminate();
    run.wait().code(1);
}

#[test]
fn an_address_that_is_taken_ends_it_before_anything_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.txt } }\n  out: { sink: file, from: in, with: { \
         path: out.txt } }\n",
    );
    scene.write("in.txt", "a\n");
    let ran = scene.run(&["run", "pipeline.yaml", "--metrics", &address]).code(2);
    ran.says(&[&format!("metrics cannot be served on {address}"), "that nobody uses"]);
    assert!(!scene.path("out.txt").exists());
}

/// Prometheus' own checker: on the path, or where `cargo xtask setup` has put it.
fn promtool() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let kept = places::cache().join("tools/promtool");
    let found = std::env::split_paths(&path).chain([kept]).map(|dir| dir.join("promtool"));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "promtool is missing");
        eprintln!("skipped: promtool is missing, which `cargo xtask setup` fetches");
    }
    found
}

/// What it says of an exposition, and whether it is content.
fn promtool_says(args: &[&str], scene: &Scene, input: &str) -> Option<(bool, String)> {
    let mut command = Command::new(promtool()?);
    command.args(args).current_dir(scene.path(".")).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn prometheus_reads_both_formats_and_has_nothing_to_say_of_them() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let scene = Scene::with(&format!(
        "pipeline: p\ncheckpoint: {{ interval: 20ms }}\nstages:\n  in: {{ source: generate, with: {{ template: \"{{{{seq}}}}\", \
         rate: 2000 }} }}\n  probe: {{ transform: GUEST(probe-run), from: in, with: {{ at: \"5\", then: panic }} }}\n  out: {{ \
         sink: discard, from: probe }}\n  taken: {{ source: http, with: {{ listen: \"{}\" }} }}\n  keys: {{ transform: \
         GUEST(probe-state), from: taken }}\n  kept: {{ sink: discard, from: keys }}\n",
        port.expect("a port")
    ));
    let run = Watched::start(&scene, &["pipeline.yaml", "--state", "state"]);
    run.until("a checkpoint behind a death", |sample| {
        sample.count("p", "probe", "deaths") > 0
            && sample.text.contains("conveyor_checkpoint_age_seconds{pipeline=\"p\"} ")
            && sample.text.contains("conveyor_stage_state_keys{")
    });
    let (_, head, text) = get_as(&run.address, "/metrics", "accept: text/plain;version=0.0.4, */*;q=0.1\r\n");
    let types = head.lines().find(|line| line.starts_with("content-type:"));
    assert_eq!(types, Some("content-type: text/plain; version=0.0.4; charset=utf-8"));
    for (name, kind) in [
        ("stage_records_in_total", "counter"),
        ("stage_limit_hits_total", "counter"),
        ("source_connections_total", "counter"),
        ("pipeline_restarts_total", "counter"),
        ("spool_bytes", "gauge"),
        ("checkpoint_number", "gauge"),
        ("source_lag_records", "gauge"),
        ("stage_batch_seconds", "summary"),
    ] {
        assert!(text.contains(&format!("\n# TYPE conveyor_{name} {kind}\n")), "{name}: {text}");
    }
    if let Some(said) = promtool_says(&["check", "metrics"], &scene, &text) {
        assert_eq!(said, (true, String::new()), "{text}");
    }
    let (_, head, text) =
        get_as(&run.address, "/metrics", "accept: application/openmetrics-text;version=1.0.0\r\n");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0;"), "{head}");
    assert!(
        text.contains("\n# TYPE conveyor_stage_records_in counter\n") && text.ends_with("# EOF\n"),
        "{text}"
    );
    // It takes in samples of this format that have a time.
    let timed =
        |line: &str| if line.starts_with('#') { format!("{line}\n") } else { format!("{line} 1700000000\n") };
    scene.write("metrics.txt", text.lines().map(timed).collect::<String>());
    let args = ["tsdb", "create-blocks-from", "openmetrics", "metrics.txt", "blocks"];
    if let Some((is_taken, said)) = promtool_says(&args, &scene, "") {
        assert!(is_taken, "{said}{text}");
    }
    run.terminate();
    run.wait().code(0);
}
