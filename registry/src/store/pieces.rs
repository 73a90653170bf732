//! Buffers of one piece each, which go out as they were filled and are filled again: memory that is asked for anew is given
//! page by page, which takes as long as reading into it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use model::limits::{REGISTRY_PIECE_BYTES, REGISTRY_PIECES_KEPT};

use super::lock;

/// Those that nobody has.
#[derive(Clone, Default)]
pub(super) struct Pieces(Arc<Mutex<Vec<Box<[u8]>>>>);

/// One that somebody fills, or that is on its way out.
pub(super) struct Piece {
    buffer: Box<[u8]>,
    bytes: usize,
    home: Pieces,
}

impl Pieces {
    /// One with room for so many bytes, of which there are no more than a piece has. What is in it is anything.
    pub fn take(&self, bytes: usize) -> Piece {
        let buffer = lock(&self.0).pop().unwrap_or_else(|| vec![0; REGISTRY_PIECE_BYTES].into());
        Piece { bytes: bytes.min(buffer.len()), buffer, home: self.clone() }
    }
}

impl Piece {
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.bytes]
    }

    /// What it was filled with. Its buffer comes back once nobody has that any more.
    pub fn filled(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.bytes]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut kept = lock(&self.home.0);
        if kept.len() < REGISTRY_PIECES_KEPT {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_once_nobody_has_it_and_no_more_than_a_few_are_kept() {
        let pieces = Pieces::default();
        let mut piece = pieces.take(3);
        piece.room().copy_from_slice(b"abc");
        let (filled, other) = (piece.filled(), pieces.take(1));
        let part = filled.slice(1..);
        drop(filled);
        assert_eq!((&part[..], lock(&pieces.0).len()), (&b"bc"[..], 0), "somebody has it");
        drop((part, other));
        assert_eq!(lock(&pieces.0).len(), 2);
        assert_eq!(pieces.take(usize::MAX).room().len(), REGISTRY_PIECE_BYTES);
        let many: Vec<_> = (0..REGISTRY_PIECES_KEPT + 9).map(|_| pieces.take(1)).collect();
        drop(many);
        assert_eq!(lock(&pieces.0).len(), REGISTRY_PIECES_KEPT);
    }
}
