//! Tests and functions of texts. Nothing is allocated per row: what is made is written to one buffer.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{both, tested};
use crate::ast::Comparison;
use crate::like::{self, Pattern};
use crate::scalar::Scalar;
use crate::vector::{Mask, TextWriter, Texts, Vector};

/// Runs `test` on the text of each row that is live; on each different text once, where there are fewer of
/// them than rows.
#[inline(always)]
pub fn each(texts: &Texts<'_>, rows: usize, live: Option<&[u8]>, test: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let bytes = &*texts.bytes;
    let value = |pair: &[u32]| u8::from(test(&bytes[pair[0] as usize..pair[1] as usize]));
    match (texts.indices, live) {
        (None, None) => texts.offsets.windows(2).map(value).collect(),
        (None, Some(live)) => texts
            .offsets
            .windows(2)
            .zip(live)
            .map(|(pair, live)| if *live == 1 { value(pair) } else { 0 })
            .collect(),
        (Some(indices), _) if texts.len() <= rows => {
            let answers: Vec<u8> = texts.offsets.windows(2).map(value).collect();
            indices.iter().map(|index| answers[*index as usize]).collect()
        }
        (Some(indices), live) => {
            let wanted = |row: usize| live.is_none_or(|live| live[row] == 1);
            indices
                .iter()
                .enumerate()
                .map(|(row, index)| u8::from(wanted(row) && test(texts.get(*index as usize))))
                .collect()
        }
    }
}

pub fn compare<'a>(
    comparison: Comparison,
    left: Vector<'a>,
    right: Vector<'a>,
    rows: usize,
    live: Option<&[u8]>,
) -> Mask<'a> {
    match (left, right) {
        (Vector::Texts(texts, known), Vector::Const(Scalar::Text(constant))) => {
            tested(with_constant(comparison, &texts, constant.as_bytes(), rows, live), known)
        }
        (Vector::Texts(left, known), Vector::Texts(right, also)) => {
            let row = |row: usize| u8::from(holds(comparison, left.row(row).cmp(right.row(row))));
            tested((0..rows).map(row).collect(), both(known, also))
        }
        // Checking lets nothing else come here but what is unknown.
        _ => tested(vec![0; rows], Some(Cow::Owned(vec![0; rows]))),
    }
}

fn with_constant(
    comparison: Comparison,
    texts: &Texts<'_>,
    constant: &[u8],
    rows: usize,
    live: Option<&[u8]>,
) -> Vec<u8> {
    match comparison {
        Comparison::Equal if texts.indices.is_none() => equal(texts, constant),
        Comparison::NotEqual if texts.indices.is_none() => crate::bits::not(&equal(texts, constant)),
        Comparison::Equal => each(texts, rows, live, |text| text == constant),
        Comparison::NotEqual => each(texts, rows, live, |text| text != constant),
        comparison => each(texts, rows, live, |text| holds(comparison, text.cmp(constant))),
    }
}

/// Compares lengths and the first eight bytes as one word; what is longer only where these are the same.
fn equal(texts: &Texts<'_>, constant: &[u8]) -> Vec<u8> {
    let (bytes, length) = (&*texts.bytes, constant.len());
    let head = word(constant, 0, length);
    let found = |pair: &[u32]| {
        let (start, end) = (pair[0] as usize, pair[1] as usize);
        let same = end - start == length && word(bytes, start, length) == head;
        u8::from(same && (length <= 8 || bytes[start + 8..end] == constant[8..]))
    };
    texts.offsets.windows(2).map(found).collect()
}

/// Up to eight bytes from `start`, as a number; what is past `length` as zeros.
#[inline(always)]
fn word(bytes: &[u8], start: usize, length: usize) -> u64 {
    if let Some(chunk) = bytes.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        return if length >= 8 { word } else { word & ((1 << (8 * length)) - 1) };
    }
    let rest = bytes.get(start..).unwrap_or_default();
    rest.iter().take(length.min(8)).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

pub fn holds(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

pub fn in_texts<'a>(value: Vector<'a>, list: &[Box<str>], rows: usize, live: Option<&[u8]>) -> Mask<'a> {
    // Most texts are told apart by their length, so few are compared at all.
    const COMPARED: usize = 8;
    let compared =
        |text: &[u8]| list.iter().any(|known| known.len() == text.len() && known.as_bytes() == text);
    let searched = |text: &[u8]| list.binary_search_by(|known| known.as_bytes().cmp(text)).is_ok();
    match value {
        Vector::Texts(texts, known) if list.len() <= COMPARED => {
            tested(each(&texts, rows, live, compared), known)
        }
        Vector::Texts(texts, known) => tested(each(&texts, rows, live, searched), known),
        Vector::Const(Scalar::Text(text)) => Mask::sure(vec![u8::from(searched(text.as_bytes())); rows]),
        _ => tested(vec![0; rows], Some(Cow::Owned(vec![0; rows]))),
    }
}

pub fn like<'a>(value: Vector<'a>, pattern: &Pattern, rows: usize, live: Option<&[u8]>) -> Mask<'a> {
    let (texts, known) = match value {
        Vector::Texts(texts, known) => (texts, known),
        Vector::Const(Scalar::Text(text)) => (single(text), None),
        _ => return tested(vec![0; rows], Some(Cow::Owned(vec![0; rows]))),
    };
    let truth = match pattern {
        Pattern::Exact(text) => with_constant(Comparison::Equal, &texts, text, rows, live),
        Pattern::Prefix(prefix) => each(&texts, rows, live, |text| text.starts_with(prefix)),
        Pattern::Suffix(suffix) => each(&texts, rows, live, |text| text.ends_with(suffix)),
        Pattern::Contains(finder) => each(&texts, rows, live, |text| finder.find(text).is_some()),
        Pattern::General(parts) => each(&texts, rows, live, |text| like::matches(parts, text)),
    };
    tested(truth, known)
}

/// One text as the texts of a batch of one row.
pub fn single(text: &str) -> Texts<'_> {
    Texts {
        offsets: Cow::Owned(vec![0, text.len() as u32]),
        bytes: Cow::Borrowed(text.as_bytes()),
        indices: None,
    }
}

/// Other texts in place of these, each once.
pub fn map<'a>(texts: Texts<'a>, mut write: impl FnMut(&[u8], &mut Vec<u8>)) -> Texts<'a> {
    let mut writer = TextWriter::with_capacity(texts.len(), texts.bytes.len());
    for pair in texts.offsets.windows(2) {
        write(&texts.bytes[pair[0] as usize..pair[1] as usize], &mut writer.bytes);
        writer.close();
    }
    let (offsets, bytes) = writer.into_parts();
    texts.with(offsets, bytes)
}

/// In lower or upper case: all at once where there is nothing but ASCII.
pub fn lower_case(texts: Texts<'_>, lower: bool) -> Texts<'_> {
    if texts.bytes.is_ascii() {
        let bytes = if lower { texts.bytes.to_ascii_lowercase() } else { texts.bytes.to_ascii_uppercase() };
        let offsets = texts.offsets.clone();
        return texts.with(offsets, bytes);
    }
    map(texts, |text, to| match std::str::from_utf8(text) {
        Ok(text) if lower => to.extend_from_slice(text.to_lowercase().as_bytes()),
        Ok(text) => to.extend_from_slice(text.to_uppercase().as_bytes()),
        Err(_) => to.extend_from_slice(text),
    })
}
