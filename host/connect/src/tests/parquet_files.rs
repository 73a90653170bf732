//! Parquet files: what real writers make, what drifts from file to file, and what no library knows.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, Int8Array, Int32Array, Int64Array, RecordBatch, StringArray,
    Time64MicrosecondArray,
};
use arrow::datatypes::{Field, Schema};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flow::connector::Places;
use model::fields::Meaning;
use model::manifest::ColumnType;
use model::plan::Stream;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowWriter, encode_arrow_schema};
use parquet::basic::{ConvertedType, LogicalType};
use parquet::data_type::{ByteArray, ByteArrayType, Int96, Int96Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;
use tempfile::tempdir;

use super::sinks::{open, write_all};
use super::*;

/// Where the files of real writers are, with the script that makes them.
fn writers() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tests/writers")
}

fn columns(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true)))
        .expect("columns")
}

fn write_parquet(
    directory: &Path,
    name: &str,
    rows: &RecordBatch,
    properties: WriterProperties,
    hints: bool,
) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(!hints);
    let file = File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new_with_options(file, rows.schema(), options).expect("a writer");
    writer.write(rows).expect("written");
    writer.close().expect("closed");
}

fn plain(directory: &Path, name: &str, rows: &[(&str, ArrayRef)]) {
    write_parquet(directory, name, &columns(rows), WriterProperties::default(), true);
}

/// All batches of a source, and what flows.
fn batches(spec: &SourceSpec) -> (Stream, Vec<Batch>) {
    let planned = plan_source(spec).expect("a plan");
    let stream = planned.stream().clone();
    let mut source = planned.open(&Wanted::default(), &Places::new()).expect("a source");
    let mut batches = Vec::new();
    while let Some(pulled) = runtime().block_on(source.pull(LIMITS)).expect("rows") {
        assert_eq!(pulled.refused, []);
        batches.extend(pulled.batch);
    }
    (stream, batches)
}

