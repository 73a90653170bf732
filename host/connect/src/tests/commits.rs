//! What the file sink commits: seen once, whatever crashes, and not before the checkpoint is committed.

use std::fs;
use std::sync::Arc;

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::Schema;
use flow::connector::{Barrier, Committed, Sink, Then};
use model::batch::{Column, Parts};
use model::plan::{Stream, declared_field};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::sinks::{opaque, sink_spec};
use super::*;
use crate::plan_sink;

/// What happens to a sink, one step after the other.
#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Prepare,
    /// The checkpoint that was prepared last is committed.
    CommitCheckpoint,
    Commit,
    Crash,
}

/// A sink, and what is known of it outside.
struct Run<'a> {
    directory: &'a Path,
    with: Value,
    /// Files to read back.
    pattern: &'a str,
    sink: Option<Box<dyn Sink>>,
    runtime: tokio::runtime::Runtime,
    stream: Stream,
    number: u64,
    /// Records that were written, counted from the first one of all.
    written: usize,
    prepared: Option<(Vec<u8>, usize)>,
    /// The last committed one.
    checkpoint: Option<(Vec<u8>, usize)>,
    committed: usize,
}

fn record(number: usize) -> String {
    format!("record {number} {}", "x".repeat(number * 7 % 23))
}

impl<'a> Run<'a> {
    fn begin(directory: &'a Path, with: Value, pattern: &'a str) -> Self {
        let stream = if pattern.contains(".txt") { Stream::Opaque } else { typed(0..1).0 };
        let mut run = Self {
            directory,
            with,
            pattern,
            sink: None,
            runtime: runtime(),
            stream,
            number: 0,
            written: 0,
            prepared: None,
            checkpoint: None,
            committed: 0,
        };
        run.open();
        run
    }

    fn open(&mut self) {
        let planned = plan_sink(&sink_spec(self.directory, "file", self.with.clone())).expect("a plan");
        assert!(planned.commits());
        let committed = Committed(self.checkpoint.as_ref().map(|(token, _)| token.clone()));
        self.sink = Some(planned.open(&self.stream, Some(committed)).expect("a sink"));
        self.written = self.checkpoint.as_ref().map_or(0, |(_, records)| *records);
        self.committed = self.written;
        self.prepared = None;
    }

    fn sink(&mut self) -> (&tokio::runtime::Runtime, &mut dyn Sink) {
        (&self.runtime, &mut **self.sink.as_mut().expect("it is open"))
    }

    fn write(&mut self, records: usize) {
        if records == 0 {
            return;
        }
        let range = self.written..self.written + records;
        let batch = if self.stream == Stream::Opaque {
            opaque(&range.map(record).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>())
        } else {
            typed(range).1
        };
        let (runtime, sink) = self.sink();
        let refused = runtime.block_on(sink.write(&batch, &[])).expect("written");
        assert_eq!(refused, []);
        self.written += records;
    }

    fn prepare(&mut self, then: Then) {
        self.number += 1;
        let barrier = Barrier { number: self.number, then };
        let (runtime, sink) = self.sink();
        let token = runtime.block_on(sink.prepare(barrier)).expect("prepared");
        self.prepared = Some((token, self.written));
    }

    fn commit_checkpoint(&mut self) {
        self.checkpoint = self.prepared.take().or_else(|| self.checkpoint.take());
    }

    fn commit(&mut self) {
        let Some((token, records)) = self.checkpoint.clone() else { return };
        let (runtime, sink) = self.sink();
        runtime.block_on(sink.commit(&token)).expect("committed");
        self.committed = records;
    }

