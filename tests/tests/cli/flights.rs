//! Three million real flights through a stage that a few of them kill: every other one is delivered once and in
//! order, those few are dead letters that say why, and a mended stage gets them delivered too.
//!
//! What is to come of it is worked out here from the file by itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;

use arrow::array::{ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::places;
use crate::scene::Scene;

pub const FILE: &str = "flights-3m.parquet";
const HEADER: &str = "delay,distance,origin,destination,score,note\n";

/// What the stage is to make of the file.
struct Expected {
    rows: u64,
    /// Those that are delivered, as CSV.
    healthy: String,
    poison: Vec<Poison>,
}

struct Poison {
    offset: u64,
    code: &'static str,
    /// As it is delivered in the end.
    line: String,
}

/// How the stage of `guests/test/probe-flights` dies on a flight, or refuses it.
fn code(delay: i64, distance: i64, origin: &str, destination: &str) -> Option<&'static str> {
    if delay >= 24 * 60 {
        Some("trap")
    } else if distance == 896 {
        Some("out-of-fuel")
    } else if (origin, destination) == ("LFT", "IAH") {
        Some("out-of-memory")
    } else if (origin, destination) == ("SDF", "EWR") {
        Some("output-too-large")
    } else {
        matches!(distance, 1174 | 2027).then_some("no-such-route")
    }
}

fn expected() -> Expected {
    let file = File::open(flights().join(FILE)).expect("the flights");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|reader| reader.build());
    let mut expected = Expected { rows: 0, healthy: HEADER.to_owned(), poison: Vec::new() };
    for batch in reader.expect("a Parquet file") {
        let batch = batch.expect("rows");
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}")).clone();
        let texts =
            |name: &str| -> ArrayRef { arrow::compute::cast(&column(name), &DataType::Utf8).expect("texts") };
        let (delays, distances) = (column("delay"), column("distance"));
        let (origins, destinations) = (texts("origin"), texts("destination"));
        let (origins, destinations) = (origins.as_string::<i32>(), destinations.as_string::<i32>());
        for row in 0..batch.num_rows() {
            let delay = delays.as_primitive::<Int64Type>().value(row);
            let distance = distances.as_primitive::<Int64Type>().value(row);
            let (origin, destination) = (origins.value(row), destinations.value(row));
            let start = expected.healthy.len();
            let score = delay * 1000 / distance;
            writeln!(expected.healthy, "{delay},{distance},{origin},{destination},{score},").expect("a line");
            if let Some(code) = code(delay, distance, origin, destination) {
                let (offset, line) = (expected.rows, expected.healthy.split_off(start));
                expected.poison.push(Poison { offset, code, line });
            }
            expected.rows += 1;
        }
    }
    expected
}

fn scene() -> Scene {
    let scene = Scene::with(
        "pipeline: flights
stages:
  flights: { source: file, with: { path: flights-3m.parquet } }
  scores:
    transform: GUEST(probe-flights)
    from: flights
    limits: { memory: 32MiB, fuel-per-record: 20k, fuel-per-batch: 40M, output-bytes: 2MiB }
  out: { sink: file, from: scores, with: { path: out.csv } }
",
    );
    let linked = std::os::unix::fs::symlink(flights().join(FILE), scene.path(FILE));
    linked.expect("a link to the flights");
    scene
}

/// Where two long texts first differ.
#[track_caller]
fn assert_same(found: &str, expected: &str) {
    if found == expected {
        return;
    }
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {} differs", number + 1);
    }
    panic!("{} lines were delivered, {} are due", found.lines().count(), expected.lines().count());
}

