//! A clock that jumps, by years in both directions, while a pipeline runs and between its lives (libfaketime). Ids,
//! epochs, names of files and dead letters do not rest on it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::flights::same;
use crate::scene::{Ran, Scene};

const LINES: usize = 120_000;
/// Each so many-th line is refused.
const BAD_EACH: usize = 1_009;

const MANIFEST: &str = "\
pipeline: clock
checkpoint: { interval: 10ms }
stages:
  in: { source: file, with: { path: in.jsonl }, schema: { n: int }, batch: { records: 256 } }
  one: { sink: file, from: in, with: { path: one.csv } }
  row: { sink: file, from: in, with: { path: row/part.csv, rotate: { size: 64KiB, every: 1h } } }
";

/// Where the clock stands, as libfaketime reads it.
const JUMPS: [&str; 5] = ["+0", "-400d", "+400d", "-1h", "+3650d"];

/// The library that stands between a process and the clock; none, with a message, where it is not installed.
fn library() -> Option<PathBuf> {
    let found = std::fs::read_dir("/usr/lib").expect("a directory").flatten();
    let found =
        found.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "libfaketime is missing");
        eprintln!("skipped: libfaketime is missing, which `cargo xtask setup` installs");
    }
    found
}

#[test]
fn a_clock_that_jumps_loses_nothing_and_repeats_nothing() {
    let Some(library) = library() else { return };
    let scene = Scene::with(MANIFEST);
    let is_bad = |n: usize| n % BAD_EACH == BAD_EACH - 1;
    let line =
        |n: usize| if is_bad(n) { "{\"n\":\"late\"}\n".to_owned() } else { format!("{{\"n\":{n}}}\n") };
    scene.write("in.jsonl", (0..LINES).map(line).collect::<String>());
    let set = |jump: &str| {
        scene.write("clock.part", jump);
        std::fs::rename(scene.path("clock.part"), scene.path("clock")).expect("renamed");
    };
    let command = || {
        let mut command: Command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
        command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", scene.path("clock"));
        // What measures how long something takes goes on as ever, and so do the times of files.
        for (name, value) in
            [("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("NO_FAKE_STAT", "1")]
        {
            command.env(name, value);
        }
        command.stderr(Stdio::piped());
        command
    };
    let mut kills = 0;
    for (life, fault) in
        ["checkpoint-stored@1", "sinks-committed@1", "letters-synced@1", ""].iter().enumerate()
    {
        set(JUMPS[life]);
        let mut command = command();
        if !fault.is_empty() {
            command.env("CONVEYOR_FAULT", fault);
        }
        let mut child = command.spawn().expect("the binary starts");
        for jump in JUMPS.iter().cycle() {
            if child.try_wait().expect("a child").is_some() {
                break;
            }
            set(jump);
            std::thread::sleep(Duration::from_millis(3));
        }
        let ran = Ran::of(child.wait_with_output().expect("an end"));
        kills += usize::from(ran.code.is_none());
        assert!(matches!(ran.code, None | Some(0)), "{fault}: {}", ran.stderr);
    }
    assert_eq!(kills, 3, "a run was not killed");
    set("-400d");
    let ran =
        Ran::of(command().output().expect("an end")).code(0).says(&["goes on from checkpoint", "0 read"]);
    let mut expected: Vec<String> = (0..LINES).filter(|n| !is_bad(*n)).map(|n| n.to_string()).collect();
    expected.sort_unstable();
    let rows = |text: String| -> Vec<String> { text.lines().skip(1).map(str::to_owned).collect() };
    same(rows(scene.read("one.csv")), &expected, "one.csv");
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(scene.path("row")).expect("a directory").flatten() {
        lines.extend(rows(std::fs::read_to_string(entry.path()).expect("a file")));
    }
    same(lines, &expected, "the row of files");
    let letters = scene.letters("clock.dead-letters");
    assert_eq!(letters.len(), (0..LINES).filter(|n| is_bad(*n)).count(), "{}", ran.stderr);
    // The clock did jump: these letters were not written in the year of this test alone.
    let years: std::collections::BTreeSet<&str> =
        letters.iter().filter_map(|letter| letter["refused_at"].as_str()?.get(..4)).collect();
    assert!(years.len() > 1, "the clock stood still: {years:?}");
}
