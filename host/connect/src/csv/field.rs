//! One field as it stands in the input, and what it means.

use std::borrow::Cow;

use memchr::memchr;

/// A field, with its quotes still on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    raw: &'a [u8],
    quote: Option<u8>,
}

impl<'a> Field<'a> {
    /// The field `data[start..end]`; the last one of a row may have a carriage return before the line break.
    #[inline]
    pub(crate) fn of(data: &'a [u8], start: usize, end: usize, last: bool, quote: Option<u8>) -> Self {
        let mut raw = &data[start..end];
        if last && let [before @ .., b'\r'] = raw {
            raw = before;
        }
        Self { raw, quote: quote.filter(|&quote| raw.first() == Some(&quote)) }
    }

    /// Whether nothing stands there, not even quotes.
    #[inline]
    pub(crate) fn is_absent(self) -> bool {
        self.raw.is_empty()
    }

    #[inline]
    pub(crate) fn is_quoted(self) -> bool {
        self.quote.is_some()
    }

    /// What the field means.
    #[inline]
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        match self.quote {
            None => Cow::Borrowed(self.raw),
            Some(quote) => unquote(self.raw, quote),
        }
    }

    /// The field if it has no quotes, which most have not.
    #[inline]
    pub(crate) fn plain(self) -> Option<&'a [u8]> {
        if self.quote.is_none() { Some(self.raw) } else { None }
    }
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