    /// The process is gone, in the middle of a write, and with it all that was not synced may be anything.
    fn crash(&mut self) {
        self.sink = None;
        let token =
            self.checkpoint.as_ref().map(|(token, _)| serde_json::from_slice::<Value>(token).expect("JSON"));
        for name in hidden(self.directory) {
            // Nobody writes to what is full any more.
            let is_full = |full: &Value| full.as_str().is_some_and(|full| name == format!(".{full}.part"));
            let full = token.as_ref().and_then(|token| token.pointer("/row/full")?.as_array());
            if full.is_some_and(|full| full.iter().any(is_full)) {
                continue;
            }
            let mut torn = fs::File::options().append(true).open(self.directory.join(name)).expect("a file");
            std::io::Write::write_all(&mut torn, b"torn \x00\xff").expect("written");
        }
        let path = self.with["path"].as_str().expect("a path");
        let (one, row) = (format!(".{path}.999.part"), format!(".o-000999{}.part", &path[1..]));
        let stray = if is_row(&self.with) { row } else { one };
        fs::write(self.directory.join(stray), "stray").expect("written");
        self.open();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(records) => self.write(*records),
            Step::Prepare => self.prepare(Then::GoOn),
            Step::CommitCheckpoint => self.commit_checkpoint(),
            Step::Commit => self.commit(),
            Step::Crash => self.crash(),
        }
    }

    /// Records that a reader of the files sees.
    fn visible(&self) -> Vec<String> {
        let there = glob::glob(&self.directory.join(self.pattern).to_string_lossy()).expect("a pattern");
        if there.count() == 0 {
            return Vec::new();
        }
        let source = spec(self.directory, "file", json!({ "path": self.pattern }));
        match read(&source) {
            Ok(output) => {
                assert_eq!(output.refused, []);
                output.records
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn check(&self, records: usize, when: &str) {
        let expected: Vec<String> = if self.stream == Stream::Opaque {
            (0..records).map(record).collect()
        } else {
            texts(&typed(0..records).1)
        };
        assert_eq!(self.visible(), expected, "{} {when}", self.with);
    }
}

fn typed(range: std::ops::Range<usize>) -> (Stream, Batch) {
    let fields = [("n", ColumnType::Int), ("text", ColumnType::Text)];
    let fields: Vec<_> = fields.iter().map(|(name, of_type)| declared_field(name, *of_type)).collect();
    let schema = Arc::new(Schema::new(fields));
    let numbers = Int64Array::from_iter_values(range.clone().map(|number| number as i64));
    let records = StringArray::from_iter_values(range.clone().map(record));
    let columns = vec![Column::new(Arc::new(numbers)), Column::new(Arc::new(records))];
    let lineage = opaque(&[]).lineage().clone();
    let batch = Batch::new(schema.clone(), range.len(), columns, Parts::default(), lineage);
    (Stream::Rows(schema), batch.expect("a batch"))
}

fn hidden(directory: &Path) -> Vec<String> {
    let names =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.ends_with(".part")).collect()
}

/// Ways to write that can be committed to.
fn ways() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "path": "o.txt" }), "o.txt"),
        (json!({ "path": "o.txt.gz", "if-exists": "append" }), "o.txt.gz"),
        (json!({ "path": "o.txt.zst" }), "o.txt.zst"),
        (json!({ "path": "o.csv" }), "o.csv"),
        (json!({ "path": "o.jsonl", "if-exists": "fail" }), "o.jsonl"),
        (json!({ "path": "o.txt", "rotate": { "size": 200 } }), "o-*.txt"),
        (json!({ "path": "o.txt.gz", "rotate": { "size": 150 } }), "o-*.txt.gz"),
        (json!({ "path": "o.csv.zst", "rotate": { "size": 1 } }), "o-*.csv.zst"),
        (json!({ "path": "o.parquet", "rotate": { "size": 5000 } }), "o-*.parquet"),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0usize..12).prop_map(Step::Write),
        3 => Just(Step::Prepare),
        3 => Just(Step::CommitCheckpoint),
        2 => Just(Step::Commit),
        1 => Just(Step::Crash),
    ]
}

