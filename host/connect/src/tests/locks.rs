//! Two that would write to one file: the second is refused before it touches anything.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use flow::connector::{Barrier, Committed, Sink, Then};
use model::plan::Stream;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::sinks::{opaque, sink_spec};
use super::*;
use crate::{plan_sink, set_file_aside};

fn open(directory: &Path, with: &Value, committed: Option<Committed>) -> Result<Box<dyn Sink>, ConnectError> {
    let planned = plan_sink(&sink_spec(directory, "file", with.clone())).expect("a plan");
    planned.open(&Stream::Opaque, committed)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn whoever_comes_second_is_refused_and_takes_nothing_away() {
    let (one, row) = (json!({ "path": "o.txt" }), json!({ "path": "o.txt", "rotate": { "size": "1KiB" } }));
    let in_place = json!({ "path": "o.txt", "delivery": "at-least-once" });
    let begin = || Some(Committed(None));
    let cases = [
        ("one", &one, begin(), "o.txt", ".o.txt.lock"),
        ("a row", &row, begin(), "o-000001.txt", ".o.txt.rotate-lock"),
        ("in place", &in_place, begin(), "o.txt", ".o.txt.lock"),
        ("without checkpoints", &one, None, "o.txt", ".o.txt.lock"),
        ("a row without checkpoints", &row, None, "o-000001.txt", ".o.txt.rotate-lock"),
    ];
    for (what, with, committed, file, lock) in cases {
        let directory = tempdir().expect("a directory");
        let at = directory.path();
        let mut sink = open(at, with, committed.clone()).expect("a sink");
        let token = runtime().block_on(async {
            sink.write(&opaque(&["kept"]), &[]).await.expect("written");
            sink.prepare(Barrier { number: 1, then: Then::End }).await.expect("prepared")
        });
        let before = names(at);
        for second in [committed.clone(), None, begin()] {
            let refused = open(at, with, second).err().unwrap_or_else(|| panic!("{what}: it was opened"));
            let (why, next) = (&refused.why, &refused.next);
            assert!(why.contains("written to by another run") && why.contains(lock), "{what}: {why}");
            assert_eq!(next, "let that one end first, or write to another file");
        }
        assert_eq!(names(at), before, "{what}: it took something away");
        runtime().block_on(sink.commit(&token)).expect("committed");
        drop(sink);
        assert_eq!(fs::read_to_string(at.join(file)).expect("there"), "kept\n", "{what}");
        assert_eq!(names(at), [file], "{what}: something was left behind");
        open(at, with, committed).unwrap_or_else(|error| panic!("{what}, afterwards: {error}"));
    }
}

#[test]
fn a_file_is_not_set_aside_while_somebody_writes_it() {
    let directory = tempdir().expect("a directory");
    let (at, with) = (directory.path(), json!({ "path": "o.txt" }));
    let mut sink = open(at, &with, Some(Committed(None))).expect("a sink");
    let token = runtime().block_on(async {
        sink.write(&opaque(&["one"]), &[]).await.expect("written");
        sink.prepare(Barrier { number: 1, then: Then::GoOn }).await.expect("prepared")
    });
    let aside = || set_file_aside(&sink_spec(at, "file", with.clone()), &token);
    let refused = aside().expect_err("it was set aside").to_string();
    assert!(refused.contains("written to by another run"), "{refused}");
    drop(sink);
    assert_eq!(aside().expect("set aside").kept, Some(at.join("o-000001.txt")));
}

#[test]
fn the_lock_is_of_the_file_that_a_link_leads_to() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    fs::create_dir(at.join("real")).expect("a directory");
    symlink("real/o.txt", at.join("link.txt")).expect("a link");
    symlink("real", at.join("other")).expect("a link");
    let first = open(at, &json!({ "path": "link.txt" }), None).expect("a sink");
    for path in ["real/o.txt", "other/o.txt", "./real/../link.txt"] {
        assert!(open(at, &json!({ "path": path }), None).is_err(), "{path} was opened");
    }
    drop(first);
    assert!(open(at, &json!({ "path": "other/o.txt" }), None).is_ok());
    assert_eq!(names(&at.join("real")), ["o.txt"]);
}

/// Another name of the same file has a lock of its own, and what another user has made cannot be opened.
#[test]
fn a_file_is_locked_under_all_of_its_names_and_against_who_cannot_open_the_lock() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    fs::write(at.join("o.txt"), "there\n").expect("a file");
    fs::hard_link(at.join("o.txt"), at.join("same.txt")).expect("a link");
    let with = |path: &str| json!({ "path": path, "if-exists": "append" });
    let first = open(at, &with("o.txt"), None).expect("a sink");
    let refused = open(at, &with("same.txt"), None).err().expect("it was opened");
    assert!(refused.why.contains("another run") && refused.why.contains("same.txt locked"), "{refused}");
    // Somebody else's lock, as far as names go.
    fs::remove_file(at.join(".o.txt.lock")).expect("a lock");
    assert!(open(at, &with("o.txt"), None).is_err_and(|refused| refused.why.contains("another run")));
    drop(first);
    assert!(open(at, &with("same.txt"), None).is_ok());
}

#[test]
fn several_write_to_a_device_and_one_to_a_file_whose_directory_is_closed() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    let device = json!({ "path": "/dev/null", "format": "lines" });
    let all = [open(at, &device, None), open(at, &device, None)];
    assert!(all.iter().all(Result::is_ok));
    // A pipe that somebody reads.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a pipe");
    let _reader = fs::File::options().read(true).write(true).open(at.join("pipe")).expect("a pipe");
    let pipe = json!({ "path": "pipe", "format": "lines" });
    assert!([open(at, &pipe, None), open(at, &pipe, None)].iter().all(Result::is_ok));
    fs::create_dir(at.join("closed")).expect("a directory");
    fs::write(at.join("closed/o.txt"), "").expect("a file");
    fs::set_permissions(at.join("closed"), fs::Permissions::from_mode(0o555)).expect("closed");
    // The superuser may write there anyway.
    let with = json!({ "path": "closed/o.txt" });
    let first = open(at, &with, None).expect("a sink");
    assert!(open(at, &with, None).is_err_and(|refused| refused.why.contains("another run")));
    drop(first);
    assert!(open(at, &with, None).is_ok());
    fs::set_permissions(at.join("closed"), fs::Permissions::from_mode(0o755)).expect("open");
}
