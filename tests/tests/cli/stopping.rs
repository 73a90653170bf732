//! SIGINT and SIGTERM, sent to a real process.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::scene::{Ran, Scene, has_bytes};

/// Long enough for a machine that is busy, and far below the grace of a stop.
const PATIENCE: Duration = Duration::from_secs(8);

fn endless() -> Scene {
    Scene::with(
        "pipeline: endless\nstages:\n  in: { source: generate, with: { template: \"line {{seq}}\", rate: 2000 } }\n  \
         probe: { transform: GUEST(probe-run), from: in, with: { at: never, then: panic } }\n  out: { sink: file, \
         from: probe, with: { path: out.txt } }\n",
    )
}

fn start(scene: &Scene) -> Child {
    let mut command = scene.command(&["run", "pipeline.yaml"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.expect("the binary starts")
}

pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

/// Waits until the sink has written something, under whatever name it does so before it commits.
fn wait_for_records(scene: &Scene) {
    let start = Instant::now();
    loop {
        let entries = std::fs::read_dir(scene.path(".")).expect("the directory").flatten();
        if entries
            .into_iter()
            .any(|entry| entry.file_name().to_string_lossy().contains("out.txt") && has_bytes(&entry.path()))
        {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "no record came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_signal_ends_the_sources_drains_and_commits() {
    for name in ["INT", "TERM"] {
        let scene = endless();
        let child = start(&scene);
        wait_for_records(&scene);
        let asked = Instant::now();
        signal(&child, name);
        let ran = Ran::of(child.wait_with_output().expect("it ends")).code(0);
        let ran = ran.says(&["stopping: sources end and the rest drains", "pipeline endless: stopped"]);
        assert!(asked.elapsed() < PATIENCE, "{name}: it took {:?}", asked.elapsed());
        let lines = scene.read("out.txt");
        let last = lines.lines().count() - 1;
        assert!(lines.ends_with(&format!("line {last}\n")), "{name}: records are missing or cut: {lines}");
        let row = ran.stderr.lines().find(|line| line.trim_start().starts_with("out ")).expect("a row");
        let taken = row.split_whitespace().nth(1).expect("a count").replace(',', "");
        assert_eq!(taken, (last + 1).to_string(), "{name}: what the sink took is not what is there");
    }
}

/// A stage that is busy for longer than anybody waits, so that nothing drains.
fn stuck() -> Scene {
    Scene::with(
        "pipeline: stuck\nstages:\n  in: { source: generate, with: { template: \"{{seq}}\", rate: 1000 } }\n  probe: { \
         transform: GUEST(probe-run), from: in, with: { at: \"100\", then: loop }, limits: { batch-time: 60s, \
         fuel-per-record: 1000G, fuel-per-batch: 1000G } }\n  out: { sink: file, from: probe, with: { path: out.txt } \
         }\n",
    )
}

#[test]
fn a_second_signal_cuts_off_what_does_not_drain() {
    let scene = stuck();
    let child = start(&scene);
    wait_for_records(&scene);
    // It is in the loop once record 100 has come, a tenth of a second after the first.
    std::thread::sleep(Duration::from_millis(400));
    let asked = Instant::now();
    signal(&child, "TERM");
    std::thread::sleep(Duration::from_millis(200));
    signal(&child, "INT");
    let ran = Ran::of(child.wait_with_output().expect("it ends")).code(1);
    ran.says(&["stopped again: what is on its way is cut off", "pipeline `stuck` did not drain in time"]);
    assert!(asked.elapsed() < PATIENCE, "it took {:?}", asked.elapsed());
}

#[test]
fn a_reader_that_waits_for_more_does_not_hold_the_process() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: stdin, with: { format: lines } }\n  out: { sink: file, from: in, with: { \
         path: out.txt } }\n",
    );
    let mut command = scene.command(&["run", "pipeline.yaml"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"a\n").expect("written");
    wait_for_records(&scene);
    let asked = Instant::now();
    signal(&child, "INT");
    Ran::of(child.wait_with_output().expect("it ends")).code(0);
    assert!(asked.elapsed() < PATIENCE, "it took {:?}", asked.elapsed());
    assert_eq!(scene.read("out.txt"), "a\n");
    drop(stdin);
}
