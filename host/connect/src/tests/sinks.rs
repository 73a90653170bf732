use std::fs;
use std::sync::Arc;

use arrow::array::BinaryArray;
use flow::connector::{Barrier, Places, Sink, Then};
use model::batch::Parts;
use model::lineage::{Lineage, Offsets, SourceRows};
use model::manifest::ColumnType;
use model::plan::{Form, Stream};
use serde_json::json;
use tempfile::tempdir;

use super::*;
use crate::{Beside, Discard, SinkSpec, keep_earlier_output, plan_sink};

pub(super) fn sink_spec(directory: &Path, connector: &str, with: serde_json::Value) -> SinkSpec {
    let with = with.as_object().cloned().expect("a map");
    SinkSpec {
        stage: "out".into(),
        connector: connector.to_owned(),
        with,
        base: directory.to_owned(),
        roots: crate::Roots::default(),
        secrets: crate::Secrets::default(),
    }
}

pub(super) fn open(directory: &Path, with: serde_json::Value, input: &Stream) -> Box<dyn Sink> {
    let planned = plan_sink(&sink_spec(directory, "file", with)).expect("a plan");
    planned.open(input, None).expect("a sink")
}

pub(super) fn opaque(records: &[&str]) -> Batch {
    let lineage = Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: "in".into(),
        split: "0".into(),
        offsets: Offsets::From(0),
    });
    let values = BinaryArray::from_iter_values(records.iter().map(|record| record.as_bytes()));
    Batch::from_values(values, Parts::default(), lineage).expect("a batch")
}

/// Writes all batches and ends as a pipeline does; what was refused.
pub(super) fn write_all(sink: &mut dyn Sink, batches: &[Batch]) -> Vec<(u32, String)> {
    runtime().block_on(async {
        let mut refused = Vec::new();
        for batch in batches {
            let refusals = sink.write(batch, &[]).await.expect("written");
            refused.extend(refusals.into_iter().map(|refusal| (refusal.row, refusal.code)));
        }
        let token = sink.prepare(Barrier { number: 1, then: Then::End }).await.expect("prepared");
        sink.commit(&token).await.expect("committed");
        sink.commit(&token).await.expect("a second time");
        refused
    })
}

/// Rows of every type that CSV can bring, one column a JSON text, with nulls and awkward texts.
fn rows(directory: &Path) -> (Stream, Vec<Batch>) {
    let text = "i,f,b,d,t,s,j\n1,0.1,true,2020-01-02,2020-01-02T03:04:05.000006Z,\"a,\"\"b\"\"\n\u{e9}\",\"{\"\"x\"\":[1,null]}\"\n\
                ,,,,,,\n-2,1e300,false,1969-12-31,1969-12-31T23:59:59Z,\"\",\"[\"\"q\"\"]\"\n";
    write_file(directory, "rows.csv", text);
    let spec = declare(spec(directory, "file", json!({ "path": "rows.csv" })), &[("j", ColumnType::Json)]);
    let planned = plan_source(&spec).expect("a plan");
    let stream = planned.stream().clone();
    let mut source = planned.open(&Wanted::default(), &Places::new()).expect("a source");
    let pulled = runtime().block_on(source.pull(LIMITS)).expect("rows").expect("rows");
    let batch = pulled.batch.expect("rows");
    // A selection as well: sinks get forwarded rows as they are.
    let picked = batch.pick(&Arc::from([2, 0]));
    (stream, vec![batch, picked])
}

#[test]
fn every_format_reads_back_as_it_was_written() {
    let directory = tempdir().expect("a directory");
    let (stream, batches) = rows(directory.path());
    let expected: Vec<String> = batches.iter().flat_map(texts).collect();
    assert_eq!(expected.len(), 5);
    for name in [
        "o.csv",
        "o.tsv",
        "o.csv.gz",
        "o.jsonl",
        "o.jsonl.gz",
        "o.ndjson.zst",
        "o.parquet",
        "new/deep/o.csv.zst",
    ] {
        let mut sink = open(directory.path(), json!({ "path": name }), &stream);
        assert_eq!(write_all(&mut *sink, &batches), []);
        let declared =
            declare(spec(directory.path(), "file", json!({ "path": name })), &[("j", ColumnType::Json)]);
        let output = read(&declared).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(output.refused, [], "{name}");
        assert_eq!(output.records, expected, "{name}");
    }
}

