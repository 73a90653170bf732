//! The spool of a source that cannot be read again.

use std::path::Path;

use flow::spool::{Group, Log, Records, SpoolOptions};

use super::{Kind, MayLose, Read};

const GROUPS: usize = 40;
const OF_A_GROUP: usize = 5;

fn open(dir: &Path) -> Result<Log, String> {
    let options = SpoolOptions { seed: 1, segment_bytes: 2000, ..SpoolOptions::new(dir, 1 << 20) };
    options.open_log(None).map_err(|error| error.to_string())
}

fn append(log: &mut Log, number: usize) -> Result<(), String> {
    let mut records = Records::new(5).labelled(Some(b"key"), [("name", &b"value"[..])]);
    (0..OF_A_GROUP).for_each(|row| records.push(format!("record {row} of {number}").as_bytes()));
    let mut group = Group::default();
    group.push(&records);
    log.append(&mut group).map_err(|error| error.to_string())?;
    log.sync().map_err(|error| error.to_string())
}

fn make(dir: &Path) {
    let mut log = open(dir).expect("a log");
    (0..GROUPS).for_each(|number| append(&mut log, number).expect("appended"));
    // As a second of idling does, and a clean end.
    log.mark().expect("marked");
}

/// All records that are there.
fn read(dir: &Path) -> Read {
    let mut log = open(dir)?;
    let mut found = all(&log)?;
    // What comes next goes behind them, and is read as well.
    append(&mut log, GROUPS)?;
    let with_next = all(&log)?;
    let next = with_next.get(found.len()..).unwrap_or_default();
    if !with_next.starts_with(&found) || next.len() != OF_A_GROUP {
        found.push(format!("the next ones are {next:?}"));
    }
    Ok(found.into())
}

fn all(log: &Log) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let each = log.tail(log.first()).each(|chunk| {
        let values = chunk.values().map(|value| String::from_utf8_lossy(value).into_owned());
        found.extend((chunk.first..).zip(values).map(|(number, value)| format!("{number} {value}")));
    });
    each.map_err(|error| error.to_string())?;
    Ok(found)
}

#[test]
fn a_spool() {
    let may_lose = MayLose::End(sure());
    Kind { name: "spool", make, is_struck: |_| true, read, may_lose }.strike_all();
}

/// The records before the last segment.
fn sure() -> usize {
    let dir = tempfile::tempdir().expect("a directory");
    make(dir.path());
    let files = super::files(dir.path());
    let names = files.iter().filter_map(|path| super::name_of(path).strip_suffix(".spool")?.parse().ok());
    let sure = names.max().expect("segments");
    assert!((1..GROUPS * OF_A_GROUP).contains(&sure), "{sure}");
    sure
}
