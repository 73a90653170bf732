use conveyor_sdk::testing::{Value, json, table_transform};
use conveyor_sdk::{Field, Kind};

use crate::Parse;

fn fields() -> Vec<Field> {
    vec![Field::new("a", Kind::Texts), Field::new("b", Kind::Dictionaries), Field::new("n", Kind::S64s)]
}

/// What becomes of one value in column `a`, or the code with which it is rejected.
fn read(target: Value, value: &str) -> Result<Value, String> {
    let mut stage = table_transform::<Parse>(json!({ "columns": { "a": target } }), fields()).unwrap();
    let outcome = stage.run([json!({ "a": value, "b": "x", "n": 1 })]).unwrap();
    match outcome.rejections.first() {
        Some(rejection) => Err(rejection.code.clone()),
        None => Ok(outcome.rows("main").remove(0)["a"].clone()),
    }
}

#[test]
fn numbers() {
    let german = || json!({ "as": "float", "thousands": ".", "decimal": "," });
    let english = || json!({ "as": "float", "thousands": "," });
    let grouped = || json!({ "as": "int", "thousands": "'" });
    for (target, value, wanted) in [
        (json!("int"), "42", Some(json!(42))),
        (json!("int"), " -7 ", Some(json!(-7))),
        (json!("int"), "+7", Some(json!(7))),
        (json!("int"), "4.2", None),
        (json!("int"), "12x", None),
        (json!("int"), "99999999999999999999", None),
        (json!("int"), "1,000", None),
        (grouped(), "1'234'567", Some(json!(1_234_567))),
        (grouped(), "-1'234", Some(json!(-1234))),
        (grouped(), "1234", Some(json!(1234))),
        (grouped(), "12'34", None),
        (grouped(), "1'2345", None),
        (grouped(), "'123", None),
        (json!("float"), "1.5e3", Some(json!(1500.0))),
        (json!("float"), "1.5.2", None),
        (json!("float"), "nan", None),
        (json!("float"), "inf", None),
        (json!("float"), "1e999", None),
        (english(), "1,234.5", Some(json!(1234.5))),
        (english(), "1234.5", Some(json!(1234.5))),
        (english(), "1,23.5", None),
        (german(), "1.234,5", Some(json!(1234.5))),
        (german(), "0,5", Some(json!(0.5))),
        (german(), "-12,25", Some(json!(-12.25))),
        (german(), "1234.5", None),
        (german(), "1,5,5", None),
    ] {
        assert_eq!(read(target.clone(), value).ok(), wanted, "{value:?} as {target}");
    }
}

#[test]
fn truth_values() {
    let words = || json!({ "as": "bool", "true-words": ["ja", "y"], "false-words": ["nein", "n"] });
    for (target, value, wanted) in [
        (json!("bool"), "true", Some(json!(true))),
        (json!("bool"), "False", Some(json!(false))),
        (json!("bool"), "1", Some(json!(true))),
        (json!("bool"), "yes", None),
        (words(), "JA", Some(json!(true))),
        (words(), "n", Some(json!(false))),
        (words(), "true", None),
    ] {
        assert_eq!(read(target.clone(), value).ok(), wanted, "{value:?} as {target}");
    }
}

#[test]
fn timestamps_and_dates() {
    let noon = 1_704_110_400_000_000i64;
    let pattern = |format: &str| json!({ "as": "timestamp", "format": format });
    for (target, value, wanted) in [
        (json!("timestamp"), "2024-01-01T12:00:00Z", Some(json!(noon))),
        (json!("timestamp"), "yesterday", None),
        (json!({ "as": "timestamp", "zone": "+01:00" }), "2024-01-01T13:00:00", Some(json!(noon))),
        (json!({ "as": "timestamp", "zone": "+01:00" }), "2024-01-01T12:00:00Z", Some(json!(noon))),
        (json!({ "as": "timestamp", "zone": "+01:00" }), "2024-01-01T12:00:00+00:00", Some(json!(noon))),
        (pattern("%d.%m.%Y %H:%M"), "01.01.2024 12:00", Some(json!(noon))),
        (pattern("%d.%m.%Y %H:%M"), "2024-01-01 12:00", None),
        (
            json!({ "as": "timestamp", "format": "%F %R", "zone": "-02:00" }),
            "2024-01-01 10:00",
            Some(json!(noon)),
        ),
        (pattern("unix"), "1704110400", Some(json!(noon))),
        (pattern("unix-ms"), "1704110400000", Some(json!(noon))),
        (pattern("unix-us"), "1704110400000000", Some(json!(noon))),
        (pattern("unix"), "99999999999999999", None),
        (json!("date"), "2024-01-01", Some(json!(19723))),
        (json!("date"), "2024-02-30", None),
        (json!({ "as": "date", "format": "%d/%m/%y" }), "01/01/24", Some(json!(19723))),
    ] {
        assert_eq!(read(target.clone(), value).ok(), wanted, "{value:?} as {target}");
    }
}

