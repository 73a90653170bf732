//! The only module with `unsafe` code: what a loop over records does for each of them, without a call out of
//! line and without a check that its caller has already made.
//!
//! Why it is worth it: with bulk memory a copy of unknown length becomes one `memory.copy`, which costs an
//! engine more than ten nanoseconds for its setup; a record of 100 bytes is copied here in three.
#![allow(unsafe_code)]

use std::ptr;

/// Above this many bytes the engine's own copy wins.
const INLINE_COPY_BYTES_MAX: usize = 1024;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
type Chunk = core::arch::wasm32::v128;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
type Chunk = [u64; 2];

/// Appends `part`. Room is made where there is too little; callers reserve well, so that this is rare.
#[inline(always)]
pub fn append(bytes: &mut Vec<u8>, part: &[u8]) {
    let (length, count) = (bytes.len(), part.len());
    if bytes.capacity() - length < count {
        grow(bytes, count);
    }
    // SAFETY: there is room for `count` bytes after the first `length`, `part` cannot overlap memory that
    // `bytes` owns alone, and the bytes up to the new length are written.
    unsafe {
        copy(part.as_ptr(), bytes.as_mut_ptr().add(length), count);
        bytes.set_len(length + count);
    }
}

/// Appends `parts` one after the other, with one look at the room that there is.
#[inline(always)]
pub fn append_parts(bytes: &mut Vec<u8>, parts: impl Parts) {
    let (length, count) = (bytes.len(), parts.total());
    if bytes.capacity() - length < count {
        grow(bytes, count);
    }
    // SAFETY: there is room for `count` bytes after the first `length`, and those are what `write` writes.
    unsafe {
        parts.write(bytes.as_mut_ptr().add(length));
        bytes.set_len(length + count);
    }
}

/// What [`make_each`] made.
pub struct Each {
    /// How many values.
    pub count: u32,
    /// Of which each was made, ascending; none where they are `0..count`.
    pub origins: Option<Vec<u32>>,
    pub offsets: Vec<u32>,
    pub bytes: Vec<u8>,
}

/// Makes a value of the parts that `make` gives for each of `0..rows`, or none. All that the loop needs is kept
/// in locals, which compilers keep in registers; the vectors behind them are told at its end. What values were made
/// of is listed only from the first on for which there is none.
#[inline(always)]
pub fn make_each<P: Parts>(rows: u32, mut bytes: Vec<u8>, mut make: impl FnMut(u32) -> Option<P>) -> Each {
    let mut origins: Option<Vec<u32>> = None;
    let mut offsets: Vec<u32> = Vec::with_capacity(rows as usize + 1);
    let (mut to_origins, to_offsets) = (ptr::null_mut::<u32>(), offsets.as_mut_ptr());
    let (mut base, mut room, mut length) = (bytes.as_mut_ptr(), bytes.capacity(), bytes.len());
    let mut made = 0;
    // SAFETY: `made` is below `rows` in the loop, for which there is room in both vectors, once there are
    // origins, of which those up to `made` are written then; in `bytes` room is made before `write` writes `count`
    // bytes; and what is counted at the end is written.
    unsafe {
        to_offsets.write(length as u32);
        for index in 0..rows {
            let Some(parts) = make(index) else {
                if to_origins.is_null() {
                    to_origins = origins.insert(first_of(made, rows)).as_mut_ptr();
                }
                continue;
            };
            let count = parts.total();
            if room - length < count {
                bytes.set_len(length);
                bytes = grown(bytes, count);
                (base, room) = (bytes.as_mut_ptr(), bytes.capacity());
            }
            parts.write(base.add(length));
            length += count;
            if !to_origins.is_null() {
                to_origins.add(made).write(index);
            }
            made += 1;
            to_offsets.add(made).write(length as u32);
        }
        bytes.set_len(length);
        if let Some(origins) = &mut origins {
            origins.set_len(made);
        }
        offsets.set_len(if made == 0 { 0 } else { made + 1 });
    }
    Each { count: made as u32, origins, offsets, bytes }
}

/// The indices below `made`, with room for `rows`.
#[cold]
#[inline(never)]
fn first_of(made: usize, rows: u32) -> Vec<u32> {
    let mut origins = Vec::with_capacity(rows as usize);
    origins.extend(0..made as u32);
    origins
}

/// Parts of one value, whose number is known when it is compiled: they are written without a loop, and a part
/// of known length without a branch.
///
/// # Safety
/// `write` writes `total` bytes.
pub unsafe trait Parts {
    fn total(&self) -> usize;

