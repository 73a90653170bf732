use model::convert::{BAD_JSON, BAD_ROW};
use model::manifest::{ColumnType, TimeFrom, UnknownFields};
use serde_json::json;
use tempfile::tempdir;

use super::*;
use crate::decode::RECORD_TOO_LARGE;

#[test]
fn lines_are_records_whatever_they_are_packed_in() {
    let text = b"one\r\n\ntwo\nlast";
    // Gzip files can be put one behind the other.
    let members = [gzip(b"one\r\n\ntw"), gzip(b"o\nlast")].concat();
    let zstd = zstd::encode_all(&text[..], 1).expect("memory");
    // What pzstd and others begin with is skipped.
    let skipped = [b"\x5e\x2a\x4d\x18\x04\0\0\0skip", &zstd[..]].concat();
    let padded = [&members[..], &[0; 700]].concat();
    let signed = [&members[..], b"signature"].concat();
    let cases: [(&str, &[u8]); 8] = [
        ("a.txt", text),
        ("skipped.txt.zst", &skipped),
        ("padded.txt.gz", &padded),
        ("signed.txt.gz", &signed),
        ("a.log.gz", &members),
        ("a.txt.zst", &zstd),
        ("misnamed.txt", &members),
        ("b.log", text),
    ];
    for (name, contents) in cases {
        let directory = tempdir().expect("a directory");
        write_file(directory.path(), name, contents);
        let output = read(&spec(directory.path(), "file", json!({ "path": name }))).expect("lines");
        assert_eq!(output.records, ["one", "", "two", "last"], "{name}");
        assert_eq!(output.origins[3], (name.to_owned(), 3));
    }
}

#[test]
fn a_column_that_is_packed_with_brotli_is_named_and_the_others_are_read() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/data");
    let spec = spec(&directory, "file", json!({ "path": "brotli.parquet" }));
    let output = read_wanted(&spec, &Wanted { columns: Some(vec![0]), times: false }).expect("rows");
    assert_eq!(output.records, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
    let error = read(&spec).err().map(|error| error.to_string());
    let expected = "brotli.parquet: its column `text` cannot be read: it is packed with brotli, which is not unpacked here";
    assert!(error.as_ref().is_some_and(|error| error.starts_with(expected)), "{error:?}");
}

#[test]
fn logs_of_containers_are_rows_and_their_parts_are_joined() {
    let directory = tempdir().expect("a directory");
    let text = "2016-10-06T00:17:09.669794202Z stdout P log content 1, \n\
                2016-10-06T00:17:09.669794203+02:00 stderr F another\n\
                2016-10-06T00:17:10.113242941Z stdout P and \n\
                2016-10-06T00:17:10.113242942Z stdout F:TAG its end \n\
                2016-10-06T00:17:11Z stdout F\n\
                no log\n\
                2016-10-06T00:17:12Z stdin F text\n\
                2016-10-06T00:17:13Z stdout F \u{e9}\n\
                2016-10-06T00:17:14Z stderr P left open\n";
    write_file(directory.path(), "0.log", text);
    let with = json!({ "path": "0.log", "format": "cri" });
    let output = read(&spec(directory.path(), "file", with.clone())).expect("rows");
    assert_eq!(
        output.records,
        [
            r#"{"time":"2016-10-05T22:17:09.669794Z","stream":"stderr","text":"another"}"#,
            r#"{"time":"2016-10-06T00:17:09.669794Z","stream":"stdout","text":"log content 1, and its end "}"#,
            r#"{"time":"2016-10-06T00:17:11Z","stream":"stdout","text":""}"#,
            "{\"time\":\"2016-10-06T00:17:13Z\",\"stream\":\"stdout\",\"text\":\"\u{e9}\"}",
            r#"{"time":"2016-10-06T00:17:14Z","stream":"stderr","text":"left open"}"#,
        ]
    );
    let refused: Vec<(&str, u64)> =
        output.refusals().iter().map(|(_, offset, why)| (*why, *offset)).collect();
    let form = "it is not `TIME stdout|stderr P|F TEXT`";
    assert_eq!(refused, [(&*format!("line 6: {form}"), 3), (&*format!("line 7: {form}"), 4)]);
    assert_eq!(output.refused[1].raw, b"2016-10-06T00:17:12Z stdin F text");
    // As it stands, where that is asked for, and only what is wanted.
    let text = declare(spec(directory.path(), "file", with.clone()), &[("time", ColumnType::Text)]);
    let wanted = Wanted { columns: Some(vec![2, 0]), times: false };
    let output = read_wanted(&text, &wanted).expect("rows");
    assert_eq!(output.records[0], r#"{"text":"another","time":"2016-10-06T00:17:09.669794203+02:00"}"#);
    for (column, of_type, why) in [
        ("level", ColumnType::Text, "its columns are time, stream and text"),
        ("time", ColumnType::Int, "the column `time` of the format cri is timestamp or text"),
    ] {
        let spec = declare(spec(directory.path(), "file", with.clone()), &[(column, of_type)]);
        let error = plan_source(&spec).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(why)), "{error:?}");
    }
}

