use std::io::Write as _;
use std::time::Instant;

use model::plan::places::Place;
use serde_json::json;
use tempfile::tempdir;

use super::*;

/// A followed source, pulled until it has brought what is expected.
pub(super) struct Tail {
    runtime: tokio::runtime::Runtime,
    spec: SourceSpec,
    source: Box<dyn Source>,
    output: Output,
    pub(super) places: Places,
    /// Where sinks write.
    written: Vec<Place>,
}

impl Tail {
    pub(super) fn open(directory: &Path, path: &str) -> Self {
        Self::beside(directory, path, Vec::new())
    }

    pub(super) fn beside(directory: &Path, path: &str, written: Vec<Place>) -> Self {
        let with = json!({ "path": path, "format": "lines", "follow": true, "poll": "1ms",
            "rotate-wait": "20ms" });
        Self::with(spec(directory, "file", with), written)
    }

    fn of(spec: SourceSpec) -> Self {
        Self::with(spec, Vec::new())
    }

    fn with(spec: SourceSpec, written: Vec<Place>) -> Self {
        let places = Places::new();
        let planned = plan_source(&spec).expect("a plan").avoiding(&written);
        let source = planned.open(&Wanted::default(), &places).expect("a source");
        Self { runtime: runtime(), spec, source, output: Output::default(), places, written }
    }

    /// A crash, and a new run that goes on. What has become of the files meanwhile does `meanwhile`.
    pub(super) fn crash(&mut self, meanwhile: impl FnOnce()) {
        meanwhile();
        let planned = plan_source(&self.spec).expect("a plan").avoiding(&self.written);
        self.source = planned.open(&Wanted::default(), &self.places).expect("a source");
    }

    pub(super) fn expect(&mut self, records: &[&str]) {
        self.pull_until(records.len(), Duration::from_secs(10));
        assert_eq!(self.output.records, records);
    }

    /// Of several files, which are looked at one after the other.
    pub(super) fn expect_in_any_order(&mut self, records: &[&str]) {
        self.pull_until(records.len(), Duration::from_secs(10));
        let sorted = |records: &[&str]| {
            let mut records: Vec<String> = records.iter().map(|record| (*record).to_owned()).collect();
            records.sort();
            records
        };
        let found: Vec<&str> = self.output.records.iter().map(String::as_str).collect();
        assert_eq!(sorted(&found), sorted(records));
    }

    fn pull_until(&mut self, records: usize, patience: Duration) {
        self.pull_while(patience, |tail| tail.output.records.len() < records);
    }

    pub(super) fn pull_while(&mut self, patience: Duration, goes_on: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + patience;
        while goes_on(self) && Instant::now() < deadline {
            let pull =
                async { tokio::time::timeout(Duration::from_millis(50), self.source.pull(LIMITS)).await };
            if let Ok(pulled) = self.runtime.block_on(pull) {
                let pulled = pulled.expect("no error").expect("it never ends");
                if let Some(batch) = &pulled.batch {
                    self.output.add(batch);
                }
                pulled.forgotten.iter().for_each(|split| drop(self.places.remove(split)));
                // A pipe has none.
                self.places.extend(pulled.cursor.map(|cursor| (cursor.split, cursor.place)));
            }
        }
    }

    /// Split and offset of the record that is this text.
    pub(super) fn origin(&self, record: &str) -> (&str, u64) {
        let at = self.output.records.iter().position(|found| found == record).expect("it came");
        let (split, offset) = &self.output.origins[at];
        (split, *offset)
    }

    fn splits(&self) -> Vec<&str> {
        self.output.origins.iter().map(|(split, _)| split.as_str()).collect()
    }
}

