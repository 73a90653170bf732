//! A hash of all that was read of a file, which can be kept in a checkpoint and gone on with.
//!
//! It is a chain: each block's hash begins with that of the blocks before it. So whoever wants to know whether a file is
//! still the one that was read looks at its last block alone, and whoever wants to know whether another file is a copy of
//! it reads that once.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::input::read_some;
use crate::place::At;

/// Bytes of a block. The last one of a file is never empty, unless nothing was read.
const BLOCK: u64 = 4 << 10;

/// The hash while it grows.
#[derive(Clone)]
pub(crate) struct Digest {
    bytes: u64,
    /// Of the blocks before the last one.
    chain: u64,
    last: Xxh3,
    /// Bytes that come again, and are in it already.
    known: u64,
}

/// The hash as a checkpoint keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trail {
    /// How many of a file's bytes it is of, from the first one on.
    pub(crate) bytes: u64,
    chain: u64,
    hash: u64,
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.trail().fmt(f)
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self { bytes: 0, chain: 0, last: begun(0), known: 0 }
    }
}

impl Digest {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let known = self.known.min(bytes.len() as u64);
        self.known -= known;
        let mut bytes = &bytes[known as usize..];
        while !bytes.is_empty() {
            let mut room = BLOCK - in_last(self.bytes);
            if room == 0 {
                self.chain = self.last.digest();
                self.last = begun(self.chain);
                room = BLOCK;
            }
            let (some, rest) = bytes.split_at(bytes.len().min(room as usize));
            self.last.update(some);
            self.bytes += some.len() as u64;
            bytes = rest;
        }
    }

    pub(crate) fn trail(&self) -> Trail {
        Trail { bytes: self.bytes, chain: self.chain, hash: self.last.digest() }
    }

    /// The hash of the first bytes. None where there are fewer.
    pub(crate) fn of_begin(mut reader: impl Read, bytes: u64) -> std::io::Result<Option<Self>> {
        let mut digest = Self::default();
        let mut piece = vec![0; (64 << 10).min(bytes as usize)];
        while digest.bytes < bytes {
            let some = piece.len().min((bytes - digest.bytes) as usize);
            match read_some(&mut reader, &mut piece[..some])? {
                0 => return Ok(None),
                read => digest.update(&piece[..read]),
            }
        }
        Ok(Some(digest))
    }

    /// Whether the file still has at its place the last block that was read.
    pub(crate) fn is_end_in(&self, file: &File) -> std::io::Result<bool> {
        Ok(self.trail().go_on_in(file, self.bytes)?.is_some())
    }
}

impl Trail {
    /// The hash again, to go on from `position`, if the file has the same last block at the same place.
    pub(crate) fn go_on_in(&self, file: &File, position: u64) -> std::io::Result<Option<Digest>> {
        let size = in_last(self.bytes);
        let mut block = vec![0; size as usize];
        match file.read_exact_at(&mut block, self.bytes - size) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let mut last = begun(self.chain);
        last.update(&block);
        let known = self.bytes.saturating_sub(position);
        let digest = Digest { bytes: self.bytes, chain: self.chain, last, known };
        Ok((digest.trail() == *self).then_some(digest))
    }

    /// Whether the file begins with all that was read.
    pub(crate) fn is_begin_of(&self, file: &File) -> std::io::Result<bool> {
        self.is_begin_in(At { file, at: 0 })
    }

    /// The same of what is not a file by itself.
    pub(crate) fn is_begin_in(&self, file: impl Read) -> std::io::Result<bool> {
        Ok(Digest::of_begin(file, self.bytes)?.is_some_and(|digest| digest.trail() == *self))
    }
}

fn begun(chain: u64) -> Xxh3 {
    let mut block = Xxh3::new();
    block.update(&chain.to_le_bytes());
    block
}

/// How many of `bytes` are in the last block.
fn in_last(bytes: u64) -> u64 {
    bytes.checked_sub(1).map_or(0, |last| last % BLOCK + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_from_wherever_it_was_kept_and_tells_files_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let bytes: Vec<u8> = (0..3 * BLOCK + 77).map(|i| (i * i % 251) as u8).collect();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(directory.path().join(name), bytes).expect("written");
            File::open(directory.path().join(name)).expect("a file")
        };
        let file = write("a", &bytes);
        let mut whole = Digest::default();
        whole.update(&bytes);
        for cut in [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 76] {
            let mut before = Digest::default();
            before.update(&bytes[..cut as usize]);
            let trail = before.trail();
            assert_eq!(trail.bytes, cut);
            assert!(trail.is_begin_of(&file).expect("read"));
            // Also where it goes on from a place that was passed already.
            let from = cut / 2;
            let mut after = trail.go_on_in(&file, from).expect("read").expect("the same file");
            for piece in bytes[from as usize..].chunks(1000) {
                after.update(piece);
            }
            assert_eq!(after.trail(), whole.trail(), "cut at {cut}");
        }
        let mut other = bytes.clone();
        other[5] ^= 1;
        let changed = write("b", &other);
        let trail = whole.trail();
        assert!(trail.go_on_in(&changed, trail.bytes).expect("read").is_some(), "its last block is the same");
        assert!(!trail.is_begin_of(&changed).expect("read"));
        let short = write("c", &bytes[..bytes.len() - 1]);
        assert!(trail.go_on_in(&short, trail.bytes).expect("read").is_none());
        assert!(!trail.is_begin_of(&short).expect("read"));
        assert!(!whole.is_end_in(&short).expect("read") && whole.is_end_in(&file).expect("read"));
    }
}
