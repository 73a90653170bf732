use arrow::array::AsArray;
use arrow::datatypes::Field;

use super::*;
use crate::batch::Parts;
use crate::convert::{JsonWriter, to_json};
use crate::fields::Meaning;
use crate::lineage::{Lineage, Offsets, SourceRows};

fn json_field(name: &str) -> Field {
    Meaning::Json.mark(Field::new(name, DataType::Utf8, true))
}

fn every_type() -> SchemaRef {
    let dictionary = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    Arc::new(Schema::new(vec![
        Field::new("bool", DataType::Boolean, true),
        Field::new("s32", DataType::Int32, true),
        Field::new("s64", DataType::Int64, true),
        Field::new("u64", DataType::UInt64, true),
        Field::new("f32", DataType::Float32, true),
        Field::new("f64", DataType::Float64, true),
        Field::new("time", crate::fields::instants(), true),
        Field::new("local", crate::fields::local_times(), true),
        Field::new("day", DataType::Date32, true),
        Field::new("text", DataType::Utf8, true),
        json_field("json"),
        Field::new("dict", dictionary, true),
        Field::new("blob", DataType::Binary, true),
    ]))
}

fn opaque(records: &[&str]) -> Batch {
    let lineage = Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: "in".into(),
        split: "0".into(),
        offsets: Offsets::From(0),
    });
    let values = BinaryArray::from_iter_values(records.iter().map(|record| record.as_bytes()));
    Batch::from_values(values, Parts::default(), lineage).expect("a batch")
}

#[test]
fn every_type_survives_the_way_through_json() {
    let records = [
        r#"{"bool":true,"s32":-5,"s64":9007199254740993,"u64":18446744073709551615,"f32":1.5,"f64":0.1,"time":"2020-01-01T00:00:00.000001Z","local":"2020-01-01T00:00:00","day":"1969-12-31","text":"a\"é","json":[1,{"x":null}],"dict":"d","blob":"/wA="}"#,
        r#"{"bool":null,"s32":null,"s64":null,"u64":null,"f32":null,"f64":null,"time":null,"local":null,"day":null,"text":null,"json":null,"dict":null,"blob":null}"#,
    ];
    let schema = every_type();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let mut reader = JsonReader::new(&schema, &all, UnknownFields::Reject).expect("every type is read");
    let (typed, rejections) = from_json(&opaque(&records), &mut reader).expect("a batch");
    assert_eq!(rejections, []);
    assert_eq!(typed.schema(), &schema);
    let back = to_json(&JsonWriter::new(&schema), &typed).expect("JSON");
    for (row, record) in records.iter().enumerate() {
        assert_eq!(std::str::from_utf8(back.value(row)), Ok(*record));
    }
}

#[test]
fn records_that_do_not_fit_are_refused_one_by_one() {
    let cases = [
        (r#"{"s64":1}"#, None),
        (r#"{"s64":"1"}"#, Some((BAD_ROW, "`s64` is a text"))),
        (r#"{"s64":1.5}"#, Some((BAD_ROW, "declare another type"))),
        (r#"{"s32":3000000000}"#, Some((BAD_ROW, "32-bit"))),
        (r#"{"f64":9007199254740993}"#, Some((BAD_ROW, "does not fit float"))),
        (r#"{"f64":1e400}"#, Some((BAD_ROW, "does not fit float"))),
        (r#"{"f64":"nan"}"#, Some((BAD_ROW, "does not fit float"))),
        (r#"{"time":"2020-01-01T00:00:00"}"#, Some((BAD_ROW, "an offset"))),
        (r#"{"local":"2020-01-01T00:00:00+01:00"}"#, Some((BAD_ROW, "without an offset"))),
        (r#"{"text":"half","time":"yesterday"}"#, Some((BAD_ROW, "RFC 3339"))),
        (r#"{"text":"2","s64":1,"s64":2}"#, Some((BAD_ROW, "there twice"))),
        (r#"{"text":"2","other":2}"#, Some((BAD_ROW, "`other` is not in the schema"))),
        (r#"{"text":"2""#, Some((BAD_JSON, "expected at byte 11"))),
        (r#"[1]"#, Some((BAD_JSON, "a JSON object"))),
        ("", Some((BAD_JSON, "a JSON object"))),
        (r#"{} {}"#, Some((BAD_JSON, "the end of the record"))),
        (r#"{"text":"last"}"#, None),
    ];
    let schema = every_type();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let mut reader = JsonReader::new(&schema, &all, UnknownFields::Reject).expect("a reader");
    let records: Vec<&str> = cases.iter().map(|(record, _)| *record).collect();
    let (typed, rejections) = from_json(&opaque(&records), &mut reader).expect("a batch");
    assert_eq!(typed.rows(), 2);
    assert_eq!(
        typed.lineage().origin(1).offset,
        cases.len() as u64 - 1,
        "the rows that are left are not the ones that fit"
    );
    let mut rejections = rejections.iter();
    for (row, (record, refused)) in cases.iter().enumerate() {
        let Some((code, part)) = refused else { continue };
        let rejection = rejections.next().expect("a rejection");
        assert_eq!((rejection.row as usize, rejection.code.as_str()), (row, *code), "{record}");
        assert!(rejection.message.contains(part), "{record}: {}", rejection.message);
    }
}

#[test]
fn unwanted_columns_are_not_decoded() {
    let schema = every_type();
    let mut reader = JsonReader::new(&schema, &[9], UnknownFields::Reject).expect("a reader");
    reader.push(br#"{"s64":"no number at all","text":"x","day":true}"#).expect("only `text` is looked at");
    let columns = reader.take().expect("columns");
    assert_eq!(columns.len(), 1);
    assert_eq!(columns[0].as_string::<i32>().value(0), "x");
}

#[test]
fn unknown_fields_go_where_the_policy_says() {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true), json_field(REST)]));
    let record = br#"{"x\n":[1,2],"a":1,"y":"z"}"#;
    let mut reader = JsonReader::new(&schema, &[0, 1], UnknownFields::Rest).expect("a reader");
    reader.push(record).expect("it fits");
    reader.push(br#"{"a":2}"#).expect("it fits");
    let columns = reader.take().expect("columns");
    assert_eq!(columns[1].as_string::<i32>().value(0), r#"{"x\n":[1,2],"y":"z"}"#);
    assert!(columns[1].is_null(1));

    let mut reader = JsonReader::new(&schema, &[0], UnknownFields::Ignore).expect("a reader");
    reader.push(record).expect("it fits");
    let without = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    assert_eq!(JsonReader::new(&without, &[0], UnknownFields::Rest).err(), Some(JsonReaderError::NoRest));
}

#[test]
fn a_column_without_nulls_needs_its_field() {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
    let mut reader = JsonReader::new(&schema, &[0], UnknownFields::Ignore).expect("a reader");
    let error = reader.push(b"{}").expect_err("`a` is missing");
    assert_eq!(error.code, BAD_ROW);
    assert!(error.message.contains("`a` is missing"), "{}", error.message);
}
