//! A damaged file of checkpoints: it is named, nothing of it is used, and pipelines beside it have nothing to do with it.

use crate::scene::Scene;

/// Before the pages of the database, which are all struck.
const HEAD_BYTES: usize = 33 * 4096;

fn manifest(name: &str) -> String {
    format!(
        "pipeline: {name}\nstages:\n  in: {{ source: file, with: {{ path: in.txt }} }}\n  out: {{ sink: file, from: \
         in, with: {{ path: {name}.txt }} }}\n"
    )
}

#[test]
fn a_damaged_store_is_named_and_its_neighbours_go_on() {
    let scene = Scene::new();
    scene.write("in.txt", "one\ntwo\n").write("a.yaml", manifest("a")).write("b.yaml", manifest("b"));
    let run = |more: &[&str]| scene.run(&[&["run", "--state", "state"], more].concat());
    run(&["a.yaml", "b.yaml"]).code(0);
    let path = scene.path("state/a/checkpoints.redb");
    let mut bytes = std::fs::read(&path).expect("the store");
    bytes[HEAD_BYTES..].iter_mut().step_by(512).for_each(|byte| *byte ^= 4);
    std::fs::write(&path, &bytes).expect("written");
    let said = ["state/a/checkpoints.redb is damaged", "page", "--reset", "read from their beginning"];
    run(&["a.yaml"]).code(1).says(&said).says_nothing_of(&["panic"]);
    assert!(std::fs::read(&path).expect("the store") == bytes, "it was changed");
    for verb in ["inspect", "list"] {
        let looked = scene.run(&["checkpoint", verb, "state"]).code(1).says(&said);
        looked.says_nothing_of(&["panic"]).prints(&["b"]);
    }
    scene
        .run(&["checkpoint", "inspect", "state", "--pipeline", "b"])
        .code(0)
        .prints(&["pipeline b: checkpoint 1"]);
    scene.run(&["checkpoint", "inspect", "state", "--pipeline", "a"]).code(1).says(&said);
    run(&["b.yaml"]).code(0).says(&["pipeline b goes on from checkpoint 1"]);
    run(&["a.yaml", "--reset"]).code(0).says(&["pipeline a: done"]);
    assert_eq!(scene.read("a.txt"), "one\ntwo\n");
}
