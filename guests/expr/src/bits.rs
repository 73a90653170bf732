//! Truth values as bytes of 0 and 1, one a row: what the loops of an expression read and write. Arrow's bits
//! are spread into them where they come in.

/// The first `rows` bits of a bitmap as bytes.
pub fn spread(bits: &[u8], rows: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.next_multiple_of(8));
    for byte in bits.iter().take(rows.div_ceil(8)) {
        // Each byte of the product keeps the one bit that is its own, and the sum carries it to the top.
        let own = u64::from(*byte).wrapping_mul(0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
        let one = (own.wrapping_add(0x7f7f_7f7f_7f7f_7f7f) >> 7) & 0x0101_0101_0101_0101;
        bytes.extend_from_slice(&one.to_le_bytes());
    }
    bytes.resize(rows, 0);
    bytes
}

pub fn and(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left & right).collect()
}

pub fn or(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left | right).collect()
}

pub fn not(one: &[u8]) -> Vec<u8> {
    one.iter().map(|one| one ^ 1).collect()
}

pub fn and_into(to: &mut [u8], other: &[u8]) {
    to.iter_mut().zip(other).for_each(|(to, other)| *to &= other);
}

pub fn or_into(to: &mut [u8], other: &[u8]) {
    to.iter_mut().zip(other).for_each(|(to, other)| *to |= other);
}

pub fn any(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |any, byte| any | byte) != 0
}

pub fn all(bytes: &[u8]) -> bool {
    bytes.iter().fold(1, |all, byte| all & byte) != 0
}

pub fn count(bytes: &[u8]) -> usize {
    // Sums of at most 255 fit into a byte, so that 16 of them are added at a time.
    bytes.chunks(255).map(|chunk| usize::from(chunk.iter().sum::<u8>())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_bytes_in_their_order() {
        let bits = [0b1010_0101, 0xff, 0b0000_0010];
        let wanted: Vec<u8> = (0..18).map(|row| bits[row / 8] >> (row % 8) & 1).collect();
        assert_eq!(spread(&bits, 18), wanted);
        assert_eq!(spread(&bits, 5), [1, 0, 1, 0, 0]);
        assert!(spread(&[], 0).is_empty());
        for byte in 0..=255u8 {
            let wanted: Vec<u8> = (0..8).map(|bit| byte >> bit & 1).collect();
            assert_eq!(spread(&[byte], 8), wanted, "{byte:08b}");
        }
    }

    #[test]
    fn ones_are_counted_past_the_range_of_a_byte() {
        assert_eq!(count(&[1; 1024]), 1024);
        assert_eq!(count(&[0, 1, 1, 0]), 2);
    }
}
