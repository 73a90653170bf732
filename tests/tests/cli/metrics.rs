//! `run --metrics`: what Prometheus and a supervisor see.

use std::time::{Duration, Instant};

use crate::scene::Scene;
use crate::watching::{PATIENCE, Watched, get};

#[test]
fn meters_and_readiness_are_served_on_the_address_that_was_asked_for() {
    let scene = Scene::with(
        "pipeline: endless\nstages:\n  in: { source: generate, with: { template: \"{{seq}}\", rate: 2000 } }\n  probe: \
         { transform: GUEST(probe-run), from: in, with: { at: \"5\", then: reject } }\n  out: { sink: discard, from: \
         probe }\n",
    );
    let run = Watched::start(&scene, &["pipeline.yaml"]);
    let sample = run.until("a refusal", |sample| sample.count("endless", "probe", "records_rejected") == 1);
    let text = sample.text;
    for name in ["records_in", "records_out", "fuel", "batches", "busy_seconds"] {
        let line = format!("conveyor_stage_{name}_total{{pipeline=\"endless\",stage=\"probe\"}} ");
        assert!(text.contains(&line), "{name}: {text}");
    }
    assert!(
        text.contains("conveyor_stage_batch_seconds{pipeline=\"endless\",stage=\"out\",quantile=\"0.99\"} "),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
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
    let ran = scene.run(&["run", "pipeline.yaml", "--metrics", &address]).code(1);
    ran.says(&[&format!("metrics cannot be served on {address}"), "that nobody uses"]);
    assert!(!scene.path("out.txt").exists());
}
