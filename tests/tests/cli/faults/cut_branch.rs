//! A branch that is cut off while the rest goes on (`on-failure: continue`), and perhaps a kill behind that: what it did not
//! take is kept, a replay delivers it, and no record is delivered twice.

use std::collections::BTreeSet;

use super::flights::same;
use crate::scene::{Ran, Scene};

const LINES: usize = 6_000;
/// The record at which the branch fails for good.
const LAST_STRAW: usize = 3_000;

/// A branch that fails.
struct Branch {
    stages: &'static str,
    /// What makes it fail, and what stands there when it is mended.
    fails: String,
    mended: &'static str,
    /// What it has delivered.
    delivered: fn(&Scene) -> Vec<String>,
}

fn line(n: usize) -> String {
    format!("record {n:05}")
}

/// A sink that commits, and that has taken more than it has made durable when it gives up.
fn sink() -> Branch {
    Branch {
        stages: "  store: { sink: GUEST(probe-store), from: in, with: FAILS, grants: { dirs: [{ host: out, guest: /out, \
                 mode: rw }] } }\n",
        fails: format!("{{ gives-up: [{}] }}", line(LAST_STRAW)),
        mended: "{}",
        delivered: |scene| {
            let parts = std::fs::read_dir(scene.path("out")).expect("a directory").flatten();
            let parts = parts.filter(|part| part.file_name().to_string_lossy().starts_with("part-"));
            let texts = parts.map(|part| std::fs::read_to_string(part.path()).expect("a file"));
            texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
        },
    }
}

/// A transform with a file behind it.
fn transform() -> Branch {
    Branch {
        stages: "  store: { transform: GUEST(probe-run), from: in, with: FAILS }\n  one: { sink: file, from: store, with: { \
                 path: one.txt } }\n",
        fails: format!("{{ at: {}, then: fail }}", line(LAST_STRAW)),
        mended: "{ at: never, then: fail }",
        delivered: |scene| scene.read("one.txt").lines().map(str::to_owned).collect(),
    }
}

impl Branch {
    fn manifest(&self, with: &str) -> String {
        format!(
            "pipeline: cut\non-failure: continue\ncheckpoint: {{ interval: 10ms }}\nstages:\n  in: {{ source: file, with: {{ \
             path: in.txt }}, batch: {{ records: 16 }} }}\n{}  all: {{ sink: file, from: in, with: {{ path: all.txt }} }}\n",
            self.stages.replace("FAILS", with)
        )
    }

    fn scene(&self) -> (Scene, Vec<String>) {
        let scene = Scene::with(&self.manifest(&self.fails));
        let lines: Vec<String> = (0..LINES).map(line).collect();
        scene.write("in.txt", lines.join("\n") + "\n");
        std::fs::create_dir(scene.path("out")).expect("a directory");
        (scene, lines)
    }
}

fn run(scene: &Scene, fault: Option<&str>) -> Ran {
    let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
    if let Some(fault) = fault {
        command.env("CONVEYOR_FAULT", fault);
    }
    Ran::of(command.output().expect("the binary starts"))
}

/// The records that are kept, by their offsets.
fn kept(scene: &Scene) -> Vec<String> {
    let letters = scene.letters("cut.dead-letters");
    assert!(letters.iter().all(|letter| letter["code"] == "branch-cut" && letter["stage"] == "store"));
    let offset = |letter: &serde_json::Value| letter["origin"]["offset"].as_u64().expect("an offset");
    letters.iter().map(|letter| line(offset(letter) as usize)).collect()
}

const REPLAY: &str = "conveyor dlq replay pipeline.yaml --code branch-cut --state state";

/// A pipeline that was killed when letters were durable and the checkpoint behind them was not: their records come again.
fn killed_behind_the_cut(branch: &Branch) -> (Scene, Vec<String>) {
    for nth in 2..20 {
        let (scene, lines) = branch.scene();
        let ran = run(&scene, Some(&format!("checkpoint-complete@{nth}")));
        if ran.code.is_none() && scene.path("cut.dead-letters").exists() && !kept(&scene).is_empty() {
            return (scene, lines);
        }
    }
    panic!("no run was killed behind the cut");
}

/// Cut off, killed or not, mended, run on, and replayed.
#[track_caller]
fn cut_and_mend(branch: &Branch, is_killed: bool) {
    let (scene, lines) = if is_killed { killed_behind_the_cut(branch) } else { branch.scene() };
    if !is_killed {
        let ran =
            run(&scene, None).code(1).says(&["went on without a branch", "a replay sends it in", REPLAY]);
        same(scene.read("all.txt").lines().map(str::to_owned).collect(), &lines, &ran.stderr);
        // Nothing is left to read, and yet not all is well.
        run(&scene, None).code(1).says(&["0 read", "are open dead letters", REPLAY]);
    }
    scene.write("pipeline.yaml", branch.manifest(branch.mended));
    let ran = scene.run(&["run", "pipeline.yaml", "--state", "state", "--output", "json"]).code(1);
    let ran = ran.says(&["open dead letter", REPLAY]);
    let stages = ran.json()["pipelines"][0]["stages"].clone();
    let store = stages.as_array().and_then(|stages| stages.iter().find(|stage| stage["stage"] == "store"));
    let again = store.and_then(|store| store["rejected"].as_u64());
    assert_eq!(again > Some(0), is_killed, "{again:?} records that were kept came again");
    let (taken, left) = ((branch.delivered)(&scene), kept(&scene));
    assert!(!left.is_empty(), "nothing is kept, and {} records were taken", taken.len());
    same([taken, left].concat(), &lines, "what was taken and what was kept");
    same(scene.read("all.txt").lines().map(str::to_owned).collect(), &lines, "the branch beside it");
    let replay = ["dlq", "replay", "pipeline.yaml", "--code", "branch-cut", "--state", "state"];
    scene.run(&replay).code(0);
    run(&scene, None).code(0).says(&["0 read"]).says_nothing_of(&["open dead letter"]);
    same((branch.delivered)(&scene), &lines, "what was delivered in the end");
}

#[test]
fn what_a_cut_sink_lacks_is_kept_from_the_last_checkpoint_on_and_delivered_once() {
    [false, true].into_iter().for_each(|is_killed| cut_and_mend(&sink(), is_killed));
}

#[test]
fn what_a_cut_transform_did_not_take_is_kept_and_delivered_once() {
    [false, true].into_iter().for_each(|is_killed| cut_and_mend(&transform(), is_killed));
}

#[test]
fn a_full_store_stops_the_pipeline_and_nothing_is_lost() {
    let branch = sink();
    let (scene, lines) = branch.scene();
    let full = ["run", "pipeline.yaml", "--state", "state", "--dead-letters-max-bytes", "20000"];
    scene.run(&full).code(1).says(&["the dead-letter store cut.dead-letters has"]);
    scene.write("pipeline.yaml", branch.manifest(branch.mended));
    run(&scene, None).code(1).says(&["goes on from checkpoint", "open dead letter"]);
    scene.run(&["dlq", "replay", "pipeline.yaml", "--state", "state"]).code(0);
    let delivered: BTreeSet<String> = (branch.delivered)(&scene).into_iter().collect();
    same(delivered.into_iter().collect(), &lines, "what was delivered in the end");
    same((branch.delivered)(&scene), &lines, "and once");
}
