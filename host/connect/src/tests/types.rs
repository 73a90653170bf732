//! The tables of docs/types.md, each cell of which is made here from a column of that type.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, ListArray,
    MapArray, NullArray, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use model::convert::{Form, can_cast};
use model::fields::{FieldSpec, Kind, Meaning};
use model::plan::Stream;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::printer::print_schema;
use serde_json::json;
use tempfile::tempdir;

use super::*;
use crate::parquet_source::schema_to_write;

const PAGE: &str = include_str!("../../../../docs/types.md");

/// Fails with the whole table where the page has another one.
fn assert_published(table: &[String]) {
    let table = table.join("\n");
    assert!(PAGE.contains(&table), "docs/types.md has another table than this:\n\n{table}\n");
}

fn fixed(bytes: &[u8]) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::try_from_iter([bytes.to_vec()].into_iter()).expect("bytes"))
}

fn nested() -> Vec<(&'static str, ArrayRef)> {
    let numbers = || Arc::new(Int64Array::from(vec![Some(7), None])) as ArrayRef;
    let blobs: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"\xff"[..]), None]));
    let offsets = || OffsetBuffer::new(vec![0, 2].into());
    let list = |items: ArrayRef| {
        let item = Arc::new(Field::new("element", items.data_type().clone(), true));
        Arc::new(ListArray::new(item, offsets(), items, None)) as ArrayRef
    };
    let map = |keys: ArrayRef| {
        let entries = StructArray::from(vec![
            (Arc::new(Field::new("key", keys.data_type().clone(), false)), keys),
            (Arc::new(Field::new("value", DataType::Int64, true)), numbers()),
        ]);
        let field = Arc::new(Field::new("key_value", entries.data_type().clone(), false));
        Arc::new(MapArray::new(field, offsets(), entries, None, false)) as ArrayRef
    };
    let days = Arc::new(arrow::array::Date32Array::from(vec![0, 1])) as ArrayRef;
    let structs = StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int64, true)), numbers().slice(0, 1)),
        (Arc::new(Field::new("b", DataType::Int64, true)), numbers().slice(1, 1)),
    ]);
    vec![
        ("List, LargeList, FixedSizeList", list(numbers())),
        ("the same of Binary", list(blobs)),
        ("Struct", Arc::new(structs)),
        ("Map with keys of Utf8", map(Arc::new(StringArray::from(vec!["x", "y"])))),
        ("Map with other keys", map(days)),
    ]
}

