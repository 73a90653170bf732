//! SIGINT and SIGTERM, sent to a real process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::compiling::{PIPELINE, bomb};
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
    let mut child = start(&scene);
    wait_for_records(&scene);
    // It is in the loop once record 100 has come, a tenth of a second after the first.
    std::thread::sleep(Duration::from_millis(400));
    let asked = Instant::now();
    // As `timeout` sends them: those within a second are one.
    let both = format!("kill -s TERM {0}; sleep 0.05; kill -s TERM {0}", child.id());
    assert!(Command::new("sh").args(["-c", &both]).status().expect("sh runs").success());
    // Where it took longer than that to send them, they were two.
    if asked.elapsed() < Duration::from_millis(900) {
        // What has been cut off would have ended long ago.
        std::thread::sleep(Duration::from_millis(1500));
        assert!(child.try_wait().expect("a child").is_none(), "one stop was taken for two");
    }
    // A machine that is busy may have seen the first one late.
    while child.try_wait().expect("a child").is_none() {
        signal(&child, "INT");
        std::thread::sleep(Duration::from_millis(300));
    }
    let ran = Ran::of(child.wait_with_output().expect("it ends")).code(1);
    ran.says(&[
        "stopped again: what is on its way is cut off",
        "pipeline `stuck` was cut off before it had drained",
        "it has 10 s to drain",
    ]);
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

/// A run of which one thread waits for something that never comes. It has opened nothing more when this is back, or waits.
fn start_waiting(scene: &Scene) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut command = scene.command(&["run", "pipeline.yaml", "--metrics", "127.0.0.1:0"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    // From here on signals are listened to.
    assert!(line.starts_with("metrics are on"), "{line}");
    (child, stderr)
}

/// Its code, and what it said. One that does not end is killed.
fn ended(mut child: Child, mut stderr: BufReader<std::process::ChildStderr>) -> (Option<i32>, String) {
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().expect("killed");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    (status.code(), said)
}

#[test]
fn a_stop_comes_through_while_the_first_bytes_are_waited_for() {
    let source = |with: &str| format!("in: {{ source: {with} }}\n  out: {{ sink: stdout, from: in }}");
    let cases = [
        source("stdin, with: { format: jsonl }"),
        source("stdin, with: { format: csv }"),
        source("stdin"),
        source("file, with: { path: pipe, format: lines }"),
        source("file, with: { path: pipe, format: lines, follow: true }"),
        source("file, with: { path: pipe, format: jsonl }, schema: { a: int }"),
        "in: { source: generate, with: { template: x, rate: 1 } }\n  out: { sink: file, from: in, with: { path: pipe, format: lines } }"
            .to_owned(),
    ];
    for (stages, name) in cases.iter().zip(["INT", "TERM"].into_iter().cycle()) {
        let scene = Scene::with(&format!("pipeline: p\nstages:\n  {stages}\n"));
        mkfifo(&scene);
        let (child, stderr) = start_waiting(&scene);
        // Held back where a stop would let go of the pipe alone. It may have come to where it waits, or not.
        std::thread::sleep(Duration::from_millis(100));
        signal(&child, name);
        let (code, said) = ended(child, stderr);
        assert_eq!(code, Some(0), "{stages}: {said}");
        assert!(said.contains("stopped"), "{stages}: {said}");
    }
}

/// A process that this one has started.
fn child_of(parent: u32) -> Option<u32> {
    std::fs::read_dir("/proc").expect("processes").flatten().find_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let behind_name = stat.rsplit_once(')')?.1;
        let is_it = behind_name.split_whitespace().nth(1)?.parse() == Ok(parent);
        if is_it { entry.file_name().to_str()?.parse().ok() } else { None }
    })
}

#[test]
fn a_stop_while_a_component_is_compiled_ends_both() {
    let scene = Scene::with(PIPELINE);
    scene.write("bomb.wasm", bomb(200_000));
    let (child, stderr) = start_waiting(&scene);
    let start = Instant::now();
    let compiler = loop {
        assert!(start.elapsed() < PATIENCE, "nothing is compiled");
        match child_of(child.id()) {
            Some(compiler) => break compiler,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    signal(&child, "TERM");
    let (code, said) = ended(child, stderr);
    assert!(code == Some(0) && said.contains("nothing ran"), "{code:?}: {said}");
    let stat = format!("/proc/{compiler}/stat");
    let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    let stopped = Instant::now();
    while !is_gone() {
        assert!(stopped.elapsed() < Duration::from_secs(2), "it compiles on for nobody");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn mkfifo(scene: &Scene) {
    let made = Command::new("mkfifo").arg(scene.path("pipe")).status().expect("mkfifo is there");
    assert!(made.success());
}

#[test]
fn a_pipe_is_opened_once_and_nothing_of_it_is_lost() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: pipe, format: lines } }\n  out: { sink: file, from: in, \
         with: { path: out.txt } }\n",
    );
    mkfifo(&scene);
    // It waits for a reader already, writes as soon as there is one, and closes.
    let mut writer = Command::new("sh").args(["-c", "echo a > pipe"]).current_dir(scene.path(".")).spawn();
    let writer = writer.as_mut().expect("sh runs");
    std::thread::sleep(Duration::from_millis(100));
    let (child, stderr) = start_waiting(&scene);
    let (code, said) = ended(child, stderr);
    let _ = writer.kill();
    writer.wait().expect("it ends");
    assert_eq!((code, scene.read("out.txt").as_str()), (Some(0), "a\n"), "{said}");
    // Of Parquet the end is read first.
    scene.write("pipeline.yaml", scene.read("pipeline.yaml").replace("format: lines", "format: parquet"));
    scene.run_pipeline().code(2).says(&["it is a pipe or a device, and Parquet is read from its end"]);
}
