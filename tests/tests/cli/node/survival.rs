//! What a node has come to is there after it was stopped or killed.

use super::{Up, append, in_order, lines, manifest, run, until};
use crate::scene::Scene;

#[test]
fn pipelines_come_back_after_a_stop_and_after_a_kill_and_go_on_where_they_were() {
    let scene = Scene::with(&manifest("1"));
    scene
        .write("in.csv", "id\n")
        .write("other.yaml", manifest("1").replace("orders", "other").replace("out.", "b."));
    let up = Up::start(&scene);
    run(&scene, &["deploy", "pipeline.yaml", "other.yaml", "--yes"]).code(0);
    run(&scene, &["pause", "other"]).code(0);
    append(&scene, "in.csv", 0..100);
    lines(&scene, "out.jsonl", 100);
    let stopped = up.stop().code(0);
    stopped.says(&["stopping"]).says_nothing_of(&["cut off"]);
    append(&scene, "in.csv", 100..200);
    for until_killed in [300, 400, 500] {
        let up = Up::start(&scene);
        append(&scene, "in.csv", until_killed - 100..until_killed);
        lines(&scene, "out.jsonl", until_killed as usize - 50);
        up.kill();
    }
    let up = Up::start(&scene);
    in_order(&lines(&scene, "out.jsonl", 500), 500);
    until(&scene, "other", |status| status["state"] == "paused");
    run(&scene, &["resume", "other"]).code(0);
    in_order(&lines(&scene, "b.jsonl", 500), 500);
    up.stop().code(0);
}
