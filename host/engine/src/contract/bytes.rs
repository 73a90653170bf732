//! Bytes as they go in: lent from where they lie side by side, or, where values are seen through a selection, gathered
//! straight into the guest's memory, with no buffer of the host in between. Why this reaches into wasmtime,
//! `docs/adr/0003-bytes-gathered-into-the-guest.md` says.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext};
use wasmtime::component::{ComponentType, Lower};
use wasmtime::{Result, ValRaw};

/// Bytes of values of varying length.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bytes<'a> {
    /// They lie side by side.
    Lent(&'a [u8]),
    Gathered(Gathered<'a>),
}

/// The bytes of some values, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gathered<'a> {
    bytes: &'a [u8],
    /// Of all values, one more than there are.
    offsets: &'a [i32],
    rows: &'a [u32],
    /// Bytes of the values of `rows` together.
    len: usize,
}

/// Values are copied in pieces of this size, which the compiler turns into a few wide moves; what is copied
/// beyond a value's end is written over by the next one.
const PIECE: usize = 32;

impl<'a> Gathered<'a> {
    /// `len`: the bytes of the values of `rows` together.
    pub(crate) fn new(bytes: &'a [u8], offsets: &'a [i32], rows: &'a [u32], len: usize) -> Self {
        Self { bytes, offsets, rows, len }
    }

    /// Writes exactly as many bytes as there are.
    fn write(&self, to: &mut [u8]) {
        let mut at = 0;
        let mut rest = self.rows;
        while let [row, tail @ ..] = rest {
            let row = *row as usize;
            // Neighbours are copied in one go: a selection that keeps most rows is mostly runs.
            let run = tail.iter().zip(row + 1..).take_while(|(next, expected)| **next as usize == *expected);
            let run = run.count();
            let (from, end) = (self.offsets[row] as usize, self.offsets[row + run + 1] as usize);
            copy(self.bytes, from, &mut *to, at, end - from);
            at += end - from;
            rest = &tail[run..];
        }
        debug_assert_eq!(at, self.len, "the bytes of a selection were added up wrongly");
    }
}

/// Copies `len` bytes; where there is room for more on both sides, in whole pieces.
#[inline(always)]
fn copy(bytes: &[u8], from: usize, to: &mut [u8], at: usize, len: usize) {
    const SHORT: usize = 8 * PIECE;
    let whole = len.next_multiple_of(PIECE);
    if len <= SHORT
        && let (Some(source), Some(target)) = (bytes.get(from..from + whole), to.get_mut(at..at + whole))
    {
        for (target, source) in target.chunks_exact_mut(PIECE).zip(source.chunks_exact(PIECE)) {
            target.copy_from_slice(source);
        }
        return;
    }
    to[at..at + len].copy_from_slice(&bytes[from..from + len]);
}

impl Default for Bytes<'_> {
    fn default() -> Self {
        Bytes::Lent(&[])
    }
}

#[cfg(test)]
impl Bytes<'_> {
    pub(crate) fn to_vec(self) -> Vec<u8> {
        match self {
            Bytes::Lent(bytes) => bytes.to_vec(),
            Bytes::Gathered(gathered) => {
                let mut bytes = vec![0; gathered.len];
                gathered.write(&mut bytes);
                bytes
            }
        }
    }
}

impl Bytes<'_> {
    /// Writes the bytes into memory that the guest gives, and says where.
    fn put<U>(&self, cx: &mut LowerContext<'_, U>) -> Result<(usize, usize)> {
        let len = match self {
            Bytes::Lent(bytes) => bytes.len(),
            Bytes::Gathered(gathered) => gathered.len,
        };
        // Also for no bytes, as the canonical ABI says: a guest may free what it is given whatever its length,
        // as those in Python do. wasmtime checks that what the guest answers lies in its memory.
        let at = cx.realloc(0, 0, 1, len)?;
        let memory = &mut cx.as_slice_mut()[at..at + len];
        match self {
            Bytes::Lent(bytes) => memory.copy_from_slice(bytes),
            Bytes::Gathered(gathered) => gathered.write(memory),
        }
        Ok((at, len))
    }
}

// SAFETY: the type, its layout and its check are those of a list of bytes.
unsafe impl ComponentType for Bytes<'_> {
    type Lower = [ValRaw; 2];
    const ABI: CanonicalAbiInfo = <[u8] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[u8] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: both words are written, and name memory that the guest allocated and that was filled.
unsafe impl Lower for Bytes<'_> {
    fn linear_lower_to_flat<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        _: InterfaceType,
        dst: &mut MaybeUninit<[ValRaw; 2]>,
    ) -> Result<()> {
        let (at, len) = self.put(cx)?;
        flat(dst, at, len);
        Ok(())
    }

    fn linear_lower_to_memory<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        _: InterfaceType,
        offset: usize,
    ) -> Result<()> {
        let (at, len) = self.put(cx)?;
        in_memory(cx, offset, at, len);
        Ok(())
    }
}

/// As wasmtime passes a list in registers: 64 bits each, whatever the memory's width.
fn flat(dst: &mut MaybeUninit<[ValRaw; 2]>, at: usize, len: usize) {
    dst.write([ValRaw::i64(at as i64), ValRaw::i64(len as i64)]);
}

/// As a list lies in a memory of 32 bits. Both were checked to be within it.
fn in_memory<U>(cx: &mut LowerContext<'_, U>, offset: usize, at: usize, len: usize) {
    *cx.get(offset) = (at as u32).to_le_bytes();
    *cx.get(offset + 4) = (len as u32).to_le_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathered_bytes_are_exactly_those_of_the_rows() {
        // Long and short values, so that whole pieces, the ends of both buffers and long runs are met.
        for width in [0usize, 1, 31, 32, 33, 100, 256, 257, 1000] {
            let bytes: Vec<u8> = (0..width * 20).map(|i| (i * 7 % 251) as u8).collect();
            let offsets: Vec<i32> = (0..=20).map(|i| (i * width) as i32).collect();
            for rows in [&[][..], &[0], &[19], &[0, 1, 2, 3], &[1, 3, 5, 18, 19], &[7, 7, 6], &[19, 0, 19]] {
                let gathered = Gathered::new(&bytes, &offsets, rows, rows.len() * width);
                let expected: Vec<u8> = rows
                    .iter()
                    .flat_map(|&row| &bytes[row as usize * width..(row as usize + 1) * width])
                    .copied()
                    .collect();
                assert_eq!(Bytes::Gathered(gathered).to_vec(), expected, "rows {rows:?} of width {width}");
            }
        }
    }
}
