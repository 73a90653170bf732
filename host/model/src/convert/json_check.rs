//! Whether a text is JSON, at the speed of a check that every batch goes through.
//!
//! Strict by RFC 8259, and by two bounds that whoever reads JSON has too: values are nested at most
//! [`JSON_DEPTH_MAX`] deep, and an escape that is half of a surrogate pair means nothing. serde_json bounds neither in
//! what it skips.

use crate::limits::JSON_DEPTH_MAX;

/// Where a text is no JSON: the byte at which something else would have to stand.
type Broken = usize;

/// Whether the text is one JSON value and nothing else.
pub fn is_json_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    value_end(bytes, space(bytes, 0)).is_ok_and(|end| space(bytes, end) == bytes.len())
}

/// The end of the value that begins at `at`. `bytes` are UTF-8.
pub(super) fn value_end(bytes: &[u8], mut at: usize) -> Result<usize, Broken> {
    // A bit for each value that is open, the innermost last: whether it is an object.
    let (mut open, mut depth) = (0u128, 0usize);
    const { assert!(JSON_DEPTH_MAX <= u128::BITS as usize) };
    loop {
        let begin = *bytes.get(at).ok_or(at)?;
        at = match begin {
            b'"' => text_end(bytes, at + 1)?,
            b'{' | b'[' => {
                let inside = space(bytes, at + 1);
                let is_object = begin == b'{';
                // Two behind each bracket that opens is the one that closes.
                if bytes.get(inside) == Some(&(begin + 2)) {
                    inside + 1
                } else if depth == JSON_DEPTH_MAX {
                    return Err(at);
                } else {
                    (open, depth) = (open << 1 | u128::from(is_object), depth + 1);
                    at = if is_object { name_end(bytes, inside)? } else { inside };
                    continue;
                }
            }
            b'-' | b'0'..=b'9' => number_end(bytes, at)?,
            b't' => word_end(bytes, at, b"true")?,
            b'f' => word_end(bytes, at, b"false")?,
            b'n' => word_end(bytes, at, b"null")?,
            _ => return Err(at),
        };
        loop {
            if depth == 0 {
                return Ok(at);
            }
            at = space(bytes, at);
            let is_object = open & 1 == 1;
            match bytes.get(at) {
                Some(b',') => {
                    at = space(bytes, at + 1);
                    if is_object {
                        at = name_end(bytes, at)?;
                    }
                    break;
                }
                Some(b'}') if is_object => {}
                Some(b']') if !is_object => {}
                _ => return Err(at),
            }
            (open, depth, at) = (open >> 1, depth - 1, at + 1);
        }
    }
}

/// Behind a member's name and its colon, where its value begins.
#[inline]
fn name_end(bytes: &[u8], at: usize) -> Result<usize, Broken> {
    if bytes.get(at) != Some(&b'"') {
        return Err(at);
    }
    let colon = space(bytes, text_end(bytes, at + 1)?);
    if bytes.get(colon) == Some(&b':') { Ok(space(bytes, colon + 1)) } else { Err(colon) }
}

#[inline]
fn space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

fn word_end(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, Broken> {
    if bytes[at..].starts_with(word) { Ok(at + word.len()) } else { Err(at) }
}

/// Behind the quote that ends the text of which the inside begins at `at`.
#[inline]
fn text_end(bytes: &[u8], mut at: usize) -> Result<usize, Broken> {
    loop {
        at = plain_end(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape_end(bytes, at + 1)?,
            _ => return Err(at),
        }
    }
}

/// The next quote, backslash or control character, eight bytes at a time; the end where there is none.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // The lowest high bit that is set is that of the first byte which is meant; those above it may be wrong.
    // Bit Twiddling Hacks, "Determine if a word has a byte less than n".
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found =
            (control | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')))) & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
        at += 1;
    }
    at
}

