//! A batch of records that the host does not look into, and views that borrow from it.

use crate::bindings::types::{columns, records};
use crate::plan::Parts;
use crate::raw;
use crate::{Failure, Result};

/// Records that came together.
#[derive(Debug)]
pub struct Batch {
    wire: records::Batch,
    parts: Parts,
}

/// One record of a [`Batch`]; as cheap to pass on as a reference.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub(crate) batch: &'a Batch,
    index: u32,
    value: Option<&'a [u8]>,
}

/// The keys or values of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Blobs<'a> {
    // Invariant: either there are no offsets, or one more than there are values, ascending, and the last is
    // within the bytes. The host keeps it on the wire, and `Batch::new` checks what can be checked at once.
    offsets: &'a [u32],
    bytes: &'a [u8],
    valid: Validity<'a>,
}

/// Which values are there. Without a bitmap, all.
#[derive(Debug, Clone, Copy)]
pub struct Validity<'a>(&'a [u8]);

impl Batch {
    pub(crate) fn new(wire: records::Batch, parts: Parts) -> Result<Self> {
        let rows = wire.rows as usize;
        check_blobs("values", &wire.values, rows)?;
        if let Some(keys) = &wire.keys {
            check_blobs("keys", keys, rows)?;
        }
        check_times(wire.times.as_deref(), rows)?;
        if let Some(headers) = &wire.headers {
            let carried = headers.of.len();
            if headers.name.len() != carried || (carried > 0 && headers.values.offsets.len() != carried + 1) {
                return Err(malformed("headers", headers.name.len(), carried));
            }
        }
        Ok(Batch { wire, parts })
    }

    pub fn len(&self) -> usize {
        self.wire.rows as usize
    }

    pub fn is_empty(&self) -> bool {
        self.wire.rows == 0
    }

    pub fn records(&self) -> Records<'_> {
        Records { batch: self, values: self.values(), next: 0, rows: self.wire.rows }
    }

    /// # Panics
    /// Where there is no such record.
    pub fn record(&self, index: u32) -> Record<'_> {
        assert!(index < self.wire.rows, "record {index} of a batch of {}", self.wire.rows);
        Record { batch: self, index, value: self.values().get(index as usize) }
    }

    pub fn values(&self) -> Blobs<'_> {
        Blobs::of_column(&self.wire.values)
    }

    /// Empty where the plan did not ask for them or where no record has one.
    pub fn keys(&self) -> Blobs<'_> {
        Blobs::of_part(&self.wire.keys)
    }

    /// In microseconds since the Unix epoch; empty where the plan did not ask for them.
    pub fn times(&self) -> &[i64] {
        self.wire.times.as_deref().unwrap_or_default()
    }

    pub(crate) fn parts(&self) -> Parts {
        self.parts
    }
}