pub(super) fn append(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
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
fn nothing_waits_for_a_pipe_that_is_silent_or_has_no_writer() {
    let directory = tempdir().expect("a directory");
    let pipe = directory.path().join("a.pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there");
    assert!(made.success());
    append(directory.path(), "b.log", "one\n");
    let with = json!({ "path": ["a.pipe", "b.log"], "format": "lines", "follow": true, "poll": "1ms" });
    let mut tail = Tail::of(spec(directory.path(), "file", with));
    tail.expect(&["one"]);
    let open = || std::fs::OpenOptions::new().append(true).open(&pipe).expect("the pipe");
    let mut writer = open();
    append(directory.path(), "b.log", "two\n");
    tail.expect(&["one", "two"]);
    writer.write_all(b"three\n").expect("written");
    tail.expect(&["one", "two", "three"]);
    append(directory.path(), "b.log", "four\n");
    tail.expect(&["one", "two", "three", "four"]);
    drop(writer);
    // Whoever opens it again is read as well.
    open().write_all(b"five\n").expect("written");
    tail.expect(&["one", "two", "three", "four", "five"]);
    assert_eq!(tail.origin("five"), ("a.pipe", 1));
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
    // Its last line may still be finished, until it has been quiet for long enough.
    tail.expect_in_any_order(&["one", "two", "new", "unfinished"]);
    assert_eq!(tail.origin("new"), ("a.log#1", 0));
    assert_eq!(tail.origin("unfinished"), ("a.log", 2));
}

#[test]
fn what_is_written_behind_a_rotation_is_read_as_long_as_it_comes() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    append(at, "a.log", "one\n");
    let with = json!({ "path": "a.log", "follow": true, "poll": "1ms", "rotate-wait": "1h" });
    let mut tail = Tail::of(spec(at, "file", with));
    tail.expect(&["one"]);
    rename(at, "a.log", "a.log.1");
    append(at, "a.log", "new\n");
    tail.expect(&["one", "new"]);
    append(at, "a.log.1", "late\n");
    tail.expect(&["one", "new", "late"]);
    assert_eq!(tail.splits(), ["a.log", "a.log#1", "a.log"]);
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

pub(super) fn rename(directory: &Path, from: &str, to: &str) {
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
    tail.expect_in_any_order(&["one"]);
    tail.crash(|| {
        append(at, "a.log", "two\nunfinished");
        rename(at, "a.log", "a.log.1");
        append(at, "a.log", "new\n");
    });
    tail.expect_in_any_order(&["one", "two", "new", "unfinished"]);
    assert_eq!((tail.origin("new").0, tail.origin("unfinished").0), ("a.log#1", "a.log"));
    // Once more, and a generation never comes twice.
    tail.crash(|| {
        rename(at, "a.log.1", "a.log.2");
        rename(at, "a.log", "a.log.1");
        append(at, "a.log", "newer\n");
    });
    tail.expect_in_any_order(&["one", "two", "new", "unfinished", "newer"]);
    assert_eq!(tail.origin("newer").0, "a.log#2");
    // Moved away and not there again: it may still be written to.
    tail.crash(|| {
        rename(at, "a.log", "a.log.0");
        append(at, "a.log.0", "late\n");
    });
    tail.expect_in_any_order(&["one", "two", "new", "unfinished", "newer", "late"]);
    append(at, "a.log.0", "last\n");
    append(at, "a.log", "next\n");
    tail.expect_in_any_order(&["one", "two", "new", "unfinished", "newer", "late", "last", "next"]);
    let origins = ["late", "last", "next"].map(|record| tail.origin(record).0);
    assert_eq!(origins, ["a.log#2", "a.log#2", "a.log#3"]);
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
    let with = json!({ "path": "a.csv", "follow": true, "poll": "1ms", "rotate-wait": "20ms" });
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

/// Lines of 50 bytes, enough of them that the file is longer than its fingerprint.
pub(super) fn lines(what: &str) -> Vec<String> {
    (0..50).map(|number| format!("{what:>20} {number:028}")).collect()
}

pub(super) fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// As logrotate does it: a copy, then the file is cut off, and its writer goes on.
pub(super) fn copy_and_cut(directory: &Path, name: &str, copy: &str) {
    std::fs::copy(directory.join(name), directory.join(copy)).expect("copied");
    std::fs::write(directory.join(name), "").expect("cut off");
}

pub(super) fn refs(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

#[test]
fn what_was_cut_off_and_filled_again_is_told_by_its_bytes() {
    // A slow look, so that it is filled past the old place, or just up to it, before anybody looks again.
    for (more, poll) in [("more than there was\n", "300ms"), ("", "300ms"), ("", "1ms")] {
        let directory = tempdir().expect("a directory");
        let at = directory.path();
        let (old, new) = (lines("old"), lines("new"));
        append(at, "a.log", &text(&old));
        let with = json!({ "path": "a.log", "follow": true, "poll": poll, "rotate-wait": "20ms" });
        let mut tail = Tail::of(spec(at, "file", with));
        tail.expect(&refs(&old));
        append(at, "a.log", "late\n");
        copy_and_cut(at, "a.log", "a.log.1");
        append(at, "a.log", &format!("{}{more}", text(&new)));
        let mut expected = [refs(&old), vec!["late"], refs(&new)].concat();
        expected.extend(more.lines());
        tail.expect_in_any_order(&expected);
        assert_eq!(tail.splits().iter().filter(|split| **split == "a.log").count(), old.len() + 1);
        // The same while nobody looks.
        let (third, fourth) = (lines("third"), lines("fourth"));
        tail.crash(|| {
            append(at, "a.log", &text(&third));
            rename(at, "a.log.1", "a.log.2");
            copy_and_cut(at, "a.log", "a.log.1");
            append(at, "a.log", &text(&fourth));
        });
        expected.extend(refs(&third).into_iter().chain(refs(&fourth)));
        tail.expect_in_any_order(&expected);
        assert_eq!(tail.splits().iter().filter(|split| **split == "a.log#2").count(), fourth.len());
    }
}

#[test]
fn a_file_of_another_name_is_no_copy_whatever_is_in_it() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    let (old, new, third) = (lines("old"), lines("new"), lines("third"));
    append(at, "a.log", &text(&old));
    let mut tail = Tail::open(at, "a.log");
    tail.expect(&refs(&old));
    // As a sink beside it writes them, and with more behind what was read.
    let others = |read: &[String]| {
        for name in ["got.txt", ".got.txt.1.part", ".a.log.1.part"] {
            write_file(at, name, format!("{}of a sink\n", text(read)).as_bytes());
        }
        write_file(at, "got.txt.gz", gzip(format!("{}of a sink\n", text(read)).as_bytes()));
    };
    others(&old);
    std::fs::write(at.join("a.log"), text(&new)).expect("written anew");
    let mut expected = [refs(&old), refs(&new)].concat();
    tail.expect(&expected);
    // The same while nobody looks.
    tail.crash(|| {
        others(&new);
        std::fs::write(at.join("a.log"), text(&third)).expect("written anew");
    });
    expected.extend(refs(&third));
    tail.expect(&expected);
}

#[test]
fn the_rest_of_what_was_packed_is_unpacked() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    let (old, new) = (lines("old"), lines("new"));
    append(at, "a.log", &text(&old));
    append(at, "a.log.2", &text(&lines("older")));
    let with = json!({ "path": "a.log", "follow": true, "poll": "300ms", "rotate-wait": "20ms" });
    let mut tail = Tail::of(spec(at, "file", with));
    tail.expect(&refs(&old));
    let pack = |name: &str| {
        let contents = std::fs::read(at.join(name)).expect("a file");
        write_file(at, &format!("{name}.gz"), gzip(&contents));
        std::fs::remove_file(at.join(name)).expect("removed");
    };
    // Cut off while it looks, and rotated while nobody does.
    append(at, "a.log", "late\n");
    copy_and_cut(at, "a.log", "a.log.1");
    pack("a.log.2");
    pack("a.log.1");
    append(at, "a.log", &text(&new));
    let mut expected = [refs(&old), vec!["late"], refs(&new)].concat();
    tail.expect_in_any_order(&expected);
    tail.crash(|| {
        append(at, "a.log", "later\n");
        rename(at, "a.log", "a.log.3");
        pack("a.log.3");
        append(at, "a.log", "last\n");
    });
    expected.extend(["later", "last"]);
    tail.expect_in_any_order(&expected);
    let splits = tail.splits();
    let of = |name: &str| splits.iter().filter(|split| **split == name).count();
    assert_eq!((of("a.log"), of("a.log#1"), of("a.log#2")), (old.len() + 1, new.len() + 1, 1));
}

#[test]
fn without_a_copy_the_new_lines_come_whole() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    let (old, new) = (lines("old"), lines("new"));
    append(at, "a.log", &text(&old[..30]));
    let mut tail = Tail::open(at, "a.log");
    tail.expect(&refs(&old[..30]));
    std::fs::write(at.join("a.log"), text(&new)).expect("written");
    tail.expect(&[refs(&old[..30]), refs(&new)].concat());
    // It begins as it did before, and its last bytes tell.
    let other = [&new[..40], &old[..20]].concat();
    tail.crash(|| std::fs::write(at.join("a.log"), text(&other)).expect("written"));
    tail.expect(&[refs(&old[..30]), refs(&new), refs(&other)].concat());
}