    /// # Safety
    /// `to` can be written for `total` bytes, and overlaps none of the parts.
    unsafe fn write(self, to: *mut u8);
}

macro_rules! parts {
    ($($count:literal: $($part:ident)*;)*) => {
        $(
            // SAFETY: each part is written after the one before it, and `total` is what they have together.
            unsafe impl Parts for [&[u8]; $count] {
                #[inline(always)]
                fn total(&self) -> usize {
                    let [$($part),*] = self;
                    0_usize $(.saturating_add($part.len()))*
                }

                #[inline(always)]
                #[allow(unused_assignments)]
                unsafe fn write(self, mut to: *mut u8) {
                    let [$($part),*] = self;
                    // SAFETY: as the trait says.
                    unsafe {
                        $(
                            copy($part.as_ptr(), to, $part.len());
                            to = to.add($part.len());
                        )*
                    }
                }
            }
        )*
    };
}

parts! {
    1: a;
    2: a b;
    3: a b c;
    4: a b c d;
    5: a b c d e;
    6: a b c d e f;
    7: a b c d e f g;
    8: a b c d e f g h;
}

/// Appends `value` where `condition` holds, without a branch on it.
#[inline(always)]
pub fn push_if(values: &mut Vec<u32>, value: u32, condition: bool) {
    let length = values.len();
    if length == values.capacity() {
        values.reserve(length.max(64));
    }
    // SAFETY: there is room for one more, and it is written before it is counted.
    unsafe {
        values.as_mut_ptr().add(length).write(value);
        values.set_len(length + usize::from(condition));
    }
}

/// The indices in `0..rows` for which `condition` holds, without a branch on it.
#[inline(always)]
pub fn indices_where(rows: u32, mut condition: impl FnMut(u32) -> bool) -> Vec<u32> {
    let mut kept: Vec<u32> = Vec::with_capacity(rows as usize);
    let to = kept.as_mut_ptr();
    let mut count = 0;
    // SAFETY: `count` is never above the index that is looked at, which is below `rows`.
    let mut consider = |index: u32| unsafe {
        to.add(count).write(index);
        count += usize::from(condition(index));
    };
    // An engine that counts fuel does so once per turn of a loop.
    let mut index = 0;
    while index + 8 <= rows {
        for step in 0..8 {
            consider(index + step);
        }
        index += 8;
    }
    while index < rows {
        consider(index);
        index += 1;
    }
    // SAFETY: the first `count` are written, and `count <= rows`.
    unsafe { kept.set_len(count) };
    kept
}

/// `bytes[offsets[index]..offsets[index + 1]]`.
///
/// # Safety
/// `index + 1 < offsets.len()`, and the offsets ascend and end within `bytes`.
#[inline(always)]
pub unsafe fn slice<'a>(offsets: &'a [u32], bytes: &'a [u8], index: usize) -> &'a [u8] {
    debug_assert!(index + 1 < offsets.len());
    // SAFETY: as above.
    unsafe {
        let start = *offsets.get_unchecked(index) as usize;
        let end = *offsets.get_unchecked(index + 1) as usize;
        debug_assert!(start <= end && end <= bytes.len());
        bytes.get_unchecked(start..end)
    }
}

/// # Safety
/// The host has checked that `bytes` are UTF-8, as it does for columns of texts.
#[inline(always)]
pub unsafe fn text(bytes: &[u8]) -> &str {
    debug_assert!(std::str::from_utf8(bytes).is_ok());
    // SAFETY: as above.
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

#[cold]
#[inline(never)]
fn grow(bytes: &mut Vec<u8>, count: usize) {
    bytes.reserve(count);
}

/// As [`grow`], by value: the vector of a loop that keeps its parts in registers.
#[cold]
#[inline(never)]
fn grown(mut bytes: Vec<u8>, count: usize) -> Vec<u8> {
    bytes.reserve(count);
    bytes
}

/// # Safety
/// `from` can be read and `to` written for `count` bytes, and they do not overlap.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, count: usize) {
    // SAFETY: each access is within `count` bytes: the last of a size reaches back from the end and overlaps
    // the one before it, so nothing beyond the end is read or written.
    unsafe {
        if count >= 16 {
            if count > INLINE_COPY_BYTES_MAX {
                return ptr::copy_nonoverlapping(from, to, count);
            }
            copy_chunks(from, to, count);
        } else if count >= 8 {
            move_one::<u64>(from, to, 0);
            move_one::<u64>(from, to, count - 8);
        } else if count >= 4 {
            move_one::<u32>(from, to, 0);
            move_one::<u32>(from, to, count - 4);
        } else if count >= 2 {
            move_one::<u16>(from, to, 0);
            move_one::<u16>(from, to, count - 2);
        } else if count == 1 {
            move_one::<u8>(from, to, 0);
        }
    }
}