#[test]
fn of_three_million_flights_the_poisonous_ones_are_dead_letters_and_every_other_one_is_delivered_once() {
    let expected = expected();
    assert!(expected.rows >= 1_000_000, "the data has {} rows", expected.rows);
    let mut by_code: BTreeMap<&str, u64> = BTreeMap::new();
    for poison in &expected.poison {
        *by_code.entry(poison.code).or_default() += 1;
    }
    assert!(by_code.len() == 5 && expected.poison.len() >= 30, "there is too little poison: {by_code:?}");

    let scene = scene();
    let ran = scene.run(&["run", "pipeline.yaml", "--output", "json"]).code(0);
    let pipeline = &ran.json()["pipelines"][0];
    let poison = expected.poison.len() as u64;
    assert_eq!(pipeline["stages"][0]["records_out"], expected.rows);
    assert_eq!(pipeline["stages"][1]["rejected"], poison);
    assert_eq!(pipeline["stages"][2]["records_in"], expected.rows - poison);
    for (code, count) in by_code.iter().filter(|(code, _)| **code != "no-such-route") {
        let hits = pipeline["stages"][1]["limits"][*code].as_u64().unwrap_or_default();
        // A batch of a thousand is halved ten times, and the stage dies at each.
        assert!((*count..=12 * count).contains(&hits), "{code}: {count} records, {hits} hits");
    }
    assert_same(&scene.read("out.csv"), &expected.healthy);

    let mut letters = scene.letters("flights.dead-letters");
    letters.sort_by_key(|letter| letter["origin"]["offset"].as_u64());
    let found: Vec<(u64, &str)> = letters.iter().map(place).collect();
    let due: Vec<(u64, &str)> = expected.poison.iter().map(|poison| (poison.offset, poison.code)).collect();
    assert_eq!(found, due);

    mended(&scene, &expected);
}

/// Where a letter's record comes from, and how it died.
fn place(letter: &Value) -> (u64, &str) {
    let origin = &letter["origin"];
    assert_eq!((&letter["stage"], &origin["source"]), (&"scores".into(), &"flights".into()), "{letter}");
    assert_eq!(origin["split"], FILE, "{letter}");
    let code = letter["code"].as_str().expect("a code");
    let is_death = code != "no-such-route";
    let has_place = letter["backtrace"].as_str().is_some_and(|backtrace| backtrace.contains("probe-flights"));
    assert_eq!(is_death && code != "output-too-large", has_place, "{letter}");
    (origin["offset"].as_u64().expect("an offset"), code)
}

/// The mended stage gets all the letters, once.
fn mended(scene: &Scene, expected: &Expected) {
    let replay = ["dlq", "replay", "pipeline.yaml", "--set", "scores.mended=true"];
    let through = format!("went through: {}; refused again: 0", expected.poison.len());
    scene.run(&replay).code(0).says(&[&through]);
    let again = scene.read("out-000001.csv");
    let mut delivered: Vec<&str> = again.strip_prefix(HEADER).expect("a header").lines().collect();
    let mut due: Vec<&str> = expected.poison.iter().map(|poison| poison.line.trim_end()).collect();
    delivered.sort_unstable();
    due.sort_unstable();
    assert_eq!(delivered, due);
    assert_same(&scene.read("out.csv"), &expected.healthy);

    scene.run(&replay).code(0).says(&["nothing is open"]);
    let files = std::fs::read_dir(scene.path(".")).expect("the directory").flatten();
    let csv = files.filter(|file| file.file_name().to_string_lossy().ends_with(".csv"));
    assert_eq!(csv.count(), 2, "a replay of nothing wrote something");
}

/// The directory of the real data, as `cargo xtask setup` fetched it.
pub fn flights() -> PathBuf {
    if let Some(dir) = std::env::var_os("CONVEYOR_DEMO_DATA") {
        return dir.into();
    }
    let tools = places::cache().join("tools");
    let entries = std::fs::read_dir(&tools).into_iter().flatten().flatten();
    let mut fetched = entries.map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("npm-demo-"))
            && path.join("ready").is_file()
    });
    let fetched = fetched
        .next()
        .unwrap_or_else(|| panic!("{} has no data of the demo: run `cargo xtask setup`", tools.display()));
    fetched.join("node_modules/vega-datasets/data")
}
