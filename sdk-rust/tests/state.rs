//! State under test, as a stage uses it.
#![allow(clippy::unwrap_used)]

use conveyor_sdk::state::{self, Entries, KeyedState, StateValue, Values};
use conveyor_sdk::testing::{self, TransformTest, json};
use conveyor_sdk::{
    Batch, Emitter, Failure, Field, Fields, Kind, NoConfig, Result, Table, TableEmitter, TablePlan,
    TableTransform, Transform,
};

const COUNT: KeyedState<u64> = KeyedState::new("count");

/// Does what its records say.
struct Told;

impl Transform for Told {
    type Config = NoConfig;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Told)
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        for record in batch {
            let words: Vec<&str> = std::str::from_utf8(record.bytes())?.split(' ').collect();
            let answer = match words[..] {
                ["count", key] => {
                    let count = COUNT.get(key.as_bytes())?.unwrap_or(0) + 1;
                    COUNT.set(key.as_bytes(), Some(&count));
                    count.to_string()
                }
                ["put", key, name, value] => {
                    let (mut entries, mut values) = (Entries::with_names(), Values::new());
                    entries.push_named(key.as_bytes(), name.as_bytes());
                    values.push(Some(value.as_bytes()));
                    state::set(entries, values);
                    name.to_owned()
                }
                ["delete", key, name] => {
                    let mut entries = Entries::named(name);
                    entries.push(key.as_bytes());
                    state::delete(entries);
                    name.to_owned()
                }
                ["scan", key, prefix] => {
                    let found = state::scan(key.as_bytes(), prefix.as_bytes());
                    found.map(|(name, _)| String::from_utf8(name).unwrap()).collect::<Vec<_>>().join(",")
                }
                ["fill", key] => {
                    let (mut entries, mut values) = (Entries::with_names(), Values::new());
                    for n in 0..3000 {
                        entries.push_named(key.as_bytes(), format!("{n:04}").as_bytes());
                        values.push(Some(b"v"));
                    }
                    state::set(entries, values);
                    state::scan(key.as_bytes(), b"").count().to_string()
                }
                ["fail"] => return Err(Failure::fatal("as it was told")),
                ["long"] => {
                    COUNT.set(&[0; 5000], None);
                    String::new()
                }
                _ => return Err(Failure::fatal("it does not know that")),
            };
            out.emit(record, answer.as_bytes());
        }
        Ok(())
    }
}

fn told() -> TransformTest<Told> {
    testing::transform(json!({})).unwrap()
}

fn answers(stage: &mut TransformTest<Told>, lines: &[&str]) -> Vec<String> {
    stage.run(lines.iter().copied()).unwrap().values("main")
}

#[test]
fn what_was_written_stays_for_the_next_batch_and_the_next_instance() {
    let mut stage = told();
    assert_eq!(answers(&mut stage, &["count a", "count b", "count a"]), ["1", "1", "2"]);
    stage.recycle().unwrap();
    assert_eq!(answers(&mut stage, &["count a"]), ["3"]);
    assert_eq!(stage.state().get("a", "count"), Some(&3u64.to_le_bytes()[..]));
    assert_eq!(answers(&mut told(), &["count a"]), ["1"], "each stage under test has a state of its own");
}

#[test]
fn of_a_call_that_fails_nothing_stays() {
    let mut stage = told();
    answers(&mut stage, &["count a"]);
    let before = stage.state().clone();
    stage.run(["count a", "put k n v", "fail"]).unwrap_err();
    assert_eq!(*stage.state(), before);
    assert_eq!(answers(&mut stage, &["count a"]), ["2"]);
}

#[test]
fn names_are_scanned_in_order_page_by_page() {
    let mut stage = told();
    let lines =
        ["put k b1 x", "put k a x", "put k b0 x", "put other b2 x", "scan k b", "delete k b0", "scan k "];
    assert_eq!(answers(&mut stage, &lines)[4..], ["b0,b1", "b0", "a,b1"]);
    assert_eq!(answers(&mut stage, &["fill many"]), ["3000"]);
}

#[test]
#[should_panic(expected = "too long for a host")]
fn what_a_host_would_not_take_is_found_in_a_test() {
    answers(&mut told(), &["long"]);
}

#[test]
#[should_panic(expected = "state is there in `process` alone")]
fn there_is_no_state_outside_of_process() {
    let _ = COUNT.get(b"a");
}

/// Running maxima, read and written for a whole table at once.
struct Highest;

const HIGHEST: KeyedState<i64> = KeyedState::new("");

impl TableTransform for Highest {
    type Config = NoConfig;

    fn plan(_: &NoConfig, _: &Fields) -> Result<TablePlan> {
        let wanted = TablePlan::new().want(Field::new("n", Kind::S64s).required()).keys();
        Ok(wanted.set(Field::new("highest", Kind::S64s)))
    }

    fn open(_: NoConfig, _: &Fields) -> Result<Self> {
        Ok(Highest)
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        let mut highest =
            HIGHEST.read((0..table.len()).map(|row| table.keys().get(row).unwrap_or_default()))?;
        let values = table.s64s(0).values();
        out.forward_all();
        for (row, value) in values.iter().enumerate() {
            let now = highest.get(row).map_or(*value, |before| *before.max(value));
            out.set(conveyor_sdk::Port::MAIN).column(0).push_i64(now);
            // What is negative is forgotten, to see that none deletes.
            highest.change(row, |kept| *kept = (now >= 0).then_some(now));
        }
        highest.write();
        Ok(())
    }
}

#[test]
fn values_of_a_batch_are_read_changed_and_written_at_once() {
    let mut stage =
        testing::table_transform::<Highest>(json!({}), vec![Field::new("n", Kind::S64s)]).unwrap();
    let mut run = |rows: &[(&str, i64)]| -> Vec<i64> {
        let rows = rows.iter().map(|(key, n)| testing::row(json!({ "n": n })).key(key));
        let outcome = stage.run(rows).unwrap();
        outcome.rows("main").iter().map(|row| row["highest"].as_i64().unwrap()).collect()
    };
    assert_eq!(run(&[("a", 3), ("b", -1), ("a", 1), ("a", 7), ("b", -2)]), [3, -1, 3, 7, -2]);
    assert_eq!(run(&[("a", 5), ("b", -3)]), [7, -3]);
    assert_eq!(stage.state().len(), 1);
}

#[test]
fn values_are_read_as_they_were_written() {
    fn there_and_back<V: StateValue + PartialEq + std::fmt::Debug>(value: V) {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        assert_eq!(V::read(&bytes), Some(value));
    }
    there_and_back(-7i32);
    there_and_back(u64::MAX);
    there_and_back(0.5f64);
    there_and_back("text".to_owned());
    there_and_back(vec![0u8, 255]);
    assert_eq!(u64::read(b"seven b"), None);
    assert_eq!(String::read(b"\xff"), None);
}
