//! Rows of Arrow buffers side by side, at offset 0: lent where they are so already, else gathered: bytes on their
//! way into the guest, all else into buffers that the caller keeps.

use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use model::batch::Rows;

use crate::contract::{Bytes, Gathered, VarlenIn};

/// Buffers for one list of values of varying length.
#[derive(Debug, Default)]
pub(crate) struct VarlenScratch {
    offsets: Vec<u32>,
}

/// Values of a fixed width.
pub(crate) fn fixed<'a, T: Copy>(values: &'a [T], rows: &Rows, scratch: &'a mut Vec<T>) -> &'a [T] {
    match rows {
        Rows::All => values,
        Rows::At(rows) => {
            scratch.clear();
            scratch.extend(rows.iter().map(|&row| values[row as usize]));
            scratch
        }
    }
}

/// Bits as whole bytes, the first bit first.
pub(crate) fn bits<'a>(bits: &'a BooleanBuffer, rows: &Rows, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    match rows {
        Rows::All if bits.offset().is_multiple_of(8) => {
            let first = bits.offset() / 8;
            &bits.values()[first..first + bits.len().div_ceil(8)]
        }
        Rows::All => {
            scratch.clear();
            scratch.extend_from_slice(&bits.sliced());
            scratch.truncate(bits.len().div_ceil(8));
            scratch
        }
        Rows::At(rows) => {
            scratch.clear();
            scratch.extend(rows.chunks(8).map(|chunk| {
                let bit = |(i, &row): (usize, &u32)| u8::from(bits.value(row as usize)) << i;
                chunk.iter().enumerate().map(bit).fold(0, |byte, bit| byte | bit)
            }));
            scratch
        }
    }
}

/// A bitmap of validity; none where every value is there.
pub(crate) fn valid<'a>(
    nulls: Option<&'a NullBuffer>,
    rows: &Rows,
    scratch: &'a mut Vec<u8>,
) -> Option<&'a [u8]> {
    nulls.filter(|nulls| nulls.null_count() > 0).map(|nulls| bits(nulls.inner(), rows, scratch))
}

/// Values of varying length. An error says how many bytes they have, which are more than offsets reach.
pub(crate) fn varlen<'a>(
    offsets: &'a OffsetBuffer<i32>,
    bytes: &'a Buffer,
    rows: &'a Rows,
    scratch: &'a mut VarlenScratch,
) -> Result<VarlenIn<'a>, usize> {
    match rows {
        Rows::All => Ok(lend(offsets, bytes, scratch)),
        Rows::At(rows) if rows.is_empty() => Ok(VarlenIn::default()),
        Rows::At(rows) => collect(offsets, bytes, rows, scratch),
    }
}

fn lend<'a>(
    offsets: &'a OffsetBuffer<i32>,
    bytes: &'a Buffer,
    scratch: &'a mut VarlenScratch,
) -> VarlenIn<'a> {
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else { return VarlenIn::default() };
    if offsets.len() == 1 {
        return VarlenIn::default();
    }
    let bytes = &bytes[first as usize..last as usize];
    if first == 0 {
        // They are never negative, so they are the same numbers without a sign.
        return VarlenIn { offsets: offsets.inner().inner().typed_data(), bytes: Bytes::Lent(bytes) };
    }
    scratch.offsets.clear();
    scratch.offsets.extend(offsets.iter().map(|offset| (offset - first) as u32));
    VarlenIn { offsets: &scratch.offsets, bytes: Bytes::Lent(bytes) }
}

fn collect<'a>(
    offsets: &'a [i32],
    bytes: &'a [u8],
    rows: &'a [u32],
    scratch: &'a mut VarlenScratch,
) -> Result<VarlenIn<'a>, usize> {
    let mut end = 0usize;
    scratch.offsets.clear();
    scratch.offsets.reserve(rows.len() + 1);
    scratch.offsets.push(0);
    scratch.offsets.extend(rows.iter().map(|&row| {
        let row = row as usize;
        end += (offsets[row + 1] - offsets[row]) as usize;
        end as u32
    }));
    if i32::try_from(end).is_err() {
        return Err(end);
    }
    let bytes = Bytes::Gathered(Gathered::new(bytes, offsets, rows, end));
    Ok(VarlenIn { offsets: &scratch.offsets, bytes })
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryArray, BooleanArray};

    use super::*;

    fn values(varlen: VarlenIn<'_>) -> Vec<Vec<u8>> {
        let bytes = varlen.bytes.to_vec();
        let value = |w: &[u32]| bytes[w[0] as usize..w[1] as usize].to_vec();
        varlen.offsets.windows(2).map(value).collect()
    }

    #[test]
    fn values_of_varying_length_start_at_zero_whatever_the_selection() {
        let all: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; i as usize % 5]).collect();
        let array = BinaryArray::from_iter_values(&all);
        let selections: [&[u32]; 6] =
            [&[], &[0], &[39], &[0, 1, 2, 3], &[3, 4, 5, 9, 20, 21, 39], &[7, 7, 6, 5, 6]];
        for from in [0, 3] {
            let (array, all) = (array.slice(from, 30), &all[from..from + 30]);
            let mut scratch = VarlenScratch::default();
            let whole = varlen(array.offsets(), array.values(), &Rows::All, &mut scratch).expect("lent");
            assert_eq!(values(whole), all);
            for rows in selections {
                let rows: Vec<u32> = rows.iter().map(|row| row % 30).collect();
                let picked = Rows::At(rows.as_slice().into());
                let found = varlen(array.offsets(), array.values(), &picked, &mut scratch).expect("gathered");
                let expected: Vec<Vec<u8>> = rows.iter().map(|&row| all[row as usize].clone()).collect();
                assert_eq!(values(found), expected, "rows {rows:?} from {from}");
                assert!(found.offsets.first().is_none_or(|&first| first == 0));
            }
        }
    }

    #[test]
    fn nothing_is_two_empty_lists() {
        let array = BinaryArray::from_iter_values(["a"]).slice(1, 0);
        let mut scratch = VarlenScratch::default();
        let found = varlen(array.offsets(), array.values(), &Rows::All, &mut scratch).expect("lent");
        assert!(found.offsets.is_empty() && found.bytes.to_vec().is_empty());
    }

    #[test]
    fn bits_start_with_the_first_row_whatever_the_selection() {
        let all: Vec<bool> = (0..70).map(|i| i % 3 == 0).collect();
        let array = BooleanArray::from(all.clone());
        for from in [0, 8, 3] {
            let array = array.slice(from, 50);
            let bit = |bytes: &[u8], i: usize| bytes[i / 8] >> (i % 8) & 1 == 1;
            let mut scratch = Vec::new();
            let whole = bits(array.values(), &Rows::All, &mut scratch);
            assert_eq!(whole.len(), 7);
            assert!((0..50).all(|i| bit(whole, i) == all[from + i]), "from {from}");
            let rows: Vec<u32> = vec![49, 0, 0, 7, 8, 9, 33, 12, 13];
            let picked = bits(array.values(), &Rows::At(rows.as_slice().into()), &mut scratch);
            assert_eq!(picked.len(), 2);
            assert!(rows.iter().enumerate().all(|(i, &row)| bit(picked, i) == all[from + row as usize]));
        }
    }
}
