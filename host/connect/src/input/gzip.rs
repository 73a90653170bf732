//! Gzip as it is found: members behind one another, zeros behind the last one (tapes, block devices), or other bytes that
//! somebody has left there. What is whole is read, as gzip and zlib do.

use std::io::{BufRead, BufReader, Read, Result};

use flate2::bufread::GzDecoder;

pub(crate) struct Members<R: Read> {
    /// None behind the last member.
    member: Option<GzDecoder<Peek<R>>>,
    /// Whether anything but members was met.
    has_others: bool,
    name: String,
}

/// A reader of which two bytes may have been looked at.
struct Peek<R: Read> {
    seen: Vec<u8>,
    rest: BufReader<R>,
}

/// What is behind a member.
#[derive(Debug, PartialEq, Eq)]
enum Behind {
    Member,
    Nothing,
    Other,
}

impl<R: Read> Members<R> {
    pub(crate) fn new(reader: R, name: &str) -> Self {
        let first = Peek { seen: Vec::new(), rest: BufReader::with_capacity(64 << 10, reader) };
        Self { member: Some(GzDecoder::new(first)), has_others: false, name: name.to_owned() }
    }

    /// Whether there was anything but members, so that one which is put behind it may not be found.
    pub(crate) fn has_others(&self) -> bool {
        self.has_others
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            let Some(mut peek) = self.member.take().map(GzDecoder::into_inner) else { break };
            let (behind, zeros) = peek.look()?;
            self.has_others |= zeros || behind == Behind::Other;
            match behind {
                Behind::Member => self.member = Some(GzDecoder::new(peek)),
                Behind::Nothing => {}
                Behind::Other => {
                    let file = self.name.as_str();
                    tracing::warn!(
                        file,
                        "behind the last gzip member stand bytes that are none: they are not read"
                    );
                }
            }
        }
        Ok(0)
    }
}

impl<R: Read> Peek<R> {
    /// What is next, and whether zeros stand before it.
    fn look(&mut self) -> Result<(Behind, bool)> {
        let next = |rest: &mut BufReader<R>| -> Result<Option<u8>> {
            let byte = rest.fill_buf()?.first().copied();
            rest.consume(usize::from(byte.is_some()));
            Ok(byte)
        };
        let mut zeros = false;
        let first = loop {
            match next(&mut self.rest)? {
                None => return Ok((Behind::Nothing, zeros)),
                Some(0) => zeros = true,
                Some(byte) => break byte,
            }
        };
        if first != 0x1f || next(&mut self.rest)? != Some(0x8b) {
            return Ok((Behind::Other, zeros));
        }
        self.seen = vec![0x1f, 0x8b];
        Ok((Behind::Member, zeros))
    }
}

impl<R: Read> Read for Peek<R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Peek<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        if self.seen.is_empty() { self.rest.fill_buf() } else { Ok(&self.seen) }
    }

    fn consume(&mut self, count: usize) {
        if self.seen.is_empty() {
            self.rest.consume(count);
        } else {
            self.seen.drain(..count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::gzip;

    #[test]
    fn what_is_whole_is_read_whatever_stands_behind_it() {
        let (one, two) = (gzip(b"one\n"), gzip(b"two\n"));
        let cases: [(&[&[u8]], &str); 7] = [
            (&[&one], "one\n"),
            (&[&one, &two], "one\ntwo\n"),
            (&[&one, &[0; 1000]], "one\n"),
            (&[&one, &[0; 512], &two, &[0]], "one\ntwo\n"),
            (&[&one, b"signature"], "one\n"),
            (&[&one, &[0x1f]], "one\n"),
            (&[&one, &[0, 0], b"\x1fx"], "one\n"),
        ];
        for (parts, expected) in cases {
            let bytes = parts.concat();
            // One byte at a time as well, as a pipe may bring it.
            for step in [1, bytes.len()] {
                let mut text = String::new();
                let pieces = bytes.chunks(step).map(<[u8]>::to_vec).collect();
                let read = Members::new(Pieces(pieces), "a.gz").read_to_string(&mut text);
                read.expect("what is whole");
                assert_eq!(text, expected);
            }
        }
        for broken in [&one[..one.len() - 1], &[&one[..], &two[..9]].concat()] {
            let read = Members::new(broken, "a.gz").read_to_end(&mut Vec::new());
            assert!(read.is_err(), "a member without its end");
        }
    }

    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> Result<usize> {
            let Some(piece) = self.0.pop_front() else { return Ok(0) };
            let count = piece.len().min(into.len());
            into[..count].copy_from_slice(&piece[..count]);
            if count < piece.len() {
                self.0.push_front(piece[count..].to_vec());
            }
            Ok(count)
        }
    }
}
