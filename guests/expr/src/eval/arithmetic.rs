//! `+ - * / %` and signs.

use std::borrow::Cow;

use super::{Run, both};
use crate::ast::Operator;
use crate::bits;
use crate::scalar::Scalar;
use crate::vector::{Ints, Known, Vector};

/// One side of an operator: the same for every row, or a value for each.
#[derive(Debug, Clone, Copy)]
enum Side<'s, T> {
    One(T),
    Each(&'s [T]),
}

impl<T: Copy> Side<'_, T> {
    #[inline(always)]
    fn at(&self, row: usize) -> T {
        match self {
            Side::One(value) => *value,
            Side::Each(values) => values[row],
        }
    }
}

#[inline(always)]
fn each<T: Copy, R>(
    rows: usize,
    left: Side<'_, T>,
    right: Side<'_, T>,
    result: impl Fn(T, T) -> R,
) -> Vec<R> {
    match (left, right) {
        (Side::Each(left), Side::Each(right)) => {
            left.iter().zip(right).map(|(left, right)| result(*left, *right)).collect()
        }
        (Side::Each(left), Side::One(right)) => left.iter().map(|left| result(*left, right)).collect(),
        (Side::One(left), Side::Each(right)) => right.iter().map(|right| result(left, *right)).collect(),
        (Side::One(left), Side::One(right)) => (0..rows).map(|_| result(left, right)).collect(),
    }
}

pub fn floats<'a>(operator: Operator, left: &Vector<'a>, right: &Vector<'a>, rows: usize) -> Vector<'a> {
    let (a, b) = (float_side(left), float_side(right));
    let mut known = both(owned(left), owned(right));
    let values = match operator {
        Operator::Add => each(rows, a, b, |a, b| a + b),
        Operator::Subtract => each(rows, a, b, |a, b| a - b),
        Operator::Multiply => each(rows, a, b, |a, b| a * b),
        Operator::Divide => each(rows, a, b, |a, b| a / b),
        Operator::Remainder => each(rows, a, b, |a, b| a % b),
    };
    if matches!(operator, Operator::Divide | Operator::Remainder) {
        known = both(known, nonzero(b, rows, |divisor| divisor != 0.0));
    }
    Vector::Floats(Cow::Owned(values), known)
}

/// Where a division has an answer; none where it has one in every row.
fn nonzero<'a, T: Copy>(divisor: Side<'_, T>, rows: usize, test: impl Fn(T) -> bool) -> Known<'a> {
    let known = match divisor {
        Side::One(divisor) if test(divisor) => return None,
        Side::One(_) => vec![0; rows],
        Side::Each(divisors) => divisors.iter().map(|divisor| u8::from(test(*divisor))).collect(),
    };
    (!bits::all(&known)).then_some(Cow::Owned(known))
}

fn float_side<'s>(vector: &'s Vector<'_>) -> Side<'s, f64> {
    match vector {
        Vector::Floats(values, _) => Side::Each(values),
        Vector::Const(Scalar::Float(value)) => Side::One(*value),
        _ => Side::One(f64::NAN),
    }
}

fn owned<'a>(vector: &Vector<'a>) -> Known<'a> {
    match vector {
        Vector::Floats(_, known) | Vector::Ints(_, known) => known.clone(),
        _ => None,
    }
}

impl<'a> Run<'a> {
    pub(super) fn int_arithmetic(
        &mut self,
        operator: Operator,
        left: Vector<'a>,
        right: Vector<'a>,
        live: Option<&[u8]>,
    ) -> Vector<'a> {
        let (rows, mut known) = (self.rows(), both(owned(&left), owned(&right)));
        let (left, right) = (self.widened(left, live), self.widened(right, live));
        let (a, b) = (int_side(&left), int_side(&right));
        let calculate = |operator, a: i64, b: i64| match operator {
            Operator::Add => a.overflowing_add(b),
            Operator::Subtract => a.overflowing_sub(b),
            Operator::Multiply => a.overflowing_mul(b),
            Operator::Divide | Operator::Remainder if b == 0 => (0, false),
            Operator::Divide => a.overflowing_div(b),
            // What is left of the one division that overflows is 0.
            Operator::Remainder => (a.wrapping_rem(b), false),
        };
        let values = match operator {
            Operator::Add if small(a) && small(b) => each(rows, a, b, |a, b| a.wrapping_add(b)),
            Operator::Subtract if small(a) && small(b) => each(rows, a, b, |a, b| a.wrapping_sub(b)),
            Operator::Multiply if small(a) && small(b) => each(rows, a, b, |a, b| a.wrapping_mul(b)),
            operator => {
                let beyond = each(rows, a, b, |a, b| u8::from(calculate(operator, a, b).1));
                self.overflowed(beyond, &known, live);
                each(rows, a, b, |a, b| calculate(operator, a, b).0)
            }
        };
        if matches!(operator, Operator::Divide | Operator::Remainder) {
            known = both(known, nonzero(b, rows, |divisor| divisor != 0));
        }
        Vector::Ints(Ints::S64(Cow::Owned(values)), known)
    }

    /// Integers as those of 64 bits with a sign.
    pub(super) fn widened(&mut self, vector: Vector<'a>, live: Option<&[u8]>) -> Vector<'a> {
        match vector {
            Vector::Ints(Ints::S32(values), known) => {
                let values = values.iter().map(|value| i64::from(*value)).collect();
                Vector::Ints(Ints::S64(Cow::Owned(values)), known)
            }
            Vector::Ints(Ints::U64(values), known) => {
                let beyond = values.iter().map(|value| u8::from(*value > i64::MAX as u64)).collect();
                self.overflowed(beyond, &known, live);
                let values = values.iter().map(|value| *value as i64).collect();
                Vector::Ints(Ints::S64(Cow::Owned(values)), known)
            }
            other => other,
        }
    }

    pub(super) fn negate(&mut self, inner: Vector<'a>, live: Option<&[u8]>) -> Vector<'a> {
        match self.widened(inner, live) {
            Vector::Ints(Ints::S64(values), known) => {
                self.overflowed(
                    values.iter().map(|value| u8::from(*value == i64::MIN)).collect(),
                    &known,
                    live,
                );
                let values = values.iter().map(|value| value.wrapping_neg()).collect();
                Vector::Ints(Ints::S64(Cow::Owned(values)), known)
            }
            Vector::Floats(values, known) => {
                Vector::Floats(values.iter().map(|value| -value).collect(), known)
            }
            Vector::Const(Scalar::Int(value)) => {
                self.overflowed(vec![u8::from(*value == i64::MIN); self.rows()], &None, live);
                Vector::Ints(Ints::S64(vec![value.wrapping_neg(); self.rows()].into()), None)
            }
            Vector::Const(Scalar::Float(value)) => Vector::Floats(vec![-value; self.rows()].into(), None),
            other => other,
        }
    }
}

fn int_side<'s>(vector: &'s Vector<'_>) -> Side<'s, i64> {
    match vector {
        Vector::Ints(Ints::S64(values), _) => Side::Each(values),
        Vector::Const(Scalar::Int(value)) => Side::One(*value),
        _ => Side::One(0),
    }
}

/// Whether every value has at most 31 bits, so that no sum or product of two goes beyond 64.
fn small(side: Side<'_, i64>) -> bool {
    let high = |value: i64| (value ^ (value >> 63)) >> 31;
    match side {
        Side::One(_) => high(side.at(0)) == 0,
        Side::Each(values) => values.iter().fold(0, |bits, value| bits | high(*value)) == 0,
    }
}
