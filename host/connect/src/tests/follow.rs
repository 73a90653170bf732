use std::io::Write as _;
use std::time::Instant;

use serde_json::json;
use tempfile::tempdir;

use super::*;

/// A followed source, pulled until it has brought what is expected.
struct Tail {
    runtime: tokio::runtime::Runtime,
    source: Box<dyn Source>,
    output: Output,
}

impl Tail {
    fn open(directory: &Path, path: &str) -> Self {
        let with = json!({ "path": path, "format": "lines", "follow": true, "poll": "1ms" });
        let planned = plan_source(&spec(directory, "file", with)).expect("a plan");
        let source = planned.open(&Wanted::default(), &Places::new()).expect("a source");
        Self { runtime: runtime(), source, output: Output::default() }
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