/// Files that are whole and have their names are the only ones whose records are seen, so that a row of files may show
/// fewer than are committed, until the last barrier.
fn is_row(with: &Value) -> bool {
    with.get("rotate").is_some()
}

fn check_steps(with: &Value, pattern: &str, steps: &[Step]) {
    let directory = tempdir().expect("a directory");
    let mut run = Run::begin(directory.path(), with.clone(), pattern);
    for (place, step) in steps.iter().enumerate() {
        run.step(step);
        if is_row(with) {
            let seen = run.visible().len();
            assert!(seen <= run.committed, "{with}: {seen} are seen at {place}, {} committed", run.committed);
            run.check(seen, "in the middle");
        } else {
            run.check(run.committed, "in the middle");
        }
    }
    run.write(5);
    run.prepare(Then::End);
    run.commit_checkpoint();
    run.crash();
    let all = run.written;
    run.check(all, "at the end");
    run.sink = None;
    assert_eq!(hidden(directory.path()), [""; 0], "{with}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn records_are_seen_once_whatever_crashes(
        way in 0usize..9,
        steps in prop::collection::vec(any_step(), 0..25),
    ) {
        let (with, pattern) = &ways()[way];
        check_steps(with, pattern, &steps);
    }
}

/// The protocol as it goes most of the time, with a crash at every one of its steps.
#[test]
fn a_crash_may_come_at_every_step() {
    let round =
        [Step::Write(3), Step::Prepare, Step::Write(2), Step::CommitCheckpoint, Step::Write(1), Step::Commit];
    for (with, pattern) in ways() {
        for at in 0..round.len() * 2 {
            let mut steps: Vec<Step> = round.iter().chain(&round).cloned().collect();
            steps.insert(at, Step::Crash);
            check_steps(&with, pattern, &steps);
        }
    }
}

#[test]
fn a_commit_that_was_cut_short_is_done_again() {
    let directory = tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let mut run = Run::begin(directory.path(), json!({ "path": "o.txt" }), "o.txt");
    for step in [
        Step::Write(2),
        Step::Prepare,
        Step::CommitCheckpoint,
        Step::Commit,
        Step::Write(3),
        Step::Prepare,
        Step::CommitCheckpoint,
    ] {
        run.step(&step);
    }
    let parts = hidden(directory.path());
    assert_eq!(parts, [".o.txt.1.part"]);
    // The crash came when half of the part was in its place, and once more when all of it was.
    let (whole, part) = (fs::read(at("o.txt")).expect("a file"), fs::read(at(&parts[0])).expect("a part"));
    run.sink = None;
    fs::write(at("o.txt"), [&whole[..], &part[..part.len() / 2]].concat()).expect("written");
    run.open();
    run.check(5, "after half of the part");
    run.sink = None;
    fs::write(at(&parts[0]), &part).expect("written");
    run.open();
    run.check(5, "after a part that was not removed");
    run.sink = None;
    // A target that has less than was committed is not filled up with something else.
    fs::write(at("o.txt"), &whole[..5]).expect("written");
    let token = run.checkpoint.clone().map(|(token, _)| token);
    let whole = whole.len() + part.len();
    let expected = |why: &str| {
        let planned =
            plan_sink(&sink_spec(directory.path(), "file", json!({ "path": "o.txt" }))).expect("a plan");
        let error = planned.open(&Stream::Opaque, Some(Committed(token.clone()))).err();
        let error = error.unwrap_or_else(|| panic!("{why}: it was opened")).to_string();
        assert!(error.contains(&format!("it cannot be gone on with: {why}")), "{error}");
        assert!(error.ends_with("begin anew with `run --reset`"), "{error}");
    };
    expected(&format!(
        "it has 5 bytes, and the last checkpoint knows of {whole}: it was cut off or replaced"
    ));
    fs::write(at("o.txt"), vec![b'x'; whole - 1]).expect("written");
    expected(&format!(
        "it has {} bytes, and the last checkpoint knows of {whole}: it was cut off, or ",
        whole - 1
    ));
    fs::remove_file(at("o.txt")).expect("removed");
    expected(&format!("it is not there, and the last checkpoint knows of {whole} bytes"));
}

