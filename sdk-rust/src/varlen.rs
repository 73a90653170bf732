//! Values of varying length and bitmaps, built straight into the layout in which they cross to the host.

use crate::bindings::types::columns::{BlobColumn, Varlen};
use crate::raw::{self, Parts};

/// Builds a [`Varlen`]: its bytes grow at the end, and an offset closes each value.
#[derive(Debug, Clone, Default)]
pub(crate) struct VarlenBuilder {
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

/// One bit a value; nothing is kept until the first that is absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct ValidityBuilder {
    bits: Vec<u8>,
}

/// Builds a column of blobs that may be absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct BlobBuilder {
    values: VarlenBuilder,
    valid: ValidityBuilder,
}

impl VarlenBuilder {
    pub(crate) fn reserve(&mut self, values: usize, bytes: usize) {
        self.offsets.reserve(values + 1);
        self.bytes.reserve(bytes);
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// More of the value that is being built.
    #[inline(always)]
    pub(crate) fn append(&mut self, part: &[u8]) {
        raw::append(&mut self.bytes, part);
    }

    pub(crate) fn open_value(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends the value that is being built.
    #[inline(always)]
    pub(crate) fn close(&mut self) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        // What is past the bound of the contract is found in `finish`; nothing reads the offsets before.
        self.offsets.push(self.bytes.len() as u32);
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.append(value);
        self.close();
    }

    pub(crate) fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    /// Whether the values are more than the contract can carry in one column.
    pub(crate) fn is_too_large(&self) -> bool {
        self.bytes.len() > i32::MAX as usize
    }

    pub(crate) fn finish(self) -> Varlen {
        Varlen { offsets: self.offsets, bytes: self.bytes }
    }

    pub(crate) fn take(&self, order: &[usize]) -> Self {
        let mut taken = VarlenBuilder::default();
        taken.reserve(order.len(), self.bytes.len());
        order.iter().for_each(|index| taken.push(self.get(*index)));
        taken
    }
}

impl ValidityBuilder {
    /// Notes whether value `index` is there; to be told of every value from the first absent one on.
    #[inline(always)]
    pub(crate) fn note(&mut self, index: usize, present: bool) {
        if !(present && self.bits.is_empty()) {
            self.note_bit(index, present);
        }
    }

    pub(crate) fn get(&self, index: usize) -> bool {
        self.bits.is_empty() || self.bits[index / 8] >> (index % 8) & 1 == 1
    }

    pub(crate) fn take(&self, order: &[usize]) -> Self {
        let mut taken = ValidityBuilder::default();
        order.iter().enumerate().for_each(|(to, from)| taken.note(to, self.get(*from)));
        taken
    }

    /// None where every value is there.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.bits.is_empty()).then_some(self.bits)
    }

    #[cold]
    #[inline(never)]
    fn note_bit(&mut self, index: usize, present: bool) {
        if self.bits.is_empty() {
            self.bits = vec![0xff; index / 8];
            self.bits.push((1 << (index % 8)) - 1);
        }
        push_bit(&mut self.bits, index, present);
    }
}

/// Sets bit `index`, which is the next one or one of the last byte.
#[inline(always)]
pub(crate) fn push_bit(bits: &mut Vec<u8>, index: usize, set: bool) {
    if index / 8 == bits.len() {
        bits.push(0);
    }
    let mask = 1 << (index % 8);
    if set {
        bits[index / 8] |= mask;
    } else {
        bits[index / 8] &= !mask;
    }
}

impl BlobBuilder {
    pub(crate) fn reserve(&mut self, values: usize, bytes: usize) {
        self.values.reserve(values, bytes);
    }

    pub(crate) fn bytes_len(&self) -> usize {
        self.values.bytes_len()
    }

    /// Whether no room was made yet.
    #[inline(always)]
    pub(crate) fn is_unreserved(&self) -> bool {
        self.values.offsets.capacity() == 0
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        self.valid.note(self.values.len(), value.is_some());
        self.values.push(value.unwrap_or_default());
    }

    #[inline(always)]
    pub(crate) fn push_parts(&mut self, parts: impl Parts) {
        self.valid.note(self.values.len(), true);
        raw::append_parts(self.values.open_value(), parts);
        self.values.close();
    }

    /// Takes values that were made all at once into a column that has none yet.
    pub(crate) fn fill(&mut self, offsets: Vec<u32>, bytes: Vec<u8>) {
        self.values = VarlenBuilder { offsets, bytes };
    }

    /// The bytes to which the value is to be added, then closed with [`BlobBuilder::close`].
    pub(crate) fn open_value(&mut self) -> &mut Vec<u8> {
        self.values.open_value()
    }

    pub(crate) fn close(&mut self) {
        self.valid.note(self.values.len(), true);
        self.values.close();
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.values.is_too_large()
    }

    pub(crate) fn take(&self, order: &[usize]) -> Self {
        BlobBuilder { values: self.values.take(order), valid: self.valid.take(order) }
    }

    pub(crate) fn finish(self) -> BlobColumn {
        BlobColumn { valid: self.valid.finish(), blobs: self.values.finish() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_appears_with_the_first_absent_value() {
        let mut blobs = BlobBuilder::default();
        (0..10).for_each(|_| blobs.push(Some(b"x")));
        assert_eq!(blobs.clone().finish().valid, None);
        blobs.push(None);
        blobs.push(Some(b"yz"));
        let column = blobs.finish();
        assert_eq!(column.valid, Some(vec![0xff, 0b1011]));
        assert_eq!(column.blobs.offsets, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 12]);
    }

    #[test]
    fn no_values_are_no_offsets() {
        assert_eq!(BlobBuilder::default().finish().blobs, Varlen { offsets: vec![], bytes: vec![] });
    }
}