/// Behind the escape of which the letter is at `at`.
#[cold]
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, Broken> {
    match bytes.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
        Some(b'u') => match hex(bytes, at + 1).ok_or(at)? {
            0xDC00..=0xDFFF => Err(at),
            0xD800..=0xDBFF if bytes[at + 5..].starts_with(b"\\u") => match hex(bytes, at + 7) {
                Some(0xDC00..=0xDFFF) => Ok(at + 11),
                _ => Err(at),
            },
            0xD800..=0xDBFF => Err(at),
            _ => Ok(at + 5),
        },
        _ => Err(at),
    }
}

fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    four.iter().try_fold(0, |sum, &digit| Some(sum << 4 | char::from(digit).to_digit(16)?))
}

fn number_end(bytes: &[u8], mut at: usize) -> Result<usize, Broken> {
    at += usize::from(bytes[at] == b'-');
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits_end(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits_end(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at = digits_end(bytes, at)?;
    }
    Ok(at)
}

/// Behind at least one digit.
fn digits_end(bytes: &[u8], at: usize) -> Result<usize, Broken> {
    let digits = bytes[at.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 { Ok(at + digits) } else { Err(at) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// serde_json builds the value, which it bounds as is done here. A number that fits no type is JSON all the same, where
    /// what skips values finds nothing wrong with the rest.
    fn is_json_to_serde(text: &str) -> bool {
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(_) => true,
            Err(error) => {
                error.to_string().starts_with("number out of range")
                    && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
            }
        }
    }

    #[test]
    fn one_value_and_nothing_else() {
        let good = [
            "null",
            " 1 ",
            "-0.5e+10",
            "1e999",
            "\"\"",
            "[]",
            "{ }",
            "[1 , [2],{\"a\":{}}]",
            "\"\\u00e9\\ud83d\\ude00\"",
            "{\"a\":1,\"a\":2}",
            "\"\u{7f}\u{2028}é\"",
            "\t[true,false,null]\r\n",
        ];
        let bad = [
            "",
            " ",
            "NaN",
            "Infinity",
            "-",
            "+1",
            "01",
            "1.",
            ".5",
            "1e",
            "0x1",
            "tru",
            "nullx",
            "{not json",
            "1,\"id\":666",
            "1}",
            "{\"a\":1},\"b\":2",
            "[1",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "{\"a\":1]",
            "[1}",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\\ud800\\",
            "\"a\nb\"",
            "\"1234567\u{1}\"",
            "'a'",
            "// a\n1",
            "\u{feff}1",
            "1 2",
        ];
        for text in good {
            assert!(is_json_text(text) && is_json_to_serde(text), "{text:?} is JSON");
        }
        for text in bad {
            assert!(!is_json_text(text) && !is_json_to_serde(text), "{text:?} is none");
        }
    }

    #[test]
    fn values_are_nested_as_deep_as_serde_json_reads_them() {
        for (open, close, levels) in [("[", "]", 1), ("{\"a\":", "}", 1), ("[{\"a\":", "}]", 2)] {
            let nested = |depth: usize| {
                let times = depth / levels;
                format!("{}1{}", open.repeat(times), close.repeat(times))
            };
            let most = JSON_DEPTH_MAX - JSON_DEPTH_MAX % levels;
            for (depth, passes) in [(most, true), (most + levels, false), (1_000_000, false)] {
                assert_eq!(is_json_text(&nested(depth)), passes, "{open} {depth} deep");
                assert_eq!(is_json_to_serde(&nested(depth)), passes, "{open} {depth} deep");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_as_serde_json_does(
            text in r#"([{}\[\]:,"\\/utfn]|true|false|null|"a"|"\\u[0-9d][0-9c]00"|\\u[de][8c]00|-?[0-9.eE+]{0,4}|[ \t\n\x01é]){0,24}"#
        ) {
            prop_assert_eq!(is_json_text(&text), is_json_to_serde(&text), "{:?}", text);
        }

        #[test]
        fn what_serde_json_writes_is_json_and_not_without_its_last_byte(
            texts in prop::collection::vec((".{0,40}", any::<f64>(), any::<bool>()), 0..4),
        ) {
            let text = serde_json::to_string(&texts).expect("JSON");
            prop_assert!(is_json_text(&text));
            prop_assert!(!is_json_text(&text[..text.len() - 1]));
        }
    }
}