#[test]
fn a_pattern_is_read_in_the_order_of_names_each_file_a_split() {
    let directory = tempdir().expect("a directory");
    for name in ["logs/b.txt", "logs/a.txt", "logs/deep/c.txt", "other.txt"] {
        write_file(directory.path(), name, format!("{name}\n"));
    }
    let output = read(&spec(directory.path(), "file", json!({ "path": ["logs/**/*.txt", "other.txt"] })))
        .expect("lines");
    assert_eq!(output.records, ["logs/a.txt", "logs/b.txt", "logs/deep/c.txt", "other.txt"]);
    assert!(
        output
            .origins
            .iter()
            .zip(&output.records)
            .all(|((split, offset), record)| split == record && *offset == 0)
    );
    assert_eq!(output.batches, 4, "a batch is of one split");
}

#[test]
fn a_file_can_be_one_record() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "1.bin", b"a\nb\n");
    write_file(directory.path(), "2.bin", vec![b'x'; 3 << 20]);
    write_file(directory.path(), "3.bin", b"");
    let with = json!({ "path": "*.bin", "format": "bytes", "record-bytes-max": "1MiB" });
    let output = read(&spec(directory.path(), "file", with)).expect("records");
    assert_eq!(output.records, ["a\nb\n", ""]);
    assert_eq!((output.refused[0].code.as_str(), &*output.refused[0].split), (RECORD_TOO_LARGE, "2.bin"));
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_rest_goes_on() {
    let directory = tempdir().expect("a directory");
    let long = "y".repeat(3 << 20);
    write_file(directory.path(), "a.txt", format!("one\n{long}\ntwo\n"));
    let with = json!({ "path": "a.txt", "record-bytes-max": "512KiB" });
    let output = read(&spec(directory.path(), "file", with)).expect("lines");
    assert_eq!(output.records, ["one", "two"]);
    assert_eq!((output.refused[0].code.as_str(), output.refused[0].offset), (RECORD_TOO_LARGE, 1));
    assert_eq!(output.origins[1].1, 2);
}

#[test]
fn json_lines_are_rows_with_the_fields_that_were_found() {
    let directory = tempdir().expect("a directory");
    let text = "{\"a\":1,\"t\":\"2020-01-01T00:00:00Z\",\"n\":{\"x\":[1, 2]}}\n\n{\"b\":1.5,\"a\":2,\"m\":\"s\"}\r\n{\"b\":2,\"m\":3}\n";
    write_file(directory.path(), "in.jsonl", text);
    let output = read(&spec(directory.path(), "file", json!({ "path": "in.jsonl" }))).expect("rows");
    assert_eq!(
        output.records,
        [
            r#"{"a":1,"t":"2020-01-01T00:00:00Z","n":{"x":[1, 2]},"b":null,"m":null}"#,
            r#"{"a":2,"t":null,"n":null,"b":1.5,"m":"s"}"#,
            r#"{"a":null,"t":null,"n":null,"b":2.0,"m":3}"#,
        ]
    );
}

