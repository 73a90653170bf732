//! Texts in quotes: where they end, and what they mean.

use std::borrow::Cow;

use crate::{Malformed, Result, Walk};

/// What stands between two quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted<'t> {
    raw: &'t str,
    escaped: bool,
}

impl<'t> Quoted<'t> {
    /// As it stands, escapes and all.
    pub fn raw(self) -> &'t str {
        self.raw
    }

    /// What it means.
    pub fn text(self) -> Cow<'t, str> {
        if self.escaped { Cow::Owned(unescaped(self.raw)) } else { Cow::Borrowed(self.raw) }
    }

    pub fn is(self, text: &str) -> bool {
        if self.escaped { unescaped(self.raw) == text } else { self.raw == text }
    }
}

impl<'t> Walk<'t> {
    /// The text whose opening quote is next.
    #[inline]
    pub(crate) fn quoted(&mut self) -> Result<Quoted<'t>> {
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let (mut at, mut escaped) = (start, false);
        loop {
            // Eight bytes at a time, up to the first that is to be looked at.
            while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
                let special = special(u64::from_le_bytes(*chunk));
                at += special.trailing_zeros() as usize / 8;
                if special != 0 {
                    break;
                }
            }
            match bytes.get(at) {
                None => return Err(Malformed::Missing { wanted: "a closing quote", at }),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += escape(&self.text[at..]).ok_or(Malformed::Text(at))?;
                }
                Some(0..0x20) => return Err(Malformed::Text(at)),
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        Ok(Quoted { raw: &self.text[start..at], escaped })
    }
}

/// The top bit of each of eight bytes that is a quote, a backslash or a control character. Only the lowest one that
/// is set can be relied on: a borrow may set those above it.
#[inline(always)]
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, end: u64| word.wrapping_sub(ONES * end) & !word & TOPS;
    let quote = below(word ^ (ONES * b'"' as u64), 1);
    let backslash = below(word ^ (ONES * b'\\' as u64), 1);
    quote | backslash | below(word, 0x20)
}

/// How many bytes the escape at the start of `text` has, where it means something.
fn escape(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => match unit(bytes)? {
            0xd800..0xdc00 => {
                let low = unit(bytes.get(6..).filter(|rest| rest.starts_with(b"\\u"))?)?;
                (0xdc00..0xe000).contains(&low).then_some(12)
            }
            0xdc00..0xe000 => None,
            _ => Some(6),
        },
        _ => None,
    }
}

/// The number of a `\u` escape.
fn unit(escape: &[u8]) -> Option<u32> {
    let digits = escape.get(2..6)?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

/// What `raw` means; it was checked when it was found.
fn unescaped(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let bytes = &rest.as_bytes()[at..];
        let length = escape(&rest[at..]).unwrap_or(2);
        text.push(match (bytes.get(1), length) {
            (Some(b'b'), _) => '\u{8}',
            (Some(b'f'), _) => '\u{c}',
            (Some(b'n'), _) => '\n',
            (Some(b'r'), _) => '\r',
            (Some(b't'), _) => '\t',
            (Some(b'u'), 12) => {
                let (high, low) = (unit(bytes).unwrap_or(0xd800), unit(&bytes[6..]).unwrap_or(0xdc00));
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            (Some(b'u'), _) => unit(bytes).and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER),
            (Some(other), _) => char::from(*other),
            (None, _) => '\\',
        });
        rest = rest.get(at + length..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use crate::{Value, value};

    #[test]
    fn escapes_mean_what_the_standard_says() {
        for (json, wanted) in [
            (r#""plain and long enough for words""#, "plain and long enough for words"),
            (r#""a\"b\\c\/d""#, "a\"b\\c/d"),
            (r#""\b\f\n\r\t""#, "\u{8}\u{c}\n\r\t"),
            (r#""\u00e4\u65e5""#, "ä日"),
            (r#""\ud83d\ude00!""#, "😀!"),
            (r#""12345678\"12345678""#, "12345678\"12345678"),
            (r#""ümläute sind keine Steuerzeichen""#, "ümläute sind keine Steuerzeichen"),
            (r#""""#, ""),
        ] {
            match value(json.as_bytes()) {
                Ok(Value::Text(quoted)) => {
                    assert_eq!(quoted.text(), wanted);
                    assert!(quoted.is(wanted));
                }
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_quote_is_found_wherever_it_stands() {
        for length in 0..40 {
            let json = format!("\"{}\"", "x".repeat(length));
            assert!(value(json.as_bytes()).is_ok(), "{json}");
            let open = format!("\"{}", "x".repeat(length));
            assert!(value(open.as_bytes()).is_err(), "{open}");
            let control = format!("\"{}\u{1}{}\"", "x".repeat(length), "y".repeat(10));
            assert!(value(control.as_bytes()).is_err(), "a control character after {length}");
        }
    }
}
