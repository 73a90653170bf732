//! Deploys, revisions that take over, and what is taken back.

use serde_json::json;

use super::{Up, append, in_order, lines, manifest, run, status, until};
use crate::scene::Scene;

/// A pipeline over `in.csv`, whose first revision runs.
fn deployed() -> (Scene, Up) {
    let scene = Scene::with(&manifest("1"));
    scene.write("in.csv", "id\n");
    let up = Up::start(&scene);
    run(&scene, &["deploy", "pipeline.yaml", "--yes"])
        .code(0)
        .says(&["default/orders is new", "revision 1 runs"]);
    (scene, up)
}

#[test]
fn revisions_take_over_at_a_barrier_and_each_record_is_there_once() {
    let (scene, up) = deployed();
    append(&scene, "in.csv", 0..100);
    lines(&scene, "out.jsonl", 100);
    scene.write("pipeline.yaml", manifest("2"));
    let dry = run(&scene, &["deploy", "pipeline.yaml", "--dry-run"]).code(0);
    dry.says(&["pipeline default/orders has revision 1 and changes", "rev: \"2\""]);
    assert_eq!(status(&scene, "orders")["revision"], 1, "nothing was done");
    // Rows come while one takes over from the other.
    append(&scene, "in.csv", 100..150);
    let ran = run(&scene, &["deploy", "pipeline.yaml", "--yes", "--output", "json"]).code(0);
    assert_eq!(ran.json()["pipelines"][0]["revision"], 2);
    append(&scene, "in.csv", 150..200);
    let records = lines(&scene, "out.jsonl", 200);
    in_order(&records, 200);
    let revs: Vec<i64> = records.iter().filter_map(|record| record["rev"].as_i64()).collect();
    assert!(revs.is_sorted() && revs[99] == 1 && revs[199] == 2, "{revs:?}");

    run(&scene, &["rollback", "orders"]).code(0);
    until(&scene, "orders", |status| status["state"] == "running" && status["here"]["revision"] == 1);
    append(&scene, "in.csv", 200..250);
    let records = lines(&scene, "out.jsonl", 250);
    in_order(&records, 250);
    assert_eq!(records[249], json!({ "id": 249, "rev": 1 }));

    run(&scene, &["pause", "orders"]).code(0);
    until(&scene, "orders", |status| status["state"] == "paused");
    append(&scene, "in.csv", 250..260);
    run(&scene, &["resume", "orders"]).code(0);
    in_order(&lines(&scene, "out.jsonl", 260), 260);

    let listed = run(&scene, &["list", "--output", "json"]).code(0).json();
    assert_eq!(listed["pipelines"][0]["name"], "orders");
    let history = run(&scene, &["history", "orders", "--output", "json"]).code(0).json();
    assert_eq!(history["revisions"].as_array().map(Vec::len), Some(2));
    run(&scene, &["delete", "orders", "--yes"]).code(0);
    let gone = || run(&scene, &["list", "--output", "json"]).code(0).json()["pipelines"] == json!([]);
    let begun = std::time::Instant::now();
    while !gone() {
        assert!(begun.elapsed() < crate::watching::PATIENCE, "it is still there");
    }
    assert!(!scene.path("data/pipelines/1/orders").exists(), "its checkpoints are gone");
    up.stop().code(0);
}

#[test]
fn a_revision_that_fails_or_refuses_too_much_gives_way_to_the_one_before() {
    let (scene, up) = deployed();
    append(&scene, "in.csv", 0..10);
    lines(&scene, "out.jsonl", 10);
    // It runs, and fails at the first record.
    let fails = manifest("id + 9223372036854775807").replace("from: in,", "from: in, on-error: fail,");
    scene.write("pipeline.yaml", fails);
    run(&scene, &["deploy", "pipeline.yaml", "--yes", "--no-wait"]).code(0);
    append(&scene, "in.csv", 10..20);
    in_order(&lines(&scene, "out.jsonl", 20), 20);
    until(&scene, "orders", |status| status["revision"] == 1 && status["state"] == "running");
    // It refuses all that it gets.
    scene.write("pipeline.yaml", manifest("id + 9223372036854775807"));
    run(&scene, &["deploy", "pipeline.yaml", "--yes"]).code(0);
    append(&scene, "in.csv", 20..2020);
    until(&scene, "orders", |status| status["revision"] == 1 && status["state"] == "running");
    append(&scene, "in.csv", 2020..2030);
    let events = run(&scene, &["events", "--output", "json"]).code(0).stdout;
    assert!(events.contains("did not pass its gate: it rejected 2000 of 2000 records"), "{events}");
    drop(up);
}