const DUCKDB: [&str; 2] = [
    r#"{"interval":"P1M2DT3.500S","uuid":"00010203-0405-0607-0809-0a0b0c0d0e0f","time":"24:00:00","enum":"b","json":{"a": [1, null]},"date":"+5881580-07-11","local":"9999-12-31T23:59:59.999999","instant":"2024-07-01T10:00:00Z","nanos":"2024-07-01T12:00:00.123456789","decimal":12345678901234567890.12,"money":1234567.89,"double":"NaN","float":"-Infinity","ubigint":18446744073709551615,"blob":"/wA=","struct":{"a":null,"b":"+w==","t":"2024-07-01T10:00:00Z"},"map":{"7":"x","8":null},"list":["P1D",null]}"#,
    r#"{"interval":null,"uuid":null,"time":null,"enum":null,"json":null,"date":null,"local":null,"instant":null,"nanos":null,"decimal":null,"money":null,"double":null,"float":null,"ubigint":null,"blob":null,"struct":null,"map":null,"list":null}"#,
];
const POLARS: [&str; 3] = [
    r#"{"wide":1,"duration":"PT90S","local":"2024-07-01T12:00:00","category":"x"}"#,
    r#"{"wide":-1267650600228229401496703205376,"duration":null,"local":null,"category":null}"#,
    r#"{"wide":null,"duration":"PT0S","local":null,"category":"x"}"#,
];
const PYARROW: [&str; 2] = [
    r#"{"half":0.5,"decimal":-0.05,"date64":"2024-07-01","time32":"01:02:03","time64":"01:02:03.000004","seconds":"2024-07-01T12:00:00","zoned":"2024-07-01T12:00:00.123456Z","duration":"-PT1.500S","dictionary":"a","numbers":5,"fixed":"YWJj","uuid":"00000000-0000-0000-0000-000000000001","json":{"a": 1},"view":"v","null":null,"list":["+w==",null],"times":["2024-07-01T12:00:00.123456"],"map":{"2024-07-01":null},"struct":{"n":null,"f":"Infinity"}}"#,
    r#"{"half":null,"decimal":null,"date64":null,"time32":null,"time64":null,"seconds":null,"zoned":null,"duration":null,"dictionary":null,"numbers":null,"fixed":null,"uuid":null,"json":null,"view":null,"null":null,"list":null,"times":null,"map":null,"struct":null}"#,
];
const FASTPARQUET: [&str; 2] =
    [r#"{"int96":"2024-07-01T12:00:00","json":{"a":1}}"#, r#"{"int96":null,"json":null}"#];

#[test]
fn what_real_writers_say_is_read_and_written_by_value() {
    let directory = tempdir().expect("a directory");
    let cases: [(&str, &[&str]); 4] =
        [("duckdb", &DUCKDB), ("polars", &POLARS), ("pyarrow", &PYARROW), ("fastparquet", &FASTPARQUET)];
    for (writer, expected) in cases {
        let path = format!("{writer}.parquet");
        let (stream, rows) = batches(&spec(&writers(), "file", json!({ "path": path })));
        let found: Vec<String> = rows.iter().flat_map(texts).collect();
        assert_eq!(found, expected, "{writer}");
        for name in [format!("{writer}.parquet"), format!("{writer}.jsonl")] {
            write_all(&mut *open(directory.path(), json!({ "path": name }), &stream), &rows);
        }
        let again = spec(directory.path(), "file", json!({ "path": path }));
        let (stream_again, rows) = batches(&again);
        assert_eq!(stream_again.schema(), stream.schema(), "{writer} in Parquet");
        assert_eq!(rows.iter().flat_map(texts).collect::<Vec<_>>(), expected, "{writer} in Parquet");
        let lines = std::fs::read_to_string(directory.path().join(format!("{writer}.jsonl"))).expect("lines");
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected, "{writer} in JSON lines");
        for line in lines.lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON");
        }
        // What was printed comes out as it is, whatever is inferred of it.
        let printed = spec(directory.path(), "file", json!({ "path": format!("{writer}.jsonl") }));
        assert_eq!(read(&printed).expect("rows").records, expected, "{writer} from JSON lines");
    }
}

#[test]
fn annotations_that_arrow_has_no_type_for_are_written_again() {
    let directory = tempdir().expect("a directory");
    let (stream, rows) = batches(&spec(&writers(), "file", json!({ "path": "duckdb.parquet" })));
    write_all(&mut *open(directory.path(), json!({ "path": "o.parquet" }), &stream), &rows);
    let reader = SerializedFileReader::new(File::open(directory.path().join("o.parquet")).expect("a file"));
    let reader = reader.expect("Parquet");
    let schema = reader.metadata().file_metadata().schema_descr();
    let of = |path: &str| {
        let leaf = schema.columns().iter().find(|leaf| leaf.path().string() == path).expect("a column");
        (leaf.logical_type_ref().cloned(), leaf.converted_type())
    };
    assert_eq!(of("uuid").0, Some(LogicalType::Uuid));
    assert_eq!(of("json"), (Some(LogicalType::Json), ConvertedType::JSON));
    assert_eq!(of("interval").1, ConvertedType::INTERVAL);
    let is_instant = |path: &str| match of(path).0 {
        Some(LogicalType::Timestamp(timestamp)) => timestamp.is_adjusted_to_u_t_c,
        other => panic!("{path} is {other:?}"),
    };
    assert!(is_instant("instant") && !is_instant("local") && is_instant("struct.t"));
    let interval = schema.columns().iter().find(|leaf| leaf.path().string().starts_with("list."));
    assert_eq!(interval.map(|leaf| leaf.converted_type()), Some(ConvertedType::INTERVAL));
}

