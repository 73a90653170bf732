//! Numbers and times of CSV and JSON lines: what they are taken for, and that they come out as they went in.

use model::convert::BAD_ROW;
use model::limits::INFER_ROWS_MAX;
use model::manifest::ColumnType;
use model::plan::Stream;
use serde_json::json;
use tempfile::tempdir;

use super::*;

/// The type of the column `x` that is found, and its rows as JSON.
fn found(name: &str, text: &str) -> (String, Vec<String>) {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), name, text);
    let spec = spec(directory.path(), "file", json!({ "path": name }));
    let planned = plan_source(&spec).expect("a plan");
    let Stream::Rows(schema) = planned.stream() else { panic!("rows") };
    let kind = model::fields::FieldSpec::of(schema.field_with_name("x").expect("a column"));
    let kind = if kind.logical.is_empty() { kind.kind.to_string() } else { kind.logical };
    let output = read(&spec).expect("rows");
    assert_eq!(output.refused, [], "{text}");
    (kind, output.records)
}

#[test]
fn numbers_are_what_holds_all_of_them_and_otherwise_text() {
    // The values, what CSV finds, and what JSON lines find.
    let cases: [(&[&str], &str, &str); 16] = [
        (&["1", "-9223372036854775808", "9223372036854775807"], "s64s", "s64s"),
        (&["9223372036854775808"], "texts", "jsons"),
        (&["1", "9223372036854775808", "9223372036854775809"], "texts", "jsons"),
        (&["1", "-0"], "texts", "jsons"),
        (&["1", "1.5"], "f64s", "f64s"),
        (&["9007199254740992", "1.5"], "f64s", "f64s"),
        (&["9007199254740993", "1.5"], "texts", "jsons"),
        (&["135217135789158401", "1352171357E+5"], "texts", "jsons"),
        (&["1352171357E+5", "2"], "f64s", "f64s"),
        (&["100000000000000000000", "1.5"], "f64s", "f64s"),
        (&["39e1804", "39e18"], "texts", "jsons"),
        (&["1e400"], "texts", "jsons"),
        (&["1e-400", "1"], "texts", "jsons"),
        (&["0.1", "1e300", "5e-324"], "f64s", "f64s"),
        (&["12345678901234567.25", "1"], "texts", "jsons"),
        (&["0.30000000000000004", "-0.0"], "f64s", "f64s"),
    ];
    for (values, csv, jsonl) in cases {
        let text: String = values.iter().map(|value| format!("{value},\n")).collect();
        let (kind, records) = found("in.csv", &format!("x,y\n{text}"));
        assert_eq!(kind, csv, "CSV {values:?}");
        if csv == "texts" {
            let expected: Vec<_> =
                values.iter().map(|value| format!("{{\"x\":\"{value}\",\"y\":null}}")).collect();
            assert_eq!(records, expected);
        }
        let text: String = values.iter().map(|value| format!("{{\"x\":{value}}}\n")).collect();
        let (kind, records) = found("in.jsonl", &text);
        assert_eq!(kind, jsonl, "JSON lines {values:?}");
        for (record, value) in records.iter().zip(values) {
            let number =
                record.strip_prefix("{\"x\":").and_then(|rest| rest.strip_suffix('}')).expect("a number");
            if jsonl == "jsons" {
                assert_eq!(number, *value, "a number is as it stood");
            } else {
                assert_eq!(number.parse::<f64>(), value.parse::<f64>(), "{values:?}");
            }
        }
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused_where_they_come_later() {
    let directory = tempdir().expect("a directory");
    let cases = [
        (ColumnType::Float, "1.5", "9007199254740993"),
        (ColumnType::Float, "1.5", "1e400"),
        (ColumnType::Int, "1", "9223372036854775808"),
    ];
    for (declared, first, later) in cases {
        for is_declared in [true, false] {
            let rows = if is_declared { 1 } else { INFER_ROWS_MAX };
            let csv = format!("x,y\n{}{later},\n{first},\n", format!("{first},\n").repeat(rows));
            let line = |value: &str| format!("{{\"x\":{value}}}\n");
            let jsonl = format!("{}{}{}", line(first).repeat(rows), line(later), line(first));
            for (name, text) in [("in.csv", csv), ("in.jsonl", jsonl)] {
                write_file(directory.path(), name, text);
                let mut spec = spec(directory.path(), "file", json!({ "path": name }));
                if is_declared {
                    spec = declare(spec, &[("x", declared)]);
                }
                let output = read(&spec).expect("rows");
                let refused: Vec<_> =
                    output.refusals().iter().map(|(code, offset, _)| (*code, *offset)).collect();
                assert_eq!(refused, [(BAD_ROW, rows as u64)], "{later} in {name}");
                assert_eq!(output.records.len(), rows + 1, "{later} in {name}");
            }
        }
    }
}

#[test]
fn a_time_is_found_where_each_text_comes_out_again() {
    let cases: [(&[&str], &str); 12] = [
        (&["2024-07-01T12:00:00Z", "2024-07-01T12:00:00.123456Z"], "times"),
        (&["2024-07-01T12:00:00", "2024-07-01T12:00:00.123"], "timestamp[us]"),
        (&["2024-07-01", "1969-12-31"], "days"),
        (&["2024-07-01T12:00:00+02:00"], "texts"),
        (&["2024-07-01T12:00:00.123456789Z"], "texts"),
        (&["2024-07-01T12:00:00.1Z"], "texts"),
        (&["2024-07-01 12:00:00"], "texts"),
        (&["2024-07-01T12:00:00Z", "2024-07-01T12:00:00"], "texts"),
        (&["2024-07-01", "2024-07-01T12:00:00Z"], "texts"),
        (&["2024-07-01T12:00Z"], "texts"),
        (&["2024-07-01T12:00:00z"], "texts"),
        (&["+012024-07-01"], "texts"),
    ];
    for (values, expected) in cases {
        let lines: String = values.iter().map(|value| format!("{{\"x\":\"{value}\"}}\n")).collect();
        let (kind, records) = found("in.jsonl", &lines);
        assert_eq!(kind, expected, "JSON lines {values:?}");
        assert_eq!(records.join("\n") + "\n", lines);
        let rows: String = values.iter().map(|value| format!("{value},\n")).collect();
        let (kind, records) = found("in.csv", &format!("x,y\n{rows}"));
        assert_eq!(kind, expected, "CSV {values:?}");
        let printed: Vec<_> =
            values.iter().map(|value| format!("{{\"x\":\"{value}\",\"y\":null}}")).collect();
        assert_eq!(records, printed);
    }
}

#[test]
fn a_declared_time_is_local_where_no_text_has_an_offset() {
    let directory = tempdir().expect("a directory");
    let cases = [
        (
            ColumnType::Timestamp,
            &["2024-07-01 12:00", "2024-07-01T13:00:00.1234567"][..],
            "2024-07-01T12:00:00",
            0,
        ),
        (
            ColumnType::Timestamp,
            &["2024-07-01 12:00+02:00", "2024-07-01T13:00:00Z"],
            "2024-07-01T10:00:00Z",
            0,
        ),
        (
            ColumnType::Timestamp,
            &["2024-07-01 12:00+02:00", "2024-07-01T13:00:00"],
            "2024-07-01T10:00:00Z",
            1,
        ),
        (ColumnType::LocalTimestamp, &["2024-07-01 12:00", "2024-07-01T13:00:00Z"], "2024-07-01T12:00:00", 1),
    ];
    for (declared, values, first, refused) in cases {
        let csv: String = values.iter().map(|value| format!("{value},\n")).collect();
        let jsonl: String = values.iter().map(|value| format!("{{\"x\":\"{value}\"}}\n")).collect();
        for (name, text) in [("in.csv", format!("x,y\n{csv}")), ("in.jsonl", jsonl)] {
            write_file(directory.path(), name, text);
            let spec = declare(spec(directory.path(), "file", json!({ "path": name })), &[("x", declared)]);
            let output = read_wanted(&spec, &Wanted { columns: Some(vec![0]), times: false }).expect("rows");
            assert_eq!(output.records[0], format!("{{\"x\":\"{first}\"}}"), "{declared:?} {name}");
            assert_eq!(output.refused.len(), refused, "{declared:?} {name}");
            if let Some(refused) = output.refused.first() {
                let hint = if declared == ColumnType::Timestamp { "offset" } else { "timestamp" };
                assert!(refused.message.contains(hint), "{}", refused.message);
            }
        }
    }
}

#[test]
fn what_is_not_a_number_is_read_again() {
    let values = ["1.5", "NaN", "-Infinity"];
    let (kind, records) = found("in.csv", &format!("x,y\n{},\n", values.join(",\n")));
    assert_eq!(kind, "f64s");
    assert_eq!(records[1], r#"{"x":"NaN","y":null}"#);
    let lines = "{\"x\":1.5}\n{\"x\":\"NaN\"}\n{\"x\":\"-Infinity\"}\n";
    let (kind, records) = found("in.jsonl", lines);
    assert_eq!((kind.as_str(), records.join("\n") + "\n"), ("f64s", lines.to_owned()));
    assert_eq!(found("in.jsonl", "{\"x\":1.5}\n{\"x\":\"no\"}\n").0, "jsons");
    assert_eq!(found("in.jsonl", "{\"x\":\"NaN\"}\n").0, "texts");
}
