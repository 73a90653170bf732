//! Somebody who takes a record a second, behind a source that could give millions: what is on its way stays small, and
//! checkpoints come through.

use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::scene::Scene;

/// Of a record. A pipe holds a few.
const RECORD_BYTES: usize = 16 << 10;
const GROWTH_MAX: u64 = 64 << 20;

/// Bytes of a process that are in memory.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}

#[test]
fn behind_a_slow_reader_memory_stays_flat_and_checkpoints_come_through() {
    let scene = Scene::with(&format!(
        "pipeline: slow\ncheckpoint: {{ interval: 500ms }}\nstages:\n  in: {{ source: generate, with: {{ template: \
         '{{{{seq}}}} {}' }} }}\n  all: {{ transform: GUEST(probe-run), from: in, with: {{ at: never, then: panic }} \
         }}\n  a: {{ transform: GUEST(probe-run), from: all, with: {{ at: never, then: panic }} }}\n  b: {{ transform: \
         GUEST(probe-run), from: all, with: {{ at: never, then: panic }} }}\n  out: {{ sink: stdout, from: [a, b] \
         }}\n",
        "x".repeat(RECORD_BYTES)
    ));
    let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let seconds = super::count(20, "SLOW_SECONDS");
    let mut record = vec![0; RECORD_BYTES];
    stdout.read_exact(&mut record).expect("a record");
    let (begun, start) = (Instant::now(), resident(child.id()));
    let mut most = start;
    for second in 1..=seconds as u64 {
        while begun.elapsed() < Duration::from_secs(second) {
            std::thread::sleep(Duration::from_millis(50));
            most = most.max(resident(child.id()));
        }
        stdout.read_exact(&mut record).expect("a record");
    }
    let listed = || scene.run(&["checkpoint", "list", "state", "--output", "json"]).code(0).stdout;
    child.kill().expect("killed");
    child.wait().expect("an end");
    let grown = most - start;
    eprintln!("{grown} bytes more than at the start, after {seconds} s");
    assert!(grown < GROWTH_MAX, "it grew by {grown} bytes from {start}");
    let listed: serde_json::Value = serde_json::from_str(&listed()).expect("JSON");
    let stored = listed[0]["checkpoints"].as_array().map_or(0, Vec::len);
    // A dozen records are on their way, in the pipe and before it.
    let least = seconds / 20;
    assert!(stored >= least, "{stored} checkpoints in {seconds} s: {listed}");
}
