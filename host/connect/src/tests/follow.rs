use std::io::Write as _;
use std::time::Instant;

use serde_json::json;
use tempfile::tempdir;

use super::*;

/// A followed source, pulled until it has brought what is expected.
struct Tail {
    runtime: tokio::runtime::Runtime,
    spec: SourceSpec,
    source: Box<dyn Source>,
    output: Output,
    places: Places,
}

impl Tail {
    fn open(directory: &Path, path: &str) -> Self {
        let with = json!({ "path": path, "format": "lines", "follow": true, "poll": "1ms" });
        Self::of(spec(directory, "file", with))
    }

    fn of(spec: SourceSpec) -> Self {
        let places = Places::new();
        let planned = plan_source(&spec).expect("a plan");
        let source = planned.open(&Wanted::default(), &places).expect("a source");
        Self { runtime: runtime(), spec, source, output: Output::default(), places }
    }

    /// A crash, and a new run that goes on. What has become of the files meanwhile does `meanwhile`.
    fn crash(&mut self, meanwhile: impl FnOnce()) {
        meanwhile();
        let planned = plan_source(&self.spec).expect("a plan");
        self.source = planned.open(&Wanted::default(), &self.places).expect("a source");
    }

    fn expect(&mut self, records: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.output.records.len() < records.len() && Instant::now() < deadline {
            let pull =
                async { tokio::time::timeout(Duration::from_millis(50), self.source.pull(LIMITS)).await };
            if let Ok(pulled) = self.runtime.block_on(pull) {
                let pulled = pulled.expect("no error").expect("it never ends");
                if let Some(batch) = &pulled.batch {
                    self.output.add(batch);
                }
                let cursor = pulled.cursor.expect("every pull brings a place");
                self.places.insert(cursor.split, cursor.place);
            }
        }
        assert_eq!(self.output.records, records);
    }

    fn splits(&self) -> Vec<&str> {
        self.output.origins.iter().map(|(split, _)| split.as_str()).collect()
    }
}

fn append(directory: &Path, name: &str, text: &str) {
    let file = std::fs::OpenOptions::new().append(true).create(true).open(directory.join(name));
    file.expect("a file").write_all(text.as_bytes()).expect("written");
}

#[test]
fn new_lines_and_new_files_come_as_they_are_written() {
    let directory = tempdir().expect("a directory");
    let mut tail = Tail::open(directory.path(), "*.log");
    append(directory.path(), "a.log", "one\ntw");
    tail.expect(&["one"]);
    append(directory.path(), "b.log", "other\n");
    tail.expect(&["one", "other"]);
    append(directory.path(), "a.log", "o\nthree\n");
    tail.expect(&["one", "other", "two", "three"]);
    assert_eq!(tail.splits(), ["a.log", "b.log", "a.log", "a.log"]);
    assert_eq!(tail.output.origins[3].1, 2);
}

#[test]
fn a_file_that_is_rotated_away_is_read_to_its_end_first() {
    let directory = tempdir().expect("a directory");
    append(directory.path(), "a.log", "one\n");
    let mut tail = Tail::open(directory.path(), "a.log");
    tail.expect(&["one"]);
    append(directory.path(), "a.log", "two\nunfinished");
    std::fs::rename(directory.path().join("a.log"), directory.path().join("a.log.1")).expect("renamed");
    append(directory.path(), "a.log", "new\n");
    tail.expect(&["one", "two", "unfinished", "new"]);
    assert_eq!(tail.splits(), ["a.log", "a.log", "a.log", "a.log#1"]);
    assert_eq!(tail.output.origins[3].1, 0);
}

#[test]
fn a_file_that_is_cut_off_begins_anew() {
    let directory = tempdir().expect("a directory");
    append(directory.path(), "a.log", "a long first line\n");
    let mut tail = Tail::open(directory.path(), "a.log");
    tail.expect(&["a long first line"]);
    std::fs::write(directory.path().join("a.log"), "x\n").expect("written");
    tail.expect(&["a long first line", "x"]);
    assert_eq!(tail.splits()[1], "a.log#1");
}

fn rename(directory: &Path, from: &str, to: &str) {
    std::fs::rename(directory.join(from), directory.join(to)).expect("renamed");
}

