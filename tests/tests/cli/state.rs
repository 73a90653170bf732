//! `run --state`: a pipeline that is killed goes on where it was, and what a user sees of it.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scene::{Ran, Scene};

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
const LINES: usize = 1_500_000;

/// Every tenth line is refused by the stage; the rest is delivered to a row of files and to a single one.
fn scene() -> Scene {
    let scene = Scene::with(
        "pipeline: kept\ncheckpoint: { interval: 20ms }\nstages:\n  in: { source: file, with: { path: in.jsonl, \
         format: lines } }\n  probe: { transform: GUEST(probe-run), from: in, with: { at: never, then: panic } }\n  \
         row: { sink: file, from: probe, with: { path: row/part.txt, rotate: { size: 1MiB } } }\n  one: { sink: \
         file, from: probe, with: { path: one.txt } }\n",
    );
    let mut lines = Vec::with_capacity(LINES * 24);
    for n in 0..LINES {
        writeln!(lines, "record number {n}").expect("in memory");
    }
    scene.write("in.jsonl", lines);
    scene
}

fn start(scene: &Scene, more: &[&str]) -> Child {
    let mut args = vec!["run", "pipeline.yaml", "--state", "state"];
    args.extend(more);
    let mut command = scene.command(&args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

/// The lines of all files of the row, which can be seen.
fn row(scene: &Scene) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(scene.path("row")) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    let read = |name: &String| scene.read(&format!("row/{name}"));
    names.iter().map(read).flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn assert_whole(lines: &[String], what: &str) {
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("record number {n}"), "{what}: line {n}");
    }
}

fn bytes_of(scene: &Scene, name: &str) -> u64 {
    std::fs::metadata(scene.path(name)).map_or(0, |there| there.len())
}

