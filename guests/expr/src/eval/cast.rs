//! Values of one kind as those of another.

use std::borrow::Cow;
use std::io::Write;

use calendar::DAY_US;

use super::{Run, both, text};
use crate::bits;
use crate::node::Cast;
use crate::scalar::{Scalar, Type};
use crate::time;
use crate::vector::{Ints, Known, Mask, TextWriter, Texts, Vector};

impl<'a> Run<'a> {
    pub(super) fn cast(&mut self, cast: Cast, value: Vector<'a>) -> Vector<'a> {
        let value = match value {
            Vector::Const(scalar) => self.spread(scalar),
            value => value,
        };
        match (cast, value) {
            (Cast::IntToFloat, Vector::Ints(ints, known)) => {
                Vector::Floats(Cow::Owned(ints.to_floats()), known)
            }
            (Cast::FloatToInt, Vector::Floats(values, known)) => to_ints(&values, known),
            (Cast::DayToTime, Vector::Days(values, known)) => {
                let values = values.iter().map(|day| i64::from(*day) * DAY_US).collect();
                Vector::Times(Cow::Owned(values), known)
            }
            (Cast::TimeToDay, Vector::Times(values, known)) => {
                let values = values.iter().map(|time| time.div_euclid(DAY_US) as i32).collect();
                Vector::Days(Cow::Owned(values), known)
            }
            (Cast::BoolToInt, Vector::Bools(mask)) => {
                let values = mask.truth.iter().map(|truth| i64::from(*truth)).collect();
                Vector::Ints(Ints::S64(Cow::Owned(values)), mask.known)
            }
            (Cast::TextTo(to), Vector::Texts(texts, known)) => from_texts(to, &texts, known, self.rows()),
            (Cast::ToText, value) => self.written(value),
            (_, value) => value,
        }
    }

    /// A constant as a column.
    pub(super) fn spread(&self, scalar: &'a Scalar) -> Vector<'a> {
        let rows = self.rows();
        match scalar {
            Scalar::Null => Vector::Const(scalar),
            Scalar::Bool(value) => Vector::Bools(Mask::sure(vec![u8::from(*value); rows])),
            Scalar::Int(value) => Vector::Ints(Ints::S64(vec![*value; rows].into()), None),
            Scalar::Float(value) => Vector::Floats(vec![*value; rows].into(), None),
            Scalar::Time(value) => Vector::Times(vec![*value; rows].into(), None),
            Scalar::Day(value) => Vector::Days(vec![*value; rows].into(), None),
            Scalar::Text(text) if rows == 1 => Vector::Texts(text::single(text), None),
            Scalar::Text(value) => {
                let mut writer = TextWriter::with_capacity(rows, rows * value.len());
                (0..rows).for_each(|_| writer.push(value.as_bytes()));
                Vector::Texts(writer.finish(), None)
            }
        }
    }

    /// As text: numbers in their shortest form, times as RFC 3339.
    pub(super) fn written(&self, value: Vector<'a>) -> Vector<'a> {
        let rows = self.rows();
        let (texts, known) = match value {
            Vector::Bools(mask) => {
                let text = |row: usize| if mask.truth[row] == 1 { "true" } else { "false" };
                (each(rows, |row, to| to.extend_from_slice(text(row).as_bytes())), mask.known)
            }
            Vector::Ints(Ints::U64(values), known) => (display(&values), known),
            Vector::Ints(Ints::S32(values), known) => (display(&values), known),
            Vector::Ints(Ints::S64(values), known) => (display(&values), known),
            Vector::Floats(values, known) => (display(&values), known),
            Vector::Times(values, known) => {
                (each(rows, |row, to| time::write_timestamp(values[row], to)), known)
            }
            Vector::Days(values, known) => {
                (each(rows, |row, to| time::write_date(i64::from(values[row]), to)), known)
            }
            other => return other,
        };
        Vector::Texts(texts, known)
    }
}

fn each<'a>(rows: usize, write: impl Fn(usize, &mut Vec<u8>)) -> Texts<'a> {
    let mut writer = TextWriter::with_capacity(rows, rows * 8);
    for row in 0..rows {
        write(row, &mut writer.bytes);
        writer.close();
    }
    writer.finish()
}

fn display<'a, T: std::fmt::Display>(values: &[T]) -> Texts<'a> {
    // Writing to a vector does not fail.
    each(values.len(), |row, to| write!(to, "{}", values[row]).unwrap_or_default())
}

fn to_ints<'a>(values: &[f64], known: Known<'a>) -> Vector<'a> {
    // The first number past the range is a float, the last within it is none.
    const END: f64 = 9_223_372_036_854_775_808.0;
    let fits: Vec<u8> = values.iter().map(|value| u8::from(*value >= -END && *value < END)).collect();
    let ints = values.iter().map(|value| *value as i64).collect();
    let fits = (!bits::all(&fits)).then_some(Cow::Owned(fits));
    Vector::Ints(Ints::S64(Cow::Owned(ints)), both(known, fits))
}

fn from_texts<'a>(to: Type, texts: &Texts<'a>, known: Known<'a>, rows: usize) -> Vector<'a> {
    let text = |row: usize| {
        let present = known.as_ref().is_none_or(|known| known[row] == 1);
        let text = if present { std::str::from_utf8(texts.row(row)).ok() } else { None };
        text.map(str::trim)
    };
    fn read<'a, T: Clone + Default>(
        rows: usize,
        read: impl Fn(usize) -> Option<T>,
    ) -> (Cow<'a, [T]>, Known<'a>) {
        let (mut values, mut known) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for row in 0..rows {
            let value = read(row);
            known.push(u8::from(value.is_some()));
            values.push(value.unwrap_or_default());
        }
        (Cow::Owned(values), (!bits::all(&known)).then_some(Cow::Owned(known)))
    }
    match to {
        Type::Int => {
            let (values, known) = read(rows, |row| text(row)?.parse().ok());
            Vector::Ints(Ints::S64(values), known)
        }
        Type::Float => {
            let (values, known) = read(rows, |row| text(row)?.parse().ok());
            Vector::Floats(values, known)
        }
        Type::Time => {
            let (values, known) = read(rows, |row| time::parse_timestamp(text(row)?));
            Vector::Times(values, known)
        }
        Type::Day => {
            let (values, known) = read(rows, |row| time::parse_date(text(row)?));
            Vector::Days(values, known)
        }
        _ => {
            let (truth, known) = read(rows, |row| match text(row)? {
                text if text.eq_ignore_ascii_case("true") => Some(1u8),
                text if text.eq_ignore_ascii_case("false") => Some(0),
                _ => None,
            });
            Vector::Bools(Mask { truth, known })
        }
    }
}

impl Ints<'_> {
    pub fn to_floats(&self) -> Vec<f64> {
        match self {
            Ints::S32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Ints::S64(values) => values.iter().map(|value| *value as f64).collect(),
            Ints::U64(values) => values.iter().map(|value| *value as f64).collect(),
        }
    }
}
