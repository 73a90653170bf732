//! The functions of `functions`.

use std::borrow::Cow;

use calendar::DAY_US;
use memchr::memmem::Finder;

use super::{Run, both, tested, text};
use crate::functions::Function;
use crate::node::Node;
use crate::scalar::Scalar;

use crate::vector::{Ints, TextWriter, Texts, Vector};

impl<'a> Run<'a> {
    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &'a [Node],
        live: Option<&[u8]>,
    ) -> Vector<'a> {
        let mut values: Vec<Vector<'a>> =
            arguments.iter().map(|argument| self.vector(argument, live)).collect();
        match function {
            Function::StartsWith | Function::EndsWith | Function::Contains => {
                self.test(function, values, live)
            }
            Function::Concat => self.concat(values),
            Function::Replace => self.replace(values),
            Function::Substr => self.substr(values, live),
            Function::Round if values.len() == 2 => self.round_to(values, live),
            _ => {
                let value = match values.remove(0) {
                    Vector::Const(scalar) => self.spread(scalar),
                    value => value,
                };
                self.unary(function, value, live)
            }
        }
    }

    fn unary(&mut self, function: Function, value: Vector<'a>, live: Option<&[u8]>) -> Vector<'a> {
        match (function, value) {
            (Function::Lower, Vector::Texts(texts, known)) => {
                Vector::Texts(text::lower_case(texts, true), known)
            }
            (Function::Upper, Vector::Texts(texts, known)) => {
                Vector::Texts(text::lower_case(texts, false), known)
            }
            (Function::Trim, Vector::Texts(texts, known)) => {
                let trimmed = text::map(texts, |text, to| to.extend_from_slice(trim(text)));
                Vector::Texts(trimmed, known)
            }
            (Function::Length, Vector::Texts(texts, known)) => {
                let characters =
                    |text: &[u8]| text.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as i64;
                Vector::Ints(lengths(&texts, characters), known)
            }
            (Function::Length, Vector::Bytes(blobs, known)) => {
                Vector::Ints(lengths(&blobs, |bytes| bytes.len() as i64), known)
            }
            (Function::Abs, value @ Vector::Ints(..)) => self.abs(value, live),
            (Function::Abs, Vector::Floats(values, known)) => floats(&values, known, f64::abs),
            (Function::Floor, Vector::Floats(values, known)) => floats(&values, known, f64::floor),
            (Function::Ceil, Vector::Floats(values, known)) => floats(&values, known, f64::ceil),
            (Function::Round, Vector::Floats(values, known)) => floats(&values, known, f64::round),
            (Function::Hour, Vector::Times(values, known)) => {
                let hours = values.iter().map(|time| time.rem_euclid(DAY_US) / 3_600_000_000).collect();
                Vector::Ints(Ints::S64(Cow::Owned(hours)), known)
            }
            (function, Vector::Days(days, known)) => {
                let part = |day: i64| match function {
                    Function::Year => calendar::civil_from_days(day).0,
                    Function::Month => i64::from(calendar::civil_from_days(day).1),
                    Function::Day => i64::from(calendar::civil_from_days(day).2),
                    // The epoch was a Thursday; Monday is 1.
                    _ => (day + 3).rem_euclid(7) + 1,
                };
                let parts = days.iter().map(|day| part(i64::from(*day))).collect();
                Vector::Ints(Ints::S64(Cow::Owned(parts)), known)
            }
            (_, other) => other,
        }
    }

    fn abs(&mut self, value: Vector<'a>, live: Option<&[u8]>) -> Vector<'a> {
        if let Vector::Ints(Ints::U64(_), _) = value {
            return value;
        }
        match self.widened(value, live) {
            Vector::Ints(Ints::S64(values), known) => {
                self.overflowed(
                    values.iter().map(|value| u8::from(*value == i64::MIN)).collect(),
                    &known,
                    live,
                );
                let values = values.iter().map(|value| value.wrapping_abs()).collect();
                Vector::Ints(Ints::S64(Cow::Owned(values)), known)
            }
            other => other,
        }
    }

    fn test(&mut self, function: Function, mut values: Vec<Vector<'a>>, live: Option<&[u8]>) -> Vector<'a> {
        let rows = self.rows();
        let (part, whole) = (values.remove(1), values.remove(0));
        let (texts, known) = self.texts(whole);
        if let Vector::Const(Scalar::Text(part)) = part {
            let part = part.as_bytes();
            let truth = match function {
                Function::StartsWith => text::each(&texts, rows, live, |text| text.starts_with(part)),
                Function::EndsWith => text::each(&texts, rows, live, |text| text.ends_with(part)),
                _ => {
                    let finder = Finder::new(part);
                    text::each(&texts, rows, live, |text| finder.find(text).is_some())
                }
            };
            return Vector::Bools(tested(truth, known));
        }
        let (parts, also) = self.texts(part);
        let found = |row: usize| {
            let (text, part) = (texts.row(row), parts.row(row));
            u8::from(match function {
                Function::StartsWith => text.starts_with(part),
                Function::EndsWith => text.ends_with(part),
                _ => memchr::memmem::find(text, part).is_some(),
            })
        };
        Vector::Bools(tested((0..rows).map(found).collect(), both(known, also)))
    }

    fn concat(&mut self, values: Vec<Vector<'a>>) -> Vector<'a> {
        let (mut parts, mut known) = (Vec::new(), None);
        for value in values {
            let (texts, also) = self.texts(value);
            parts.push(texts);
            known = both(known, also);
        }
        let bytes = parts.iter().map(|texts| texts.bytes.len()).sum();
        let mut writer = TextWriter::with_capacity(self.rows(), bytes);
        for row in 0..self.rows() {
            parts.iter().for_each(|texts| writer.bytes.extend_from_slice(texts.row(row)));
            writer.close();
        }
        Vector::Texts(writer.finish(), known)
    }

    fn replace(&mut self, values: Vec<Vector<'a>>) -> Vector<'a> {
        let (mut sides, mut known) = (Vec::new(), None);
        for value in values {
            let (texts, also) = self.texts(value);
            sides.push(texts);
            known = both(known, also);
        }
        let mut writer = TextWriter::with_capacity(self.rows(), sides[0].bytes.len());
        for row in 0..self.rows() {
            let (text, from, to) = (sides[0].row(row), sides[1].row(row), sides[2].row(row));
            let mut done = 0;
            if !from.is_empty() {
                for at in memchr::memmem::find_iter(text, from) {
                    writer.bytes.extend_from_slice(&text[done..at]);
                    writer.bytes.extend_from_slice(to);
                    done = at + from.len();
                }
            }
            writer.push(&text[done..]);
        }
        Vector::Texts(writer.finish(), known)
    }

    /// `substr(text, start, length)`: characters, from 1 on.
    fn substr(&mut self, mut values: Vec<Vector<'a>>, live: Option<&[u8]>) -> Vector<'a> {
        let length = (values.len() == 3).then(|| values.remove(2));
        let (start, whole) = (values.remove(1), values.remove(0));
        let (texts, mut known) = self.texts(whole);
        let (start, also) = self.whole_numbers(start, live);
        known = both(known, also);
        let length = length.map(|length| {
            let (length, also) = self.whole_numbers(length, live);
            known = both(known.take(), also);
            length
        });
        let mut writer = TextWriter::with_capacity(self.rows(), texts.bytes.len());
        for row in 0..self.rows() {
            let end =
                length.as_ref().map_or(i64::MAX, |length| start[row].saturating_add(length[row].max(0)));
            writer.push(characters(texts.row(row), start[row], end));
        }
        Vector::Texts(writer.finish(), known)
    }

    fn round_to(&mut self, mut values: Vec<Vector<'a>>, live: Option<&[u8]>) -> Vector<'a> {
        let (digits, value) = (values.remove(1), values.remove(0));
        let (digits, also) = self.whole_numbers(digits, live);
        let value = match value {
            Vector::Const(scalar) => self.spread(scalar),
            value => value,
        };
        let Vector::Floats(values, known) = value else { return value };
        let rounded =
            values.iter().zip(digits.iter()).map(|(value, digits)| round(*value, *digits)).collect();
        Vector::Floats(rounded, both(known, also))
    }

    fn texts(&self, value: Vector<'a>) -> (Texts<'a>, crate::vector::Known<'a>) {
        match value {
            Vector::Const(scalar @ Scalar::Text(_)) => match self.spread(scalar) {
                Vector::Texts(texts, known) => (texts, known),
                _ => self.nothing(),
            },
            Vector::Texts(texts, known) => (texts, known),
            // Null throughout: checking lets nothing else come here.
            _ => self.nothing(),
        }
    }

    fn nothing(&self) -> (Texts<'a>, crate::vector::Known<'a>) {
        let rows = self.rows();
        let texts =
            Texts { offsets: Cow::Owned(vec![0; rows + 1]), bytes: Cow::Owned(Vec::new()), indices: None };
        (texts, Some(Cow::Owned(vec![0; rows])))
    }

    fn whole_numbers(
        &mut self,
        value: Vector<'a>,
        live: Option<&[u8]>,
    ) -> (Cow<'a, [i64]>, crate::vector::Known<'a>) {
        let value = match value {
            Vector::Const(scalar) => self.spread(scalar),
            value => self.widened(value, live),
        };
        match value {
            Vector::Ints(Ints::S64(values), known) => (values, known),
            _ => (Cow::Owned(vec![0; self.rows()]), Some(Cow::Owned(vec![0; self.rows()]))),
        }
    }
}

fn floats<'a>(values: &[f64], known: crate::vector::Known<'a>, map: impl Fn(f64) -> f64) -> Vector<'a> {
    Vector::Floats(values.iter().map(|value| map(*value)).collect(), known)
}

fn lengths<'a>(texts: &Texts<'_>, length: impl Fn(&[u8]) -> i64) -> Ints<'a> {
    let each: Vec<i64> = (0..texts.len()).map(|index| length(texts.get(index))).collect();
    Ints::S64(Cow::Owned(match texts.indices {
        None => each,
        Some(indices) => indices.iter().map(|index| each[*index as usize]).collect(),
    }))
}

fn trim(text: &[u8]) -> &[u8] {
    std::str::from_utf8(text).map_or(text, |text| text.trim().as_bytes())
}

/// The characters from the one numbered `start` up to the one before `end`, the first being 1.
fn characters(text: &[u8], start: i64, end: i64) -> &[u8] {
    let Ok(text) = std::str::from_utf8(text) else { return &[] };
    let place = |number: i64| match usize::try_from(number - 1) {
        Ok(skipped) => text.char_indices().nth(skipped).map_or(text.len(), |(at, _)| at),
        Err(_) => 0,
    };
    let (from, to) = (place(start), if end == i64::MAX { text.len() } else { place(end) });
    text.as_bytes().get(from..to).unwrap_or_default()
}

/// Half away from zero, at a decimal place; a place before the point where `digits` is below 0.
fn round(value: f64, digits: i64) -> f64 {
    // Past these a float has no digits to lose, or loses them all.
    let scale = 10f64.powi(digits.clamp(-308, 308) as i32);
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() { rounded } else { value }
}