#[test]
fn a_pipeline_that_is_killed_again_and_again_delivers_every_record_once() {
    let scene = scene();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut kills, mut went_on) = (0, 0);
    let begun = Instant::now();
    let last = loop {
        assert!(begun.elapsed() < PATIENCE, "it does not come to its end after {kills} kills");
        let mut child = start(&scene, &[]);
        if kills < 8 {
            // Somewhere in the work, told by what can be seen, and not at the same place of a checkpoint each time.
            let seen = bytes_of(&scene, "one.txt");
            let waited = Instant::now();
            let ended = loop {
                if let Some(ended) = child.try_wait().expect("a child") {
                    break Some(ended);
                }
                if bytes_of(&scene, "one.txt") > seen || waited.elapsed() > Duration::from_secs(5) {
                    std::thread::sleep(Duration::from_micros(random.u64(0..15_000)));
                    break None;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            if ended.is_none() {
                child.kill().expect("killed");
                let ran = Ran::of(child.wait_with_output().expect("an end"));
                kills += u32::from(ran.code.is_none());
                went_on += u32::from(ran.stderr.contains("goes on from checkpoint"));
                // Readers never see what no checkpoint has: lines from the first on. In the single file the last one may
                // be cut, where the kill came while it was put in its place, which the next start does again.
                let one = std::fs::read_to_string(scene.path("one.txt")).unwrap_or_default();
                let whole = one.rfind('\n').map_or(0, |end| end + 1);
                let lines: Vec<String> = one[..whole].lines().map(str::to_owned).collect();
                assert_whole(&lines, "one.txt");
                let next = format!("record number {}", lines.len());
                assert!(next.starts_with(&one[whole..]), "it ends with `{}`", &one[whole..]);
                assert_whole(&row(&scene), "the row");
                continue;
            }
        }
        break Ran::of(child.wait_with_output().expect("an end"));
    };
    let ran = last.code(0);
    assert!(kills >= 3 && went_on >= 2, "{kills} kills, {went_on} runs went on: {}", ran.stderr);
    let one: Vec<String> = scene.read("one.txt").lines().map(str::to_owned).collect();
    for (lines, what) in [(one, "one.txt"), (row(&scene), "the row")] {
        assert_eq!(lines.len(), LINES, "{what}: records are missing or there twice");
        assert_whole(&lines, what);
    }
    let hidden = |dir: &str| {
        let entries = std::fs::read_dir(scene.path(dir)).expect("a directory").flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count()
    };
    assert_eq!((hidden("."), hidden("row")), (0, 0), "something hidden was left behind");
    // There is nothing more to do. What the last token had still to be put in its place is not in the next one, so that
    // there may be one more.
    Ran::of(start(&scene, &[]).wait_with_output().expect("an end")).code(0).says(&["0 read"]);
    let ran = Ran::of(start(&scene, &[]).wait_with_output().expect("an end")).code(0);
    ran.says(&["goes on from checkpoint", "nothing new since checkpoint"]);
    assert_eq!(row(&scene).len(), LINES);
}

#[test]
fn checkpoints_can_be_listed_and_looked_into() {
    let scene = Scene::with(
        "pipeline: small\nstages:\n  in: { source: file, with: { path: in.txt } }\n  out: { sink: file, from: in, \
         with: { path: out.txt } }\n",
    );
    scene.write("in.txt", "a\nb\n");
    scene.run(&["checkpoint", "list", "state"]).code(2).says(&["there are no checkpoints in state"]);
    let ran = scene.run(&["run", "pipeline.yaml", "--state", "state", "--output", "json"]).code(0);
    let summary: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(summary["pipelines"][0]["checkpoints"]["number"], 1);
    scene.run(&["checkpoint", "list", "state"]).code(0).prints(&["small", "taken at", "new bytes"]);
    let listed = scene.run(&["checkpoint", "list", "state", "--output", "json"]).code(0);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    assert_eq!(listed[0]["checkpoints"][0]["number"], 1);
    scene.run(&["checkpoint", "inspect", "state"]).code(0).prints(&[
        "pipeline small: checkpoint 1",
        "committed by all sinks",
        "source in  in.txt",
        "sink out",
    ]);
    let looked = scene.run(&["checkpoint", "inspect", "state", "--pipeline", "small", "--output", "json"]);
    let looked: Value = serde_json::from_str(&looked.code(0).stdout).expect("JSON");
    assert_eq!(looked[0]["is_committed"], true);
    scene.run(&["checkpoint", "inspect", "state", "--pipeline", "other"]).code(2);
}

#[test]
fn a_manifest_that_cannot_go_on_is_refused_with_what_to_do() {
    let manifest = |source: &str, with: &str| {
        format!(
            "pipeline: p\nstages:\n  {source}: {{ source: file, with: {{ path: in.txt{with} }} }}\n  out: {{ sink: \
             file, from: {source}, with: {{ path: out.txt, format: lines }} }}\n"
        )
    };
    let scene = Scene::with(&manifest("in", ""));
    scene.write("in.txt", "a\nb\n");
    let run = |more: &[&str]| {
        let mut args = vec!["run", "pipeline.yaml", "--state", "state"];
        args.extend(more);
        scene.run(&args)
    };
    run(&[]).code(0);
    scene.write("pipeline.yaml", manifest("in", ", format: bytes"));
    run(&[]).code(2).says(&[
        "cannot go on from checkpoint 1",
        "`format` was `lines` and is `bytes`",
        "--forget in",
        "--reset",
    ]);
    scene.write("pipeline.yaml", manifest("lines", ""));
    run(&[]).code(2).says(&["there is no source `in` any more", "--rename in=NEW"]);
    run(&["--rename", "in"]).code(2).says(&["write OLD=NEW"]);
    scene.write("in.txt", "a\nb\nc\n");
    run(&["--rename", "in=lines"]).code(0).says(&["goes on from checkpoint 1", "1 read"]);
    assert_eq!(scene.read("out.txt"), "a\nb\nc\n");
    // A file that is another one now.
    scene.write("in.txt", "other\n");
    run(&[]).code(2).says(&["in.txt", "--reset"]);
    run(&["--reset"]).code(0);
    assert_eq!(scene.read("out.txt"), "other\n");
    scene.run(&["run", "pipeline.yaml", "--reset"]).code(2).says(&["--state"]);
}

#[test]
fn a_state_that_is_no_directory_is_a_mistake_on_the_command_line() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.txt } }\n  out: { sink: file, from: in, with: { \
         path: out.txt } }\n",
    );
    scene.write("in.txt", "a\n");
    let refused = scene.run(&["run", "pipeline.yaml", "--state", "in.txt"]).code(2);
    refused.says(&["in.txt is no directory; name one with `--state`"]);
    scene.run(&["run", "pipeline.yaml", "--state", "in.txt", "--reset"]).code(2);
    let refused = scene.run(&["run", "pipeline.yaml", "--state", "in.txt/state"]).code(2);
    refused.says(&["checkpoints cannot be kept in in.txt/state/p", "`--state`"]);
    assert_eq!(scene.read("in.txt"), "a\n");
}

