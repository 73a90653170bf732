use model::manifest::ColumnType;
use serde_json::json;
use tempfile::tempdir;

use super::*;
use crate::{SinkSpec, plan_sink};

#[test]
fn what_cannot_be_read_is_said_before_anything_runs() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "binary.csv", b"PAR1\x15\x00\x01\nmore\n");
    write_file(directory.path(), "latin.csv", b"na\xefve,b\n1,2\n");
    write_file(directory.path(), "wide.csv", b"\xff\xfea\x00,\x00\n\x00");
    write_file(directory.path(), "twice.csv", "a,b,a\n1,2,3\n");
    write_file(directory.path(), "fake.parquet", "not at all");
    write_file(directory.path(), "fake.gz", "plain");
    write_file(directory.path(), "locked.parquet", b"PARE....PARE");
    write_file(directory.path(), "a.csv.br", b"\x8b\x02\x80n\n1\n\x03");
    write_file(directory.path(), "a.bz2", b"BZh61AY&SY and more");
    write_file(directory.path(), "b.csv", b"\xfd7zXZ\0 and more");
    write_file(directory.path(), "text.jsonl", "hello\nworld\n");
    write_file(directory.path(), "empty.csv", "");
    write_file(directory.path(), "ok.csv", "a\n1\n");
    let cases = [
        (json!({ "path": "missing.csv" }), "missing.csv: there is no such file; check the path"),
        (json!({ "path": "none/*.csv" }), "none/*.csv: no file matches it; check the pattern"),
        (json!({ "path": ".", "format": "lines" }), ".: it is a directory"),
        (json!({ "path": "[z", "format": "lines" }), "it is no pattern"),
        (json!({ "path": "binary.csv" }), "binary.csv: this is a binary file, not CSV"),
        (json!({ "path": "latin.csv" }), "latin.csv: this is a binary file, or not UTF-8"),
        (json!({ "path": "wide.csv" }), "wide.csv: this is UTF-16"),
        (json!({ "path": "twice.csv" }), "twice.csv: its header has the column `a` twice"),
        (json!({ "path": "fake.parquet" }), "fake.parquet: it is not Parquet"),
        (json!({ "path": "fake.gz", "format": "csv" }), "fake.gz: it is not gzip"),
        (json!({ "path": "locked.parquet" }), "locked.parquet: it is encrypted"),
        (json!({ "path": "a.csv.br", "format": "csv" }), "a.csv.br: it is packed with brotli, which is not"),
        (json!({ "path": "a.bz2", "format": "csv" }), "a.bz2: it is packed with bzip2, which is not"),
        (
            json!({ "path": "b.csv" }),
            "b.csv: it is packed with xz, which is not unpacked here; unpack it first",
        ),
        (json!({ "path": "ok.csv", "rotate-wait": "1s" }), "is for followed files"),
        (json!({ "path": "text.jsonl" }), "none of its first lines is a JSON object"),
        (
            json!({ "path": "empty.csv" }),
            "nothing in it to tell its columns from; declare the columns under `schema`",
        ),
        (json!({ "path": "x" }), "the name `x` does not say what is in the file"),
        (json!({ "path": "ok.csv", "nul": "NA" }), "unknown field `nul`"),
        (json!({ "path": "ok.csv", "header": "maybe" }), "`header`: invalid type"),
        (json!({ "path": "ok.csv", "record-bytes-max": "16 apples" }), "a size is a number and a unit"),
        (json!({ "path": "ok.csv", "record-bytes-max": "2GiB" }), "from 1B to 1GiB"),
        (json!({ "path": "ok.csv", "delimiter": "::" }), "one ASCII character"),
        (json!({ "path": "ok.csv", "quote": "," }), "the same character"),
        (json!({ "path": "ok.csv", "columns": ["b"] }), "`header: false`"),
        (json!({ "path": "text.jsonl", "null": "NA" }), "`null` is an option of CSV"),
        (json!({ "path": "ok.csv", "poll": "1s" }), "how often a followed file"),
        (json!({ "path": "x.csv.gz", "follow": true }), "a packed file cannot be followed"),
        (json!({ "path": "x.parquet", "follow": true }), "does not grow"),
        (json!({}), "missing field `path`"),
        (json!({ "file": "x" }), "`file` takes "),
        (json!({ "file": "x" }), "record-bytes-max"),
    ];
    for (with, expected) in cases {
        let error = plan_source(&spec(directory.path(), "file", with.clone())).err();
        let error = error.unwrap_or_else(|| panic!("{with} is planned"));
        let help = match &error {
            SpecError::Options(error) => format!("{error}; {}", error.help),
            other => other.to_string(),
        };
        assert!(help.contains(expected), "{with}: {help}");
    }
    let error = plan_source(&spec(directory.path(), "fil", json!({}))).err().expect("there is none");
    assert_eq!(error.to_string(), "there is no built-in source `fil`; there are file, generate, http, stdin");
    let declared =
        declare(spec(directory.path(), "file", json!({ "path": "ok.csv" })), &[("b", ColumnType::Int)]);
    let error = plan_source(&declared).err().expect("no such column");
    assert!(error.to_string().contains("it has no column `b`, which `schema` declares; it has a"), "{error}");
}

