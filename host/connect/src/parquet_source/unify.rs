//! One type for the columns of one name in several files: the narrowest that holds all values of all of them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use model::fields::{Kind, Meaning};

/// A field for the values of both. None where something would be lost.
pub(super) fn widest(one: &Field, other: &Field) -> Option<Field> {
    let nullable = one.is_nullable() || other.is_nullable();
    let field = if Meaning::of(one) == Meaning::of(other) {
        one.clone().with_data_type(both(one.data_type(), other.data_type(), false)?)
    } else if *one.data_type() == DataType::Null {
        other.clone()
    } else if *other.data_type() == DataType::Null {
        one.clone()
    } else {
        return None;
    };
    Some(field.with_nullable(nullable))
}

/// `nested`: inside of a list, a struct or a map, where no single row could be refused for what does not fit.
fn both(one: &DataType, other: &DataType, nested: bool) -> Option<DataType> {
    use DataType as T;
    if one == other {
        return Some(one.clone());
    }
    let is_text = |of: &T| matches!(Kind::of(of), Kind::Texts | Kind::Dictionaries);
    Some(match (one, other) {
        (T::Null, known) | (known, T::Null) => known.clone(),
        _ if is_text(one) && is_text(other) => T::Utf8,
        _ if Kind::of(one) == Kind::Blobs && Kind::of(other) == Kind::Blobs => T::Binary,
        _ if one.is_numeric() && other.is_numeric() => numbers(one, other)?,
        (T::Timestamp(a, here), T::Timestamp(b, there)) if here.is_some() == there.is_some() => {
            if nested && a != b {
                return None;
            }
            let zone = if here == there { here.clone() } else { Some("UTC".into()) };
            T::Timestamp(finer(*a, *b), zone)
        }
        (T::Duration(a), T::Duration(b)) if !nested => T::Duration(finer(*a, *b)),
        (T::Time32(a) | T::Time64(a), T::Time32(b) | T::Time64(b)) => match finer(*a, *b) {
            unit @ (TimeUnit::Second | TimeUnit::Millisecond) => T::Time32(unit),
            unit => T::Time64(unit),
        },
        (
            T::List(a) | T::LargeList(a) | T::FixedSizeList(a, _),
            T::List(b) | T::LargeList(b) | T::FixedSizeList(b, _),
        ) => T::List(inner(a, b)?),
        (T::Map(a, sorted), T::Map(b, _)) => T::Map(inner(a, b)?, *sorted),
        (T::Struct(a), T::Struct(b)) if a.len() == b.len() => {
            let fields = a.iter().zip(b).map(|(a, b)| if a.name() == b.name() { inner(a, b) } else { None });
            T::Struct(fields.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn inner(one: &FieldRef, other: &FieldRef) -> Option<FieldRef> {
    let same = Meaning::of(one) == Meaning::of(other);
    let data_type = both(one.data_type(), other.data_type(), true).filter(|_| same)?;
    let nullable = one.is_nullable() || other.is_nullable();
    Some(Arc::new((**one).clone().with_data_type(data_type).with_nullable(nullable)))
}

fn numbers(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType as T;
    if let (Some(a), Some(b)) = (Integer::of(one), Integer::of(other)) {
        return a.with(b);
    }
    if one.is_floating() && other.is_floating() {
        let wide = |of: &T| *of == T::Float64;
        return Some(if wide(one) || wide(other) { T::Float64 } else { T::Float32 });
    }
    if one.is_floating() || other.is_floating() {
        let (float, exact) = if one.is_floating() { (one, other) } else { (other, one) };
        return match Integer::of(exact)?.bits {
            8 if *float == T::Float16 => Some(T::Float16),
            8 | 16 if *float != T::Float64 => Some(T::Float32),
            8 | 16 | 32 => Some(T::Float64),
            _ => None,
        };
    }
    let ((before, behind), (other_before, other_behind)) = (digits(one)?, digits(other)?);
    let scale = behind.max(other_behind);
    let precision = u8::try_from(before.max(other_before) + scale).ok()?;
    match precision {
        0..=38 => Some(T::Decimal128(precision, scale as i8)),
        39..=76 => Some(T::Decimal256(precision, scale as i8)),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Integer {
    bits: u8,
    signed: bool,
}

impl Integer {
    fn of(data_type: &DataType) -> Option<Self> {
        let bits = data_type.primitive_width().filter(|_| data_type.is_integer())? as u8 * 8;
        Some(Self { bits, signed: data_type.is_signed_integer() })
    }

    fn with(self, other: Self) -> Option<DataType> {
        let signed = self.signed || other.signed;
        // What has no sign needs one bit more where there is one.
        let needs = |of: Self| if signed && !of.signed { of.bits * 2 } else { of.bits };
        Some(match (needs(self).max(needs(other)), signed) {
            (8, true) => DataType::Int8,
            (16, true) => DataType::Int16,
            (32, true) => DataType::Int32,
            (64, true) => DataType::Int64,
            (8, false) => DataType::UInt8,
            (16, false) => DataType::UInt16,
            (32, false) => DataType::UInt32,
            (64, false) => DataType::UInt64,
            // Integers of 64 bits with a sign, and without.
            _ => DataType::Decimal128(20, 0),
        })
    }
}

/// Digits before the point, and behind it.
fn digits(data_type: &DataType) -> Option<(i16, i16)> {
    let decimal = |precision: u8, scale: i8| (i16::from(precision) - i16::from(scale), i16::from(scale));
    Some(match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => decimal(*precision, *scale),
        _ => match Integer::of(data_type)?.bits {
            8 => (3, 0),
            16 => (5, 0),
            32 => (10, 0),
            _ => (20, 0),
        },
    })
}

fn finer(one: TimeUnit, other: TimeUnit) -> TimeUnit {
    one.max(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_widen_where_nothing_is_lost() {
        use DataType as T;
        let us = |zone: Option<&str>| T::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let list = |of: T| T::List(Arc::new(Field::new("item", of, true)));
        let cases = [
            (T::Int32, T::Int64, Some(T::Int64)),
            (T::UInt8, T::Int8, Some(T::Int16)),
            (T::UInt32, T::Int64, Some(T::Int64)),
            (T::UInt64, T::Int8, Some(T::Decimal128(20, 0))),
            (T::Int32, T::Float32, Some(T::Float64)),
            (T::Int16, T::Float32, Some(T::Float32)),
            (T::Int64, T::Float64, None),
            (T::Float32, T::Float64, Some(T::Float64)),
            (T::Decimal128(10, 2), T::Decimal128(9, 4), Some(T::Decimal128(12, 4))),
            (T::Int64, T::Decimal128(38, 10), Some(T::Decimal128(38, 10))),
            (T::Decimal128(38, 0), T::Decimal128(38, 20), Some(T::Decimal256(58, 20))),
            (
                us(None),
                T::Timestamp(TimeUnit::Nanosecond, None),
                Some(T::Timestamp(TimeUnit::Nanosecond, None)),
            ),
            (us(Some("UTC")), us(Some("Europe/Oslo")), Some(us(Some("UTC")))),
            (us(None), us(Some("UTC")), None),
            (T::Utf8, T::Dictionary(T::Int8.into(), T::Utf8View.into()), Some(T::Utf8)),
            (T::FixedSizeBinary(3), T::Binary, Some(T::Binary)),
            (T::Utf8, T::Binary, None),
            (T::Utf8, T::Int64, None),
            (T::Null, T::Date32, Some(T::Date32)),
            (list(T::Int8), list(T::Int32), Some(list(T::Int32))),
            (list(us(None)), list(T::Timestamp(TimeUnit::Nanosecond, None)), None),
        ];
        for (one, other, expected) in cases {
            let field = |of: &T| Field::new("c", of.clone(), false);
            for (a, b) in [(&one, &other), (&other, &one)] {
                let found = widest(&field(a), &field(b)).map(|field| field.data_type().clone());
                assert_eq!(found, expected, "{a} and {b}");
            }
        }
        let uuid = Meaning::Uuid.mark(Field::new("u", T::FixedSizeBinary(16), false));
        assert_eq!(widest(&uuid, &Field::new("u", T::FixedSizeBinary(16), false)), None);
    }
}
