//! Where in 64 bytes three characters are, as bits.

use wide::u8x16;

/// One bit for each byte of a block, the first byte in the lowest bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    pub(super) delimiter: u64,
    pub(super) quote: u64,
    pub(super) newline: u64,
}

pub(super) const BLOCK: usize = 64;

#[inline]
pub(super) fn masks(block: &[u8; BLOCK], delimiter: u8, quote: u8) -> Masks {
    let (delimiters, quotes, newlines) = (u8x16::splat(delimiter), u8x16::splat(quote), u8x16::splat(b'\n'));
    let mut masks = Masks::default();
    for (part, bytes) in block.as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::from(*bytes);
        let bits = |wanted: u8x16| u64::from(bytes.simd_eq(wanted).to_bitmask()) << (part * 16);
        masks.delimiter |= bits(delimiters);
        masks.quote |= bits(quotes);
        masks.newline |= bits(newlines);
    }
    masks
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn each_byte_is_found_where_it_is(bytes in proptest::collection::vec(proptest::prop_oneof![
            proptest::strategy::Just(b','), proptest::strategy::Just(b'"'), proptest::strategy::Just(b'\n'),
            proptest::prelude::any::<u8>()
        ], BLOCK)) {
            let block: [u8; BLOCK] = bytes.try_into().expect("64 bytes");
            let bits = |wanted| (0..BLOCK).fold(0u64, |bits, i| bits | u64::from(block[i] == wanted) << i);
            let expected = Masks { delimiter: bits(b','), quote: bits(b'"'), newline: bits(b'\n') };
            proptest::prop_assert_eq!(masks(&block, b',', b'"'), expected);
        }
    }
}