#[test]
fn a_pattern_that_matches_rotated_names_brings_each_line_once() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    let mut tail = Tail::open(at, "a.log*");
    let mut expected: Vec<String> = Vec::new();
    for (round, copies) in [false, true, false, true, true, false].into_iter().enumerate() {
        let new = lines(&format!("round {round}"));
        append(at, "a.log", &text(&new[..25]));
        expected.extend_from_slice(&new[..25]);
        tail.expect_in_any_order(&refs(&expected));
        let rotate = || {
            append(at, "a.log", &text(&new[25..]));
            for number in (1..round).rev() {
                rename(at, &format!("a.log.{number}"), &format!("a.log.{}", number + 1));
            }
            if round > 0 {
                if copies { copy_and_cut(at, "a.log", "a.log.1") } else { rename(at, "a.log", "a.log.1") }
            }
        };
        // While it looks, and while nobody does.
        if round % 2 == 0 {
            rotate()
        } else {
            tail.crash(rotate)
        }
        expected.extend_from_slice(&new[25..]);
        tail.expect_in_any_order(&refs(&expected));
    }
    // What is packed is no line.
    let packed = [&gzip(b"packed\n")[..], b"\n"].concat();
    write_file(at, "a.log.9.gz", &packed);
    write_file(at, "a.log.8", &packed);
    append(at, "a.log", "behind\n");
    expected.push("behind".to_owned());
    tail.expect_in_any_order(&refs(&expected));
    tail.crash(|| append(at, "a.log", "last\n"));
    expected.push("last".to_owned());
    tail.expect_in_any_order(&refs(&expected));
}

