//! Between JSON values, as tests write them, and the columns of a table.

use crate::batch::Validity;
use crate::bindings::types::columns::{Column, Data};
use crate::columns::ColumnBuilder;
use crate::fields::{Field, Kind};
use crate::row::{Day, Json, Time};
use crate::testing::Value;

/// Adds one value, cast as a host would; whether it fits.
///
/// Times are microseconds and days are days since the Unix epoch, both as numbers.
pub fn push(column: &mut ColumnBuilder, field: &Field, value: &Value) -> bool {
    if value.is_null() {
        column.push_null();
        return field.nullable;
    }
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let integer = || value.as_i64().or_else(|| text.parse().ok());
    let float = || value.as_f64().or_else(|| text.parse().ok());
    let pushed = match field.kind {
        Kind::Bools => value.as_bool().or_else(|| text.parse().ok()).map(|value| column.push_bool(value)),
        Kind::S32s => integer().and_then(|value| value.try_into().ok()).map(|value| column.push_i32(value)),
        Kind::S64s => integer().map(|value| column.push_i64(value)),
        Kind::U64s => value.as_u64().or_else(|| text.parse().ok()).map(|value| column.push_u64(value)),
        Kind::F32s => float().map(|value| column.push_f32(value as f32)),
        Kind::F64s => float().map(|value| column.push_f64(value)),
        Kind::Times => integer().map(|value| column.push_time(Time(value))),
        Kind::Days => {
            integer().and_then(|value| value.try_into().ok()).map(|value| column.push_day(Day(value)))
        }
        Kind::Texts | Kind::Dictionaries => Some(&text).map(|text| column.push_text(text)),
        Kind::Blobs => Some(&text).map(|text| column.push_blob(text.as_bytes())),
        Kind::Jsons => Some(value.to_string()).map(|json| column.push_json(Json(&json))),
        Kind::Opaque => None,
    };
    if pushed.is_none() {
        column.push_null();
    }
    pushed.is_some()
}

/// The value of one row.
pub fn get(column: &Column, row: usize) -> Value {
    if !Validity::new(&column.valid).get(row) {
        return Value::Null;
    }
    let text = |values: &crate::bindings::types::columns::Varlen, at: usize| {
        let bytes = &values.bytes[values.offsets[at] as usize..values.offsets[at + 1] as usize];
        String::from_utf8_lossy(bytes).into_owned()
    };
    match &column.data {
        Data::Bools(bits) => (bits[row / 8] >> (row % 8) & 1 == 1).into(),
        Data::S32s(values) | Data::Days(values) => values[row].into(),
        Data::S64s(values) | Data::Times(values) => values[row].into(),
        Data::U64s(values) => values[row].into(),
        Data::F32s(values) => values[row].into(),
        Data::F64s(values) => values[row].into(),
        Data::Texts(values) | Data::Blobs(values) => text(values, row).into(),
        Data::Jsons(values) => {
            let text = text(values, row);
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{text}` is set as JSON: {error}"))
        }
        Data::Dictionaries(dictionary) => text(&dictionary.texts, dictionary.indices[row] as usize).into(),
    }
}