#[test]
fn a_wrong_option_is_pointed_at() {
    let cases = [
        (json!({ "path": ["a.csv", 3] }), "/path"),
        (json!({ "path": "a.csv", "poll": "soon" }), "/poll"),
        (json!({ "path": "a.csv", "format": "xml" }), "/format"),
    ];
    for (with, pointer) in cases {
        match plan_source(&spec(Path::new("."), "file", with.clone())).err() {
            Some(SpecError::Options(error)) => assert_eq!(error.pointer, pointer, "{with}: {error}"),
            other => panic!("{with}: {other:?}"),
        }
    }
}

#[test]
fn what_cannot_be_written_is_said_before_anything_runs() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "there.jsonl", "{}\n");
    write_file(directory.path(), "file", "");
    let cases = [
        (json!({ "path": "x" }), "does not say what to write"),
        (json!({ "path": "x.parquet", "if-exists": "append" }), "nothing can be appended"),
        (json!({ "path": "x.csv", "if-exists": "append" }), "nothing can be appended"),
        (json!({ "path": "x.jsonl", "rotate": {} }), "neither when a file is large enough"),
        (
            json!({ "path": "x.jsonl", "rotate": { "size": "1KiB" }, "if-exists": "replace" }),
            "no file is ever replaced",
        ),
        (json!({ "path": "x.jsonl", "header": true }), "`header` is an option of CSV"),
        (json!({ "path": "there.jsonl", "if-exists": "fail" }), "there.jsonl: it cannot be written"),
        (json!({ "path": "file/x.jsonl" }), "it cannot be written"),
        (json!({ "path": ".", "format": "jsonl" }), "it cannot be written"),
    ];
    for (with, expected) in cases {
        let with_map = with.as_object().cloned().expect("a map");
        let spec = SinkSpec {
            stage: "out".into(),
            connector: "file".into(),
            with: with_map,
            base: directory.path().into(),
            roots: crate::Roots::default(),
            secrets: crate::Secrets::default(),
        };
        let opened =
            plan_sink(&spec).and_then(|planned| Ok(planned.open(&model::plan::Stream::Opaque, None)?));
        let error = opened.err().unwrap_or_else(|| panic!("{with} is opened"));
        assert!(error.to_string().contains(expected), "{with}: {error}");
    }
}

#[test]
fn options_have_schemas_that_say_what_they_are() {
    for name in crate::SOURCES {
        let schema = serde_json::to_value(crate::source_options(name)).expect("JSON");
        assert!(schema["properties"].as_object().is_some_and(|keys| !keys.is_empty()), "{name}: {schema}");
        assert_eq!(schema["additionalProperties"], false, "{name}");
    }
    for name in crate::SINKS {
        let schema = serde_json::to_value(crate::sink_options(name)).expect("JSON");
        assert_eq!(schema["additionalProperties"], false, "{name}: {schema}");
    }
}
