//! Arrays of one purpose, in the layouts that Arrow has for it.

use arrow::array::{
    BinaryArray, BinaryViewArray, FixedSizeBinaryArray, LargeBinaryArray, LargeStringArray, StringArray,
    StringViewArray,
};
use arrow::datatypes::{ArrowNativeType, TimeUnit, i256};

use super::write::write_decimal;

#[derive(Debug)]
pub(super) enum Decimals<'a> {
    D32(&'a [i32]),
    D64(&'a [i64]),
    D128(&'a [i128]),
    D256(&'a [i256]),
}

#[derive(Debug)]
pub(super) enum Texts<'a> {
    Small(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
}

#[derive(Debug)]
pub(super) enum Blobs<'a> {
    Small(&'a BinaryArray),
    Large(&'a LargeBinaryArray),
    View(&'a BinaryViewArray),
    Fixed(&'a FixedSizeBinaryArray),
}

/// Where the items of a list are.
#[derive(Debug)]
pub(super) enum Ranges<'a> {
    Small(&'a [i32]),
    Large(&'a [i64]),
    Fixed(usize),
    Views(&'a [i32], &'a [i32]),
    LargeViews(&'a [i64], &'a [i64]),
}

/// Parts of a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit(pub(super) i64);

impl Unit {
    pub(super) fn of(unit: TimeUnit) -> Self {
        Self(match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        })
    }

    /// Whole seconds, and nanoseconds from there on.
    pub(super) fn split(self, value: i64) -> (i64, u32) {
        let nanos = value.rem_euclid(self.0) * (1_000_000_000 / self.0);
        (value.div_euclid(self.0), nanos as u32)
    }

    pub(super) fn nanos(self, value: i64) -> i128 {
        i128::from(value) * i128::from(1_000_000_000 / self.0)
    }
}

impl Decimals<'_> {
    pub(super) fn write(&self, at: usize, scale: i8, out: &mut Vec<u8>) {
        match self {
            Self::D32(values) => write_decimal(itoa::Buffer::new().format(values[at]), scale, out),
            Self::D64(values) => write_decimal(itoa::Buffer::new().format(values[at]), scale, out),
            Self::D128(values) => write_decimal(itoa::Buffer::new().format(values[at]), scale, out),
            Self::D256(values) => write_decimal(&values[at].to_string(), scale, out),
        }
    }
}

impl<'a> Texts<'a> {
    #[inline]
    pub(super) fn value(&self, at: usize) -> &'a str {
        match self {
            Self::Small(texts) => texts.value(at),
            Self::Large(texts) => texts.value(at),
            Self::View(texts) => texts.value(at),
        }
    }
}

impl<'a> Blobs<'a> {
    pub(super) fn value(&self, at: usize) -> &'a [u8] {
        match self {
            Self::Small(blobs) => blobs.value(at),
            Self::Large(blobs) => blobs.value(at),
            Self::View(blobs) => blobs.value(at),
            Self::Fixed(blobs) => blobs.value(at),
        }
    }
}

impl Ranges<'_> {
    pub(super) fn of(&self, at: usize) -> std::ops::Range<usize> {
        match self {
            Self::Small(offsets) => offsets[at].as_usize()..offsets[at + 1].as_usize(),
            Self::Large(offsets) => offsets[at].as_usize()..offsets[at + 1].as_usize(),
            Self::Fixed(size) => at * size..(at + 1) * size,
            Self::Views(offsets, sizes) => offsets[at].as_usize()..(offsets[at] + sizes[at]).as_usize(),
            Self::LargeViews(offsets, sizes) => offsets[at].as_usize()..(offsets[at] + sizes[at]).as_usize(),
        }
    }
}
