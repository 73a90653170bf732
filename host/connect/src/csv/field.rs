//! One field as it stands in the input, and what it means.

use std::borrow::Cow;

use memchr::memchr;

use super::dialect::Dialect;

/// A field, with its quotes still on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    raw: &'a [u8],
    quote: Option<u8>,
    /// Where an escape stands in it.
    escaped: Option<Dialect>,
}

impl<'a> Field<'a> {
    /// The field `data[start..end]`; the last one of a row may have a carriage return before the line break.
    #[inline]
    pub(crate) fn of(data: &'a [u8], start: usize, end: usize, last: bool, dialect: Dialect) -> Self {
        let raw = Self::raw(data, start, end, last);
        let quote = dialect.quote.filter(|&quote| raw.first() == Some(&quote));
        let escaped = dialect.escape.is_some_and(|escape| memchr(escape, raw).is_some()).then_some(dialect);
        Self { raw, quote, escaped }
    }

    /// The bytes of a field as they stand.
    #[inline(always)]
    pub(crate) fn raw(data: &'a [u8], start: usize, end: usize, last: bool) -> &'a [u8] {
        match &data[start..end] {
            [before @ .., b'\r'] if last => before,
            raw => raw,
        }
    }

    /// Whether it is a null where `null` is what stands for one. Without it, nothing does: an empty field, or, where
    /// it is `alone` in its row and an empty line would be no row, empty quotes.
    #[inline(always)]
    pub(crate) fn is_null(self, null: Option<&[u8]>, alone: bool, of_text: bool) -> bool {
        match (self.bare(), null) {
            (Some(raw), None) => raw.is_empty(),
            (Some(raw), Some(null)) => raw == null || !of_text && raw.is_empty(),
            (None, None) => alone && self.raw.len() == 2 && self.bytes().is_empty(),
            (None, Some(_)) => false,
        }
    }

    /// What the field means.
    #[inline]
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        match (self.quote, self.escaped) {
            (None, None) => Cow::Borrowed(self.raw),
            (Some(quote), None) => unquote(self.raw, quote),
            (_, Some(dialect)) => Cow::Owned(resolve(self.raw, self.quote.is_some(), dialect)),
        }
    }

    /// The field if it has no quotes and no escapes, which most have not.
    #[inline]
    pub(crate) fn plain(self) -> Option<&'a [u8]> {
        if self.quote.is_none() && self.escaped.is_none() { Some(self.raw) } else { None }
    }

    /// The field as it stands, unless it is quoted.
    #[inline]
    pub(crate) fn bare(self) -> Option<&'a [u8]> {
        if self.quote.is_none() { Some(self.raw) } else { None }
    }
}

/// What a field with escapes means. An escape before a character that it is for is gone, `\0` is a zero byte, and before
/// anything else it is a character like others.
#[cold]
fn resolve(raw: &[u8], is_quoted: bool, dialect: Dialect) -> Vec<u8> {
    let Dialect { delimiter, quote, escape, .. } = dialect;
    let mut meant = Vec::with_capacity(raw.len());
    let mut quoted = is_quoted;
    let mut rest = if is_quoted { &raw[1..] } else { raw };
    while let [byte, behind @ ..] = rest {
        let is_quote = quoted && quote == Some(*byte);
        let (pushed, next) = match behind {
            [b'0', next @ ..] if escape == Some(*byte) => (0, next),
            [b'\r' | b'\n', next @ ..] if escape == Some(*byte) => (behind[0], next),
            [other, next @ ..]
                if escape == Some(*byte)
                    && (Some(*other) == escape || Some(*other) == quote || *other == delimiter) =>
            {
                (*other, next)
            }
            [other, next @ ..] if is_quote && other == byte => (*byte, next),
            next if is_quote => {
                quoted = false;
                rest = next;
                continue;
            }
            next => (*byte, next),
        };
        meant.push(pushed);
        rest = next;
    }
    meant
}

fn unquote(raw: &[u8], quote: u8) -> Cow<'_, [u8]> {
    let inner = &raw[1..];
    match memchr(quote, inner) {
        // Quotes around it and none inside.
        Some(at) if at + 1 == inner.len() => Cow::Borrowed(&inner[..at]),
        None => Cow::Borrowed(inner),
        Some(at) => Cow::Owned(unescape(inner, at, quote)),
    }
}

/// From the first quote behind the opening one: a doubled quote is one, a single one ends the quoted part,
/// and what follows it is as it stands.
fn unescape(inner: &[u8], first: usize, quote: u8) -> Vec<u8> {
    let mut meant = Vec::with_capacity(inner.len());
    let (mut rest, mut next) = (inner, Some(first));
    while let Some(at) = next {
        meant.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if rest.first() != Some(&quote) {
            break;
        }
        meant.push(quote);
        rest = &rest[1..];
        next = memchr(quote, rest);
    }
    meant.extend_from_slice(rest);
    meant
}
