//! Comparisons of numbers, times and truth values: one loop for each type and operator, so that each is a few
//! vector instructions.

use std::borrow::Cow;

use super::{both, tested, text};
use crate::ast::Comparison;
use crate::scalar::Scalar;
use crate::vector::{Ints, Known, Mask, Vector};

pub fn compare<'a>(
    comparison: Comparison,
    left: Vector<'a>,
    right: Vector<'a>,
    rows: usize,
    live: Option<&[u8]>,
) -> Mask<'a> {
    match (left, right) {
        (Vector::Ints(ints, known), Vector::Const(Scalar::Int(constant))) => {
            tested(int_constant(comparison, &ints, *constant), known)
        }
        (Vector::Ints(left, known), Vector::Ints(right, also)) => {
            tested(int_columns(comparison, &left, &right), both(known, also))
        }
        (Vector::Floats(values, known), Vector::Const(Scalar::Float(constant))) => {
            tested(with_constant(comparison, &values, *constant), known)
        }
        (Vector::Floats(left, known), Vector::Floats(right, also)) => {
            columns(comparison, (left, known), (right, also))
        }
        (Vector::Times(values, known), Vector::Const(Scalar::Time(constant))) => {
            tested(with_constant(comparison, &values, *constant), known)
        }
        (Vector::Times(left, known), Vector::Times(right, also)) => {
            columns(comparison, (left, known), (right, also))
        }
        (Vector::Days(values, known), Vector::Const(Scalar::Day(constant))) => {
            tested(with_constant(comparison, &values, *constant), known)
        }
        (Vector::Days(left, known), Vector::Days(right, also)) => {
            columns(comparison, (left, known), (right, also))
        }
        (Vector::Bools(mask), Vector::Const(Scalar::Bool(constant))) => {
            tested(with_constant(comparison, &mask.truth, u8::from(*constant)), mask.known)
        }
        (Vector::Bools(left), Vector::Bools(right)) => {
            columns(comparison, (left.truth, left.known), (right.truth, right.known))
        }
        (left @ Vector::Const(_), right @ Vector::Const(_)) => constants(comparison, &left, &right, rows),
        (left @ Vector::Const(_), right) => compare(comparison.flipped(), right, left, rows, live),
        (left, right) => text::compare(comparison, left, right, rows, live),
    }
}

fn columns<'a, T: Copy + PartialOrd>(
    comparison: Comparison,
    (left, known): (Cow<'a, [T]>, Known<'a>),
    (right, also): (Cow<'a, [T]>, Known<'a>),
) -> Mask<'a> {
    tested(with_column(comparison, &left, &right), both(known, also))
}

fn int_constant(comparison: Comparison, ints: &Ints<'_>, constant: i64) -> Vec<u8> {
    match ints {
        Ints::S64(values) => with_constant(comparison, values, constant),
        Ints::S32(values) => match i32::try_from(constant) {
            Ok(constant) => with_constant(comparison, values, constant),
            // Beyond the range of the column, so that every value stands to it as zero does.
            Err(_) => with_constant(comparison, &vec![0; values.len()], constant.signum() as i32),
        },
        Ints::U64(values) => match u64::try_from(constant) {
            Ok(constant) => with_constant(comparison, values, constant),
            Err(_) => with_constant(comparison, &vec![1u64; values.len()], 0),
        },
    }
}

fn int_columns(comparison: Comparison, left: &Ints<'_>, right: &Ints<'_>) -> Vec<u8> {
    match (left, right) {
        (Ints::S64(left), Ints::S64(right)) => with_column(comparison, left, right),
        (Ints::S32(left), Ints::S32(right)) => with_column(comparison, left, right),
        (Ints::U64(left), Ints::U64(right)) => with_column(comparison, left, right),
        (left, right) => with_column(comparison, &left.to_i128(), &right.to_i128()),
    }
}

#[inline(never)]
pub fn with_constant<T: Copy + PartialOrd>(comparison: Comparison, values: &[T], constant: T) -> Vec<u8> {
    #[inline(always)]
    fn each<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> Vec<u8> {
        values.iter().map(|value| u8::from(test(*value))).collect()
    }
    match comparison {
        Comparison::Equal => each(values, |value| value == constant),
        Comparison::NotEqual => each(values, |value| value != constant),
        Comparison::Less => each(values, |value| value < constant),
        Comparison::LessOrEqual => each(values, |value| value <= constant),
        Comparison::Greater => each(values, |value| value > constant),
        Comparison::GreaterOrEqual => each(values, |value| value >= constant),
    }
}

