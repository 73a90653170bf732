//! A column as the kind that a stage wants it in, and as the type that a manifest declares for it.
//!
//! A value that has no counterpart there fails its row, and no other. A whole number becomes an integer whatever it is
//! held as, and no other number does; what a float would not hold fails as it does in [`text`]; a timestamp
//! becomes a date where it is a midnight. Text becomes numbers, booleans, dates, timestamps and JSON by the same rules as in
//! a CSV file, and everything becomes text in its [`Form`](super::Form). Timestamps lose what is finer than a microsecond.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Field, Float32Type, Float64Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use arrow::error::ArrowError;

use super::forms::{has_form, to_texts};
use super::json_check::is_json_text;
use super::{text, times};
use crate::batch::Column;
use crate::fields::{FieldSpec, Kind, Meaning};

/// Why a column cannot be cast at all. The plan asks before anything runs.
#[derive(thiserror::Error, Debug)]
pub enum CastError {
    #[error("a column of {from} cannot be cast to {to}")]
    Never { from: DataType, to: String },
    #[error("a column cannot be cast: {0}")]
    Arrow(#[from] ArrowError),
}

/// How values of one type become those of a kind.
enum Way {
    AsItIs,
    /// The same numbers, which count from the Unix epoch in UTC.
    Rezone,
    Json,
    Text,
    /// Over texts.
    Parse,
    /// Over the texts that decimals are.
    ParseForm,
    /// By way of another type that holds the same.
    Through(DataType),
    /// By way of the texts that they are written as.
    ThroughTexts,
    IntsOfFloats,
    FloatsOfInts,
    FloatsOfFloats,
    Times,
    Days,
    /// As Arrow does it, which loses nothing here.
    Arrow,
}

/// The rows of `column` as `to`, and the rows that failed, ascending; those are null in the answer.
pub fn cast_column(field: &Field, column: &Column, to: Kind) -> Result<(ArrayRef, Vec<u32>), CastError> {
    cast_array(field, &column.flat()?, to)
}

/// The same for an array without a selection, which holds what `field` says.
pub fn cast_array(field: &Field, values: &ArrayRef, to: Kind) -> Result<(ArrayRef, Vec<u32>), CastError> {
    let never = || CastError::Never { from: field.data_type().clone(), to: to.name().to_owned() };
    let (way, target) = way(field, to).zip(to.data_type()).ok_or_else(never)?;
    let cast: ArrayRef = match way {
        Way::AsItIs => return Ok((values.clone(), Vec::new())),
        Way::Rezone => {
            let times = values.as_primitive::<TimestampMicrosecondType>().clone();
            return Ok((Arc::new(times.with_data_type(target)), Vec::new()));
        }
        Way::Json => Arc::new(to_texts(field, values, true)?),
        Way::Text => Arc::new(to_texts(field, values, false)?),
        Way::Parse => parse(values.as_string(), to).ok_or_else(never)?,
        Way::ParseForm => parse(&to_texts(field, values, false)?, to).ok_or_else(never)?,
        Way::Through(middle) => {
            let (between, mut failed) = exactly(values, &middle)?;
            let (cast, more) = cast_array(&field.clone().with_data_type(middle), &between, to)?;
            failed.extend(more);
            failed.sort_unstable();
            return Ok((cast, failed));
        }
        Way::ThroughTexts => {
            let texts: ArrayRef = Arc::new(to_texts(field, values, false)?);
            exactly(&texts, &target)?.0
        }
        Way::IntsOfFloats => ints_of_floats(values, to)?,
        Way::FloatsOfInts => floats_of_ints(values, to)?,
        Way::FloatsOfFloats => floats_of_floats(values, to)?,
        Way::Times => Arc::new(micros(values)?.with_data_type(target)),
        Way::Days => days(values)?,
        Way::Arrow => return exactly(values, &target),
    };
    let failed = failed_rows(values, &cast);
    Ok((cast, failed))
}

/// Whether a column of `from` can be cast to `to` at all.
pub fn can_cast(from: &Field, to: Kind) -> bool {
    way(from, to).is_some()
}

/// The rows of `values` as a manifest declares them. Other than a stage, which is told microseconds, it keeps points in
/// time and local times apart.
pub fn convert_array(from: &Field, values: &ArrayRef, to: &Field) -> Result<(ArrayRef, Vec<u32>), CastError> {
    let never = || CastError::Never { from: from.data_type().clone(), to: to.data_type().to_string() };
    if !can_convert(from, to) {
        return Err(never());
    }
    if from.data_type() == to.data_type() && Meaning::of(from) == Meaning::of(to) {
        return Ok((values.clone(), Vec::new()));
    }
    let cast: ArrayRef = match (Kind::of(from.data_type()), to.data_type()) {
        (Kind::Texts | Kind::Dictionaries, DataType::Timestamp(_, zone)) => {
            let (texts, _) = exactly(values, &DataType::Utf8)?;
            let read = if zone.is_some() { times::instant } else { times::local };
            let times = parsed::<TimestampMicrosecondType>(texts.as_string(), read);
            Arc::new(times.with_data_type(to.data_type().clone()))
        }
        (_, DataType::Timestamp(_, _)) => {
            let (times, failed) = cast_array(from, values, Kind::Times)?;
            let times = times.as_primitive::<TimestampMicrosecondType>().clone();
            return Ok((Arc::new(times.with_data_type(to.data_type().clone())), failed));
        }
        _ => return cast_array(from, values, FieldSpec::of(to).kind),
    };
    let failed = failed_rows(values, &cast);
    Ok((cast, failed))
}

/// Whether a column of `from` can be declared as `to`.
pub fn can_convert(from: &Field, to: &Field) -> bool {
    match (from.data_type(), to.data_type()) {
        (DataType::Timestamp(_, here), DataType::Timestamp(_, there)) => here.is_some() == there.is_some(),
        (DataType::Date32 | DataType::Date64, DataType::Timestamp(_, there)) => there.is_none(),
        _ => can_cast(from, FieldSpec::of(to).kind),
    }
}

fn way(field: &Field, to: Kind) -> Option<Way> {
    use DataType as T;
    let (from, meaning) = (field.data_type(), Meaning::of(field));
    if to == Kind::Opaque || !has_form(from) {
        return None;
    }
    // Text is no JSON yet; JSON is text.
    let same = to.data_type().as_ref() == Some(from);
    if same && (to != Kind::Jsons || meaning == Meaning::Json) {
        return Some(Way::AsItIs);
    }
    let is_text = matches!(from, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let is_blob = matches!(from, T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_));
    Some(match (to, from) {
        (Kind::Jsons, _) if meaning == Meaning::Json => Way::Arrow,
        (Kind::Jsons, T::Utf8) => Way::Parse,
        (Kind::Jsons, T::LargeUtf8 | T::Utf8View) => Way::Through(T::Utf8),
        (Kind::Jsons, T::Dictionary(_, value)) => Way::Through((**value).clone()),
        (Kind::Jsons, _) => Way::Json,
        (_, T::Null) => Way::Arrow,
        (Kind::Dictionaries, T::Dictionary(_, value)) if Kind::of(value) == Kind::Texts => Way::Arrow,
        (Kind::Dictionaries, T::Utf8) => Way::Arrow,
        (Kind::Dictionaries, _) if is_text => Way::Through(T::Utf8),
        (Kind::Dictionaries, _) if is_blob && meaning == Meaning::Plain => return None,
        (Kind::Dictionaries, _) => Way::ThroughTexts,
        (_, T::Dictionary(_, value)) => Way::Through((**value).clone()),
        (Kind::Texts, T::FixedSizeBinary(_)) if meaning == Meaning::Plain => Way::Through(T::Binary),
        (Kind::Texts, _) if is_text || is_blob && meaning == Meaning::Plain => Way::Arrow,
        (Kind::Texts, _) => Way::Text,
        (Kind::Blobs, _) if is_text || is_blob => Way::Arrow,
        (Kind::Blobs, _) => return None,
        (_, T::LargeUtf8 | T::Utf8View) => Way::Through(T::Utf8),
        (_, T::Utf8) => Way::Parse,
        (Kind::Times, T::Timestamp(TimeUnit::Microsecond, _)) => Way::Rezone,
        (Kind::Times, T::Timestamp(..) | T::Date32 | T::Date64) => Way::Times,
        (Kind::Days, T::Timestamp(..) | T::Date64) => Way::Days,
        (Kind::S32s | Kind::S64s | Kind::U64s, from) if from.is_integer() => Way::Arrow,
        (Kind::S32s | Kind::S64s | Kind::U64s, from) if from.is_floating() => Way::IntsOfFloats,
        (Kind::F32s | Kind::F64s, from) if from.is_integer() => Way::FloatsOfInts,
        (Kind::F32s | Kind::F64s, from) if from.is_floating() => Way::FloatsOfFloats,
        (Kind::S32s | Kind::S64s | Kind::U64s | Kind::F32s | Kind::F64s, from) if from.is_decimal() => {
            Way::ParseForm
        }
        _ => return None,
    })
}

fn exactly(values: &ArrayRef, to: &DataType) -> Result<(ArrayRef, Vec<u32>), CastError> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = cast_with_options(values, to, &options)?;
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

fn parsed<T: ArrowPrimitiveType>(
    texts: &StringArray,
    parse: impl Fn(&[u8]) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    texts.iter().map(|text| text.and_then(|text| parse(text.as_bytes()))).collect()
}

fn parse(texts: &StringArray, to: Kind) -> Option<ArrayRef> {
    Some(match to {
        Kind::Bools => {
            let values = texts.iter().map(|text| text.and_then(|text| text::boolean(text.as_bytes())));
            Arc::new(values.collect::<BooleanArray>())
        }
        Kind::S32s => Arc::new(parsed::<Int32Type>(texts, |text| text::int(text)?.try_into().ok())),
        Kind::S64s => Arc::new(parsed::<Int64Type>(texts, text::int)),
        Kind::U64s => Arc::new(parsed::<UInt64Type>(texts, text::unsigned)),
        Kind::F32s => Arc::new(parsed::<Float32Type>(texts, text::float32)),
        Kind::F64s => Arc::new(parsed::<Float64Type>(texts, text::float)),
        Kind::Times => {
            let times = parsed::<TimestampMicrosecondType>(texts, times::timestamp);
            Arc::new(times.with_data_type(to.data_type()?))
        }
        Kind::Days => Arc::new(parsed::<Date32Type>(texts, times::date)),
        Kind::Jsons => {
            let json = texts.iter().map(|text| text.filter(|text| is_json_text(text)));
            Arc::new(json.collect::<StringArray>())
        }
        _ => return None,
    })
}

fn ints_of_floats(values: &ArrayRef, to: Kind) -> Result<ArrayRef, CastError> {
    // All of these are powers of two, so that they are floats.
    const I64: std::ops::Range<f64> = -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
    const U64: std::ops::Range<f64> = 0.0..18_446_744_073_709_551_616.0;
    let (floats, _) = exactly(values, &DataType::Float64)?;
    let floats = floats.as_primitive::<Float64Type>();
    let whole = |value: f64, range: &std::ops::Range<f64>| value.trunc() == value && range.contains(&value);
    Ok(match to {
        Kind::U64s => {
            Arc::new(floats.unary_opt::<_, UInt64Type>(|value| whole(value, &U64).then_some(value as u64)))
        }
        Kind::S32s => {
            Arc::new(floats.unary_opt::<_, Int32Type>(|value| {
                whole(value, &I64).then_some(value as i64)?.try_into().ok()
            }))
        }
        _ => Arc::new(floats.unary_opt::<_, Int64Type>(|value| whole(value, &I64).then_some(value as i64))),
    })
}

fn floats_of_ints(values: &ArrayRef, to: Kind) -> Result<ArrayRef, CastError> {
    // One type that holds all of 64 bits, with and without a sign.
    let (wide, _) = exactly(values, &DataType::Decimal128(38, 0))?;
    let wide = wide.as_primitive::<arrow::datatypes::Decimal128Type>();
    Ok(match to {
        Kind::F32s => {
            Arc::new(wide.unary_opt::<_, Float32Type>(|value| {
                Some(value as f32).filter(|&float| float as i128 == value)
            }))
        }
        _ => {
            Arc::new(wide.unary_opt::<_, Float64Type>(|value| {
                Some(value as f64).filter(|&float| float as i128 == value)
            }))
        }
    })
}

fn floats_of_floats(values: &ArrayRef, to: Kind) -> Result<ArrayRef, CastError> {
    let (wide, _) = exactly(values, &DataType::Float64)?;
    if to == Kind::F64s {
        return Ok(wide);
    }
    let narrow = |value: f64| text::float32(zmij::Buffer::new().format(value).as_bytes());
    Ok(Arc::new(wide.as_primitive::<Float64Type>().unary_opt::<_, Float32Type>(narrow)))
}

/// Microseconds since the Unix epoch, of dates their midnights. What is finer is cut off.
fn micros(values: &ArrayRef) -> Result<PrimitiveArray<TimestampMicrosecondType>, CastError> {
    let (unit, raw) = match values.data_type() {
        DataType::Date32 => (86_400_000_000, DataType::Int32),
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => (1000, DataType::Int64),
        DataType::Timestamp(TimeUnit::Second, _) => (1_000_000, DataType::Int64),
        _ => (1, DataType::Int64),
    };
    let (raw, _) = exactly(values, &raw)?;
    let (raw, _) = exactly(&raw, &DataType::Int64)?;
    let raw = raw.as_primitive::<Int64Type>();
    Ok(match values.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => raw.unary(|value| value.div_euclid(1000)),
        _ => raw.unary_opt(|value| value.checked_mul(unit)),
    })
}

/// Dates of what is the midnight of one.
fn days(values: &ArrayRef) -> Result<ArrayRef, CastError> {
    let day = |value: i64, unit: i64| (value % unit == 0).then_some(value / unit)?.try_into().ok();
    if let Some(dates) = values.as_primitive_opt::<Date64Type>() {
        return Ok(Arc::new(dates.unary_opt::<_, Date32Type>(|value| day(value, 86_400_000))));
    }
    let unit = match values.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 86_400,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 86_400_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 86_400_000_000_000,
        _ => 86_400_000_000,
    };
    let (raw, _) = exactly(values, &DataType::Int64)?;
    Ok(Arc::new(raw.as_primitive::<Int64Type>().unary_opt::<_, Date32Type>(|value| day(value, unit))))
}

#[cfg(test)]
mod tests;
