//! The part of the input that was read and is not decoded yet.
//!
//! Pieces come with room in front of them, so that what the last one left over, most of the time the
//! beginning of a row, is put there, and the piece itself is never copied.

use flow::connector::ConnectError;

use crate::digest::Digest;

/// Room in front of a piece of input.
pub(crate) const HEADROOM: usize = 128 << 10;

/// A piece of input, behind its headroom.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) data: Vec<u8>,
    /// Where the piece ends in `data`.
    pub(crate) end: usize,
}

impl Chunk {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut data = vec![0; HEADROOM];
        data.extend_from_slice(bytes);
        Self { end: data.len(), data }
    }
}

/// What is left to decode is `data()[start()..]`.
#[derive(Debug, Default)]
pub(crate) struct Window {
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// Of all that is done with, of a file that is followed.
    pub(crate) digest: Option<Digest>,
}

impl Window {
    /// Adds a piece. Gives back a buffer that is not needed any more, to be filled again.
    pub(crate) fn append(&mut self, mut chunk: Chunk) -> Option<Vec<u8>> {
        let left = self.len();
        if left <= HEADROOM {
            let start = HEADROOM - left;
            chunk.data[start..HEADROOM].copy_from_slice(&self.data[self.start..self.end]);
            let old = std::mem::replace(&mut self.data, chunk.data);
            (self.start, self.end) = (start, chunk.end);
            return Some(old).filter(|old| !old.is_empty());
        }
        // A long record: it grows at the end of the buffer, which doubles.
        self.data.truncate(self.end);
        if self.start > left {
            self.data.drain(..self.start);
            self.start = 0;
        }
        self.data.extend_from_slice(&chunk.data[HEADROOM..chunk.end]);
        self.end = self.data.len();
        Some(chunk.data)
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.data[..self.end]
    }

    pub(crate) fn start(&self) -> usize {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What is before `start` is done with.
    pub(crate) fn consume_to(&mut self, start: usize) {
        let start = start.min(self.end);
        if let Some(digest) = &mut self.digest {
            digest.update(&self.data[self.start..start.max(self.start)]);
        }
        self.start = start;
    }

    /// At the beginning of a file: skips the mark of UTF-8. `false` where there is too little to tell.
    pub(crate) fn skip_mark(&mut self, ended: bool, file: &str) -> Result<bool, ConnectError> {
        let rest = &self.data()[self.start..];
        if !ended
            && rest.len() < 3
            && [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"].iter().any(|m| m.starts_with(rest))
        {
            return Ok(false);
        }
        if rest.starts_with(&[0xff, 0xfe]) || rest.starts_with(&[0xfe, 0xff]) {
            let next = "convert it to UTF-8, for example with `iconv -f UTF-16 -t UTF-8`";
            return Err(ConnectError::failed(file, "this is UTF-16, not UTF-8", next));
        }
        if rest.starts_with(&[0xef, 0xbb, 0xbf]) {
            self.consume_to(self.start + 3);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_over_stands_before_the_next_piece() {
        let mut window = Window::default();
        let mut expected = Vec::new();
        // Short remains, then one that is longer than the headroom, and one that has grown over that.
        for (size, used) in [(10, 7), (5, 8), (HEADROOM * 2, 3), (HEADROOM, 1), (7, HEADROOM * 2), (9, 0)] {
            let piece: Vec<u8> = (0..size).map(|i| (i % 251) as u8 ^ size as u8).collect();
            expected.extend_from_slice(&piece);
            window.append(Chunk::of(&piece));
            assert_eq!(&window.data()[window.start()..], &expected[..]);
            window.consume_to(window.start() + used);
            expected.drain(..used);
        }
    }
}
