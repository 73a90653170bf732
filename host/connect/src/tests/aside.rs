//! The file of a sink that is finished and set aside, whatever was committed of it, and however often.

use std::fs;

use flow::connector::{Barrier, Committed, Sink, Then};
use model::plan::Stream;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::sinks::{opaque, sink_spec};
use super::*;
use crate::{SetAside, has_file, plan_sink, set_file_aside};

fn open(directory: &Path, with: &Value, token: Option<Vec<u8>>) -> Box<dyn Sink> {
    let planned = plan_sink(&sink_spec(directory, "file", with.clone())).expect("a plan");
    planned.open(&Stream::Opaque, Some(Committed(token))).expect("a sink")
}

/// Writes a record and prepares; the token.
fn write(sink: &mut dyn Sink, record: &str, number: u64, then: Then) -> Vec<u8> {
    runtime().block_on(async {
        sink.write(&opaque(&[record]), &[]).await.expect("written");
        sink.prepare(Barrier { number, then }).await.expect("prepared")
    })
}

fn aside(directory: &Path, with: &Value, token: &[u8]) -> SetAside {
    set_file_aside(&sink_spec(directory, "file", with.clone()), token).expect("set aside")
}

/// Each file with what is in it.
fn there(directory: &Path) -> Vec<(String, String)> {
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).expect("text");
        (entry.file_name().to_string_lossy().into_owned(), text)
    };
    let mut all: Vec<_> =
        fs::read_dir(directory).expect("a directory").map(|entry| read(entry.expect("an entry"))).collect();
    all.sort();
    all
}

fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn what_was_prepared_is_in_the_file_that_is_kept_and_nothing_that_was_not() {
    for committed in [0, 1, 2] {
        let directory = tempdir().expect("a directory");
        let (at, with) = (directory.path(), json!({ "path": "o.txt" }));
        let mut sink = open(at, &with, None);
        let first = write(&mut *sink, "one", 1, Then::GoOn);
        if committed > 0 {
            runtime().block_on(sink.commit(&first)).expect("committed");
        }
        let second = write(&mut *sink, "two", 2, Then::GoOn);
        if committed > 1 {
            runtime().block_on(sink.commit(&second)).expect("committed");
        }
        let third = write(&mut *sink, "three", 3, Then::GoOn);
        assert!(has_file(&third));
        drop(sink);
        let kept = aside(at, &with, &second);
        assert_eq!(kept, SetAside { kept: Some(at.join("o-000001.txt")), token: None });
        assert_eq!(there(at), pairs(&[("o-000001.txt", "one\ntwo\n")]), "{committed} committed");
        // A crash, and the same again.
        assert_eq!(aside(at, &with, &second), SetAside::default());
        let mut sink = open(at, &with, None);
        let token = write(&mut *sink, "four", 3, Then::End);
        runtime().block_on(sink.commit(&token)).expect("committed");
        drop(sink);
        assert_eq!(aside(at, &with, &token).kept, Some(at.join("o-000002.txt")), "no number is used twice");
        assert_eq!(there(at), pairs(&[("o-000001.txt", "one\ntwo\n"), ("o-000002.txt", "four\n")]));
    }
}

#[test]
fn a_file_whose_name_is_not_needed_keeps_it() {
    let directory = tempdir().expect("a directory");
    let (at, with) = (directory.path(), json!({ "path": "o.txt" }));
    let token = write(&mut *open(at, &with, None), "one", 1, Then::GoOn);
    let kept = aside(at, &json!({ "path": "other.txt.gz" }), &token).kept;
    assert_eq!(kept, Some(at.join("o.txt")));
    // The same file by another spelling is in the way.
    let kept = aside(at, &json!({ "path": "./o.txt" }), &token).kept;
    assert_eq!(kept, Some(at.join("o-000001.txt")));
    assert_eq!(there(at), pairs(&[("o-000001.txt", "one\n")]));
}

#[test]
fn a_row_ends_its_file_and_goes_on_with_the_next_number() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    let with = json!({ "path": "o.txt", "rotate": { "size": "10B" } });
    let mut sink = open(at, &with, None);
    write(&mut *sink, "long enough", 1, Then::GoOn);
    let token = write(&mut *sink, "open", 2, Then::GoOn);
    write(&mut *sink, "late", 3, Then::GoOn);
    drop(sink);
    for again in [false, true] {
        let SetAside { kept, token: next } = aside(at, &with, &token);
        assert_eq!(kept, (!again).then(|| at.join("o-000002.txt")));
        assert_eq!(there(at), pairs(&[("o-000001.txt", "long enough\n"), ("o-000002.txt", "open\n")]));
        assert!(next.as_ref().is_some_and(|next| !has_file(next)));
    }
    let next = aside(at, &with, &token).token;
    // Whoever takes full files away does not see a number twice.
    fs::remove_file(at.join("o-000002.txt")).expect("removed");
    let mut sink = open(at, &with, next);
    let token = write(&mut *sink, "more", 3, Then::End);
    runtime().block_on(sink.commit(&token)).expect("committed");
    drop(sink);
    assert_eq!(there(at), pairs(&[("o-000001.txt", "long enough\n"), ("o-000003.txt", "more\n")]));
    assert_eq!(aside(at, &json!({ "path": "o.txt" }), &token), SetAside::default());
}

#[test]
fn a_file_that_is_written_in_place_is_kept_too() {
    let directory = tempdir().expect("a directory");
    let (at, with) = (directory.path(), json!({ "path": "o.txt", "delivery": "at-least-once" }));
    let mut sink = open(at, &with, None);
    let nothing =
        runtime().block_on(sink.prepare(Barrier { number: 1, then: Then::GoOn })).expect("prepared");
    assert!(!has_file(&nothing));
    let token = write(&mut *sink, "one", 2, Then::GoOn);
    drop(sink);
    assert_eq!(aside(at, &with, &token).kept, Some(at.join("o-000001.txt")));
    assert_eq!(aside(at, &with, &token), SetAside::default());
    assert_eq!(there(at), pairs(&[("o-000001.txt", "one\n")]));
    assert!(has_file(b"what is no token"));
}
