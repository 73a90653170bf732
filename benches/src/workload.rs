//! What every row of the belt's table is fed: prepared batches of small records, the same on all sides.

use arrow::array::{Array, BinaryArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};

/// Records in a batch.
pub const BATCH_RECORDS: usize = 1_024;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 100;
/// Distinct batches, taken in turn: 6.5 MB, more than the caches next to one core hold.
pub const DISTINCT_BATCHES: usize = 64;

/// Batches of records whose bytes are pseudo-random and the same in every run, so that no branch of a
/// filter can be predicted.
pub fn batches() -> Vec<BinaryArray> {
    let mut random = SplitMix(0x00c0_ffee);
    (0..DISTINCT_BATCHES).map(|_| batch(&mut random)).collect()
}

/// A batch of one record that all three stages let through.
pub fn single() -> BinaryArray {
    BinaryArray::from_vec(vec![&[b'@'; RECORD_BYTES]])
}

fn batch(random: &mut SplitMix) -> BinaryArray {
    let mut bytes = Vec::with_capacity(BATCH_RECORDS * RECORD_BYTES + 8);
    while bytes.len() < BATCH_RECORDS * RECORD_BYTES {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(BATCH_RECORDS * RECORD_BYTES);
    let offsets: Vec<i32> = (0..=BATCH_RECORDS).map(|record| (record * RECORD_BYTES) as i32).collect();
    BinaryArray::new(OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(bytes), None)
}

/// Splitmix64, after Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Tells whether two sides let the same records through, in the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    pub records: u64,
    pub hash: u64,
}

impl Checksum {
    pub fn add(&mut self, value: &[u8]) {
        self.records += 1;
        // The hash so far is the seed, so that order and boundaries count.
        self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(value, self.hash);
    }
}

/// What must come out of the three stages, worked out record by record, in the plainest way.
pub fn expected(batches: &[BinaryArray]) -> Checksum {
    let mut checksum = Checksum::default();
    for batch in batches {
        for record in 0..batch.len() {
            let value = batch.value(record);
            if !crate::stages::keeps_half(value) {
                continue;
            }
            let wrapped = [crate::stages::BEFORE, value, crate::stages::AFTER].concat();
            if crate::stages::keeps_most(&wrapped) {
                checksum.add(&wrapped);
            }
        }
    }
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_keep_half_and_nine_in_ten() {
        let batches = batches();
        let total = (DISTINCT_BATCHES * BATCH_RECORDS) as f64;
        let kept = expected(&batches).records as f64 / total;
        assert!((0.44..0.46).contains(&kept), "{kept} is not near 0.5 x 0.9");
        assert_ne!(batches[0].value(0), batches[1].value(0));
    }

    #[test]
    fn a_checksum_tells_order_and_boundaries() {
        let of = |values: &[&[u8]]| {
            let mut checksum = Checksum::default();
            values.iter().for_each(|value| checksum.add(value));
            checksum
        };
        assert_eq!(of(&[b"ab", b"c"]), of(&[b"ab", b"c"]));
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"c", b"ab"]));
        assert_ne!(of(&[b"ab", b"c"]).hash, of(&[b"a", b"bc"]).hash);
    }
}