#[test]
fn what_somebody_else_has_written_behind_the_last_checkpoint_stays() {
    let directory = tempdir().expect("a directory");
    let at = directory.path().join("o.txt");
    let mut run = Run::begin(directory.path(), json!({ "path": "o.txt" }), "o.txt");
    let round = [Step::Write(2), Step::Prepare, Step::CommitCheckpoint, Step::Commit];
    round.iter().for_each(|step| run.step(step));
    run.sink = None;
    let mut replayed = fs::read(&at).expect("a file");
    replayed.extend(b"replayed\n");
    fs::write(&at, &replayed).expect("written");
    run.open();
    round.iter().for_each(|step| run.step(step));
    // It knows of it by now.
    run.crash();
    let lines = [0, 1].map(record).into_iter().chain(["replayed".to_owned()]).chain([2, 3].map(record));
    assert_eq!(run.visible(), lines.collect::<Vec<_>>());
}

#[test]
fn a_row_of_files_goes_on_in_the_file_it_was_in() {
    let directory = tempdir().expect("a directory");
    let with = json!({ "path": "o.txt", "rotate": { "size": 1000 } });
    let mut run = Run::begin(directory.path(), with, "o-*.txt");
    for _ in 0..3 {
        for step in
            [Step::Write(2), Step::Prepare, Step::CommitCheckpoint, Step::Commit, Step::Write(1), Step::Crash]
        {
            run.step(&step);
        }
    }
    assert_eq!(hidden(directory.path()).iter().filter(|name| name.contains("000001")).count(), 1);
    run.prepare(Then::End);
    run.commit_checkpoint();
    run.commit();
    run.check(6, "in one file");
    assert!(directory.path().join("o-000001.txt").exists());
    assert!(!directory.path().join("o-000002.txt").exists());
    // Whoever takes the files away does not stop a run that goes on, and no number comes twice.
    fs::remove_file(directory.path().join("o-000001.txt")).expect("taken away");
    run.crash();
    run.write(1);
    run.prepare(Then::End);
    run.commit_checkpoint();
    run.commit();
    assert!(directory.path().join("o-000002.txt").exists());
}

#[test]
fn what_was_there_before_is_replaced_kept_or_refused() {
    let directory = tempdir().expect("a directory");
    let path = directory.path().join("o.txt");
    for (if_exists, expected) in [("replace", "record 0 \n"), ("append", "before\nrecord 0 \n")] {
        fs::write(&path, "before\n").expect("written");
        let with = json!({ "path": "o.txt", "if-exists": if_exists });
        let mut run = Run::begin(directory.path(), with, "o.txt");
        run.write(1);
        run.prepare(Then::GoOn);
        let seen = || fs::read_to_string(&path).expect("a file");
        assert_eq!(seen(), "before\n", "{if_exists}: nothing is committed");
        run.commit_checkpoint();
        run.commit();
        run.commit();
        assert_eq!(seen(), expected, "{if_exists}");
    }
    let with = json!({ "path": "o.txt", "if-exists": "fail" });
    let planned = plan_sink(&sink_spec(directory.path(), "file", with)).expect("a plan");
    let error = planned.open(&Stream::Opaque, Some(Committed(None))).err().expect("it is there");
    assert!(error.to_string().contains("if-exists: replace"), "{error}");
}