/// # Safety
/// As for [`copy`], with `count >= 16`.
#[inline(always)]
unsafe fn copy_chunks(from: *const u8, to: *mut u8, count: usize) {
    let last = count - 16;
    let mut done = 0;
    // SAFETY: `done` stays below `last`, from where 16 bytes are left. Four chunks a turn, all loaded before
    // the first is stored: a loop of one would be recognised and made into the very call that this avoids.
    unsafe {
        while done + 64 <= count {
            let chunks = [
                load::<Chunk>(from, done),
                load::<Chunk>(from, done + 16),
                load::<Chunk>(from, done + 32),
                load::<Chunk>(from, done + 48),
            ];
            store(to, done, chunks[0]);
            store(to, done + 16, chunks[1]);
            store(to, done + 32, chunks[2]);
            store(to, done + 48, chunks[3]);
            done += 64;
        }
        if done + 32 <= count {
            move_one::<Chunk>(from, to, done);
            move_one::<Chunk>(from, to, done + 16);
            done += 32;
        }
        if done < last {
            move_one::<Chunk>(from, to, done);
        }
        move_one::<Chunk>(from, to, last);
    }
}

/// # Safety
/// `from + at` can be read as a `T`.
#[inline(always)]
unsafe fn load<T: Copy>(from: *const u8, at: usize) -> T {
    // SAFETY: as above.
    unsafe { from.add(at).cast::<T>().read_unaligned() }
}

/// # Safety
/// `to + at` can be written as a `T`.
#[inline(always)]
unsafe fn store<T: Copy>(to: *mut u8, at: usize, value: T) {
    // SAFETY: as above.
    unsafe { to.add(at).cast::<T>().write_unaligned(value) }
}

/// # Safety
/// As for [`load`] and [`store`].
#[inline(always)]
unsafe fn move_one<T: Copy>(from: *const u8, to: *mut u8, at: usize) {
    // SAFETY: as above.
    unsafe { store(to, at, load::<T>(from, at)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_every_length_are_appended_as_they_are() {
        let source: Vec<u8> = (0..3000u32).map(|n| (n * 7 % 251) as u8).collect();
        let (mut built, mut expected) = (Vec::new(), Vec::new());
        for length in (0..300).chain([1023, 1024, 1025, 2500]) {
            append(&mut built, &source[length % 13..length % 13 + length]);
            expected.extend_from_slice(&source[length % 13..length % 13 + length]);
            assert_eq!(built, expected, "after a part of {length} bytes");
        }
    }

    #[test]
    fn values_are_made_of_their_parts() {
        for rows in [0, 1, 3, 200] {
            let source: Vec<u8> = (0..rows as u8).collect();
            let make = |index: u32| {
                let part = &source[..index as usize];
                (index % 3 != 1).then_some([b"<<".as_slice(), part, b">"])
            };
            let each = make_each(rows, Vec::new(), make);
            let mut expected = Vec::new();
            let mut offsets = vec![0];
            let origins: Vec<u32> = (0..rows).filter(|index| index % 3 != 1).collect();
            for index in &origins {
                append_parts(&mut expected, [b"<<", &source[..*index as usize], b">"]);
                offsets.push(expected.len() as u32);
            }
            let listed = (rows > 1).then(|| origins.clone());
            assert_eq!((each.bytes, each.origins), (expected, listed), "of {rows}");
            assert_eq!(each.count as usize, origins.len());
            assert_eq!(each.offsets, if origins.is_empty() { vec![] } else { offsets });
        }
    }

    #[test]
    fn indices_are_kept_where_the_condition_holds() {
        for rows in [0, 1, 7, 8, 9, 64, 1000] {
            let kept = indices_where(rows, |index| index % 3 == 1);
            assert_eq!(kept, (0..rows).filter(|index| index % 3 == 1).collect::<Vec<_>>(), "of {rows}");
        }
    }

    #[test]
    fn a_conditional_push_grows_from_nothing() {
        let mut values = Vec::new();
        for value in 0..1000 {
            push_if(&mut values, value, value % 2 == 0);
        }
        assert_eq!(values, (0..1000).filter(|value| value % 2 == 0).collect::<Vec<_>>());
    }
}
