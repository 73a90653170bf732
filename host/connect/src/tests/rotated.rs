//! What rotating leaves behind: which files are a followed one's, and what a checkpoint keeps of those that are gone.

use model::limits::ENDED_SPLITS_MAX;
use model::plan::places::Place;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::follow::{Tail, append, copy_and_cut, lines, refs, rename, text};
use super::sinks::sink_spec;
use super::*;
use crate::plan_sink;

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn what_a_sink_of_the_run_writes_is_no_rotated_file_whatever_it_is_called() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    let (old, new, third, fourth) = (lines("old"), lines("new"), lines("third"), lines("fourth"));
    append(at, "a.log", &text(&old));
    let sinks = [
        json!({ "path": "a.log.2", "format": "lines" }),
        json!({ "path": "a.log.3.gz", "format": "lines" }),
        json!({ "path": "a.log", "rotate": { "size": "1MiB" } }),
    ];
    let written = |with: &Value| -> Vec<Place> {
        let planned = plan_sink(&sink_spec(at, "file", with.clone())).expect("a plan");
        planned.end().written()
    };
    let mut tail = Tail::beside(at, "a.log", sinks.iter().flat_map(written).collect());
    tail.expect(&refs(&old));
    // As a copy of what was read, and more.
    let write = |read: &[String]| {
        let text = format!("{}of a sink\n", text(read));
        write_file(at, "a.log.2", &text);
        write_file(at, "a.log.3.gz", gzip(text.as_bytes()));
        write_file(at, "a-000001.log", &text);
    };
    write(&old);
    std::fs::write(at.join("a.log"), text(&new)).expect("written anew");
    let mut expected = [refs(&old), refs(&new)].concat();
    tail.expect(&expected);
    tail.crash(|| {
        write(&new);
        std::fs::write(at.join("a.log"), text(&third)).expect("written anew");
    });
    expected.extend(refs(&third));
    tail.expect(&expected);
    // A real copy beside them is found.
    tail.crash(|| {
        write(&third);
        append(at, "a.log", "late\n");
        copy_and_cut(at, "a.log", "a.log.1");
        append(at, "a.log", &text(&fourth));
    });
    expected.extend([vec!["late"], refs(&fourth)].concat());
    tail.expect_in_any_order(&expected);
}

#[test]
fn splits_whose_files_are_gone_leave_the_checkpoint_and_nothing_is_read_twice() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    let (first, second, third) = (lines("first"), lines("second"), lines("third"));
    append(at, "a.log", &text(&first));
    let mut tail = Tail::open(at, "a*.log");
    tail.expect(&refs(&first));
    let ended = |tail: &Tail, split: &str| {
        let place = tail.places.get(split)?;
        let place: Value = serde_json::from_slice(place).expect("JSON");
        (place["ended"] == true).then_some(place)
    };
    // One that ends, and stays there under a name that is looked at.
    append(at, "aside.log", &text(&second));
    tail.expect(&[refs(&first), refs(&second)].concat());
    rename(at, "a.log", "gone.1");
    append(at, "a.log", &text(&third));
    let mut expected = [refs(&first), refs(&second), refs(&third)].concat();
    tail.expect_in_any_order(&expected);
    tail.pull_while(PATIENCE, |tail| ended(tail, "a.log").is_none());
    let mut place = ended(&tail, "a.log").expect("it has ended");
    // As many more as may stay.
    let name = |number: usize| format!("a.old-{number:05}.log");
    for number in 0..ENDED_SPLITS_MAX {
        place["followed"]["name"] = name(number).into();
        place["file"]["inode"] = (1_u64 << 60 | number as u64).into();
        tail.places.insert(name(number).into(), place.to_string().into_bytes());
    }
    // One of those is there.
    let mut there: Value = serde_json::from_slice(&tail.places["aside.log"]).expect("JSON");
    there["ended"] = true.into();
    tail.places.insert("aside.log".into(), there.to_string().into_bytes());
    let known = tail.places.len();
    tail.crash(|| append(at, "a.log", "more\n"));
    expected.push("more");
    tail.expect_in_any_order(&expected);
    assert_eq!(tail.places.len(), known, "nothing has ended since");
    rename(at, "a.log", "gone.2");
    append(at, "a.log", "next\n");
    expected.push("next");
    tail.expect_in_any_order(&expected);
    tail.pull_while(PATIENCE, |tail| tail.places.contains_key(name(0).as_str()));
    assert!(!tail.places.contains_key("a.log") && !tail.places.contains_key(name(0).as_str()), "the oldest");
    assert!(tail.places.contains_key(name(1).as_str()) && ended(&tail, "a.log#1").is_some());
    assert!(tail.places.contains_key("aside.log"), "it is there, and would be read again");
    // Nothing comes again, and no split has a name twice.
    tail.crash(|| append(at, "a.log", "last\n"));
    expected.push("last");
    tail.expect_in_any_order(&expected);
    assert_eq!(tail.origin("last").0, "a.log#2");
}
