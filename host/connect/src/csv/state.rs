//! What a byte means, by what stands before it in its row: the rules that the `csv` crate has for every place in which a
//! quote can stand, and escapes and comments beside them.

use serde::{Deserialize, Serialize};

use super::dialect::{Dialect, RowEnds};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// At the beginning of a row.
    #[default]
    Row,
    /// At that of another field.
    Begin,
    Plain,
    Quoted,
    Closed,
    /// Behind an escape, outside of quotes.
    Escaped,
    EscapedInQuotes,
    /// In a line that is no row.
    Comment,
}

impl State {
    /// Behind `byte`. `ends`: whether a line ends with it, should it be in no field.
    #[inline]
    pub(super) fn next(self, byte: u8, dialect: Dialect, ends: bool) -> Self {
        let is_quote = dialect.quote == Some(byte);
        match self {
            Self::Escaped => Self::Plain,
            Self::EscapedInQuotes => Self::Quoted,
            Self::Quoted if is_quote => Self::Closed,
            Self::Row if dialect.comment == Some(byte) => Self::Comment,
            Self::Quoted if dialect.escape == Some(byte) => Self::EscapedInQuotes,
            Self::Row | Self::Begin | Self::Plain | Self::Closed if dialect.escape == Some(byte) => {
                Self::Escaped
            }
            Self::Quoted => Self::Quoted,
            Self::Row | Self::Begin | Self::Closed if is_quote => Self::Quoted,
            _ if ends => Self::Row,
            Self::Comment => Self::Comment,
            _ if byte == dialect.delimiter => Self::Begin,
            _ => Self::Plain,
        }
    }

    pub(super) fn is_in_quotes(self) -> bool {
        matches!(self, Self::Quoted | Self::EscapedInQuotes)
    }

    /// Goes on to the end of a row, of which `data` is the next piece. How many bytes of that are its own for certain, and
    /// whether it ends there.
    pub(super) fn skip(
        &mut self,
        data: &[u8],
        ended: bool,
        dialect: Dialect,
        row_ends: RowEnds,
    ) -> (usize, bool) {
        for (at, &byte) in data.iter().enumerate() {
            let next = data.get(at + 1);
            let is_return = byte == b'\r' && row_ends == RowEnds::Any;
            if is_return && next.is_none() && !ended {
                return (at, false);
            }
            *self = self.next(byte, dialect, byte == b'\n' || is_return && next != Some(&b'\n'));
            if *self == Self::Row {
                return (at + 1, true);
            }
        }
        (data.len(), ended)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::index::Index;
    use super::*;

    proptest! {
        /// In pieces, however they are cut.
        #[test]
        fn what_is_skipped_is_the_row_that_is_read(
            parts in prop::collection::vec(prop_oneof![
                3 => Just(","), 3 => Just("\""), 2 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r"), 2 => Just("a"),
                1 => Just("\\"), 1 => Just("#"), 1 => Just("\"\""),
            ], 1..40),
            cuts in prop::collection::vec(1usize..6, 1..20),
            escape in prop::option::of(Just(b'\\')),
            comment in prop::option::of(Just(b'#')),
            any_ends in any::<bool>(),
        ) {
            let (text, dialect) = (parts.concat(), Dialect { escape, comment, ..Dialect::of(b',') });
            let row_ends = if any_ends { RowEnds::Any } else { RowEnds::Newline };
            let data = text.as_bytes();
            let mut index = Index::default();
            index.scan(data, 0, true, dialect, row_ends);
            let expected = if index.rows() > 0 { (index.row_end(0) + 1).min(data.len()) } else { data.len() };
            let (mut state, mut at, mut end) = (State::Row, 0, 0);
            let mut cuts = cuts.into_iter().cycle();
            loop {
                end = (end + cuts.next().unwrap_or(1)).min(data.len());
                let (used, is_over) = state.skip(&data[at..end], end == data.len(), dialect, row_ends);
                at += used;
                if is_over {
                    break;
                }
            }
            prop_assert_eq!(at, expected, "{:?}", text);
            if index.rows() == 0 {
                prop_assert_eq!(state.is_in_quotes(), index.has_open_quote());
            }
        }
    }
}
