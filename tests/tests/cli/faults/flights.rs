//! Real flights as numbered lines, a pipeline that spreads and joins them, and what is to come of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::flights::{FILE, flights};
use crate::scene::{Ran, Scene};

/// So many that a run takes several checkpoints.
pub const ROWS: usize = 400_000;
/// Each so many-th row is one that the source refuses.
const TORN_EACH: usize = 9_973;

/// One source that refuses a few rows; early and late flights by ways of their own, joined again; and sinks of each kind:
/// files, one of them of what a stage with state has counted, a row of files, and two that are written in place.
pub const MANIFEST: &str = "\
pipeline: kills
checkpoint: { interval: 10ms }
stages:
FLIGHTS
  early: { transform: GUEST(filter), from: in, with: { where: delay <= 0 } }
  late: { transform: GUEST(filter), from: in, with: { where: delay > 0 } }
  one: { sink: file, from: [early, late], with: { path: OUT/one.csv } }
  row: { sink: file, from: late, with: { path: OUT/row/part.jsonl, rotate: { size: 1MiB } } }
  so-far: { transform: GUEST(totals), from: late, with: { by: [distance], sum: { minutes: delay } } }
  sum: { sink: file, from: so-far, with: { path: OUT/sum.csv } }
  place: { sink: file, from: early, with: { path: OUT/place.csv, delivery: at-least-once } }
  seen: { sink: stdout, from: early, with: { format: csv } }
";

/// What stdout was.
const SEEN: &str = "seen.csv";

/// The lines that each sink is to have, sorted, and the rows that are refused.
pub struct Expected {
    pub input: String,
    pub one: Vec<String>,
    pub row: Vec<String>,
    pub sum: Vec<String>,
    pub place: Vec<String>,
    pub torn: Vec<usize>,
}

/// Worked out from the file by itself, once.
pub fn expected() -> &'static Expected {
    static EXPECTED: OnceLock<Expected> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let file = File::open(flights().join(FILE)).expect("the flights");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|reader| reader.build());
        let mut expected = Expected {
            input: "n,delay,distance\n".to_owned(),
            one: Vec::new(),
            row: Vec::new(),
            sum: Vec::new(),
            place: Vec::new(),
            torn: Vec::new(),
        };
        let mut n = 0;
        let mut totals: HashMap<i64, (u64, i64)> = HashMap::new();
        for batch in reader.expect("a Parquet file") {
            let batch = batch.expect("rows");
            let numbers = |name: &str| {
                let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}"));
                arrow::compute::cast(column, &DataType::Int64).expect("numbers")
            };
            let (delays, distances) = (numbers("delay"), numbers("distance"));
            let (delays, distances) =
                (delays.as_primitive::<Int64Type>(), distances.as_primitive::<Int64Type>());
            for row in (0..batch.num_rows()).filter(|row| delays.is_valid(*row)) {
                if n == ROWS {
                    return expected.sorted();
                }
                expected.add(n, delays.value(row), distances.value(row), &mut totals);
                n += 1;
            }
        }
        panic!("there are only {n} flights");
    })
}

impl Expected {
    /// `totals`: by distance, how many late flights there were so far, and for how many minutes.
    fn add(&mut self, n: usize, delay: i64, distance: i64, totals: &mut HashMap<i64, (u64, i64)>) {
        if n % TORN_EACH == TORN_EACH - 1 {
            writeln!(self.input, "{n},late,{distance}").expect("in memory");
            self.torn.push(n);
            return;
        }
        writeln!(self.input, "{n},{delay},{distance}").expect("in memory");
        self.one.push(format!("{n},{delay},{distance}"));
        if delay > 0 {
            let (count, minutes) = totals.entry(distance).or_default();
            (*count, *minutes) = (*count + 1, *minutes + delay);
            self.sum.push(format!("{n},{delay},{distance},{count},{minutes}"));
            self.row.push(format!("{{\"n\":{n},\"delay\":{delay},\"distance\":{distance}}}"));
        } else {
            self.place.push(format!("{n},{delay},{distance}"));
        }
    }

