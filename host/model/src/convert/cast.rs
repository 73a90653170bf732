//! A column as the kind that a stage wants it in.
//!
//! A value that has no counterpart there fails its row, and no other. Text becomes numbers, booleans, dates,
//! timestamps and JSON by the same rules as in a CSV file; nested values become JSON text; timestamps become
//! microseconds in UTC; a float loses its fraction where an integer is wanted.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, StringArray};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt64Type,
};
use arrow::error::ArrowError;

use super::json_check::is_json_text;
use super::json_write::array_to_json;
use super::text;
use crate::batch::Column;
use crate::fields::Kind;

/// Why a column cannot be cast at all. The plan asks before anything runs.
#[derive(thiserror::Error, Debug)]
pub enum CastError {
    #[error("a column of {from} cannot be cast to {to}")]
    Never { from: DataType, to: Kind },
    #[error("a column cannot be cast: {0}")]
    Arrow(#[from] ArrowError),
}

/// The rows of `column` as `to`, and the rows that failed, ascending; those are null in the answer.
pub fn cast_column(column: &Column, to: Kind) -> Result<(ArrayRef, Vec<u32>), CastError> {
    cast_array(&column.flat()?, to)
}

/// The same for an array without a selection.
pub fn cast_array(values: &ArrayRef, to: Kind) -> Result<(ArrayRef, Vec<u32>), CastError> {
    let from = values.data_type();
    let never = || CastError::Never { from: from.clone(), to };
    let target = to.data_type().ok_or_else(never)?;
    if to == Kind::Jsons && *from == DataType::Utf8 {
        return Ok(json_of_texts(values));
    }
    if *from == target {
        return Ok((values.clone(), Vec::new()));
    }
    if to == Kind::Jsons {
        let field = Arc::new(Field::new("", from.clone(), true));
        return Ok((Arc::new(array_to_json(&field, values)?), Vec::new()));
    }
    let cast = match from {
        DataType::Utf8 => cast_texts(values.as_string(), to),
        _ => None,
    };
    let cast = match cast {
        Some(cast) => cast,
        None if can_cast_types(from, &target) => {
            let options = CastOptions { safe: true, ..CastOptions::default() };
            cast_with_options(values, &target, &options)?
        }
        None => return Err(never()),
    };
    let failed = failed_rows(values, &cast);
    Ok((cast, failed))
}

/// Rows that had a value and have none any more.
fn failed_rows(before: &ArrayRef, after: &ArrayRef) -> Vec<u32> {
    if after.logical_null_count() == before.logical_null_count() {
        return Vec::new();
    }
    let (before, after) = (before.logical_nulls(), after.logical_nulls());
    let was = |row| before.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let Some(after) = after else { return Vec::new() };
    (0..after.len()).filter(|&row| after.is_null(row) && was(row)).map(|row| row as u32).collect()
}

fn cast_texts(texts: &StringArray, to: Kind) -> Option<ArrayRef> {
    fn parse<T: ArrowPrimitiveType>(
        texts: &StringArray,
        parse: impl Fn(&[u8]) -> Option<T::Native>,
    ) -> Option<ArrayRef> {
        let values = texts.iter().map(|text| text.and_then(|text| parse(text.as_bytes())));
        Some(Arc::new(values.collect::<PrimitiveArray<T>>()))
    }
    match to {
        Kind::Bools => {
            let values = texts.iter().map(|text| text.and_then(|text| text::boolean(text.as_bytes())));
            Some(Arc::new(values.collect::<BooleanArray>()))
        }
        Kind::S32s => parse::<Int32Type>(texts, |text| text::int(text)?.try_into().ok()),
        Kind::S64s => parse::<Int64Type>(texts, text::int),
        Kind::U64s => parse::<UInt64Type>(texts, |text| std::str::from_utf8(text).ok()?.trim().parse().ok()),
        Kind::F32s => parse::<Float32Type>(texts, |text| std::str::from_utf8(text).ok()?.trim().parse().ok()),
        Kind::F64s => parse::<Float64Type>(texts, text::float),
        Kind::Times => parse::<TimestampMicrosecondType>(texts, text::timestamp),
        Kind::Days => parse::<Date32Type>(texts, text::date),
        _ => None,
    }
}

/// Texts that are JSON, as they are.
fn json_of_texts(values: &ArrayRef) -> (ArrayRef, Vec<u32>) {
    let texts: &StringArray = values.as_string();
    let is_none = |row: &u32| {
        let row = *row as usize;
        texts.is_valid(row) && !is_json_text(texts.value(row))
    };
    let failed: Vec<u32> = (0..texts.len() as u32).filter(is_none).collect();
    if failed.is_empty() {
        return (values.clone(), failed);
    }
    let json = texts.iter().map(|text| text.filter(|text| is_json_text(text)));
    (Arc::new(json.collect::<StringArray>()), failed)
}

/// Whether a column of `from` can be cast to `to` at all.
pub fn can_cast(from: &DataType, to: Kind) -> bool {
    match to.data_type() {
        None => false,
        Some(target) if *from == target => true,
        Some(_) if to == Kind::Jsons => true,
        Some(target) => can_cast_types(from, &target),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, DictionaryArray, Float64Array, Int64Array, StructArray, TimestampNanosecondArray,
        UInt32Array,
    };

    use super::*;
    use crate::batch::Rows;

    fn shown(array: &ArrayRef) -> String {
        let json =
            array_to_json(&Arc::new(Field::new("", array.data_type().clone(), true)), array).expect("JSON");
        let rows: Vec<_> = json.iter().map(|text| text.unwrap_or("null")).collect();
        rows.join(" ")
    }

    #[test]
    fn values_without_a_counterpart_fail_their_row_alone() {
        let texts = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
        let cases: Vec<(ArrayRef, Kind, &str, &[u32])> = vec![
            (texts(vec![Some("1"), Some("x"), None]), Kind::S64s, "1 null null", &[1]),
            (texts(vec![Some("-1"), Some("3000000000")]), Kind::S32s, "-1 null", &[1]),
            (texts(vec![Some("-1"), Some("7")]), Kind::U64s, "null 7", &[0]),
            (texts(vec![Some("true"), Some("yes")]), Kind::Bools, "true null", &[1]),
            (texts(vec![Some("1.5"), Some("")]), Kind::F64s, "1.5 null", &[1]),
            (texts(vec![Some("2020-02-30"), Some("2020-02-29")]), Kind::Days, "null \"2020-02-29\"", &[0]),
            (
                texts(vec![Some("2020-01-01T01:00+01:00"), Some("?")]),
                Kind::Times,
                "\"2020-01-01T00:00:00Z\" null",
                &[1],
            ),
            (
                texts(vec![Some("{\"a\":1}"), Some("{a"), None]),
                Kind::Jsons,
                "\"{\\\"a\\\":1}\" null null",
                &[1],
            ),
            (texts(vec![Some("a"), None]), Kind::Blobs, "\"YQ==\" null", &[]),
            (Arc::new(BinaryArray::from(vec![&b"a"[..], b"\xff"])), Kind::Texts, "\"a\" null", &[1]),
            (Arc::new(Int64Array::from(vec![1, i64::MAX])), Kind::S32s, "1 null", &[1]),
            (Arc::new(Float64Array::from(vec![1.9, f64::NAN])), Kind::S64s, "1 null", &[1]),
            (Arc::new(Int64Array::from(vec![Some(-1), None])), Kind::Texts, "\"-1\" null", &[]),
            (Arc::new(UInt32Array::from(vec![u32::MAX])), Kind::S64s, "4294967295", &[]),
            (
                Arc::new(TimestampNanosecondArray::from(vec![1_500]).with_timezone("+02:00")),
                Kind::Times,
                "\"1970-01-01T00:00:00.000001Z\"",
                &[],
            ),
            (
                Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("a"), None])),
                Kind::Dictionaries,
                "\"a\" null",
                &[],
            ),
        ];
        for (values, to, expected, failed) in cases {
            let what = format!("{} to {to}", values.data_type());
            let (cast, rows) = cast_array(&values, to).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(Some(cast.data_type().clone()), to.data_type(), "{what}");
            assert_eq!((shown(&cast).as_str(), &*rows), (expected, failed), "{what}");
        }
    }

    #[test]
    fn nested_values_become_json_and_only_selected_rows_are_cast() {
        let field = Arc::new(Field::new("x", DataType::Int64, true));
        let values = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef;
        let nested = Arc::new(StructArray::from(vec![(field, values)])) as ArrayRef;
        let column = Column::with_rows(nested, Rows::At([2, 0].into()));
        let (json, failed) = cast_column(&column, Kind::Jsons).expect("JSON");
        assert_eq!(json.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["{\"x\":3}", "{\"x\":1}"]);
        assert!(failed.is_empty());
    }

    #[test]
    fn what_can_never_be_cast_is_said_before() {
        let nested = DataType::Struct(vec![Field::new("x", DataType::Int64, true)].into());
        assert!(!can_cast(&nested, Kind::S64s));
        assert!(!can_cast(&DataType::Int64, Kind::Opaque));
        let values = arrow::array::new_null_array(&nested, 1);
        assert!(matches!(cast_array(&values, Kind::S64s), Err(CastError::Never { .. })));
    }
}