#[test]
fn a_followed_file_goes_on_with_what_was_written_meanwhile() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    append(at, "a.log", "one\ntw");
    let mut tail = Tail::open(at, "*.log");
    tail.expect(&["one"]);
    tail.crash(|| {
        append(at, "a.log", "o\nthree\n");
        append(at, "b.log", "new\n");
    });
    tail.expect(&["one", "two", "three", "new"]);
    assert_eq!(tail.splits(), ["a.log", "a.log", "a.log", "b.log"]);
    let offsets: Vec<u64> = tail.output.origins.iter().map(|(_, offset)| *offset).collect();
    assert_eq!(offsets, [0, 1, 2, 0]);
    tail.crash(|| append(at, "b.log", "more\n"));
    tail.expect(&["one", "two", "three", "new", "more"]);
}

#[test]
fn what_was_rotated_away_meanwhile_is_found_and_read_first() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    append(at, "a.log", "one\n");
    let mut tail = Tail::open(at, "a.log");
    tail.expect(&["one"]);
    tail.crash(|| {
        append(at, "a.log", "two\nunfinished");
        rename(at, "a.log", "a.log.1");
        append(at, "a.log", "new\n");
    });
    tail.expect(&["one", "two", "unfinished", "new"]);
    assert_eq!(tail.splits(), ["a.log", "a.log", "a.log", "a.log#1"]);
    // Once more, and a generation never comes twice.
    tail.crash(|| {
        rename(at, "a.log.1", "a.log.2");
        rename(at, "a.log", "a.log.1");
        append(at, "a.log", "newer\n");
    });
    tail.expect(&["one", "two", "unfinished", "new", "newer"]);
    assert_eq!(tail.splits()[4], "a.log#2");
    // Moved away and not there again: it may still be written to.
    tail.crash(|| {
        rename(at, "a.log", "a.log.0");
        append(at, "a.log.0", "late\n");
    });
    tail.expect(&["one", "two", "unfinished", "new", "newer", "late"]);
    append(at, "a.log.0", "last\n");
    append(at, "a.log", "next\n");
    tail.expect(&["one", "two", "unfinished", "new", "newer", "late", "last", "next"]);
    assert_eq!(tail.splits()[5..], ["a.log#2", "a.log#2", "a.log#3"]);
}

#[test]
fn what_is_gone_or_cut_off_meanwhile_begins_anew() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    append(at, "a.log", "a long first line\nand a second\n");
    let mut tail = Tail::open(at, "a.log");
    tail.expect(&["a long first line", "and a second"]);
    tail.crash(|| std::fs::write(at.join("a.log"), "x\n").expect("written"));
    tail.expect(&["a long first line", "and a second", "x"]);
    assert_eq!(tail.splits()[2], "a.log#1");
    // Written anew, and as long as it was: the first bytes tell.
    tail.crash(|| std::fs::write(at.join("a.log"), "y\nz\n").expect("written"));
    tail.expect(&["a long first line", "and a second", "x", "y", "z"]);
    assert_eq!(tail.splits()[3..], ["a.log#2", "a.log#2"]);
    tail.crash(|| {
        std::fs::remove_file(at.join("a.log")).expect("removed");
        append(at, "b.log", "keeps the inode from coming again\n");
        append(at, "a.log", "back\n");
    });
    tail.expect(&["a long first line", "and a second", "x", "y", "z", "back"]);
    assert_eq!(tail.splits()[5], "a.log#3");
}

#[test]
fn the_header_of_a_followed_file_is_read_again() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    append(at, "a.csv", "n,text\n1,one\n");
    let with = json!({ "path": "a.csv", "follow": true, "poll": "1ms" });
    let mut tail = Tail::of(spec(at, "file", with));
    tail.expect(&[r#"{"n":1,"text":"one"}"#]);
    tail.crash(|| {
        append(at, "a.csv", "2,two\n");
        rename(at, "a.csv", "a.csv.1");
        append(at, "a.csv", "n,text\n3,three\n");
    });
    tail.expect(&[r#"{"n":1,"text":"one"}"#, r#"{"n":2,"text":"two"}"#, r#"{"n":3,"text":"three"}"#]);
    assert_eq!(tail.splits(), ["a.csv", "a.csv", "a.csv#1"]);
}