/// A value of each type, or a few, with the name of the type.
fn samples() -> Vec<(&'static str, ArrayRef, Meaning)> {
    let number = |value: i64, to: &DataType| cast(&Int64Array::from(vec![value]), to).expect("a number");
    let noon = |unit, zone: Option<&str>| {
        let local = StringArray::from(vec!["2024-07-01T12:00:00.5"]);
        let local = cast(&local, &DataType::Timestamp(unit, None)).expect("a time");
        // By way of numbers, so that nobody looks for the rules of the zone.
        let number = cast(&local, &DataType::Int64).expect("numbers");
        cast(&number, &DataType::Timestamp(unit, zone.map(Into::into))).expect("a time")
    };
    let clock = |to: &DataType| cast(&StringArray::from(vec!["12:00:00"]), to).expect("a time");
    let text = |to: &DataType| cast(&StringArray::from(vec!["a"]), to).expect("a text");
    let blob = |to: &DataType| cast(&BinaryArray::from(vec![&b"\xff"[..]]), to).expect("a blob");
    let float = |value: f64, to: &DataType| cast(&Float64Array::from(vec![value]), to).expect("a float");
    let plain = |(name, array): (&'static str, ArrayRef)| (name, array, Meaning::Plain);
    let month = [[1u8, 0, 0, 0], [2, 0, 0, 0], [0xa4, 0x0f, 0, 0]].concat();
    let dictionary = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let mut all: Vec<(&'static str, ArrayRef, Meaning)> = [
        ("Null", Arc::new(NullArray::new(1)) as ArrayRef),
        ("Boolean", Arc::new(BooleanArray::from(vec![true])) as ArrayRef),
        ("Int8", number(7, &DataType::Int8)),
        ("Int16", number(7, &DataType::Int16)),
        ("Int32", number(7, &DataType::Int32)),
        ("Int64", number(7, &DataType::Int64)),
        ("UInt8", number(7, &DataType::UInt8)),
        ("UInt16", number(7, &DataType::UInt16)),
        ("UInt32", number(7, &DataType::UInt32)),
        ("UInt64", number(7, &DataType::UInt64)),
        ("Float16", float(0.5, &DataType::Float16)),
        ("Float32", float(0.5, &DataType::Float32)),
        ("Float64", float(0.5, &DataType::Float64)),
        ("a float that is no number", float(f64::NAN, &DataType::Float64)),
        ("a float that is infinite", float(f64::NEG_INFINITY, &DataType::Float64)),
        ("Decimal32(9, 2)", number(7, &DataType::Decimal32(9, 2))),
        ("Decimal64(18, 2)", number(7, &DataType::Decimal64(18, 2))),
        ("Decimal128(38, 2)", number(7, &DataType::Decimal128(38, 2))),
        ("Decimal256(76, 2)", number(7, &DataType::Decimal256(76, 2))),
        ("Timestamp(s)", noon(Second, None)),
        ("Timestamp(ms)", noon(Millisecond, None)),
        ("Timestamp(us)", noon(Microsecond, None)),
        ("Timestamp(ns)", noon(Nanosecond, None)),
        ("Timestamp(us, UTC)", noon(Microsecond, Some("UTC"))),
        ("Timestamp(ns, Europe/Oslo)", noon(Nanosecond, Some("Europe/Oslo"))),
        ("Date32", number(19_905, &DataType::Int32)),
        ("Date64", number(1_719_792_000_000, &DataType::Date64)),
        ("Time32(s)", clock(&DataType::Time32(Second))),
        ("Time32(ms)", clock(&DataType::Time32(Millisecond))),
        ("Time64(us)", clock(&DataType::Time64(Microsecond))),
        ("Time64(ns)", clock(&DataType::Time64(Nanosecond))),
        ("Duration(us)", number(90_000_000, &DataType::Duration(Microsecond))),
        ("Utf8, LargeUtf8, Utf8View", text(&DataType::Utf8)),
        ("Dictionary(Utf8)", text(&dictionary)),
        ("Binary, LargeBinary, BinaryView", blob(&DataType::Binary)),
        ("FixedSizeBinary(3)", fixed(b"abc")),
    ]
    .map(plain)
    .into();
    all[25].1 = cast(&all[25].1, &DataType::Date32).expect("a date");
    let json = StringArray::from(vec!["{\"a\": 1}"]);
    all.push(("FixedSizeBinary(16) as arrow.uuid", fixed(&[0x11; 16]), Meaning::Uuid));
    all.push(("FixedSizeBinary(12) of INTERVAL", fixed(&month), Meaning::Interval));
    all.push(("Utf8 as arrow.json", Arc::new(json), Meaning::Json));
    all.extend(nested().into_iter().map(plain));
    all
}

/// What a sink writes into Parquet, as Parquet's own language has it.
fn in_parquet(field: &Field) -> String {
    let schema = schema_to_write(&Schema::new(vec![field.clone()])).expect("a schema");
    let mut printed = Vec::new();
    print_schema(&mut printed, &schema.root_schema().get_fields()[0]);
    let printed = String::from_utf8_lossy(&printed).into_owned();
    let first = printed.lines().next().unwrap_or_default();
    first
        .replace("OPTIONAL ", "")
        .replace(" c ", " ")
        .replace(" c;", "")
        .trim_end_matches([';', ' ', '{'])
        .to_owned()
}

#[test]
fn each_type_has_the_forms_that_are_published() {
    let mut table = vec![
        "| Arrow | in JSON lines | in CSV | in Parquet | for stages |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    for (name, array, meaning) in samples() {
        let field = meaning.mark(Field::new("c", array.data_type().clone(), true));
        let form = Form::of(&field, &array).expect("a form");
        let (mut json, mut text) = (Vec::new(), Vec::new());
        form.write_json(0, &mut json);
        if !form.is_null(0) {
            form.write_text(0, &mut text);
        }
        let text = String::from_utf8_lossy(&text).replace('\u{fffd}', "\\xff");
        let spec = FieldSpec::of(&field);
        let stage = if spec.logical.is_empty() {
            spec.kind.to_string()
        } else {
            format!("{}, {}", spec.kind, spec.logical)
        };
        let cells =
            [code(&String::from_utf8_lossy(&json)), code(&text), code(&in_parquet(&field)), code(&stage)];
        table.push(format!("| {name} | {} |", cells.join(" | ")));
    }
    assert_published(&table);
}

#[test]
fn each_type_of_parquet_is_read_as_is_published() {
    let leaves = [
        "boolean c",
        "int32 c",
        "int32 c (INTEGER(8,true))",
        "int32 c (INTEGER(16,false))",
        "int32 c (DATE)",
        "int32 c (DECIMAL(9,2))",
        "int32 c (TIME(MILLIS,true))",
        "int64 c",
        "int64 c (INTEGER(64,false))",
        "int64 c (DECIMAL(18,2))",
        "int64 c (TIME(MICROS,false))",
        "int64 c (TIME(NANOS,false))",
        "int64 c (TIMESTAMP(MILLIS,true))",
        "int64 c (TIMESTAMP(MICROS,false))",
        "int64 c (TIMESTAMP(NANOS,true))",
        "int64 c (TIMESTAMP_MILLIS)",
        "int96 c",
        "float c",
        "double c",
        "binary c",
        "binary c (STRING)",
        "binary c (ENUM)",
        "binary c (JSON)",
        "binary c (BSON)",
        "binary c (DECIMAL(40,2))",
        "fixed_len_byte_array(3) c",
        "fixed_len_byte_array(16) c (DECIMAL(38,2))",
        "fixed_len_byte_array(16) c (UUID)",
        "fixed_len_byte_array(12) c (INTERVAL)",
        "fixed_len_byte_array(2) c (FLOAT16)",
    ];
    let directory = tempdir().expect("a directory");
    let mut table = vec!["| in Parquet | Arrow | for stages |".to_owned(), "|---|---|---|".to_owned()];
    for leaf in leaves {
        let message = parse_message_type(&format!("message m {{ optional {leaf}; }}")).expect("a schema");
        let file = File::create(directory.path().join("a.parquet")).expect("a file");
        let writer = SerializedFileWriter::new(file, Arc::new(message), WriterProperties::default().into());
        writer.expect("a writer").close().expect("closed");
        let planned =
            plan_source(&spec(directory.path(), "file", json!({ "path": "a.parquet" }))).expect("a plan");
        let Stream::Rows(schema) = planned.stream() else { panic!("rows") };
        let spec = FieldSpec::of(schema.field(0));
        let stage = if spec.logical.is_empty() {
            spec.kind.to_string()
        } else {
            format!("{}, {}", spec.kind, spec.logical)
        };
        let written = leaf.replace(" c", "");
        table.push(format!("| `{written}` | {} | `{stage}` |", schema.field(0).data_type()));
    }
    assert_published(&table);
}

#[test]
fn each_cast_is_done_or_refused_as_is_published() {
    use Kind::{Blobs, Bools, Days, F64s, Jsons, S64s, Texts, Times};
    let of = |data_type| Field::new("c", data_type, true);
    let from = [
        ("a boolean", of(DataType::Boolean)),
        ("an integer", of(DataType::Int32)),
        ("a float", of(DataType::Float32)),
        ("a decimal", of(DataType::Decimal128(38, 2))),
        ("a text", of(DataType::Utf8)),
        ("bytes", of(DataType::Binary)),
        ("a UUID", Meaning::Uuid.mark(of(DataType::FixedSizeBinary(16)))),
        ("a timestamp", of(DataType::Timestamp(TimeUnit::Nanosecond, None))),
        ("a date", of(DataType::Date32)),
        ("a time of day", of(DataType::Time64(TimeUnit::Microsecond))),
        ("a duration", of(DataType::Duration(TimeUnit::Second))),
        ("an interval", of(DataType::Interval(IntervalUnit::DayTime))),
        ("JSON", Meaning::Json.mark(of(DataType::Utf8))),
        ("a list, a struct, a map", of(DataType::List(Arc::new(of(DataType::Int8))))),
    ];
    let to = [Bools, S64s, F64s, Texts, Times, Days, Blobs, Jsons];
    let mut table = vec![
        "| from | bool | int | float | text | timestamp | date | bytes | json |".to_owned(),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for (name, field) in from {
        let cells = to.map(|kind| if can_cast(&field, kind) { "yes" } else { "" });
        table.push(format!("| {name} | {} |", cells.join(" | ")));
    }
    assert_published(&table);
}