/// The records of a [`Batch`], in order.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    batch: &'a Batch,
    values: Blobs<'a>,
    next: u32,
    rows: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Record<'a>> {
        if self.next == self.rows {
            return None;
        }
        let index = self.next;
        self.next += 1;
        // SAFETY of the view: `Batch::new` checked that there is a value for each of `rows`.
        Some(Record { batch: self.batch, index, value: self.values.get_within(index as usize) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.rows - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Records<'_> {}

impl<'a> IntoIterator for &'a Batch {
    type Item = Record<'a>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.records()
    }
}

impl<'a> Record<'a> {
    /// The value; none is a deletion.
    #[inline(always)]
    pub fn value(self) -> Option<&'a [u8]> {
        self.value
    }

    /// The value, an absent one as no bytes.
    #[inline(always)]
    pub fn bytes(self) -> &'a [u8] {
        self.value.unwrap_or_default()
    }

    /// Its place in the batch.
    #[inline(always)]
    pub fn index(self) -> u32 {
        self.index
    }

    /// None where there is none, and where the plan did not ask for keys.
    pub fn key(self) -> Option<&'a [u8]> {
        self.batch.keys().get(self.index as usize)
    }

    /// Event time in microseconds since the Unix epoch; none where the plan did not ask for times.
    pub fn time(self) -> Option<i64> {
        self.batch.times().get(self.index as usize).copied()
    }

    /// Names and values; nothing where the plan did not ask for headers.
    pub fn headers(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let index = self.index;
        self.batch.wire.headers.iter().flat_map(move |headers| {
            let start = headers.of.partition_point(|of| *of < index);
            headers.of[start..].iter().take_while(move |of| **of == index).enumerate().map(move |(nth, _)| {
                let at = start + nth;
                let name = headers.names.get(usize::from(headers.name[at])).map_or("", String::as_str);
                (name, Blobs::of_varlen(&headers.values).get(at).unwrap_or_default())
            })
        })
    }

    /// The value of the first header of this name.
    pub fn header(self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

impl<'a> Blobs<'a> {
    const NONE: Blobs<'static> = Blobs { offsets: &[], bytes: &[], valid: Validity(&[]) };

    pub(crate) fn of_column(column: &'a columns::BlobColumn) -> Self {
        Blobs { valid: Validity::new(&column.valid), ..Self::of_varlen(&column.blobs) }
    }

    /// Those of a part that may not be there.
    pub(crate) fn of_part(part: &'a Option<columns::BlobColumn>) -> Self {
        part.as_ref().map_or(Self::NONE, Self::of_column)
    }

    pub(crate) fn of_varlen(values: &'a columns::Varlen) -> Self {
        Blobs { offsets: &values.offsets, bytes: &values.bytes, valid: Validity(&[]) }
    }

    pub(crate) fn with_validity(values: &'a columns::Varlen, valid: Validity<'a>) -> Self {
        Blobs { valid, ..Self::of_varlen(values) }
    }

    pub fn len(self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// None where it is absent, and where there is no such value.
    #[inline(always)]
    pub fn get(self, index: usize) -> Option<&'a [u8]> {
        if index < self.len() { self.get_within(index) } else { None }
    }

    /// How many bytes all values have together.
    pub fn total_bytes(self) -> usize {
        self.bytes.len()
    }

    #[inline(always)]
    pub fn validity(self) -> Validity<'a> {
        self.valid
    }

    /// Where the values are in `bytes`, for loops over whole columns: value `i` is
    /// `bytes[offsets[i]..offsets[i + 1]]`. Empty where there are no values.
    pub fn offsets(self) -> &'a [u32] {
        self.offsets
    }

    /// The bytes of all values, one after the other.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The caller has checked `index`.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(crate) fn get_within(self, index: usize) -> Option<&'a [u8]> {
        // SAFETY: `index < len` by the caller, and the rest is the invariant of the type.
        self.valid.get(index).then(|| unsafe { raw::slice(self.offsets, self.bytes, index) })
    }

    /// As [`Blobs::get_within`], for a value that is known to be there.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(crate) fn present_within(self, index: usize) -> &'a [u8] {
        // SAFETY: `index < len` by the caller, and the rest is the invariant of the type.
        unsafe { raw::slice(self.offsets, self.bytes, index) }
    }
}

impl<'a> Validity<'a> {
    pub(crate) fn new(bitmap: &'a Option<Vec<u8>>) -> Self {
        Validity(bitmap.as_deref().unwrap_or_default())
    }

    /// Whether every value is there, known without looking at each.
    #[inline(always)]
    pub fn is_all(self) -> bool {
        self.0.is_empty()
    }

    /// One bit a value, least significant first; empty where every value is there.
    pub fn bitmap(self) -> &'a [u8] {
        self.0
    }

    #[inline(always)]
    pub fn get(self, index: usize) -> bool {
        self.is_all() || self.0.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// How many of the first `rows` values are absent.
    pub fn nulls(self, rows: usize) -> usize {
        if self.is_all() { 0 } else { (0..rows).filter(|row| !self.get(*row)).count() }
    }
}

pub(crate) fn check_varlen(what: &str, values: &columns::Varlen, rows: usize) -> Result<()> {
    let end = values.offsets.last().map_or(0, |end| *end as usize);
    if values.offsets.len() == rows + 1 && end <= values.bytes.len() || rows == 0 && values.offsets.is_empty()
    {
        return Ok(());
    }
    Err(malformed(what, values.offsets.len().saturating_sub(1), rows))
}

pub(crate) fn malformed(what: &str, found: usize, rows: usize) -> Failure {
    Failure::fatal(format!("the host handed over a batch of {rows} with {what} of {found}"))
}

fn check_blobs(what: &str, column: &columns::BlobColumn, rows: usize) -> Result<()> {
    check_varlen(what, &column.blobs, rows)?;
    check_valid(what, column.valid.as_deref(), rows)
}

pub(crate) fn check_valid(what: &str, valid: Option<&[u8]>, rows: usize) -> Result<()> {
    match valid {
        Some(bitmap) if bitmap.len() * 8 < rows => Err(malformed(what, bitmap.len() * 8, rows)),
        _ => Ok(()),
    }
}

pub(crate) fn check_times(times: Option<&[i64]>, rows: usize) -> Result<()> {
    match times {
        Some(times) if times.len() != rows => Err(malformed("times", times.len(), rows)),
        _ => Ok(()),
    }
}