#[test]
fn a_run_without_records_says_so_in_its_file() {
    for (with, name, expected) in [
        (json!({ "path": "o.csv" }), "o.csv", "n,text\n"),
        (json!({ "path": "o.csv", "rotate": { "size": 9 } }), "o-000001.csv", "n,text\n"),
    ] {
        let directory = tempdir().expect("a directory");
        fs::write(directory.path().join("o.csv"), "of an earlier run").expect("written");
        let mut run = Run::begin(directory.path(), with, name);
        // What was told to stop may have had nothing to read yet.
        for then in [Then::GoOn, Then::Stop] {
            run.prepare(then);
            run.commit_checkpoint();
            run.commit();
            run.crash();
            let before = fs::read_to_string(directory.path().join("o.csv")).expect("a file");
            assert_eq!((before.as_str(), run.visible().len()), ("of an earlier run", 0), "{then:?}");
        }
        run.prepare(Then::End);
        run.commit_checkpoint();
        run.commit();
        assert_eq!(fs::read_to_string(directory.path().join(name)).expect("a file"), expected);
    }
}

#[test]
fn what_cannot_be_committed_to_is_refused_with_what_to_do() {
    let directory = tempdir().expect("a directory");
    let (rows, _) = typed(0..0);
    let other_path = br#"{"v":1,"path":"p.txt","one":{"next":0,"end":0,"begun":false,"parts":[]}}"#.to_vec();
    let other_kind =
        br#"{"v":1,"path":"o.txt","row":{"next":1,"full":[],"open":null,"begun":false}}"#.to_vec();
    let cases = [
        (json!({ "path": "o.parquet" }), None, "it ends with its index; set `rotate`"),
        (
            json!({ "path": "o.parquet", "delivery": "at-least-once" }),
            None,
            "it ends with its index; set `rotate`",
        ),
        (json!({ "path": "/dev/null", "format": "csv" }), None, "set `delivery: at-least-once`, or name"),
        (json!({ "path": ".", "format": "csv" }), None, "name a file in it"),
        (json!({ "path": "o.txt", "format": "csv" }), Some(other_path), "the checkpoint is of `p.txt`"),
        (json!({ "path": "o.txt", "format": "csv" }), Some(other_kind), "`rotate` or `delivery` was changed"),
    ];
    for (with, token, expected) in cases {
        let planned = plan_sink(&sink_spec(directory.path(), "file", with.clone())).expect("a plan");
        let error = planned.open(&rows, Some(Committed(token))).err();
        let error = error.unwrap_or_else(|| panic!("{with} is opened")).to_string();
        assert!(error.contains(expected), "{with}: {error}");
    }
    let with = json!({ "path": "/dev/null", "format": "csv", "delivery": "at-least-once" });
    let planned = plan_sink(&sink_spec(directory.path(), "file", with)).expect("a plan");
    assert!(!planned.commits());
    planned.open(&rows, Some(Committed(None))).expect("it is written in place");
}

#[test]
fn at_least_once_is_seen_at_once_and_goes_on_behind_whole_records() {
    for (name, expected) in [
        ("o.txt", &["record 0 ", "record 1 xxxxxxx", "whole", "record 1 xxxxxxx"][..]),
        ("o.txt.gz", &["record 0 ", "record 1 xxxxxxx"]),
    ] {
        let directory = tempdir().expect("a directory");
        fs::write(directory.path().join(name), "of an earlier run\n").expect("written");
        let with = json!({ "path": name, "delivery": "at-least-once" });
        let open = |token| {
            let planned = plan_sink(&sink_spec(directory.path(), "file", with.clone())).expect("a plan");
            planned.open(&Stream::Opaque, Some(Committed(token))).expect("a sink")
        };
        let runtime = runtime();
        let mut sink = open(None);
        let barrier = |number, then| Barrier { number, then };
        let token = runtime.block_on(async {
            sink.prepare(barrier(1, Then::GoOn)).await.expect("nothing");
            sink.write(&opaque(&[&record(0)]), &[]).await.expect("written");
            let token = sink.prepare(barrier(2, Then::GoOn)).await.expect("prepared");
            sink.write(&opaque(&[&record(1)]), &[]).await.expect("written");
            sink.flush().await.expect("flushed");
            token
        });
        drop(sink);
        let path = directory.path().join(name);
        if name == "o.txt" {
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while fs::read_to_string(&path).expect("a file").lines().count() < 2 {
                assert!(std::time::Instant::now() < deadline, "what was flushed is not seen");
            }
        }
        let mut torn = fs::File::options().append(true).open(&path).expect("a file");
        std::io::Write::write_all(&mut torn, b"whole\nhalf a rec").expect("written");
        let mut sink = open(Some(token));
        runtime.block_on(async {
            sink.write(&opaque(&[&record(1)]), &[]).await.expect("written");
            let token = sink.prepare(barrier(3, Then::End)).await.expect("prepared");
            sink.commit(&token).await.expect("committed");
        });
        let output = read(&spec(directory.path(), "file", json!({ "path": name }))).expect("lines");
        assert_eq!(output.records, expected, "{name}");
    }
}

