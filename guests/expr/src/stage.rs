//! Between programs and the emitter of a stage: rows that fulfil a condition go on, values become columns.

use conveyor_sdk::{At, ColumnBuilder, Day, Port, TableEmitter, Time};

use crate::bits;
use crate::eval::Overflow;
use crate::scalar::Scalar;
use crate::vector::{Ints, Texts, Vector};

/// The code of rows that are rejected because an integer went beyond 64 bits.
pub const OVERFLOW: &str = "overflow";

/// Passes on the rows where `truth` is 1, by `port`.
pub fn forward(out: &mut TableEmitter, port: Port, truth: &[u8]) {
    // Where few are kept, words of eight rows without one are passed over.
    const SPARSE: usize = 16;
    let kept = bits::count(truth);
    if kept == truth.len() {
        out.forward_all_to(port);
    } else if kept * SPARSE < truth.len() || port != Port::MAIN {
        forward_sparse(out, port, truth);
    } else {
        out.forward_where(|row| truth[row] == 1);
    }
}

fn forward_sparse(out: &mut TableEmitter, port: Port, truth: &[u8]) {
    let (words, rest) = truth.as_chunks::<8>();
    for (nth, word) in words.iter().enumerate() {
        let mut ones = u64::from_le_bytes(*word);
        while ones != 0 {
            out.forward_to(port, At(nth as u32 * 8 + ones.trailing_zeros() / 8));
            ones &= ones - 1;
        }
    }
    let first = words.len() * 8;
    for (nth, _) in rest.iter().enumerate().filter(|(_, one)| **one == 1) {
        out.forward_to(port, At((first + nth) as u32));
    }
}

/// Rejects the rows of `overflow`; `place` is the key of the config that holds the expression.
pub fn reject(out: &mut TableEmitter, overflow: &Overflow, place: &str) {
    overflow.rows().for_each(|row| reject_row(out, row, place));
}

pub fn reject_row(out: &mut TableEmitter, row: u32, place: &str) {
    out.reject(At(row), OVERFLOW, format!("`{place}`: an integer is beyond the range of 64 bits"));
}

/// Adds the values of the rows where `kept` is 1, or of all.
pub fn write(column: &mut ColumnBuilder, vector: &Vector<'_>, rows: usize, kept: Option<&[u8]>) {
    let known = vector.known();
    let is_kept = |row: &usize| kept.is_none_or(|kept| kept[*row] == 1);
    macro_rules! values {
        ($values:expr, $push:ident, $extend:ident) => {
            if known.is_none() && kept.is_none() {
                column.$extend($values);
            } else {
                for row in (0..rows).filter(is_kept) {
                    if known.is_none_or(|known| known[row] == 1) {
                        column.$push($values[row]);
                    } else {
                        column.push_null();
                    }
                }
            }
        };
    }
    match vector {
        Vector::Ints(Ints::S64(values), _) => values!(values, push_i64, extend_i64),
        Vector::Ints(ints, _) => {
            let values: Vec<i64> = (0..rows).map(|row| ints.get(row)).collect();
            values!(&values, push_i64, extend_i64);
        }
        Vector::Floats(values, _) => values!(values, push_f64, extend_f64),
        Vector::Times(values, _) => {
            let values: Vec<Time> = values.iter().map(|value| Time(*value)).collect();
            values!(&values, push_time, extend_time);
        }
        Vector::Days(values, _) => {
            let values: Vec<Day> = values.iter().map(|value| Day(*value)).collect();
            values!(&values, push_day, extend_day);
        }
        Vector::Bools(mask) => {
            for row in (0..rows).filter(is_kept) {
                match known.is_none_or(|known| known[row] == 1) {
                    true => column.push_bool(mask.truth[row] == 1),
                    false => column.push_null(),
                }
            }
        }
        Vector::Texts(texts, _) => write_texts(column, texts, known, (0..rows).filter(is_kept)),
        Vector::Bytes(blobs, _) => {
            for row in (0..rows).filter(is_kept) {
                match known.is_none_or(|known| known[row] == 1) {
                    true => column.push_blob(blobs.row(row)),
                    false => column.push_null(),
                }
            }
        }
        Vector::Const(scalar) => (0..rows).filter(is_kept).for_each(|_| write_scalar(column, scalar)),
    }
}

fn write_texts(
    column: &mut ColumnBuilder,
    texts: &Texts<'_>,
    known: Option<&[u8]>,
    rows: impl Iterator<Item = usize>,
) {
    // Looked through once for all rows rather than once for each.
    let whole = std::str::from_utf8(&texts.bytes).unwrap_or_default();
    for row in rows {
        if known.is_some_and(|known| known[row] == 0) {
            column.push_null();
            continue;
        }
        let range = texts.range(row);
        match whole.get(range.clone()) {
            Some(text) => column.push_text(text),
            None => column.push_text(&String::from_utf8_lossy(&texts.bytes[range])),
        }
    }
}

fn write_scalar(column: &mut ColumnBuilder, scalar: &Scalar) {
    match scalar {
        Scalar::Null => column.push_null(),
        Scalar::Bool(value) => column.push_bool(*value),
        Scalar::Int(value) => column.push_i64(*value),
        Scalar::Float(value) => column.push_f64(*value),
        Scalar::Text(text) => column.push_text(text),
        Scalar::Time(value) => column.push_time(Time(*value)),
        Scalar::Day(value) => column.push_day(Day(*value)),
    }
}