#[test]
fn stdin_says_that_it_cannot_be_read_again_and_one_process_has_the_state() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: stdin }\n  out: { sink: file, from: in, with: { path: out.txt } }\n",
    );
    let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"a\n").expect("written");
    let waited = Instant::now();
    while bytes_of(&scene, "out.txt") == 0 {
        assert!(waited.elapsed() < PATIENCE, "nothing was committed while it ran");
        std::thread::sleep(Duration::from_millis(5));
    }
    let ran = scene.run(&["run", "pipeline.yaml", "--state", "state"]).code(2);
    ran.says(&["is used by another process: the pipeline may be running already"]);
    stdin.write_all(b"b\n").expect("written");
    drop(stdin);
    let ran = Ran::of(child.wait_with_output().expect("an end")).code(0);
    ran.says(&["`in` of `p` reads stdin, which cannot be read again"]);
    assert_eq!(scene.read("out.txt"), "a\nb\n");
}

#[test]
fn refused_records_that_come_again_are_kept_once() {
    let scene = Scene::with(
        "pipeline: p\ncheckpoint: { interval: 1h }\nstages:\n  in: { source: file, schema: { n: int }, with: { path: \
         in.csv, follow: true, poll: 10ms } }\n  out: { sink: file, from: in, with: { path: out.jsonl } }\n",
    );
    scene.write("in.csv", "n\n1\nx\n2\ny\n3\n");
    for _ in 0..2 {
        let mut child = start(&scene, &[]);
        let waited = Instant::now();
        let store = scene.path("p.dead-letters");
        while !store.is_dir() || scene.letters("p.dead-letters").len() < 2 {
            assert!(waited.elapsed() < PATIENCE, "nothing was refused");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
        child.kill().expect("killed");
        child.wait().expect("an end");
    }
    let letters = scene.letters("p.dead-letters");
    let offsets: Vec<&Value> = letters.iter().map(|letter| &letter["origin"]["offset"]).collect();
    assert_eq!(offsets, [1, 3], "both runs refused both, and each is there once");
}

#[test]
fn a_file_that_a_checkpoint_is_behind_may_be_gone_and_no_other() {
    let manifest = |path: &str, more: &str| {
        format!(
            "pipeline: p\nstages:\n  in: {{ source: file, {more} with: {{ path: {path} }} }}\n  out: {{ sink: file, from: in, \
             with: {{ path: out.txt }} }}\n"
        )
    };
    let run = |scene: &Scene, more: &[&str]| {
        scene.run(&[&["run", "pipeline.yaml", "--state", "state"], more].concat())
    };
    for path in ["a.log", "'*.log'"] {
        let scene = Scene::with(&manifest(path, ""));
        run(&scene, &[]).code(2).says(&[path.trim_matches('\'')]);
        scene.write("a.log", "one\n");
        run(&scene, &[]).code(0);
        std::fs::remove_file(scene.path("a.log")).expect("removed");
        run(&scene, &[]).code(0);
        assert_eq!(scene.read("out.txt"), "one\n", "{path}");
        scene.write("pipeline.yaml", manifest(&format!("[{path}, b.txt]"), ""));
        run(&scene, &[]).code(2).says(&["b.txt"]);
        scene.write("pipeline.yaml", manifest(&format!("[{path}, 'b*.txt']"), ""));
        run(&scene, &[]).code(2).says(&["b*.txt", "no file matches it"]);
        scene.write("b.txt", "two\n");
        run(&scene, &[]).code(0);
        assert_eq!(scene.read("out.txt"), "one\ntwo\n", "{path}");
        run(&scene, &["--reset"]).code(2).says(&[path.trim_matches('\'')]);
    }

    // Where columns are found in files, one has to be left, or be declared.
    let scene = Scene::with(&manifest("a.csv", "").replace("out.txt", "out.jsonl"));
    scene.write("a.csv", "n\n1\n");
    run(&scene, &[]).code(0);
    std::fs::remove_file(scene.path("a.csv")).expect("removed");
    run(&scene, &[]).code(2).says(&["declare the columns under `schema`"]);
    scene.write("pipeline.yaml", manifest("a.csv", "schema: { n: int },").replace("out.txt", "out.jsonl"));
    run(&scene, &[]).code(0);
}
