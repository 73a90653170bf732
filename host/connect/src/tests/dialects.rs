//! CSV as others write it: row ends, escapes, comments, lines in front of the header, decimal commas.

use model::convert::BAD_ROW;
use model::manifest::{ColumnType, UnknownFields};
use model::plan::Stream;
use serde_json::json;
use tempfile::tempdir;

use super::sinks::{open, sink_spec, write_all};
use super::*;
use crate::plan_sink;

fn read_text(text: impl AsRef<[u8]>, options: serde_json::Value) -> Result<Output, SpecError> {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "in.csv", text);
    let mut with = json!({ "path": "in.csv" });
    with.as_object_mut().expect("a map").extend(options.as_object().cloned().expect("a map"));
    read(&spec(directory.path(), "file", with))
}

#[test]
fn files_are_read_as_their_options_say() {
    let ab = [r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":"y"}"#];
    let cases: &[(&str, serde_json::Value, &[&str])] = &[
        ("a,b\r1,x\r2,y\r", json!({}), &ab),
        ("a,b\r1,x\r\n2,y\n", json!({}), &ab),
        ("a,b\r\r\n1,x\r\r\n2,y\r\r\n", json!({}), &ab),
        ("a,b\n1,x\r\n2,y", json!({}), &ab),
        (
            "1,\"x\ry\"\r2,z",
            json!({ "header": false }),
            &[r#"{"column_1":1,"column_2":"x\ry"}"#, r#"{"column_1":2,"column_2":"z"}"#],
        ),
        ("a,b\n1,\"x\ry\"\n", json!({}), &[r#"{"a":1,"b":"x\ry"}"#]),
        ("sep=;\na;b\n1;x\n2;y\n", json!({ "skip-lines": 1, "delimiter": ";" }), &ab),
        ("\u{feff}\"Report\r\n\r\na,b\r\n1,x\r\n2,y\r\n", json!({ "skip-lines": 2 }), &ab),
        ("# it's \"\na,b\n1,x\n# and, so \"on\n2,y\n#", json!({ "comment": "#" }), &ab),
        (
            "a,b\n1,\"say \\\"hi\\\", \\\\ C:\\dir\"\n2,\"\"\"\"\n",
            json!({ "escape": "\\" }),
            &[r#"{"a":1,"b":"say \"hi\", \\ C:\\dir"}"#, r#"{"a":2,"b":"\""}"#],
        ),
        // MySQL, SELECT ... INTO OUTFILE.
        (
            "1\tx\\\ty\n2\t\\N\n3\t\n4\ta\\\nb\\\\\\0\n5\tline\r\\\n\"\n",
            json!({ "header": false, "columns": ["a", "b"], "delimiter": "\t", "quote": "", "escape": "\\", "null": "\\N" }),
            &[
                r#"{"a":1,"b":"x\ty"}"#,
                r#"{"a":2,"b":null}"#,
                r#"{"a":3,"b":""}"#,
                r#"{"a":4,"b":"a\nb\\\u0000"}"#,
                r#"{"a":5,"b":"line\r\n\""}"#,
            ],
        ),
        (
            "a;b;c\n1,5;2;1,5,0\n-0,25;3,0;1.5\n",
            json!({ "delimiter": ";", "decimal": "," }),
            &[r#"{"a":1.5,"b":2.0,"c":"1,5,0"}"#, r#"{"a":-0.25,"b":3.0,"c":"1.5"}"#],
        ),
        ("a,b\n1,\"2\\\"\n", json!({ "escape": "" , "quote": "\"" }), &[r#"{"a":1,"b":"2\\"}"#]),
        // Empty quotes alone in a row are how a null of the only column is written.
        ("n\n1\n\"\"\n\n3\n", json!({}), &[r#"{"n":1}"#, r#"{"n":null}"#, r#"{"n":3}"#]),
        ("t\nNA\n\"\"\n", json!({ "null": "NA" }), &[r#"{"t":null}"#, r#"{"t":""}"#]),
    ];
    for (text, options, expected) in cases {
        let output = read_text(text, options.clone()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(output.records, *expected, "{text:?}");
        assert_eq!(output.refused, [], "{text:?}");
    }
}

#[test]
fn rows_end_in_the_same_way_in_all_pieces_of_a_file() {
    let rows = 3 * model::limits::READ_BYTES / 16;
    for end in ["\r", "\r\r\n"] {
        let text: String = (0..rows).map(|row| format!("{row:07},\"x\r{row}\"{end}")).collect();
        let directory = tempdir().expect("a directory");
        write_file(directory.path(), "in.csv", format!("a,b{end}{text}"));
        let declared = [("a", ColumnType::Int)];
        let spec = declare(spec(directory.path(), "file", json!({ "path": "in.csv" })), &declared);
        let output = read(&spec).expect("rows");
        assert_eq!((output.records.len(), output.refused.len()), (rows, 0), "{end:?}");
        let last = rows - 1;
        assert_eq!(output.records[last], format!("{{\"a\":{last},\"b\":\"x\\r{last}\"}}"));
    }
}

/// In a file whose first row ends with a line feed, a carriage return alone is neither data nor the end of a row.
#[test]
fn a_carriage_return_that_ends_no_row_is_refused_with_its_row() {
    let text = "a,b\n1,x\r2,y\n3,z\r\r\n4,\"\r\"\n5,v\rw\n";
    let output = read_text(text, json!({})).expect("rows");
    // Inside of a row that has all its fields it can be no end.
    assert_eq!(output.records, [r#"{"a":4,"b":"\r"}"#, r#"{"a":5,"b":"v\rw"}"#]);
    let refusals = output.refusals();
    assert_eq!((refusals[0].0, refusals[0].1, refusals[1].1), (BAD_ROW, 0, 1));
    assert!(
        refusals[0].2.starts_with("line 2: 3 fields where the header has 2; a carriage return"),
        "{refusals:?}"
    );
    assert!(
        refusals[1].2.starts_with("line 3, column `b`: `z\\r` is no text; a carriage return"),
        "{refusals:?}"
    );
    let output = read_text("a,b\n\rx,1\ny,2\n", json!({})).expect("rows");
    assert_eq!((output.records.len(), output.refused.len()), (1, 1));
    let output = read_text("t\nx\ry\n\"z\rw\"\n", json!({})).expect("rows");
    assert_eq!((output.records.len(), output.refused.len()), (1, 1));
}

#[test]
fn lines_are_those_of_the_file() {
    let text = "by hand\r# note\ra,b\r1,\"x\ry\"\r# note\r\r2\rno,z\r";
    let output = read_text(text, json!({ "skip-lines": 1, "comment": "#" })).expect("rows");
    assert_eq!(output.records, [r#"{"a":"1","b":"x\ry"}"#, r#"{"a":"no","b":"z"}"#]);
    assert_eq!(output.refusals(), [(BAD_ROW, 1, "line 8: 1 fields where the header has 2")]);
}

#[test]
fn a_file_that_fits_other_options_much_better_is_refused_with_them() {
    let error = read_text("a;b\n1;x\n2;y\n", json!({})).expect_err("semicolons").to_string();
    assert!(
        error.contains("in.csv: it would be read as one column; with `delimiter: \";\"` it has 2 columns"),
        "{error}"
    );
    let error = read_text("#separator \\x09\n#fields\ta\n", json!({})).expect_err("Zeek").to_string();
    assert!(error.contains("set `format: zeek`"), "{error}");
    // Whoever names the only column is believed, and so is whoever says how it is to be read.
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "in.csv", "a;b\n1;x\n");
    let source = spec(directory.path(), "file", json!({ "path": "in.csv" }));
    let output = read(&declare(source, &[("a;b", ColumnType::Text)])).expect("a column");
    assert_eq!(output.records, [r#"{"a;b":"1;x"}"#]);
    for options in [
        json!({ "delimiter": "," }),
        json!({ "quote": "\"" }),
        json!({ "skip-lines": 0 }),
        json!({ "decimal": "." }),
    ] {
        assert_eq!(read_text("a;b\n1;x\n", options).expect("a column").records, [r#"{"a;b":"1;x"}"#]);
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for (options, why) in [
        (json!({ "escape": "," }), "`escape` and `delimiter` are the same character"),
        (json!({ "quote": "," }), "`quote` and `delimiter` are the same character"),
        (json!({ "comment": "\"" }), "`comment` and `quote` are the same character"),
        (json!({ "comment": "//" }), "`comment` is one ASCII character"),
        (json!({ "decimal": "'" }), "`decimal` is `,` or `.`"),
        (json!({ "null": "N,A" }), "no field without quotes can be the text for a null"),
        (json!({ "null": "\"" }), "no field without quotes can be the text for a null"),
        (json!({ "null": null }), "`null` has no value"),
        (json!({ "format": "jsonl", "escape": "x" }), "`escape` is an option of CSV"),
        (
            json!({ "format": "zeek", "delimiter": "," }),
            "`delimiter` is an option of CSV, and the format is zeek",
        ),
    ] {
        let error = read_text("a\n", options).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn what_goes_into_rest_has_to_be_text() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "d/1.csv", "a\n1\n");
    write_file(directory.path(), "d/2.csv", b"a,b,c\n2,\xff,x\n3,y,\"z\n\xfe\"\n4,\"\xc3\xa9\",\n");
    let mut spec = spec(directory.path(), "file", json!({ "path": "d/*" , "format": "csv" }));
    spec.unknown = UnknownFields::Rest;
    let output = read(&spec).expect("rows");
    assert_eq!(output.records, [r#"{"a":1,"rest":null}"#, r#"{"a":4,"rest":{"b":"é"}}"#]);
    let refusals = output.refusals();
    assert_eq!(refusals.len(), 2);
    assert!(
        refusals[0].2.starts_with("line 2, column \"b\", which goes into `rest`: invalid UTF-8"),
        "{refusals:?}"
    );
    assert!(refusals[1].2.starts_with("line 3, column \"c\""), "{refusals:?}");
}

/// Nulls of a single column survive, and what could be taken for one is refused.
#[test]
fn one_column_reads_back_as_it_was_written() {
    let directory = tempdir().expect("a directory");
    let rows =
        "{\"t\":\"a\"}\n{\"t\":null}\n{\"t\":\"\"}\n{\"t\":\"  \"}\n{\"t\":\"\\\"\\\"\"}\n{\"t\":null}\n";
    write_file(directory.path(), "in.jsonl", rows);
    let source = spec(directory.path(), "file", json!({ "path": "in.jsonl" }));
    let mut source =
        plan_source(&source).expect("a plan").open(&Wanted::default(), &Places::new()).expect("a source");
    let batch = runtime().block_on(source.pull(LIMITS)).expect("rows").expect("rows").batch.expect("rows");
    let stream = Stream::Rows(batch.schema().clone());
    let written = |with: serde_json::Value| {
        let refused =
            write_all(&mut *open(directory.path(), with.clone(), &stream), std::slice::from_ref(&batch));
        let back = read(&spec(directory.path(), "file", with)).expect("rows");
        assert_eq!(back.refused, []);
        (refused, back.records)
    };
    let all = texts(&batch);
    let (refused, back) = written(json!({ "path": "o.csv" }));
    assert_eq!(
        std::fs::read_to_string(directory.path().join("o.csv")).expect("text"),
        "t\na\n\"\"\n\"  \"\n\"\"\"\"\"\"\n\"\"\n"
    );
    assert_eq!(refused, [(2, "empty-text".to_owned())]);
    assert_eq!(back, [&all[..2], &all[3..]].concat());
    let (refused, back) = written(json!({ "path": "o.csv", "null": "NULL" }));
    assert_eq!((refused.len(), back), (0, all));
    for (with, why) in [
        (json!({ "path": "o.csv", "null": "N,A" }), "the text for a null has ',' in it"),
        (json!({ "path": "o.csv", "null": "\"" }), "the text for a null has '\"' in it"),
        (json!({ "path": "o.csv", "null": "a\nb" }), "the text for a null has '\\n' in it"),
        (json!({ "path": "o.csv", "delimiter": "|", "null": "|" }), "the text for a null has '|' in it"),
        (
            json!({ "path": "o.csv", "null": null }),
            "`null` has no value: what stands there is a null to YAML",
        ),
        (json!({ "path": "o.csv", "rotate": null }), "`rotate` has no value"),
    ] {
        let error = plan_sink(&sink_spec(directory.path(), "file", with.clone())).err();
        let Some(SpecError::Options(error)) = error else { panic!("{with} is taken: {error:?}") };
        assert!(error.message.starts_with(why) && !error.help.is_empty(), "{error:?}");
    }
    let error = plan_sink(&sink_spec(directory.path(), "file", json!({ "path": "o", "format": "zeek" })));
    assert!(error.is_err_and(|error| error.to_string().contains("zeek is one to be read")));
}