#[test]
fn parquet_reads_only_what_is_wanted_and_casts_what_is_declared() {
    let directory = tempdir().expect("a directory");
    let (stream, batches) = rows(directory.path());
    write_all(&mut *open(directory.path(), json!({ "path": "o.parquet" }), &stream), &batches[..1]);
    let plain = spec(directory.path(), "file", json!({ "path": "o.parquet" }));
    let wanted = Wanted { columns: Some(vec![5, 0]), times: false };
    let output = read_wanted(&plain, &wanted).expect("rows");
    assert_eq!(output.records[0], r#"{"s":"a,\"b\"\né","i":1}"#);
    assert_eq!(output.origins[2], ("o.parquet".to_owned(), 2));

    // `s` is no number in the first row, null in the second, empty in the third.
    let output = read(&declare(plain.clone(), &[("s", ColumnType::Int)])).expect("rows");
    let codes: Vec<_> = output.refusals().iter().map(|(code, offset, _)| (*code, *offset)).collect();
    assert_eq!(codes, [("bad-cast", 0), ("bad-cast", 2)]);
    assert_eq!(output.records.len(), 1);
    assert_eq!(
        read_wanted(
            &declare(plain, &[("s", ColumnType::Int)]),
            &Wanted { columns: Some(vec![0]), times: false }
        )
        .expect("rows")
        .records
        .len(),
        3
    );
}

#[test]
fn opaque_records_are_written_if_the_format_can_say_them() {
    let directory = tempdir().expect("a directory");
    let records = opaque(&["plain", "{\"a\":\n1}", ""]);
    type Case<'a> = (&'a str, serde_json::Value, &'a str, &'a [(u32, &'a str)]);
    let cases: [Case<'_>; 3] = [
        ("o.txt", json!({}), "plain\n\n", &[(1, "newline-in-value")]),
        ("o.bin", json!({ "format": "bytes" }), "plain{\"a\":\n1}", &[]),
        ("o.jsonl", json!({}), "{\"a\": 1}\n", &[(0, "bad-json"), (2, "bad-json")]),
    ];
    for (name, options, expected, refused) in cases {
        let mut with = json!({ "path": name });
        with.as_object_mut().expect("a map").extend(options.as_object().cloned().expect("a map"));
        let mut sink = open(directory.path(), with, &Stream::Opaque);
        let found = write_all(&mut *sink, std::slice::from_ref(&records));
        let found: Vec<(u32, &str)> = found.iter().map(|(row, code)| (*row, code.as_str())).collect();
        assert_eq!(found, refused, "{name}");
        assert_eq!(fs::read_to_string(directory.path().join(name)).expect("a file"), expected, "{name}");
    }
}

#[test]
fn sinks_say_which_form_they_take() {
    let cases = [
        ("file", json!({ "path": "o.txt" }), Form::Bytes),
        ("file", json!({ "path": "o.csv" }), Form::Table),
        ("file", json!({ "path": "o.parquet" }), Form::Table),
        ("file", json!({ "path": "o.jsonl" }), Form::Any),
        ("stdout", json!({}), Form::Any),
        ("stdout", json!({ "format": "csv" }), Form::Table),
        ("discard", json!({}), Form::Any),
    ];
    for (connector, with, form) in cases {
        let planned = plan_sink(&sink_spec(Path::new("."), connector, with.clone())).expect("a plan");
        assert_eq!(planned.form(), form, "{connector} {with}");
        assert_eq!(planned.reads_columns(), connector != "discard", "{connector} {with}");
    }
}

#[test]
fn an_existing_file_is_replaced_or_appended_to() {
    let directory = tempdir().expect("a directory");
    let path = directory.path().join("o.txt");
    let contents = || fs::read_to_string(&path).expect("a file");
    for (if_exists, expected) in [("replace", "new\n"), ("append", "a longer old line\nnew\n")] {
        fs::write(&path, "a longer old line\n").expect("a file");
        let mut sink =
            open(directory.path(), json!({ "path": "o.txt", "if-exists": if_exists }), &Stream::Opaque);
        assert_eq!(contents(), "a longer old line\n", "an old file is left alone until something is written");
        write_all(&mut *sink, &[opaque(&["new"])]);
        assert_eq!(contents(), expected, "{if_exists}");
    }
    fs::write(&path, "old\n").expect("a file");
    write_all(&mut *open(directory.path(), json!({ "path": "o.txt" }), &Stream::Opaque), &[]);
    assert_eq!(contents(), "", "a run that ends without a record leaves an empty file");
}

#[test]
fn what_is_appended_begins_a_line_of_its_own() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    let zstd = |text: &[u8]| zstd::encode_all(text, 1).expect("memory");
    type Pack<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let packs: [(&str, Pack<'_>); 3] =
        [("o.txt", &<[u8]>::to_vec), ("o.txt.gz", &gzip), ("o.txt.zst", &zstd)];
    for (name, pack) in packs {
        for (old, expected) in [
            ("one\ntwo", &["one", "two", "new", "more"][..]),
            ("one\ntwo\n", &["one", "two", "new", "more"]),
            ("", &["new", "more"]),
        ] {
            // Without checkpoints, with them, and with them in place.
            for (checkpoints, delivery) in
                [(false, "exactly-once"), (true, "exactly-once"), (true, "at-least-once")]
            {
                let how = format!("{name}, {old:?}, {checkpoints}, {delivery}");
                write_file(at, name, pack(old.as_bytes()));
                let with = json!({ "path": name, "if-exists": "append", "delivery": delivery });
                let open = |token: Option<Vec<u8>>| {
                    let committed = checkpoints.then_some(flow::connector::Committed(token));
                    let planned = plan_sink(&sink_spec(at, "file", with.clone())).expect("a plan");
                    planned.open(&Stream::Opaque, committed).expect("a sink")
                };
                let mut sink = open(None);
                let empty = runtime().block_on(sink.prepare(Barrier { number: 1, then: Then::GoOn }));
                runtime().block_on(sink.commit(&empty.clone().expect("prepared"))).expect("committed");
                drop(sink);
                // Nothing came before the crash, and what is there is as it was.
                let mut sink = open(empty.ok());
                write_all(&mut *sink, &[opaque(&["new"])]);
                write_all(&mut *sink, &[opaque(&["more"])]);
                drop(sink);
                let output = read(&spec(at, "file", json!({ "path": name }))).expect("lines");
                assert_eq!(output.records, expected, "{how}");
            }
        }
    }
    let mut sink =
        open(at, json!({ "path": "b.bin", "format": "bytes", "if-exists": "append" }), &Stream::Opaque);
    write_file(at, "b.bin", "raw");
    write_all(&mut *sink, &[opaque(&["bytes"])]);
    assert_eq!(fs::read(at.join("b.bin")).expect("a file"), b"rawbytes", "bytes have no lines");
    // Behind what is no member of gzip, nobody would find another.
    write_file(at, "o.txt.gz", [&gzip(b"one\n")[..], b"signature"].concat());
    let mut sink = open(at, json!({ "path": "o.txt.gz", "if-exists": "append" }), &Stream::Opaque);
    let written = runtime().block_on(async {
        sink.write(&opaque(&["new"]), &[]).await?;
        sink.prepare(Barrier { number: 1, then: Then::End }).await
    });
    assert!(written.is_err_and(|error| error.to_string().contains("behind its last gzip member")));
}

#[test]
fn a_link_that_leads_to_nothing_yet_stays_a_link() {
    let directory = tempdir().expect("a directory");
    let at = directory.path();
    std::os::unix::fs::symlink("real.txt", at.join("link.txt")).expect("a link");
    let planned = plan_sink(&sink_spec(at, "file", json!({ "path": "link.txt" }))).expect("a plan");
    let mut sink = planned.open(&Stream::Opaque, Some(flow::connector::Committed(None))).expect("a sink");
    write_all(&mut *sink, &[opaque(&["one"])]);
    assert!(at.join("link.txt").symlink_metadata().expect("a link").is_symlink());
    assert_eq!(fs::read_to_string(at.join("real.txt")).expect("a file"), "one\n");
}

#[test]
fn what_was_written_stays_when_more_comes_after_a_checkpoint() {
    let directory = tempdir().expect("a directory");
    for name in ["o.txt", "o.txt.gz"] {
        let mut sink = open(directory.path(), json!({ "path": name }), &Stream::Opaque);
        write_all(&mut *sink, &[opaque(&["one"])]);
        write_all(&mut *sink, &[opaque(&["two"])]);
        let output = read(&spec(directory.path(), "file", json!({ "path": name }))).expect("lines");
        assert_eq!(output.records, ["one", "two"], "{name}");
    }
}

#[test]
fn flushed_records_can_be_read_at_once() {
    let directory = tempdir().expect("a directory");
    let mut sink = open(directory.path(), json!({ "path": "o.txt" }), &Stream::Opaque);
    runtime().block_on(async {
        sink.write(&opaque(&["seen"]), &[]).await.expect("written");
        sink.flush().await.expect("flushed");
    });
    assert_eq!(fs::read_to_string(directory.path().join("o.txt")).expect("a file"), "seen\n");
}

#[test]
fn files_are_rotated_by_size_and_never_overwritten() {
    let directory = tempdir().expect("a directory");
    let with = json!({ "path": "out/o.txt", "rotate": { "size": 10 } });
    let batches: Vec<Batch> = ["12345", "67890", "abc"].iter().map(|text| opaque(&[text])).collect();
    for run in 0..2 {
        let mut sink = open(directory.path(), with.clone(), &Stream::Opaque);
        write_all(&mut *sink, &batches);
        let read =
            |number: usize| fs::read_to_string(directory.path().join(format!("out/o-{number:06}.txt")));
        assert_eq!(read(run * 2 + 1).expect("the first file"), "12345\n67890\n");
        assert_eq!(read(run * 2 + 2).expect("the second file"), "abc\n");
    }
    let count = fs::read_dir(directory.path().join("out")).expect("a directory").count();
    assert_eq!(count, 4);
}

#[test]
fn files_are_rotated_by_time_each_whole_by_itself() {
    let directory = tempdir().expect("a directory");
    let (stream, batches) = rows(directory.path());
    let with = json!({ "path": "out/o.csv.gz", "rotate": { "every": "1us" } });
    write_all(&mut *open(directory.path(), with, &stream), &batches);
    let source = spec(directory.path(), "file", json!({ "path": "out/o-*T*Z-*.csv.gz" }));
    let output = read(&declare(source, &[("j", ColumnType::Json), ("s", ColumnType::Text)])).expect("rows");
    assert_eq!(output.records.len(), 5);
    let splits: std::collections::BTreeSet<_> =
        output.origins.iter().map(|(split, _)| split.clone()).collect();
    assert_eq!(splits.len(), 2, "each file has its own header: {splits:?}");
}

#[test]
fn the_token_names_what_was_made_durable() {
    let directory = tempdir().expect("a directory");
    let mut sink = open(directory.path(), json!({ "path": "o.txt" }), &Stream::Opaque);
    let token = runtime().block_on(async {
        sink.write(&opaque(&["abc"]), &[]).await.expect("written");
        sink.prepare(Barrier { number: 1, then: Then::End }).await.expect("prepared")
    });
    let token: serde_json::Value = serde_json::from_slice(&token).expect("JSON");
    assert_eq!(token[0]["bytes"], 4, "{token}");
    assert!(token[0]["path"].as_str().is_some_and(|path| path.ends_with("o.txt")), "{token}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_is_said_again() {
    let mut sink = open(Path::new("/"), json!({ "path": "/dev/full", "format": "lines" }), &Stream::Opaque);
    runtime().block_on(async {
        sink.write(&opaque(&["x"]), &[]).await.expect("it is only gathered");
        let first = sink.flush().await.expect_err("nothing fits there");
        assert!(first.to_string().contains("free some space"), "{first}");
        assert_eq!(
            sink.prepare(Barrier { number: 1, then: Then::End }).await.expect_err("it has failed for good"),
            first
        );
    });
}

#[test]
fn discard_counts_and_compares() {
    let (first, second) = (opaque(&["a", "b"]), opaque(&["b", "a"]));
    let sums: Vec<_> = [
        &[first.clone()][..],
        &[second][..],
        &[first.pick(&Arc::from([0])), first.pick(&Arc::from([1]))][..],
    ]
    .into_iter()
    .map(|batches| {
        let (mut sink, totals) = Discard::new(&Stream::Opaque, true);
        write_all(&mut sink, batches);
        (totals.records(), totals.checksum())
    })
    .collect();
    assert!(sums[0].1 != 0 && sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
}

#[test]
fn what_a_sink_wrote_before_can_be_kept() {
    let directory = tempdir().expect("a directory");
    for name in ["there.csv", "there.jsonl", "empty.jsonl"] {
        let text = if name.starts_with("there") { "a\n1\n" } else { "" };
        write_file(directory.path(), name, text);
    }
    let behind = |name: &str| Some(Beside::Behind(directory.path().join(name)));
    let part = |name: &str| Some(Beside::PartOf(directory.path().join(name)));
    let cases = [
        (json!({ "path": "there.jsonl" }), behind("there.jsonl")),
        (json!({ "path": "there.jsonl", "if-exists": "replace" }), behind("there.jsonl")),
        (json!({ "path": "there.jsonl", "if-exists": "fail" }), part("there.jsonl")),
        (json!({ "path": "there.csv" }), part("there.csv")),
        (json!({ "path": "there.jsonl", "if-exists": "append" }), None),
        (json!({ "path": "there.csv", "rotate": { "size": "1MiB" } }), None),
        (json!({ "path": "none.csv" }), None),
        (json!({ "path": "empty.jsonl" }), None),
        (json!({ "path": "/dev/null", "format": "lines" }), None),
        (json!({ "nonsense": 1 }), None),
    ];
    for (with, expected) in cases {
        let mut kept = with.as_object().cloned().expect("a map");
        assert_eq!(keep_earlier_output("file", &mut kept, directory.path()), expected, "{with}");
        if expected.is_some() {
            plan_sink(&sink_spec(directory.path(), "file", kept.into())).expect("a plan");
        } else {
            assert_eq!(serde_json::Value::Object(kept), with, "it was changed");
        }
    }
}