#[test]
fn a_copy_is_not_read_as_a_new_file_while_its_original_is_there() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    let old = lines("old");
    append(at, "a.log", &text(&old));
    let mut tail = Tail::open(at, "a.log*");
    tail.expect(&refs(&old));
    std::fs::copy(at.join("a.log"), at.join("a.log.1")).expect("copied");
    append(at, "a.log", "late\n");
    let mut expected = [refs(&old), vec!["late"]].concat();
    tail.expect(&expected);
    // A new life does not know of it, and finds out again.
    tail.crash(|| append(at, "a.log", "later\n"));
    expected.push("later");
    tail.expect(&expected);
    std::fs::copy(at.join("a.log"), at.join("a.log.2")).expect("copied");
    std::fs::write(at.join("a.log"), "new\n").expect("cut off");
    expected.push("new");
    tail.expect(&expected);
    // What nobody has read is no copy.
    append(at, "a.log.1", "its own\n");
    expected.extend(refs(&old).into_iter().chain(["its own"]));
    tail.expect(&expected);
}

#[test]
fn files_that_begin_alike_and_are_short_are_both_read() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    append(at, "a.log", "started\n");
    append(at, "b.log", "started\n");
    let mut tail = Tail::open(at, "*.log");
    tail.expect(&["started", "started"]);
    append(at, "c.log", "started\n");
    tail.expect(&["started"; 3]);
    // Longer ones that are the same at first wait until they differ, or are quiet.
    let (one, other) = (lines("same"), lines("other"));
    append(at, "d.log", &text(&one));
    let mut expected = vec!["started"; 3];
    expected.extend(refs(&one));
    tail.expect(&expected);
    append(at, "e.log", &text(&[&one[..30], &other[..]].concat()));
    expected.extend(refs(&one[..30]).into_iter().chain(refs(&other)));
    tail.expect(&expected);
}

