//! How the rows of a file are written: what separates, encloses and escapes, and where rows end.

use memchr::{memchr, memchr_iter, memchr2};

/// What separates fields and what encloses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    /// None where quotes are ordinary characters.
    pub(crate) quote: Option<u8>,
    /// What makes the quote, the delimiter, a line break and itself an ordinary character, in quotes and outside.
    pub(crate) escape: Option<u8>,
    /// What begins a line that is no row.
    pub(crate) comment: Option<u8>,
}

impl Dialect {
    /// RFC 4180, with another delimiter maybe.
    #[cfg(test)]
    pub(crate) const fn of(delimiter: u8) -> Self {
        Self { delimiter, quote: Some(b'"'), escape: None, comment: None }
    }

    /// Whether a line is one that is no row.
    #[inline]
    pub(crate) fn is_comment(self, row: &[u8]) -> bool {
        self.comment.is_some() && row.first().copied() == self.comment
    }
}

/// Everything that says what the bytes of a file mean.
#[derive(Clone, Debug)]
pub(crate) struct CsvForm {
    pub(crate) dialect: Dialect,
    /// Lines in front of all others that are not looked at.
    pub(crate) skip_lines: u64,
    /// Whether the first row has the names of the columns.
    pub(crate) header: bool,
    /// The text that stands for a null. Without one, an empty field is a null even in a column of text.
    pub(crate) null: Option<Vec<u8>>,
    /// Whether numbers have a comma where others have a point.
    pub(crate) decimal_comma: bool,
}

/// What ends the rows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowEnds {
    /// `\n`, with or without `\r` before it.
    Newline,
    /// `\r` alone as well.
    Any,
}

impl RowEnds {
    /// Found by the end of the first line of `data`. None where it is not in sight.
    pub(crate) fn of(data: &[u8], ended: bool, dialect: Dialect) -> Option<Self> {
        // What stands in a comment opens nothing.
        let quote = dialect.quote.filter(|_| !dialect.is_comment(data));
        let (mut quoted, mut begins) = (false, true);
        let mut bytes = data.iter().enumerate();
        while let Some((at, &byte)) = bytes.next() {
            if dialect.escape == Some(byte) {
                bytes.next();
            } else if quote == Some(byte) && (quoted || begins) {
                // A doubled quote closes and opens again.
                quoted = !quoted;
                begins = !quoted;
                continue;
            } else if quoted {
                continue;
            } else if byte == b'\n' {
                return Some(Self::Newline);
            } else if byte == b'\r' {
                return match data.get(at + 1) {
                    Some(b'\n') => Some(Self::Newline),
                    None if !ended => None,
                    _ => Some(Self::Any),
                };
            }
            begins = byte == dialect.delimiter;
        }
        ended.then_some(Self::Newline)
    }

    /// Where the first line of `data` ends, and where the next one begins.
    pub(crate) fn first_end(self, data: &[u8], ended: bool) -> Option<(usize, usize)> {
        let at = match self {
            Self::Newline => memchr(b'\n', data)?,
            Self::Any => memchr2(b'\r', b'\n', data)?,
        };
        match data[at..] {
            [b'\r'] if !ended => None,
            [b'\r', b'\n', ..] => Some((at, at + 2)),
            _ => Some((at, at + 1)),
        }
    }

    /// How many bytes of `data` are of its first line for certain, its end included.
    pub(crate) fn spent(self, data: &[u8], ended: bool) -> usize {
        let half = usize::from(self == Self::Any && !ended && data.last() == Some(&b'\r'));
        self.first_end(data, ended).map_or(data.len() - half, |(_, next)| next)
    }

    /// How many lines end in `bytes`.
    pub(crate) fn count(self, bytes: &[u8]) -> u64 {
        let newlines = memchr_iter(b'\n', bytes).count() as u64;
        match self {
            Self::Newline => newlines,
            Self::Any => newlines + lone_returns(bytes).count() as u64,
        }
    }
}

/// Where carriage returns stand that are no part of `\r\n`.
pub(crate) fn lone_returns(bytes: &[u8]) -> impl Iterator<Item = usize> {
    memchr_iter(b'\r', bytes).filter(|&at| bytes.get(at + 1) != Some(&b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_how_rows_end() {
        use RowEnds::{Any, Newline};
        let escaped = Dialect { escape: Some(b'\\'), ..Dialect::of(b',') };
        let hash = Dialect { comment: Some(b'#'), ..Dialect::of(b',') };
        let cases: [(&str, bool, Dialect, Option<RowEnds>); 15] = [
            ("a,b\n1\r", false, Dialect::of(b','), Some(Newline)),
            ("a,b\r\n", false, Dialect::of(b','), Some(Newline)),
            ("a,b\r1", false, Dialect::of(b','), Some(Any)),
            ("a,b\r", false, Dialect::of(b','), None),
            ("a,b\r", true, Dialect::of(b','), Some(Any)),
            ("a,b\r\r\n", false, Dialect::of(b','), Some(Any)),
            ("a,b", false, Dialect::of(b','), None),
            ("a,b", true, Dialect::of(b','), Some(Newline)),
            ("\"a\rb\",c\n", false, Dialect::of(b','), Some(Newline)),
            ("\"a\"\"\r\",c\n", false, Dialect::of(b','), Some(Newline)),
            ("5\" pipe,b\r1", false, Dialect::of(b','), Some(Any)),
            ("\"a\\\"\r\"\n", false, escaped, Some(Newline)),
            ("a\\\rb\n", false, escaped, Some(Newline)),
            ("#\"\r1", false, hash, Some(Any)),
            ("#\"\n\"\r\"", false, hash, Some(Newline)),
        ];
        for (text, ended, dialect, expected) in cases {
            assert_eq!(RowEnds::of(text.as_bytes(), ended, dialect), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_are_counted_as_they_end() {
        let text = b"a\r\nb\rc\n\r\r\n";
        assert_eq!((RowEnds::Newline.count(text), RowEnds::Any.count(text)), (3, 5));
        assert_eq!(RowEnds::Any.first_end(b"a\r", false), None);
        assert_eq!(RowEnds::Any.first_end(b"a\r", true), Some((1, 2)));
        assert_eq!(RowEnds::Any.first_end(b"a\r\nb", false), Some((1, 3)));
        assert_eq!(RowEnds::Newline.first_end(b"a\rb\n", false), Some((3, 4)));
    }
}