#[inline(never)]
fn with_column<T: Copy + PartialOrd>(comparison: Comparison, left: &[T], right: &[T]) -> Vec<u8> {
    #[inline(always)]
    fn each<T: Copy>(left: &[T], right: &[T], test: impl Fn(T, T) -> bool) -> Vec<u8> {
        left.iter().zip(right).map(|(left, right)| u8::from(test(*left, *right))).collect()
    }
    match comparison {
        Comparison::Equal => each(left, right, |left, right| left == right),
        Comparison::NotEqual => each(left, right, |left, right| left != right),
        Comparison::Less => each(left, right, |left, right| left < right),
        Comparison::LessOrEqual => each(left, right, |left, right| left <= right),
        Comparison::Greater => each(left, right, |left, right| left > right),
        Comparison::GreaterOrEqual => each(left, right, |left, right| left >= right),
    }
}

/// Only while constants are worked out.
fn constants<'a>(comparison: Comparison, left: &Vector<'a>, right: &Vector<'a>, rows: usize) -> Mask<'a> {
    let (Vector::Const(left), Vector::Const(right)) = (left, right) else {
        return Mask::sure(vec![0; rows]);
    };
    let order = match (left, right) {
        (Scalar::Int(left), Scalar::Int(right)) => Some(left.cmp(right)),
        (Scalar::Time(left), Scalar::Time(right)) => Some(left.cmp(right)),
        (Scalar::Day(left), Scalar::Day(right)) => Some(left.cmp(right)),
        (Scalar::Bool(left), Scalar::Bool(right)) => Some(left.cmp(right)),
        (Scalar::Text(left), Scalar::Text(right)) => Some(left.cmp(right)),
        (Scalar::Float(left), Scalar::Float(right)) => left.partial_cmp(right),
        _ => None,
    };
    // Only numbers that are none have no order, and they differ from everything.
    let holds = order.map_or(comparison == Comparison::NotEqual, |order| text::holds(comparison, order));
    Mask::sure(vec![u8::from(holds); rows])
}

pub fn in_ints<'a>(value: Vector<'a>, list: &[i64]) -> Mask<'a> {
    fn each<T: Copy>(values: &[T], list: &[i64], widen: impl Fn(T) -> Option<i64>) -> Vec<u8> {
        let found = |value: T| widen(value).is_some_and(|value| list.binary_search(&value).is_ok());
        values.iter().map(|value| u8::from(found(*value))).collect()
    }
    let (truth, known) = match value {
        Vector::Ints(Ints::S32(values), known) => {
            (each(&values, list, |value| Some(i64::from(value))), known)
        }
        Vector::Ints(Ints::S64(values), known) => (each(&values, list, Some), known),
        Vector::Ints(Ints::U64(values), known) => {
            (each(&values, list, |value| i64::try_from(value).ok()), known)
        }
        Vector::Times(values, known) => (each(&values, list, Some), known),
        Vector::Days(values, known) => (each(&values, list, |value| Some(i64::from(value))), known),
        Vector::Const(Scalar::Int(value) | Scalar::Time(value)) => (each(&[*value], list, Some), None),
        Vector::Const(Scalar::Day(value)) => (each(&[i64::from(*value)], list, Some), None),
        _ => (Vec::new(), None),
    };
    tested(truth, known)
}

impl Ints<'_> {
    pub fn get(&self, row: usize) -> i64 {
        match self {
            Ints::S32(values) => i64::from(values[row]),
            Ints::S64(values) => values[row],
            Ints::U64(values) => values[row] as i64,
        }
    }

    fn to_i128(&self) -> Vec<i128> {
        match self {
            Ints::S32(values) => values.iter().map(|value| i128::from(*value)).collect(),
            Ints::S64(values) => values.iter().map(|value| i128::from(*value)).collect(),
            Ints::U64(values) => values.iter().map(|value| i128::from(*value)).collect(),
        }
    }
}
