//! Hashes of values (XXH3), the same whatever the width of a number or the batch that it comes in.

use expr::{Texts, Vector};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hashes below it are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    All,
    Below(u64),
}

impl Threshold {
    /// None where `fraction` is not from 0 to 1.
    pub fn of(fraction: f64) -> Option<Self> {
        const HASHES: f64 = 18_446_744_073_709_551_616.0;
        match fraction {
            1.0 => Some(Threshold::All),
            fraction if (0.0..1.0).contains(&fraction) => Some(Threshold::Below((fraction * HASHES) as u64)),
            _ => None,
        }
    }

    #[inline(always)]
    pub fn keeps(self, hash: u64) -> bool {
        match self {
            Threshold::All => true,
            Threshold::Below(end) => hash < end,
        }
    }
}

/// None has a hash of its own.
pub fn of_bytes(bytes: Option<&[u8]>, seed: u64) -> u64 {
    match bytes {
        Some(bytes) => xxh3_64_with_seed(bytes, seed),
        None => xxh3_64_with_seed(b"\0null", seed.rotate_left(1)),
    }
}

/// Puts the value of each row into its hash.
pub fn mix(column: &Vector<'_>, hashes: &mut [u64]) {
    let known = column.known();
    let mut each = |value: &dyn Fn(usize, u64) -> u64| {
        for (row, hash) in hashes.iter_mut().enumerate() {
            let present = known.is_none_or(|known| known[row] == 1);
            *hash = if present { value(row, *hash) } else { of_bytes(None, *hash) };
        }
    };
    match column {
        Vector::Const(_) => {}
        Vector::Bools(mask) => each(&|row, seed| xxh3_64_with_seed(&[mask.truth[row]], seed)),
        Vector::Ints(ints, _) => each(&|row, seed| xxh3_64_with_seed(&ints.get(row).to_le_bytes(), seed)),
        Vector::Times(values, _) => each(&|row, seed| xxh3_64_with_seed(&values[row].to_le_bytes(), seed)),
        Vector::Days(values, _) => each(&|row, seed| xxh3_64_with_seed(&values[row].to_le_bytes(), seed)),
        Vector::Floats(values, _) => each(&|row, seed| {
            // Both zeros are one number.
            xxh3_64_with_seed(&(values[row] + 0.0).to_le_bytes(), seed)
        }),
        Vector::Texts(texts, _) | Vector::Bytes(texts, _) => each(&|row, seed| of_text(texts, row, seed)),
    }
}

fn of_text(texts: &Texts<'_>, row: usize, seed: u64) -> u64 {
    xxh3_64_with_seed(texts.row(row), seed)
}