#[test]
fn json_lines_that_do_not_fit_are_refused_one_by_one() {
    // What comes behind the sampled rows is not part of what was found.
    const SAMPLED: usize = model::limits::INFER_ROWS_MAX;
    let directory = tempdir().expect("a directory");
    let mut text = "{\"a\":1}\n".repeat(SAMPLED).into_bytes();
    text.extend_from_slice(b"nonsense\n{\"a\":\"x\"}\n{\"a\":2,\"b\":1}\n{\"a\":\"\xff\"}\n{\"a\":5}");
    write_file(directory.path(), "in.jsonl", text);
    let mut spec =
        declare(spec(directory.path(), "file", json!({ "path": "in.jsonl" })), &[("a", ColumnType::Int)]);
    let output = read(&spec).expect("rows");
    assert_eq!(output.records[SAMPLED - 1..], [r#"{"a":1}"#, r#"{"a":5}"#]);
    let codes: Vec<_> =
        output.refusals().iter().map(|(code, offset, _)| (*code, *offset as usize - SAMPLED)).collect();
    assert_eq!(codes, [(BAD_JSON, 0), (BAD_ROW, 1), (BAD_ROW, 2), (BAD_JSON, 3)]);
    assert_eq!(output.refused[0].raw, b"nonsense");
    let message = output.refusals()[1].2;
    assert!(message.starts_with("line 20002: field `a` is a text"), "{message}");

    spec.unknown = UnknownFields::Rest;
    let output = read(&spec).expect("rows");
    assert_eq!(output.records[SAMPLED - 1..][1], r#"{"a":2,"rest":{"b":1}}"#);
}

#[test]
fn batches_keep_to_their_limits() {
    let directory = tempdir().expect("a directory");
    let text: String = (0..3000).map(|i| format!("line number {i}\n")).collect();
    write_file(directory.path(), "a.txt", &text);
    write_file(directory.path(), "a.csv", format!("text\n{text}"));
    for (path, limits, batches) in [
        ("a.txt", PullLimits { records_max: 100, ..LIMITS }, 30),
        ("a.csv", PullLimits { records_max: 100, ..LIMITS }, 30),
        ("a.txt", PullLimits { bytes_max: 1, ..LIMITS }, 3000),
        ("a.csv", PullLimits { bytes_max: 1, ..LIMITS }, 3000),
    ] {
        let planned = plan_source(&spec(directory.path(), "file", json!({ "path": path }))).expect("a plan");
        let mut source = planned.open(&Wanted::default(), &Places::new()).expect("a source");
        let (output, error) = drain(&mut *source, limits);
        assert_eq!((error, output.records.len(), output.batches), (None, 3000, batches), "{path} {limits:?}");
    }
}

#[test]
fn what_was_read_before_an_error_is_delivered() {
    let directory = tempdir().expect("a directory");
    let mut packed = gzip("good line\n".repeat(1000).as_bytes());
    let whole = packed.len();
    packed.extend_from_slice(&gzip("lost\n".repeat(100_000).as_bytes())[..40]);
    assert!(packed.len() > whole);
    write_file(directory.path(), "cut.txt.gz", &packed);
    let planned =
        plan_source(&spec(directory.path(), "file", json!({ "path": "cut.txt.gz" }))).expect("a plan");
    let mut source = planned.open(&Wanted::default(), &Places::new()).expect("a source");
    let (_, error) = drain(&mut *source, LIMITS);
    let error = error.expect("the file is cut off");
    assert!(error.to_string().contains("cut.txt.gz: it cannot be unpacked"), "{error}");
}

#[test]
fn records_have_the_time_at_which_they_were_read() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "a.txt", "x\ny\n");
    let planned = plan_source(&spec(directory.path(), "file", json!({ "path": "a.txt" }))).expect("a plan");
    let mut source = planned.open(&Wanted { columns: None, times: true }, &Places::new()).expect("a source");
    let pulled = runtime().block_on(source.pull(LIMITS)).expect("lines").expect("lines");
    let times = pulled.batch.expect("lines").parts().times.as_ref().map(model::batch::Column::len);
    assert_eq!(times, Some(2));
    assert_eq!(TimeFrom::default(), TimeFrom::Now);
}

#[test]
fn a_dropped_pull_has_taken_nothing() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "a.log", "one\ntwo\n");
    let with = json!({ "path": "a.log", "follow": true, "poll": "1ms" });
    let planned = plan_source(&spec(directory.path(), "file", with)).expect("a plan");
    let mut source = planned.open(&Wanted::default(), &Places::new()).expect("a source");
    let patient = PullLimits { delay: Duration::from_millis(20), ..LIMITS };
    let runtime = runtime();
    let records = runtime.block_on(async {
        // Dropped again and again while it waits for more, until what waits is due.
        for _ in 0..1000 {
            if let Ok(pulled) = tokio::time::timeout(Duration::from_millis(1), source.pull(patient)).await {
                return texts(&pulled.expect("no error").expect("no end").batch.expect("lines"));
            }
        }
        Vec::new()
    });
    assert_eq!(records, ["one", "two"]);
}

/// The file was written by pyarrow with `write_page_checksum=True`: `n` of 0 to 99, and `s` of `row 0` to `row 4` as a
/// dictionary.
#[test]
fn a_damaged_page_that_has_a_checksum_is_never_read_as_other_data() {
    let whole = include_bytes!("checked.parquet");
    let pages = 4..whole.len()
        - 8
        - u32::from_le_bytes(whole[whole.len() - 8..][..4].try_into().expect("four bytes")) as usize;
    let directory = tempdir().expect("a directory");
    let read_it = |bytes: &[u8]| {
        write_file(directory.path(), "checked.parquet", bytes);
        read(&spec(directory.path(), "file", json!({ "path": "checked.parquet" })))
    };
    let expected = read_it(whole).expect("a whole file").records;
    assert_eq!((expected.len(), &*expected[42]), (100, "{\"n\":42,\"s\":\"row 2\"}"));
    let mut found = 0;
    for at in pages.clone() {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x10;
        match read_it(&damaged) {
            Ok(output) => assert_eq!(output.records, expected, "byte {at} was taken as it came"),
            Err(error) => {
                found += 1;
                let error = error.to_string();
                assert!(error.contains("checked.parquet: it is damaged"), "byte {at}: {error}");
            }
        }
    }
    for at in pages.end..whole.len() {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x10;
        // Nothing says whether a name or a type is another one now; it is read or refused, and nothing breaks.
        let _ = read_it(&damaged);
    }
    // What is left is in headers of pages, and says nothing that matters.
    assert!(found * 10 > pages.len() * 9, "{found} of {} damages were found", pages.len());
}
