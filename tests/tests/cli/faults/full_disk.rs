//! A disk that is full, and has room again after a while: nothing is lost, and nobody has to start anything.

use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use super::Mount;
use super::flights::{end, expected, same, scene, start};
use crate::scene::Scene;
use crate::stopping::signal;

const MANIFEST: &str = "\
pipeline: full
checkpoint: { interval: 10ms }
stages:
FLIGHTS
    on-error: drop
  late: { transform: GUEST(filter), from: in, with: { where: delay > 0 } }
  row: { sink: file, from: late, with: { path: OUT/part.jsonl, rotate: { size: 1MiB } } }
";
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_full_disk_holds_a_pipeline_until_there_is_room_again() {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path().join("mnt");
    let Some(mounted) = Mount::at(at.clone(), &["-t", "tmpfs", "-o", "size=16m", "none"]) else { return };
    // Room for the state, and for some of the output.
    std::fs::write(mounted.path("ballast"), vec![1; 12 << 20]).expect("written");
    let scene = scene(MANIFEST, &at);
    let mut command = scene.command(&[
        "run",
        "pipeline.yaml",
        "--metrics",
        "127.0.0.1:0",
        "--state",
        &at.join("state").display().to_string(),
    ]);
    let log = std::fs::File::create(scene.path("log")).expect("a file");
    let mut child = command.stderr(log).spawn().expect("the binary starts");
    until_it_says("goes back to its last checkpoint", &scene, &mut child);
    // It is tried again and again, and waits.
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().expect("a child").is_none(), "it gave up: {}", scene.read("log"));
    std::fs::remove_file(mounted.path("ballast")).expect("removed");
    until_it_ends(&scene, &mut child);
    end(child).code(0);
    is_all_there(&at);
    // Where there was nothing to go back for, there is nothing to do.
    end(start(&scene, &at, None)).code(0).says(&["goes on from checkpoint", "0 read"]);
}

#[test]
fn a_start_on_a_full_disk_waits_until_there_is_room_or_it_is_stopped() {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path().join("mnt");
    let Some(mounted) = Mount::at(at.clone(), &["-t", "tmpfs", "-o", "size=16m", "none"]) else { return };
    let mut ballast = std::fs::File::create(mounted.path("ballast")).expect("a file");
    while ballast.write_all(&[1; 4096]).is_ok() {}
    drop(ballast);
    let scene = scene(MANIFEST, &at);
    let start = || {
        let state = at.join("state").display().to_string();
        let log = std::fs::File::create(scene.path("log")).expect("a file");
        let mut command = scene.command(&["run", "pipeline.yaml", "--state", &state]);
        command.stderr(log).spawn().expect("the binary starts")
    };
    let mut child = start();
    until_it_says("the pipeline waits for room, and then begins", &scene, &mut child);
    signal(&child, "TERM");
    until_it_ends(&scene, &mut child);
    end(child).code(1);
    assert!(scene.read("log").contains("free some space"), "{}", scene.read("log"));
    let mut child = start();
    until_it_says("the pipeline waits for room, and then begins", &scene, &mut child);
    std::fs::remove_file(mounted.path("ballast")).expect("removed");
    until_it_ends(&scene, &mut child);
    end(child).code(0);
    is_all_there(&at);
}

fn until_it_says(what: &str, scene: &Scene, child: &mut Child) {
    let begun = Instant::now();
    while !scene.read("log").contains(what) {
        let ended = child.try_wait().expect("a child");
        assert!(ended.is_none(), "it ended: {}", scene.read("log"));
        assert!(begun.elapsed() < PATIENCE, "it does not say {what}: {}", scene.read("log"));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn until_it_ends(scene: &Scene, child: &mut Child) {
    let begun = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        assert!(begun.elapsed() < PATIENCE, "it does not end: {}", scene.read("log"));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_all_there(at: &Path) {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(at.join("out")).expect("a directory").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a file");
        lines.extend(text.lines().map(str::to_owned));
    }
    same(lines, &expected().row, "after a full disk");
}