#[test]
fn what_lies_behind_a_link_is_found_beside_what_the_link_leads_to() {
    use std::os::unix::fs::symlink;
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    append(at, "pods/0.log", "");
    std::fs::create_dir(at.join("containers")).expect("a directory");
    symlink("../pods/0.log", at.join("containers/x.log")).expect("a link");
    append(at, "pods/0.log", "one\n");
    let mut tail = Tail::open(at, "containers/*.log");
    tail.expect(&["one"]);
    tail.crash(|| {
        append(at, "pods/0.log", "two\n");
        rename(at, "pods/0.log", "pods/0.log.20260102-030405");
        append(at, "pods/0.log", "three\n");
    });
    tail.expect(&["one", "two", "three"]);
    // The container is started again, and its log lies elsewhere.
    tail.crash(|| {
        append(at, "pods/0.log", "four\n");
        append(at, "elsewhere/1.log", "five\n");
        std::fs::remove_file(at.join("containers/x.log")).expect("removed");
        symlink("../elsewhere/1.log", at.join("containers/x.log")).expect("a link");
    });
    tail.expect(&["one", "two", "three", "four", "five"]);
    assert_eq!(
        tail.splits(),
        [
            "containers/x.log",
            "containers/x.log",
            "containers/x.log#1",
            "containers/x.log#1",
            "containers/x.log#2"
        ]
    );
}

/// How many files of this directory are open in this process.
fn open_files(directory: &Path) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").expect("a list of what is open");
    let links = entries.flatten().filter_map(|entry| entry.path().read_link().ok());
    links.filter(|link| link.starts_with(directory)).count()
}

#[test]
fn more_files_are_followed_than_may_be_open_and_those_that_are_gone_are_closed() {
    const FILES: usize = model::limits::FOLLOWED_FILES_MAX + 20;
    let directory = tempdir().expect("a directory");
    let at = directory.path().canonicalize().expect("a directory");
    let name = |number: usize| format!("{number:04}.log");
    (0..FILES).for_each(|number| append(&at, &name(number), "one\n"));
    let mut tail = Tail::open(&at, "*.log");
    let mut expected = vec!["one"; FILES];
    tail.expect(&expected);
    // One that was just opened takes the place of another a moment later.
    let deadline = Instant::now() + Duration::from_secs(10);
    while open_files(&at) > model::limits::FOLLOWED_FILES_MAX && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(open_files(&at), model::limits::FOLLOWED_FILES_MAX);
    (0..FILES).for_each(|number| append(&at, &name(number), "two\n"));
    expected.extend(vec!["two"; FILES]);
    tail.expect(&expected);
    // What is gone is read to its end and closed, and there is room for others.
    for number in 0..FILES {
        append(&at, &name(number), "three\n");
        std::fs::remove_file(at.join(name(number))).expect("removed");
    }
    append(&at, "new.log", "four\n");
    let deadline = Instant::now() + Duration::from_secs(10);
    while (open_files(&at) > 1 || tail.output.records.last().is_none_or(|last| last != "four"))
        && Instant::now() < deadline
    {
        let now = tail.output.records.len();
        tail.pull_until(now + 1, Duration::from_millis(50));
    }
    assert_eq!(open_files(&at), 1, "new.log");
    assert_eq!(tail.output.records.last().map(String::as_str), Some("four"));
}
