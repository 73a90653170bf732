//! One damage to one file.

use std::ops::Range;
use std::path::Path;

use fastrand::Rng;

#[derive(Debug)]
pub enum Strike {
    Flip {
        at: usize,
        bit: u8,
    },
    Cut {
        bytes: usize,
    },
    Zero {
        range: Range<usize>,
    },
    /// An empty file gets something in it.
    Fill {
        bytes: Vec<u8>,
    },
}

impl Strike {
    /// One that changes something.
    pub fn draw(random: &mut Rng, path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("a file");
        if bytes.is_empty() {
            return Self::Fill { bytes: std::iter::repeat_with(|| random.u8(..)).take(10).collect() };
        }
        loop {
            let at = place(random, &bytes);
            match random.u8(0..4) {
                0 | 1 => return Self::Flip { at, bit: random.u8(0..8) },
                2 => return Self::Cut { bytes: at },
                _ => {
                    let most = [16, 512, 4096, 20_000][random.usize(0..4)];
                    let range = at..bytes.len().min(at + random.usize(1..=most));
                    if bytes[range.clone()].iter().any(|byte| *byte != 0) {
                        return Self::Zero { range };
                    }
                }
            }
        }
    }

    /// Whether it takes something away, as a crash does of what was being written.
    pub fn is_at_an_end(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Zero { .. })
    }

    pub fn at(&self, path: &Path) {
        let mut bytes = std::fs::read(path).expect("a file");
        match self {
            Self::Flip { at, bit } => bytes[*at] ^= 1 << bit,
            Self::Cut { bytes: count } => bytes.truncate(*count),
            Self::Zero { range } => bytes[range.clone()].fill(0),
            Self::Fill { bytes: some } => bytes.clone_from(some),
        }
        std::fs::write(path, bytes).expect("written");
    }
}

/// Anywhere, at the beginning or at the end, where most of what is not data is, or where something was written: much of a
/// file may be empty.
fn place(random: &mut Rng, bytes: &[u8]) -> usize {
    let end = bytes.len();
    match random.u8(0..8) {
        0 => random.usize(0..end.min(400)),
        1 => end - 1 - random.usize(0..end.min(400)),
        2 | 3 => random.usize(0..end),
        _ => (0..100)
            .map(|_| random.usize(0..end))
            .find(|at| bytes[*at] != 0)
            .unwrap_or_else(|| random.usize(0..end)),
    }
}