    fn sorted(mut self) -> Self {
        for lines in [&mut self.one, &mut self.row, &mut self.sum, &mut self.place] {
            lines.sort_unstable();
        }
        self
    }
}

/// What stands for `FLIGHTS` in a manifest.
const SOURCE: &str = "\
\x20 in:
    source: file
    with: { path: flights.csv }
    schema: { n: int, delay: int, distance: int }
    batch: { records: 512 }";

/// A scene with the input. `at`: where everything is written, `OUT` in the manifest.
pub fn scene(manifest: &str, at: &Path) -> Scene {
    let manifest = manifest.replace("FLIGHTS", SOURCE);
    let scene = Scene::with(&manifest.replace("OUT", &at.join("out").display().to_string()));
    scene.write("flights.csv", &expected().input);
    scene
}

/// Where stdout goes, all lives behind one another; half a line that a kill has left gets an end.
fn seen(scene: &Scene) -> File {
    let path = scene.path(SEEN);
    let before = std::fs::read(&path).unwrap_or_default();
    let mut file = File::options().append(true).create(true).open(path).expect("a file");
    if before.last().is_some_and(|last| *last != b'\n') {
        file.write_all(b"\n").expect("written");
    }
    file
}

/// Starts the pipeline with its state, and its dead letters, in `at`.
pub fn start(scene: &Scene, at: &Path, fault: Option<&str>) -> Child {
    let (state, letters) = (at.join("state").display().to_string(), at.join("letters").display().to_string());
    let mut command = scene.command(&["run", "pipeline.yaml", "--state", &state, "--dead-letters", &letters]);
    if let Some(fault) = fault {
        command.env("CONVEYOR_FAULT", fault);
    }
    command.stdout(seen(scene)).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

pub fn end(child: Child) -> Ran {
    Ran::of(child.wait_with_output().expect("an end"))
}

/// Holds what the sinks wrote against what is to be there; `what` happened before. Gives how many lines the sink that
/// does not commit has more than once.
pub fn check(scene: &Scene, at: &Path, what: &str) -> usize {
    let (expected, out) = (expected(), at.join("out"));
    let letters = scene.letters(&at.join("letters").display().to_string());
    assert_eq!(letters.len(), expected.torn.len(), "{what}: a refused row is missing or there twice");
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{what}: {}: {error}", path.display()))
    };
    let rows = |text: &str| -> Vec<String> { text.lines().skip(1).map(str::to_owned).collect() };
    same(rows(&read(out.join("one.csv"))), &expected.one, &format!("{what}: one.csv"));
    same(rows(&read(out.join("sum.csv"))), &expected.sum, &format!("{what}: sum.csv"));
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(out.join("row")).expect("a directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!name.starts_with('.'), "{what}: {name} was left behind");
        lines.extend(read(entry.path()).lines().map(str::to_owned));
    }
    same(lines, &expected.row, &format!("{what}: the row of files"));
    at_least_once(&read(out.join("place.csv")), &format!("{what}: place.csv, without repeats"))
        + at_least_once(&read(scene.path(SEEN)), &format!("{what}: stdout, without repeats"))
}

/// Gives how many lines came again.
fn at_least_once(text: &str, what: &str) -> usize {
    let expected = &expected().place;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    // A header comes with each life, and half a line with each kill.
    for line in text.lines().filter(|line| expected.binary_search_by(|one| one.as_str().cmp(line)).is_ok()) {
        *counts.entry(line).or_default() += 1;
    }
    let repeats = counts.values().map(|count| count - 1).sum();
    same(counts.into_keys().map(str::to_owned).collect(), expected, what);
    repeats
}

pub fn same(mut lines: Vec<String>, expected: &[String], what: &str) {
    lines.sort_unstable();
    if lines == expected {
        return;
    }
    let differs = lines.iter().zip(expected).position(|(line, expected)| line != expected);
    let at = differs.unwrap_or(lines.len().min(expected.len()));
    panic!(
        "{what}: {} lines instead of {}; sorted, line {at} is {:?} instead of {:?}",
        lines.len(),
        expected.len(),
        lines.get(at),
        expected.get(at),
    );
}
