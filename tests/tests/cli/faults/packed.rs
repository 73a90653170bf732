//! Fifty packed files, one behind the other, into totals by key and from there into two sinks that commit: killed again
//! and again, each total is what it has to be, and each sink has it once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::flights::same;
use super::{KILLED_AT, killed};
use crate::scene::Scene;

const FILES: usize = 50;
const LINES: usize = 2_000;

const MANIFEST: &str = "\
pipeline: packed
checkpoint: { interval: 10ms }
stages:
  in:
    source: file
    with: { path: 'in/*.csv.gz' }
    schema: { n: int, who: text, amount: int }
    batch: { records: 256 }
  so-far: { transform: GUEST(totals), from: in, with: { by: [who], sum: { spent: amount } } }
  sum: { sink: file, from: so-far, with: { path: sum.csv } }
  row: { sink: file, from: so-far, with: { path: row/part.csv, rotate: { size: 256KiB } } }
";

#[test]
fn fifty_packed_files_are_totalled_once_whenever_the_process_is_killed() {
    let scene = Scene::with(MANIFEST);
    let mut totals: HashMap<String, (usize, usize)> = HashMap::new();
    let mut expected = Vec::new();
    for file in 0..FILES {
        let mut text = "n,who,amount\n".to_owned();
        for n in file * LINES..(file + 1) * LINES {
            let (who, amount) = (format!("w{}", n * 7919 % 500), n % 100);
            writeln!(text, "{n},{who},{amount}").expect("in memory");
            let (count, spent) = totals.entry(who.clone()).or_default();
            (*count, *spent) = (*count + 1, *spent + amount);
            expected.push(format!("{n},{who},{amount},{count},{spent}"));
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).expect("in memory");
        scene.write(&format!("in/{file:02}.csv.gz"), packed.finish().expect("in memory"));
    }
    expected.sort_unstable();
    let kills = killed(&scene, "packed", &KILLED_AT);
    let rows = |text: &str| -> Vec<String> { text.lines().skip(1).map(str::to_owned).collect() };
    same(rows(&scene.read("sum.csv")), &expected, &format!("sum.csv after {kills}"));
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(scene.path("row")).expect("a directory").flatten() {
        lines.extend(rows(&std::fs::read_to_string(entry.path()).expect("a file")));
    }
    same(lines, &expected, &format!("the row of files after {kills}"));
    let shown = scene.run(&["checkpoint", "inspect", "state"]).code(0);
    shown.prints(&["state of so-far  500 keys", "committed by all sinks"]);
}