#[test]
fn each_type_has_its_field_in_csv() {
    let directory = tempdir().expect("a directory");
    let expected = [
        (
            "duckdb",
            "P1M2DT3.500S,00010203-0405-0607-0809-0a0b0c0d0e0f,24:00:00,b,\"{\"\"a\"\": [1, null]}\",+5881580-07-11,9999-12-31T23:59:59.999999,\
             2024-07-01T10:00:00Z,2024-07-01T12:00:00.123456789,12345678901234567890.12,1234567.89,NaN,-Infinity,18446744073709551615,\u{fffd}\0,\
             \"{\"\"a\"\":null,\"\"b\"\":\"\"+w==\"\",\"\"t\"\":\"\"2024-07-01T10:00:00Z\"\"}\",\"{\"\"7\"\":\"\"x\"\",\"\"8\"\":null}\",\"[\"\"P1D\"\",null]\"",
        ),
        (
            "pyarrow",
            "0.5,-0.05,2024-07-01,01:02:03,01:02:03.000004,2024-07-01T12:00:00,2024-07-01T12:00:00.123456Z,-PT1.500S,a,5,abc,\
             00000000-0000-0000-0000-000000000001,\"{\"\"a\"\": 1}\",v,,\"[\"\"+w==\"\",null]\",\"[\"\"2024-07-01T12:00:00.123456\"\"]\",\
             \"{\"\"2024-07-01\"\":null}\",\"{\"\"n\"\":null,\"\"f\"\":\"\"Infinity\"\"}\"",
        ),
    ];
    for (writer, row) in expected {
        let (stream, rows) =
            batches(&spec(&writers(), "file", json!({ "path": format!("{writer}.parquet") })));
        write_all(&mut *open(directory.path(), json!({ "path": "o.csv" }), &stream), &rows);
        let csv = std::fs::read(directory.path().join("o.csv")).expect("a file");
        let csv = String::from_utf8_lossy(&csv).into_owned();
        assert_eq!(csv.lines().nth(1), Some(row), "{writer}");
    }
}

