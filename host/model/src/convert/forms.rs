//! The one form that each type has as text: in JSON, in CSV, and where a stage wants texts. At the top of a row and inside
//! of lists, structs and maps it is the same. docs/types.md has the table.

mod parts;
mod write;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, Field,
    Fields, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalDayTime, IntervalDayTimeType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;

use self::parts::{Blobs, Decimals, Ranges, Texts, Unit};
pub(super) use self::write::write_text;
use self::write::{write_base64, write_clock, write_float, write_int, write_json, write_uuid};
use super::times;
use crate::fields::Meaning;

/// A type that has no form: nothing that Conveyor reads makes a column of it.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("a column of {0} has no form as text")]
pub struct NoForm(pub DataType);

impl From<NoForm> for ArrowError {
    fn from(error: NoForm) -> Self {
        Self::NotYetImplemented(error.to_string())
    }
}

/// The values of an array, ready to be written.
#[derive(Debug)]
pub struct Form<'a> {
    nulls: Option<NullBuffer>,
    values: Values<'a>,
}

/// Fields of a struct, each with its name as a key of JSON and what stands before it.
type Members<'a> = Vec<(Box<[u8]>, Form<'a>)>;

#[derive(Debug)]
enum Values<'a> {
    Nulls,
    Bools(&'a BooleanArray),
    I8s(&'a [i8]),
    I16s(&'a [i16]),
    I32s(&'a [i32]),
    I64s(&'a [i64]),
    U8s(&'a [u8]),
    U16s(&'a [u16]),
    U32s(&'a [u32]),
    U64s(&'a [u64]),
    /// Widened: floats of 16 bits are rare.
    F16s(Vec<f32>),
    F32s(&'a [f32]),
    F64s(&'a [f64]),
    Decimals(Decimals<'a>, i8),
    /// Microseconds, and whether they count from a point in time.
    Times(&'a [i64], bool),
    OtherTimes(&'a [i64], Unit, bool),
    Days(&'a [i32]),
    /// Milliseconds; days where they are whole ones.
    LongDays(&'a [i64]),
    Clocks32(&'a [i32], Unit),
    Clocks64(&'a [i64], Unit),
    Durations(&'a [i64], Unit),
    Months(&'a [i32]),
    DaysAndMillis(&'a [IntervalDayTime]),
    MonthsDaysAndNanos(&'a [IntervalMonthDayNano]),
    Intervals(&'a FixedSizeBinaryArray),
    Uuids(&'a FixedSizeBinaryArray),
    Texts(Texts<'a>),
    Jsons(Texts<'a>),
    Blobs(Blobs<'a>),
    Dictionary(Vec<usize>, Box<Form<'a>>),
    List(Ranges<'a>, Box<Form<'a>>),
    Struct(Members<'a>),
    Map(Ranges<'a>, Box<(Form<'a>, Form<'a>)>),
}

/// Whether columns of a type have a [`Form`].
pub(super) fn has_form(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) | DataType::RunEndEncoded(..) => false,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => has_form(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| has_form(field.data_type())),
        DataType::Dictionary(_, value) => has_form(value),
        _ => true,
    }
}

impl<'a> Form<'a> {
    /// `values` as what `field` says that they mean.
    pub fn of(field: &Field, values: &'a dyn Array) -> Result<Self, NoForm> {
        let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        let values = match Meaning::of(field) {
            Meaning::Uuid => Values::Uuids(values.as_fixed_size_binary()),
            Meaning::Interval => Values::Intervals(values.as_fixed_size_binary()),
            meaning => Values::of(field, values, meaning == Meaning::Json)?,
        };
        Ok(Self { nulls, values })
    }

    #[inline]
    pub fn is_null(&self, at: usize) -> bool {
        match &self.values {
            Values::Nulls => true,
            Values::Dictionary(keys, inner) => {
                self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(at)) || inner.is_null(keys[at])
            }
            _ => self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(at)),
        }
    }

    /// Appends a value as JSON.
    #[inline]
    pub fn write_json(&self, at: usize, out: &mut Vec<u8>) {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(at)) {
            out.extend_from_slice(b"null");
            return;
        }
        // What most columns are; the others are kept apart, so that this is short enough to be inlined.
        match &self.values {
            Values::I64s(values) => write_int(values[at], out),
            Values::I32s(values) => write_int(values[at], out),
            Values::Bools(values) => out.extend_from_slice(if values.value(at) { b"true" } else { b"false" }),
            Values::Texts(Texts::Small(texts)) => write_text(texts.value(at).as_bytes(), out),
            Values::F64s(values) => write_float(values[at], values[at], true, out),
            Values::Times(values, zoned) => {
                out.push(b'"');
                times::write_micros(values[at], *zoned, out);
                out.push(b'"');
            }
            _ => self.write_other_json(at, out),
        }
    }

    #[inline(never)]
    fn write_other_json(&self, at: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Texts(texts) => write_text(texts.value(at).as_bytes(), out),
            Values::F16s(values) => write_float(values[at], values[at].into(), true, out),
            Values::F32s(values) => write_float(values[at], values[at].into(), true, out),
            Values::Jsons(texts) => write_json(texts.value(at), out),
            Values::Blobs(blobs) => {
                out.push(b'"');
                write_base64(blobs.value(at), out);
                out.push(b'"');
            }
            Values::Dictionary(keys, inner) => inner.write_json(keys[at], out),
            Values::List(..) | Values::Struct(_) | Values::Map(..) => self.write_nested(at, out),
            values if values.is_quoted() => {
                out.push(b'"');
                self.write_bare(at, out);
                out.push(b'"');
            }
            _ => self.write_bare(at, out),
        }
    }

    /// Appends a value that is not null as text that stands for itself: texts and blobs as they are, nested values as
    /// JSON.
    pub fn write_text(&self, at: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Texts(texts) | Values::Jsons(texts) => out.extend_from_slice(texts.value(at).as_bytes()),
            Values::F16s(values) => write_float(values[at], values[at].into(), false, out),
            Values::F32s(values) => write_float(values[at], values[at].into(), false, out),
            Values::F64s(values) => write_float(values[at], values[at], false, out),
            Values::Blobs(blobs) => out.extend_from_slice(blobs.value(at)),
            Values::Dictionary(keys, inner) => inner.write_text(keys[at], out),
            Values::List(..) | Values::Struct(_) | Values::Map(..) => self.write_nested(at, out),
            _ => self.write_bare(at, out),
        }
    }

    /// What is no text, no float and not nested, without quotes.
    fn write_bare(&self, at: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Bools(values) => out.extend_from_slice(if values.value(at) { b"true" } else { b"false" }),
            Values::I8s(values) => write_int(values[at], out),
            Values::I16s(values) => write_int(values[at], out),
            Values::I32s(values) => write_int(values[at], out),
            Values::I64s(values) => write_int(values[at], out),
            Values::U8s(values) => write_int(values[at], out),
            Values::U16s(values) => write_int(values[at], out),
            Values::U32s(values) => write_int(values[at], out),
            Values::U64s(values) => write_int(values[at], out),
            Values::Decimals(values, scale) => values.write(at, *scale, out),
            Values::Uuids(values) => write_uuid(values.value(at), out),
            Values::Nulls => out.extend_from_slice(b"null"),
            others => others.write_time(at, out),
        }
    }

    fn write_nested(&self, at: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::List(ranges, inner) => {
                out.push(b'[');
                for (nth, item) in ranges.of(at).enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    inner.write_json(item, out);
                }
                out.push(b']');
            }
            Values::Struct(fields) => {
                for (key, inner) in fields {
                    out.extend_from_slice(key);
                    inner.write_json(at, out);
                }
                out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
            }
            Values::Map(ranges, entries) => {
                let mut key = Vec::new();
                out.push(b'{');
                for (nth, item) in ranges.of(at).enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    key.clear();
                    entries.0.write_json(item, &mut key);
                    // What is no text in JSON has its JSON for a name.
                    if key.first() == Some(&b'"') {
                        out.extend_from_slice(&key)
                    } else {
                        write_text(&key, out)
                    }
                    out.push(b':');
                    entries.1.write_json(item, out);
                }
                out.push(b'}');
            }
            _ => {}
        }
    }
}

macro_rules! values {
    ($array:expr, $type:ty) => {
        $array.as_primitive::<$type>().values()
    };
}

impl<'a> Values<'a> {
    fn of(field: &Field, array: &'a dyn Array, is_json: bool) -> Result<Self, NoForm> {
        let texts = |texts| if is_json { Self::Jsons(texts) } else { Self::Texts(texts) };
        Ok(match array.data_type() {
            DataType::Null => Self::Nulls,
            DataType::Boolean => Self::Bools(array.as_boolean()),
            DataType::Utf8 => texts(Texts::Small(array.as_string())),
            DataType::LargeUtf8 => texts(Texts::Large(array.as_string())),
            DataType::Utf8View => texts(Texts::View(array.as_string_view())),
            DataType::Binary => Self::Blobs(Blobs::Small(array.as_binary())),
            DataType::LargeBinary => Self::Blobs(Blobs::Large(array.as_binary())),
            DataType::BinaryView => Self::Blobs(Blobs::View(array.as_binary_view())),
            DataType::FixedSizeBinary(_) => Self::Blobs(Blobs::Fixed(array.as_fixed_size_binary())),
            DataType::Dictionary(_, value) => {
                let dictionary = array.as_any_dictionary();
                let inner = field.clone().with_data_type((**value).clone());
                // Of an empty dictionary every value is null, and no key leads anywhere.
                let keys = if dictionary.values().is_empty() {
                    vec![0; array.len()]
                } else {
                    dictionary.normalized_keys()
                };
                Self::Dictionary(keys, Box::new(Form::of(&inner, dictionary.values())?))
            }
            _ => match Self::of_number(array).or_else(|| Self::of_time(array)) {
                Some(values) => values,
                None => Self::of_nested(array)?,
            },
        })
    }

    fn of_number(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Int8 => Self::I8s(values!(array, Int8Type)),
            DataType::Int16 => Self::I16s(values!(array, Int16Type)),
            DataType::Int32 => Self::I32s(values!(array, Int32Type)),
            DataType::Int64 => Self::I64s(values!(array, Int64Type)),
            DataType::UInt8 => Self::U8s(values!(array, UInt8Type)),
            DataType::UInt16 => Self::U16s(values!(array, UInt16Type)),
            DataType::UInt32 => Self::U32s(values!(array, UInt32Type)),
            DataType::UInt64 => Self::U64s(values!(array, UInt64Type)),
            DataType::Float16 => {
                Self::F16s(values!(array, Float16Type).iter().map(|value| value.to_f32()).collect())
            }
            DataType::Float32 => Self::F32s(values!(array, Float32Type)),
            DataType::Float64 => Self::F64s(values!(array, Float64Type)),
            DataType::Decimal32(_, scale) => {
                Self::Decimals(Decimals::D32(values!(array, Decimal32Type)), *scale)
            }
            DataType::Decimal64(_, scale) => {
                Self::Decimals(Decimals::D64(values!(array, Decimal64Type)), *scale)
            }
            DataType::Decimal128(_, scale) => {
                Self::Decimals(Decimals::D128(values!(array, Decimal128Type)), *scale)
            }
            DataType::Decimal256(_, scale) => {
                Self::Decimals(Decimals::D256(values!(array, Decimal256Type)), *scale)
            }
            _ => return None,
        })
    }

    fn of_time(array: &'a dyn Array) -> Option<Self> {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        Some(match array.data_type() {
            DataType::Timestamp(Microsecond, zone) => {
                Self::Times(values!(array, TimestampMicrosecondType), zone.is_some())
            }
            DataType::Timestamp(unit, zone) => {
                let values: &[i64] = match unit {
                    Second => values!(array, TimestampSecondType),
                    Millisecond => values!(array, TimestampMillisecondType),
                    _ => values!(array, TimestampNanosecondType),
                };
                Self::OtherTimes(values, Unit::of(*unit), zone.is_some())
            }
            DataType::Date32 => Self::Days(values!(array, Date32Type)),
            DataType::Date64 => Self::LongDays(values!(array, Date64Type)),
            DataType::Time32(Second) => Self::Clocks32(values!(array, Time32SecondType), Unit::of(Second)),
            DataType::Time32(_) => {
                Self::Clocks32(values!(array, Time32MillisecondType), Unit::of(Millisecond))
            }
            DataType::Time64(Nanosecond) => {
                Self::Clocks64(values!(array, Time64NanosecondType), Unit::of(Nanosecond))
            }
            DataType::Time64(_) => {
                Self::Clocks64(values!(array, Time64MicrosecondType), Unit::of(Microsecond))
            }
            DataType::Duration(unit) => {
                let values: &[i64] = match unit {
                    Second => values!(array, DurationSecondType),
                    Millisecond => values!(array, DurationMillisecondType),
                    Microsecond => values!(array, DurationMicrosecondType),
                    Nanosecond => values!(array, DurationNanosecondType),
                };
                Self::Durations(values, Unit::of(*unit))
            }
            DataType::Interval(IntervalUnit::YearMonth) => {
                Self::Months(values!(array, IntervalYearMonthType))
            }
            DataType::Interval(IntervalUnit::DayTime) => {
                Self::DaysAndMillis(values!(array, IntervalDayTimeType))
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Self::MonthsDaysAndNanos(values!(array, IntervalMonthDayNanoType))
            }
            _ => return None,
        })
    }

    fn of_nested(array: &'a dyn Array) -> Result<Self, NoForm> {
        Ok(match array.data_type() {
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                Self::List(Ranges::Small(list.value_offsets()), Box::new(Form::of(item, list.values())?))
            }
            DataType::LargeList(item) => {
                let list = array.as_list::<i64>();
                Self::List(Ranges::Large(list.value_offsets()), Box::new(Form::of(item, list.values())?))
            }
            DataType::FixedSizeList(item, size) => {
                let list = array.as_fixed_size_list();
                Self::List(Ranges::Fixed(*size as usize), Box::new(Form::of(item, list.values())?))
            }
            DataType::ListView(item) => {
                let list = array.as_list_view::<i32>();
                Self::List(
                    Ranges::Views(list.value_offsets(), list.value_sizes()),
                    Box::new(Form::of(item, list.values())?),
                )
            }
            DataType::LargeListView(item) => {
                let list = array.as_list_view::<i64>();
                Self::List(
                    Ranges::LargeViews(list.value_offsets(), list.value_sizes()),
                    Box::new(Form::of(item, list.values())?),
                )
            }
            DataType::Struct(fields) => Self::Struct(fields_of(fields, array.as_struct().columns())?),
            DataType::Map(entries, _) => {
                let map = array.as_map();
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(NoForm(array.data_type().clone()));
                };
                let forms = (Form::of(&fields[0], map.keys())?, Form::of(&fields[1], map.values())?);
                Self::Map(Ranges::Small(map.value_offsets()), Box::new(forms))
            }
            other => return Err(NoForm(other.clone())),
        })
    }

    /// Whether JSON has quotes around the form.
    fn is_quoted(&self) -> bool {
        !matches!(
            self,
            Self::Nulls
                | Self::Bools(_)
                | Self::I8s(_)
                | Self::I16s(_)
                | Self::I32s(_)
                | Self::I64s(_)
                | Self::U8s(_)
                | Self::U16s(_)
                | Self::U32s(_)
                | Self::U64s(_)
                | Self::Decimals(..)
        )
    }

    fn write_time(&self, at: usize, out: &mut Vec<u8>) {
        match self {
            Self::Times(values, zoned) => times::write_micros(values[at], *zoned, out),
            Self::OtherTimes(values, unit, zoned) => {
                let (seconds, nanos) = unit.split(values[at]);
                times::write_seconds(seconds, nanos, *zoned, out);
            }
            Self::Days(values) => times::write_date(values[at].into(), out),
            Self::LongDays(values) => {
                const DAY_MS: i64 = 86_400_000;
                if values[at] % DAY_MS == 0 {
                    times::write_date(values[at] / DAY_MS, out);
                } else {
                    let (seconds, nanos) = Unit(1000).split(values[at]);
                    times::write_seconds(seconds, nanos, false, out);
                }
            }
            Self::Clocks32(values, unit) => write_clock(*unit, values[at].into(), out),
            Self::Clocks64(values, unit) => write_clock(*unit, values[at], out),
            Self::Durations(values, unit) => times::write_duration(unit.nanos(values[at]), out),
            Self::Months(values) => times::write_interval(values[at].into(), 0, 0, out),
            Self::DaysAndMillis(values) => {
                let IntervalDayTime { days, milliseconds } = values[at];
                times::write_interval(0, days.into(), i128::from(milliseconds) * 1_000_000, out);
            }
            Self::MonthsDaysAndNanos(values) => {
                let IntervalMonthDayNano { months, days, nanoseconds } = values[at];
                times::write_interval(months.into(), days.into(), nanoseconds.into(), out);
            }
            Self::Intervals(values) => {
                let part = |from: usize| {
                    let bytes = values.value(at)[from..from + 4].try_into().unwrap_or_default();
                    u32::from_le_bytes(bytes)
                };
                let nanos = i128::from(part(8)) * 1_000_000;
                times::write_interval(part(0).into(), part(4).into(), nanos, out);
            }
            _ => {}
        }
    }
}

fn fields_of<'a>(fields: &Fields, columns: &'a [ArrayRef]) -> Result<Members<'a>, NoForm> {
    let form = |(nth, (field, column)): (usize, (&Arc<Field>, &'a ArrayRef))| {
        let mut key = vec![if nth == 0 { b'{' } else { b',' }];
        write_text(field.name().as_bytes(), &mut key);
        key.push(b':');
        Ok((key.into(), Form::of(field, column)?))
    };
    fields.iter().zip(columns).enumerate().map(form).collect()
}

/// All values of an array as texts: as JSON, or standing for themselves.
pub(super) fn to_texts(field: &Field, values: &ArrayRef, json: bool) -> Result<StringArray, ArrowError> {
    let form = Form::of(field, values)?;
    let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(values.len() + 1));
    ends.push(0i32);
    for row in 0..values.len() {
        match json {
            _ if form.is_null(row) => {}
            true => form.write_json(row, &mut bytes),
            false => form.write_text(row, &mut bytes),
        }
        let end = i32::try_from(bytes.len());
        ends.push(end.map_err(|_| ArrowError::InvalidArgumentError("more than 2 GiB of text".to_owned()))?);
    }
    StringArray::try_new(OffsetBuffer::new(ends.into()), Buffer::from_vec(bytes), values.logical_nulls())
}

#[cfg(test)]
mod tests;