#[test]
fn discard_counts_on_from_its_checkpoint() {
    let planned =
        || plan_sink(&sink_spec(Path::new("."), "discard", json!({ "checksum": true }))).expect("a plan");
    let mut sink = planned().open(&Stream::Opaque, Some(Committed(None))).expect("a sink");
    let barrier = Barrier { number: 1, then: Then::GoOn };
    let first = runtime().block_on(async {
        sink.write(&opaque(&["a", "b"]), &[]).await.expect("counted");
        let first = sink.prepare(barrier).await.expect("prepared");
        sink.write(&opaque(&["lost"]), &[]).await.expect("counted");
        first
    });
    let mut sink = planned().open(&Stream::Opaque, Some(Committed(Some(first)))).expect("a sink");
    let second = runtime().block_on(async {
        sink.write(&opaque(&["c"]), &[]).await.expect("counted");
        sink.prepare(barrier).await.expect("prepared")
    });
    let (mut whole, totals) = crate::Discard::new(&Stream::Opaque, true);
    runtime().block_on(whole.write(&opaque(&["a", "b", "c"]), &[])).expect("counted");
    let expected = json!({ "records": 3, "checksum": format!("{:016x}", totals.checksum()) });
    assert_eq!(serde_json::from_slice::<Value>(&second).expect("JSON"), expected);
    assert!(planned().open(&Stream::Opaque, Some(Committed(Some(b"x".to_vec())))).is_err());
}

/// Where nothing more comes, nobody else would say that its time has come.
#[test]
fn a_file_that_will_be_full_by_its_age_is_due_by_itself() {
    let hour = Duration::from_secs(3600);
    for at_least_once in [false, true] {
        let directory = tempdir().expect("a directory");
        let mut with = json!({ "path": "o.txt", "rotate": { "every": "1h" } });
        if at_least_once {
            with["delivery"] = "at-least-once".into();
        }
        let open = |token| {
            let planned = plan_sink(&sink_spec(directory.path(), "file", with.clone())).expect("a plan");
            planned.open(&Stream::Opaque, Some(Committed(token))).expect("a sink")
        };
        let (runtime, mut sink) = (runtime(), open(None));
        assert_eq!(sink.due_in(), None, "nothing is in it");
        let is_due = |sink: &dyn Sink| sink.due_in().is_some_and(|due| due <= hour && due > hour / 2);
        let token = runtime.block_on(async {
            sink.write(&opaque(&["x"]), &[]).await.expect("written");
            sink.prepare(Barrier { number: 1, then: Then::GoOn }).await.expect("prepared")
        });
        assert!(is_due(&*sink), "{:?}", sink.due_in());
        if !at_least_once {
            // The file goes on in the next run, and so does its time.
            drop(sink);
            sink = open(Some(token));
            assert!(is_due(&*sink), "{:?}", sink.due_in());
        }
        let last = Barrier { number: 2, then: Then::Stop };
        runtime.block_on(sink.prepare(last)).expect("prepared");
        assert_eq!(sink.due_in(), None, "it has ended");
    }
}