#[test]
fn whole_numbers_pass_and_others_are_refused_whatever_they_are_held_as() {
    let directory = tempdir().expect("a directory");
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.9), Some(-0.5), Some(2.0), None]));
    let more: ArrayRef = Arc::new(arrow::array::BinaryArray::from_iter_values([[1u8], [2], [3], [4]]));
    plain(directory.path(), "a.parquet", &[("x", floats), ("b", more)]);
    write_file(directory.path(), "a.jsonl", "{\"x\":1.9}\n{\"x\":-0.5}\n{\"x\":2.0}\n{\"x\":null}\n");
    write_file(directory.path(), "a.csv", "x,y\n1.9,\n-0.5,\n2.0,\n,z\n");
    for name in ["a.parquet", "a.jsonl", "a.csv"] {
        let declared =
            declare(spec(directory.path(), "file", json!({ "path": name })), &[("x", ColumnType::Int)]);
        let declared = crate::SourceSpec { unknown: model::manifest::UnknownFields::Ignore, ..declared };
        let output = read_wanted(&declared, &Wanted { columns: Some(vec![0]), times: false }).expect("rows");
        assert_eq!(output.records, [r#"{"x":2}"#, r#"{"x":null}"#], "{name}");
        let offsets: Vec<u64> = output.refused.iter().map(|refused| refused.offset).collect();
        assert_eq!(offsets, [0, 1], "{name}");
        // Each is kept whole, whatever is wanted of it.
        let raw: Vec<_> =
            output.refused.iter().map(|refused| String::from_utf8_lossy(&refused.raw).into_owned()).collect();
        let expected = match name {
            "a.csv" => ["1.9,", "-0.5,"],
            "a.jsonl" => ["{\"x\":1.9}", "{\"x\":-0.5}"],
            _ => ["{\"x\":1.9,\"b\":\"AQ==\"}", "{\"x\":-0.5,\"b\":\"Ag==\"}"],
        };
        assert_eq!(raw, expected, "{name}");
    }
}

#[test]
fn values_that_are_none_of_what_the_file_promises_are_refused() {
    let directory = tempdir().expect("a directory");
    const DAY: i64 = 86_400_000_000;
    let times: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![0, DAY, DAY + 1, -1]));
    let json: ArrayRef = Arc::new(StringArray::from(vec!["{}", "{", "1", "2"]));
    let fields = vec![
        Field::new("t", times.data_type().clone(), true),
        Meaning::Json.mark(Field::new("j", json.data_type().clone(), true)),
    ];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![times, json]).expect("rows");
    write_parquet(directory.path(), "a.parquet", &rows, WriterProperties::default(), true);
    let output = read(&spec(directory.path(), "file", json!({ "path": "a.parquet" }))).expect("rows");
    assert_eq!(output.records, [r#"{"t":"00:00:00","j":{}}"#]);
    let refused: Vec<_> =
        output.refusals().iter().map(|(_, offset, why)| (*offset, why.to_string())).collect();
    let no_time = "column `t`: it is before 00:00:00 or after 24:00:00, and no time of day";
    let expected = [(1, "column `j`: it is not JSON"), (2, no_time), (3, no_time)];
    assert_eq!(refused, expected.map(|(offset, why)| (offset, why.to_owned())));
}

#[test]
fn every_year_has_room_in_an_int96_and_an_enum_is_text() {
    let directory = tempdir().expect("a directory");
    let message =
        parse_message_type("message m { required int96 at; required binary e (ENUM); }").expect("a schema");
    let file = File::create(directory.path().join("a.parquet")).expect("a file");
    let mut writer = SerializedFileWriter::new(file, Arc::new(message), WriterProperties::default().into())
        .expect("a writer");
    // Nanoseconds of the day in two words, and the Julian day.
    let moment = |nanos: u64, julian: u32| Int96::from(vec![nanos as u32, (nanos >> 32) as u32, julian]);
    let moments = [moment(86_399_999_999_000, 5_373_484), moment(0, 1_721_426), moment(1_000, 2_440_588)];
    let mut group = writer.next_row_group().expect("a group");
    let mut column = group.next_column().expect("a column").expect("a column");
    column.typed::<Int96Type>().write_batch(&moments, None, None).expect("written");
    column.close().expect("closed");
    let mut column = group.next_column().expect("a column").expect("a column");
    let names = ["A", "B", "C"].map(ByteArray::from);
    column.typed::<ByteArrayType>().write_batch(&names, None, None).expect("written");
    column.close().expect("closed");
    group.close().expect("closed");
    writer.close().expect("closed");
    let output = read(&spec(directory.path(), "file", json!({ "path": "a.parquet" }))).expect("rows");
    let expected = [
        ("9999-12-31T23:59:59.999999", "A"),
        ("0001-01-01T00:00:00", "B"),
        ("1970-01-01T00:00:00.000001", "C"),
    ];
    assert_eq!(output.records, expected.map(|(at, name)| format!("{{\"at\":\"{at}\",\"e\":\"{name}\"}}")));
}

/// A file whose embedded schema says of its column `odd` that it is of a type that nobody knows.
fn of_an_unknown_type(directory: &Path) {
    let odd: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let rows = columns(&[("known", Arc::new(Int8Array::from(vec![7])) as ArrayRef), ("odd", odd)]);
    let mut message = BASE64.decode(encode_arrow_schema(&rows.schema())).expect("base64");
    let bits = message.windows(4).position(|bytes| bytes == [64, 0, 0, 0]).expect("the width of the integer");
    message[bits] = 24;
    let key = ARROW_SCHEMA_META_KEY.to_owned();
    let metadata = vec![KeyValue::new(key, BASE64.encode(message))];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata)).build();
    write_parquet(directory, "a.parquet", &rows, properties, false);
}

