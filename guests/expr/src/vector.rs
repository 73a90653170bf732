//! Values of all rows of a batch: what an expression reads and what it answers with. What can be borrowed from
//! the batch is.

use std::borrow::Cow;

use crate::scalar::Scalar;

/// For each row, whether there is a value, as 0 or 1; none where there is one in all of them.
pub type Known<'a> = Option<Cow<'a, [u8]>>;

#[derive(Debug, Clone)]
pub enum Vector<'a> {
    /// The same in every row.
    Const(&'a Scalar),
    Bools(Mask<'a>),
    Ints(Ints<'a>, Known<'a>),
    Floats(Cow<'a, [f64]>, Known<'a>),
    Times(Cow<'a, [i64]>, Known<'a>),
    Days(Cow<'a, [i32]>, Known<'a>),
    Texts(Texts<'a>, Known<'a>),
    /// Bytes that are no text; the expression can ask for their length and whether they are there.
    Bytes(Texts<'a>, Known<'a>),
}

/// Integers, in the width in which they came.
#[derive(Debug, Clone)]
pub enum Ints<'a> {
    S32(Cow<'a, [i32]>),
    S64(Cow<'a, [i64]>),
    U64(Cow<'a, [u64]>),
}

/// Truth values as 0 and 1. Where a value is not known its truth is 0.
#[derive(Debug, Clone)]
pub struct Mask<'a> {
    pub truth: Cow<'a, [u8]>,
    pub known: Known<'a>,
}

/// Texts one after the other, maybe with an index into them for each row.
#[derive(Debug, Clone)]
pub struct Texts<'a> {
    pub offsets: Cow<'a, [u32]>,
    pub bytes: Cow<'a, [u8]>,
    pub indices: Option<&'a [u32]>,
}

/// Texts that are being written.
#[derive(Debug, Clone)]
pub struct TextWriter {
    offsets: Vec<u32>,
    pub bytes: Vec<u8>,
}

impl<'a> Mask<'a> {
    pub fn sure(truth: Vec<u8>) -> Self {
        Mask { truth: Cow::Owned(truth), known: None }
    }
}

impl<'a> Vector<'a> {
    /// The same, borrowed.
    pub fn view(&self) -> Vector<'_> {
        match self {
            Vector::Const(scalar) => Vector::Const(scalar),
            Vector::Bools(mask) => {
                Vector::Bools(Mask { truth: view(&mask.truth), known: view_known(&mask.known) })
            }
            Vector::Ints(ints, known) => {
                let ints = match ints {
                    Ints::S32(values) => Ints::S32(view(values)),
                    Ints::S64(values) => Ints::S64(view(values)),
                    Ints::U64(values) => Ints::U64(view(values)),
                };
                Vector::Ints(ints, view_known(known))
            }
            Vector::Floats(values, known) => Vector::Floats(view(values), view_known(known)),
            Vector::Times(values, known) => Vector::Times(view(values), view_known(known)),
            Vector::Days(values, known) => Vector::Days(view(values), view_known(known)),
            Vector::Texts(texts, known) => Vector::Texts(texts.view(), view_known(known)),
            Vector::Bytes(texts, known) => Vector::Bytes(texts.view(), view_known(known)),
        }
    }

    pub fn known(&self) -> Option<&[u8]> {
        match self {
            Vector::Const(_) => None,
            Vector::Bools(Mask { known, .. })
            | Vector::Ints(_, known)
            | Vector::Floats(_, known)
            | Vector::Times(_, known)
            | Vector::Days(_, known)
            | Vector::Texts(_, known)
            | Vector::Bytes(_, known) => known.as_deref(),
        }
    }
}

fn view<T: Clone>(values: &[T]) -> Cow<'_, [T]> {
    Cow::Borrowed(values)
}

fn view_known<'v>(known: &'v Known<'_>) -> Known<'v> {
    known.as_deref().map(view)
}

impl<'a> Texts<'a> {
    pub fn view(&self) -> Texts<'_> {
        Texts { offsets: view(&self.offsets), bytes: view(&self.bytes), indices: self.indices }
    }

    /// How many different texts there are, or how many rows where there is no index.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of a row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[u8] {
        match self.indices {
            None => self.get(row),
            Some(indices) => self.get(indices[row] as usize),
        }
    }

    /// Where the text of a row is in `bytes`.
    #[inline(always)]
    pub fn range(&self, row: usize) -> std::ops::Range<usize> {
        let index = self.indices.map_or(row, |indices| indices[row] as usize);
        self.offsets[index] as usize..self.offsets[index + 1] as usize
    }

    #[inline(always)]
    pub fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    /// The same rows with other texts in place of these.
    pub fn with(self, offsets: Cow<'a, [u32]>, bytes: Vec<u8>) -> Self {
        Texts { offsets, bytes: Cow::Owned(bytes), indices: self.indices }
    }
}

impl TextWriter {
    pub fn with_capacity(values: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(values + 1);
        offsets.push(0);
        TextWriter { offsets, bytes: Vec::with_capacity(bytes) }
    }

    /// Ends the text that was being written to `bytes`.
    #[inline(always)]
    pub fn close(&mut self) {
        self.offsets.push(self.bytes.len() as u32);
    }

    #[inline(always)]
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.close();
    }

    pub fn finish<'a>(self) -> Texts<'a> {
        Texts { offsets: Cow::Owned(self.offsets), bytes: Cow::Owned(self.bytes), indices: None }
    }

    pub fn into_parts<'a>(self) -> (Cow<'a, [u32]>, Vec<u8>) {
        (Cow::Owned(self.offsets), self.bytes)
    }
}
