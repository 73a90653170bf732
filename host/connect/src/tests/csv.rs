use model::convert::BAD_ROW;
use model::manifest::{ColumnType, TimeFrom, UnknownFields};
use model::plan::Stream;
use serde_json::json;
use tempfile::tempdir;

use super::*;
use crate::decode::RECORD_TOO_LARGE;

#[test]
fn what_stands_in_the_file_comes_out() {
    let cases: &[(&str, serde_json::Value, &[&str])] = &[
        ("a,b\n1,x\n2,y\n", json!({}), &[r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":"y"}"#]),
        ("\u{feff}a,b\r\n1,x\r\n\r\n2,\"y\"", json!({}), &[r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":"y"}"#]),
        ("a;b\n1;'x;''y'\n", json!({ "delimiter": ";", "quote": "'" }), &[r#"{"a":1,"b":"x;'y"}"#]),
        ("a,b\n\"1\n2\",\"\"\n,\n", json!({}), &[r#"{"a":"1\n2","b":""}"#, r#"{"a":null,"b":null}"#]),
        ("a,b\nNA,NA\n1,\n", json!({ "null": "NA" }), &[r#"{"a":null,"b":null}"#, r#"{"a":1,"b":""}"#]),
        (
            "1,x\n2,y\n",
            json!({ "header": false }),
            &[r#"{"column_1":1,"column_2":"x"}"#, r#"{"column_1":2,"column_2":"y"}"#],
        ),
        ("1\n", json!({ "header": false, "columns": ["n"] }), &[r#"{"n":1}"#]),
        ("a\n\"x\"\n", json!({ "quote": "" }), &[r#"{"a":"\"x\""}"#]),
        ("a,b\n", json!({}), &[]),
    ];
    for (text, options, expected) in cases {
        let directory = tempdir().expect("a directory");
        write_file(directory.path(), "in.csv", text);
        let mut with = json!({ "path": "in.csv" });
        with.as_object_mut().expect("a map").extend(options.as_object().cloned().expect("a map"));
        let output =
            read(&spec(directory.path(), "file", with)).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(output.records, *expected, "{text:?}");
        assert_eq!(output.refused, [], "{text:?}");
    }
}

#[test]
fn types_are_found_and_declared() {
    let directory = tempdir().expect("a directory");
    let text = "i,f,b,d,t,s,z,j,raw\n1,1,true,2020-01-02,2020-01-02T03:04:05Z,x,007,\"{\"\"a\"\":[1]}\",\"\u{e9}\"\n\
                -2,.5e1,FALSE,1969-12-31,2020-01-02T02:04:05.500Z,1,1,null,\n";
    write_file(directory.path(), "in.csv", text);
    let declared = [("j", ColumnType::Json), ("raw", ColumnType::Bytes), ("f", ColumnType::Float)];
    let spec = declare(spec(directory.path(), "file", json!({ "path": "in.csv" })), &declared);
    let output = read(&spec).expect("rows");
    assert_eq!(
        output.records,
        [
            r#"{"i":1,"f":1.0,"b":true,"d":"2020-01-02","t":"2020-01-02T03:04:05Z","s":"x","z":"007","j":{"a":[1]},"raw":"w6k="}"#,
            r#"{"i":-2,"f":5.0,"b":false,"d":"1969-12-31","t":"2020-01-02T02:04:05.500Z","s":"1","z":"1","j":null,"raw":null}"#,
        ]
    );
}

#[test]
fn rows_that_do_not_fit_are_refused_one_by_one() {
    let directory = tempdir().expect("a directory");
    let text = b"a,b\n1,x\n2\n3,y,z\nfour,y\n5,\xff\n\n6,\"u\nv\"\n7\n,w\n";
    write_file(directory.path(), "in.csv", text);
    let declared = [("a", ColumnType::Int), ("b", ColumnType::Text)];
    let output =
        read(&declare(spec(directory.path(), "file", json!({ "path": "in.csv" })), &declared)).expect("rows");
    assert_eq!(output.records, [r#"{"a":1,"b":"x"}"#, r#"{"a":6,"b":"u\nv"}"#, r#"{"a":null,"b":"w"}"#]);
    let offsets: Vec<u64> = output.origins.iter().map(|(_, offset)| *offset).collect();
    assert_eq!(offsets, [0, 5, 7]);
    assert_eq!(
        output.refusals(),
        [
            (BAD_ROW, 1, "line 3: 1 fields where the header has 2"),
            (BAD_ROW, 2, "line 4: 3 fields where the header has 2"),
            (BAD_ROW, 3, "line 5, column `a`: `four` is no int"),
            (BAD_ROW, 4, "line 6, column `b`: invalid UTF-8; convert the file, or declare `b: bytes`"),
            (BAD_ROW, 6, "line 10: 1 fields where the header has 2"),
        ]
    );
    assert_eq!(output.refused[3].raw, b"5,\xff");
}

#[test]
fn a_wrong_guess_says_how_to_declare() {
    let directory = tempdir().expect("a directory");
    let mut text = "code\n".to_owned();
    text.push_str(&"1\n".repeat(model::limits::INFER_ROWS_MAX));
    text.push_str("x1\n");
    write_file(directory.path(), "in.csv", &text);
    let output = read(&spec(directory.path(), "file", json!({ "path": "in.csv" }))).expect("rows");
    assert_eq!(output.records.len(), model::limits::INFER_ROWS_MAX);
    let (code, offset, message) = output.refusals()[0];
    assert_eq!((code, offset), (BAD_ROW, model::limits::INFER_ROWS_MAX as u64));
    assert!(message.contains("`x1` is no int") && message.contains("schema: { code: text }"), "{message}");
}

/// Columns that nobody wants are not decoded: nothing in them is looked at, so that nothing in them is refused.
#[test]
fn unwanted_columns_are_never_decoded() {
    let directory = tempdir().expect("a directory");
    let rows: String = (0..5000).map(|i| format!("{i},never a number,\u{e9}{i}\n")).collect();
    let mut bytes = format!("a,bad,c\n{rows}").into_bytes();
    bytes.extend_from_slice(b"5000,\xff\xfe,last\n");
    write_file(directory.path(), "in.csv", bytes);
    let declared = [("a", ColumnType::Int), ("bad", ColumnType::Int), ("c", ColumnType::Text)];
    let spec = declare(spec(directory.path(), "file", json!({ "path": "in.csv" })), &declared);

    let all = read(&spec).expect("rows");
    assert_eq!((all.records.len(), all.refused.len()), (0, 5001), "wanted, every row is refused for it");

    let wanted = Wanted { columns: Some(vec![2, 0]), times: false };
    let some = read_wanted(&spec, &wanted).expect("rows");
    assert_eq!((some.records.len(), some.refused.len()), (5001, 0));
    assert_eq!(some.records[0], r#"{"c":"é0","a":0}"#);
    assert_eq!(some.records[5000], r#"{"c":"last","a":5000}"#);

    let none = read_wanted(&spec, &Wanted { columns: Some(vec![]), times: false }).expect("rows");
    assert_eq!(
        (none.records.len(), none.records[0].as_str()),
        (5001, "{}"),
        "rows are counted without columns"
    );
}

#[test]
fn pieces_are_put_together_across_their_borders() {
    // Rows of all lengths, some with line breaks, some longer than a piece of input and its headroom.
    let directory = tempdir().expect("a directory");
    let mut random = fastrand::Rng::with_seed(1);
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(["n", "text"]).expect("memory");
    let mut expected = Vec::new();
    for n in 0..4000 {
        let length = if n % 800 == 799 { 700_000 } else { random.usize(0..400) };
        let text: String =
            (0..length).map(|_| random.choice(['a', 'b', ',', '"', '\n', '\u{e9}']).unwrap_or('a')).collect();
        writer.write_record([n.to_string(), text.clone()]).expect("memory");
        let text = if text.is_empty() { serde_json::Value::Null } else { text.into() };
        expected.push(format!("{{\"n\":{n},\"text\":{text}}}"));
    }
    let bytes = writer.into_inner().expect("memory");
    assert!(bytes.len() > 8 * model::limits::READ_BYTES);
    write_file(directory.path(), "in.csv", &bytes);
    let text = [("text", ColumnType::Text)];
    let output =
        read(&declare(spec(directory.path(), "file", json!({ "path": "in.csv" })), &text)).expect("rows");
    assert_eq!(output.refused, []);
    assert!(output.records == expected, "rows differ");
    assert!(output.origins.iter().map(|(_, offset)| *offset).eq(0..4000));
}

#[test]
fn a_row_that_is_too_long_is_refused_with_as_much_as_a_row_may_have() {
    let directory = tempdir().expect("a directory");
    let long = "x".repeat(5 << 20);
    write_file(directory.path(), "in.csv", format!("a,b\n1,x\n2,{long}\n3,y\n"));
    let with = json!({ "path": "in.csv", "record-bytes-max": "1MiB" });
    let output = read(&spec(directory.path(), "file", with)).expect("rows");
    assert_eq!(output.records, [r#"{"a":1,"b":"x"}"#, r#"{"a":3,"b":"y"}"#]);
    assert_eq!(output.refused.len(), 1);
    assert_eq!((output.refused[0].code.as_str(), output.refused[0].offset), (RECORD_TOO_LARGE, 1));
    assert!(output.refused[0].message.starts_with("line 3: the record is longer than 1MiB"));
    assert_eq!((output.refused[0].raw.len(), output.refused[0].is_cut), (1 << 20, true));
}

#[test]
fn a_short_bound_holds_for_each_row() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "in.csv", "a\nshort\nmuch too long\nend\n");
    let with = json!({ "path": "in.csv", "record-bytes-max": 6 });
    let output = read(&spec(directory.path(), "file", with)).expect("rows");
    assert_eq!(output.records, [r#"{"a":"short"}"#, r#"{"a":"end"}"#]);
    assert_eq!(output.refusals()[0].0, RECORD_TOO_LARGE);
}

#[test]
fn a_quote_that_never_closes_costs_one_line() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "in.csv", "a,b\n1,x\n2,\"y\n3,z\n4,w\n");
    let output = read(&spec(directory.path(), "file", json!({ "path": "in.csv" }))).expect("rows");
    assert_eq!(output.records, [r#"{"a":1,"b":"x"}"#, r#"{"a":3,"b":"z"}"#, r#"{"a":4,"b":"w"}"#]);
    assert_eq!(output.refusals(), [(BAD_ROW, 1, "line 3: a quote is opened and never closed")]);
}

/// Whoever fills a field must not be able to make rows with it.
#[test]
fn a_row_that_is_too_long_is_refused_up_to_the_quote_that_closes_it() {
    let directory = tempdir().expect("a directory");
    let quoted = |lines: usize| format!("2,\"y\n{}4,\"\"w\"\"\"", "3,much too long\n".repeat(lines));
    // In one piece of the input, and in many.
    for (lines, max) in [(1, 12), (100_000, 1 << 20)] {
        let row = quoted(lines);
        write_file(directory.path(), "in.csv", format!("a,b\n1,x\n{row}\n5,v\n6\n"));
        let with = json!({ "path": "in.csv", "record-bytes-max": max });
        let output = read(&spec(directory.path(), "file", with)).expect("rows");
        assert_eq!(output.records, [r#"{"a":1,"b":"x"}"#, r#"{"a":5,"b":"v"}"#], "{lines}");
        assert!(output.origins.iter().map(|(_, offset)| *offset).eq([0, 2]), "{:?}", output.origins);
        let [long, uneven] = &output.refused[..] else { panic!("{:?}", output.refusals()) };
        assert_eq!((long.code.as_str(), long.offset, long.is_cut), (RECORD_TOO_LARGE, 1, true));
        assert!(long.message.starts_with("line 3: the record is longer than"), "{}", long.message);
        assert_eq!(long.raw, row.as_bytes()[..max]);
        let expected = format!("line {}: 1 fields where the header has 2", 3 + lines + 3);
        assert_eq!((uneven.offset, &uneven.message), (3, &expected));
    }
}

#[test]
fn a_quote_that_is_never_closed_in_a_row_that_is_too_long_takes_the_rest_with_it() {
    let directory = tempdir().expect("a directory");
    let rest = "3,much too long\n".repeat(100);
    write_file(directory.path(), "in.csv", format!("a,b\n1,x\n2,\"y\n{rest}"));
    let with = json!({ "path": "in.csv", "record-bytes-max": 12 });
    let output = read(&spec(directory.path(), "file", with.clone())).expect("rows");
    assert_eq!(output.records, [r#"{"a":1,"b":"x"}"#]);
    assert_eq!((output.refused.len(), output.refusals()[0].0), (1, RECORD_TOO_LARGE));
    // Of a file that goes on and on nobody says that it is one row.
    let file = std::fs::File::options().write(true).open(directory.path().join("in.csv")).expect("a file");
    file.set_len(model::limits::LONG_ROW_BYTES_LEAST + (1 << 20)).expect("longer");
    let spec = declare(spec(directory.path(), "file", with), &[("a", ColumnType::Int)]);
    let error = read(&spec).expect_err("it ends nowhere").to_string();
    let expected =
        "in.csv: up to line 103, a quote of the row before is not closed within 64MiB; close it, set";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn files_of_one_source_have_the_same_columns_in_any_order() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "d/1.csv", "a,b\n1,x\n");
    write_file(directory.path(), "d/2.csv.gz", gzip(b"b,extra,a\ny,!,2\n"));
    let mut spec = spec(directory.path(), "file", json!({ "path": "d/*", "format": "csv" }));
    let error = read(&spec).expect_err("a column that the schema does not know");
    assert!(error.to_string().contains("d/2.csv.gz: its header has a column `extra`"), "{error}");

    spec.unknown = UnknownFields::Ignore;
    let output = read(&spec).expect("rows");
    assert_eq!(output.records, [r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":"y"}"#]);
    assert_eq!(output.origins[1], ("d/2.csv.gz".to_owned(), 0));

    spec.unknown = UnknownFields::Rest;
    let output = read(&spec).expect("rows");
    assert_eq!(output.records, [r#"{"a":1,"b":"x","rest":null}"#, r#"{"a":2,"b":"y","rest":{"extra":"!"}}"#]);

    write_file(directory.path(), "d/3.csv", "a,c\n1,x\n");
    let error = read(&spec).expect_err("a column is missing");
    assert!(error.to_string().contains("d/3.csv: its header has no column `b`"), "{error}");
}

#[test]
fn times_come_from_a_column_that_nobody_else_wants() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "in.csv", "a,at\n1,1970-01-01T00:00:01Z\n2,\n3,1970-01-01T00:00:03Z\n");
    let mut spec = spec(directory.path(), "file", json!({ "path": "in.csv" }));
    spec.time = TimeFrom::Column("at".to_owned());
    let mut source = plan_source(&spec)
        .and_then(
            |planned| Ok(planned.open(&Wanted { columns: Some(vec![0]), times: true }, &Places::new())?),
        )
        .expect("a source");
    let pulled = runtime().block_on(source.pull(LIMITS)).expect("rows").expect("rows");
    let batch = pulled.batch.expect("rows");
    assert_eq!(texts(&batch), [r#"{"a":1}"#, r#"{"a":3}"#]);
    let times = batch.parts().times.as_ref().expect("times").flat().expect("flat");
    let expected = arrow::array::TimestampMicrosecondArray::from(vec![1_000_000, 3_000_000]);
    assert_eq!(*times, expected);
    assert_eq!((pulled.refused[0].offset, &*pulled.refused[0].raw), (1, &b"2,"[..]));
    assert_eq!(pulled.header.as_deref(), Some("a,at"));
    assert!(pulled.refused[0].message.contains("`at`, which `time:` names"), "{}", pulled.refused[0].message);

    spec.time = TimeFrom::Column("when".to_owned());
    let error = plan_source(&spec).err().expect("there is no such column");
    assert!(error.to_string().contains("column `when`"), "{error}");
}

#[test]
fn the_plan_knows_the_columns_before_anything_is_read() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "in.tsv", "a\tb\n1\tx\n");
    let planned = plan_source(&spec(directory.path(), "file", json!({ "path": "in.tsv" }))).expect("a plan");
    let Stream::Rows(schema) = planned.stream() else { panic!("rows") };
    let fields: Vec<_> =
        schema.fields().iter().map(|field| model::fields::FieldSpec::of(field).to_string()).collect();
    assert_eq!(fields, ["a: s64s?", "b: texts?"]);
}