#[test]
fn a_row_that_cannot_be_read_is_rejected_once_with_the_column_and_the_value() {
    let config = json!({ "columns": { "a": "int", "b": "float" } });
    let mut stage = table_transform::<Parse>(config, fields()).unwrap();
    let outcome = stage
        .run([
            json!({ "a": "1", "b": "1.5", "n": 1 }),
            json!({ "a": "x", "b": "y", "n": 2 }),
            json!({ "a": "", "b": null, "n": 3 }),
            json!({ "a": "4", "b": "y".repeat(100), "n": 4 }),
        ])
        .unwrap();
    assert_eq!(outcome.codes(), [(1, "bad-int"), (3, "bad-float")]);
    assert_eq!(outcome.rejections[0].message, "`a`: `x` is not an integer of 64 bits");
    assert_eq!(outcome.rejections[1].message, format!("`b`: `{}...` is not a number", "y".repeat(60)));
    assert_eq!(
        outcome.rows("main"),
        [json!({ "a": 1, "b": 1.5, "n": 1 }), json!({ "a": null, "b": null, "n": 3 })]
    );
    let kinds: Vec<_> = stage.fields("main").iter().map(|field| field.kind).collect();
    assert_eq!(kinds, [Kind::S64s, Kind::F64s, Kind::S64s]);
}

#[test]
fn values_can_become_null_instead() {
    for on_error in [json!("null"), json!(null)] {
        let config = json!({ "columns": { "a": "int" }, "on-error": on_error, "nulls": ["NA", "-"] });
        let mut stage = table_transform::<Parse>(config, fields()).unwrap();
        let outcome =
            stage.run(["5", "x", "NA", " - ", ""].map(|a| json!({ "a": a, "b": "", "n": 1 }))).unwrap();
        let read: Vec<_> = outcome.rows("main").iter().map(|row| row["a"].clone()).collect();
        assert_eq!(json!(read), json!([5, null, null, null, null]));
        assert!(outcome.rejections.is_empty());
    }
}

#[test]
fn a_config_that_is_wrong_is_refused_in_words() {
    for (columns, wanted) in [
        (json!({}), "name at least one column"),
        (json!({ "c": "int" }), "config: `columns`: no column `c` comes in"),
        (json!({ "n": "int" }), "config: `columns.n`: the column holds"),
        (json!({ "a": "number" }), "unknown variant `number`"),
        (json!({ "a": { "as": "int", "decimal": "," } }), "config: `columns.a.decimal`: this is for floats"),
        (
            json!({ "a": { "as": "bool", "format": "x" } }),
            "config: `columns.a.format`: this is for timestamps and dates",
        ),
        (
            json!({ "a": { "as": "float", "thousands": "." } }),
            "config: `columns.a.thousands`: the mark is that of the decimals",
        ),
        (
            json!({ "a": { "as": "timestamp", "format": "%Q" } }),
            "config: `columns.a.format`: `%Q` is not known",
        ),
        (
            json!({ "a": { "as": "timestamp", "zone": "CET" } }),
            "config: `columns.a.zone`: `CET` is not an offset",
        ),
        (
            json!({ "a": { "as": "bool", "true-words": ["x"], "false-words": ["X"] } }),
            "`x` is a word for false too",
        ),
        (json!({ "a": { "as": "int", "fmt": "x" } }), "unknown field `fmt`"),
        (json!({ "a": 5 }), "invalid type: integer `5`, expected int, float, bool, timestamp or date"),
    ] {
        let message = table_transform::<Parse>(json!({ "columns": columns }), fields())
            .unwrap_err()
            .message()
            .to_owned();
        assert!(message.contains(wanted), "{columns}: {message}");
    }
}

#[test]
fn what_the_documents_show_works() {
    examples::run_tables::<Parse>("parse");
    examples::open_tables::<Parse>("parse");
}