#[test]
fn a_type_that_nobody_knows_fails_whoever_wants_it_and_nobody_else() {
    let directory = tempdir().expect("a directory");
    of_an_unknown_type(directory.path());
    let spec = spec(directory.path(), "file", json!({ "path": "a.parquet" }));
    let wanted = Wanted { columns: Some(vec![0]), times: false };
    assert_eq!(read_wanted(&spec, &wanted).expect("rows").records, [r#"{"known":7}"#]);
    let error = read(&spec).expect_err("`odd` cannot be read").to_string();
    let expected =
        "a.parquet: its column `odd` cannot be read: its writer says that it is an integer of 24 bits";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn files_that_drift_are_read_together_where_nothing_is_lost() {
    let directory = tempdir().expect("a directory");
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let longs: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![2.0]));
    plain(directory.path(), "wide/1.parquet", &[("n", ints.clone())]);
    plain(directory.path(), "wide/2.parquet", &[("n", longs.clone())]);
    plain(directory.path(), "more/1.parquet", &[("n", ints.clone())]);
    plain(directory.path(), "more/2.parquet", &[("s", texts.clone()), ("n", longs.clone())]);
    plain(directory.path(), "apart/1.parquet", &[("n", longs)]);
    plain(directory.path(), "apart/2.parquet", &[("n", floats)]);
    let files = |pattern: &str| spec(directory.path(), "file", json!({ "path": pattern }));
    let long = i64::MAX.to_string();

    let output = read(&files("wide/*.parquet")).expect("rows");
    assert_eq!(output.records, [r#"{"n":1}"#.to_owned(), format!("{{\"n\":{long}}}")]);

    let error = read(&files("more/*.parquet")).expect_err("a column that the first file lacks").to_string();
    assert!(error.starts_with("more/2.parquet: its column `s` is not in the schema"), "{error}");
    let output = read(&declare(files("more/*.parquet"), &[("s", ColumnType::Text)])).expect("rows");
    assert_eq!(output.records, [r#"{"n":1,"s":null}"#.to_owned(), format!("{{\"n\":{long},\"s\":\"x\"}}")]);
    let infer = SourceSpec { schema: vec![("s".to_owned(), None)], ..files("more/*.parquet") };
    assert_eq!(read(&infer).expect("rows").records, output.records);
    let ignore = SourceSpec { unknown: UnknownFields::Ignore, ..files("more/*.parquet") };
    assert_eq!(read(&ignore).expect("rows").records.len(), 2);

    // The other way round, so that a later file lacks what the first one has.
    let reversed = spec(directory.path(), "file", json!({ "path": ["more/2.parquet", "wide/1.parquet"] }));
    let error = read(&reversed).expect_err("a column that a later file lacks").to_string();
    assert!(
        error.starts_with("wide/1.parquet: it has no column `s`") && error.contains("`schema`"),
        "{error}"
    );
    let output = read(&declare(reversed, &[("s", ColumnType::Text)])).expect("rows");
    assert_eq!(output.records[1], r#"{"s":null,"n":1}"#);

    let error = read(&files("apart/*.parquet")).expect_err("no type holds both").to_string();
    assert!(
        error.starts_with("apart/2.parquet: its column `n` is Float64, not Int64, and no type"),
        "{error}"
    );
    let output = read(&declare(files("apart/*.parquet"), &[("n", ColumnType::Int)])).expect("rows");
    assert_eq!(output.records, [format!("{{\"n\":{long}}}"), r#"{"n":2}"#.to_owned()]);
}

#[test]
fn a_declaration_that_no_value_fits_is_said_before_anything_runs() {
    let directory = tempdir().expect("a directory");
    plain(directory.path(), "a.parquet", &[("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    let declared = declare(
        spec(directory.path(), "file", json!({ "path": "a.parquet" })),
        &[("n", ColumnType::Timestamp)],
    );
    let error = plan_source(&declared).err().expect("an error").to_string();
    assert!(error.contains("its column `n` is Int64, of which no value is timestamp"), "{error}");
}
