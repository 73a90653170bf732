//! Which bytes a request is about: `Range` of what is read, `Content-Range` of what is pushed. And whether it is about
//! them at all: `If-Match`, `If-None-Match`, `If-Range`.

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};

/// What is given of some content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Whole,
    /// Bytes from the first to before the second, at least one.
    Part(u64, u64),
    /// A range that there is nothing of.
    Nothing,
    /// Whoever asks has it already.
    NotModified,
    /// It is not what whoever asks expects.
    Other,
}

/// What a request for the content of `etag`, which has so many bytes, is given. `with_ranges`: parts of it are.
///
/// Preconditions come in the order of RFC 9110, 13.2.2. A `Range` of another unit, or of several parts, is answered with
/// the whole, as 14.2 lets a server do.
pub fn asked(headers: &HeaderMap, etag: &str, bytes: u64, with_ranges: bool) -> Asked {
    let names = |name| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim).collect::<Vec<_>>()
    };
    let weak = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag;
    if headers.contains_key(IF_MATCH) && !names(IF_MATCH).iter().any(|&tag| tag == "*" || tag == etag) {
        return Asked::Other;
    }
    if names(IF_NONE_MATCH).into_iter().any(weak) {
        return Asked::NotModified;
    }
    let is_of_this = headers.get(IF_RANGE).is_none_or(|tag| tag == etag);
    let range =
        headers.get(RANGE).filter(|_| with_ranges && is_of_this).and_then(|range| range.to_str().ok());
    match range {
        Some(range) => part(range, bytes).unwrap_or(Asked::Whole),
        None => Asked::Whole,
    }
}

/// None where it is no range of bytes, or of more than one part.
fn part(range: &str, bytes: u64) -> Option<Asked> {
    let (unit, parts) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = parts.trim().split_once('-')?;
    let found = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(bytes)),
        // It says so itself: nobody could mean it.
        (Some(_), Some(_)) => return Some(Asked::Nothing),
        (Some(first), None) if last.is_empty() => (first, bytes),
        (None, Some(length)) if first.is_empty() => (bytes.saturating_sub(length), bytes),
        _ => return None,
    };
    Some(if found.0 < found.1 { Asked::Part(found.0, found.1) } else { Asked::Nothing })
}

/// Digits alone: `parse` would take a sign as well. What is larger than any file is as large as the largest.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Which bytes of an upload a chunk says to be, the last one included: `0-1023`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub first: u64,
    pub last: u64,
}

impl Chunk {
    /// None for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        (first <= last && last < u64::MAX).then_some(Self { first, last })
    }

    pub fn bytes(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// What an upload has, as a header says it: the specification knows no way to say that there is nothing, and everybody
/// says this.
pub fn had(bytes: u64) -> String {
    format!("0-{}", bytes.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const ETAG: &str = "\"sha256:x\"";

    fn of(headers: &[(&'static str, &str)], bytes: u64) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        asked(&map, ETAG, bytes, true)
    }

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        let cases = [
            ("bytes=500-1499", Asked::Part(500, 1500)),
            ("bytes=500-", Asked::Part(500, 2048)),
            ("bytes=-500", Asked::Part(1548, 2048)),
            ("bytes=-5000", Asked::Part(0, 2048)),
            ("bytes=2000-5000", Asked::Part(2000, 2048)),
            ("bytes=0-0", Asked::Part(0, 1)),
            ("Bytes=2047-2047", Asked::Part(2047, 2048)),
            ("bytes=0-99999999999999999999999", Asked::Part(0, 2048)),
            ("bytes=0-18446744073709551615", Asked::Part(0, 2048)),
            ("bytes=500-0", Asked::Nothing),
            ("bytes=2048-", Asked::Nothing),
            ("bytes=5000-10000", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=1-2,4-5", Asked::Whole),
            ("lines=1-2", Asked::Whole),
            ("1-2", Asked::Whole),
        ];
        for (range, wanted) in cases {
            assert_eq!(of(&[("range", range)], 2048), wanted, "{range}");
        }
        assert_eq!(of(&[("range", "bytes=0-")], 0), Asked::Nothing);
        assert_eq!(of(&[("range", "bytes=-1")], 0), Asked::Nothing);
    }

    #[test]
    fn preconditions_come_before_ranges() {
        let range = ("range", "bytes=0-0");
        assert_eq!(of(&[("if-none-match", ETAG), range], 9), Asked::NotModified);
        assert_eq!(of(&[("if-none-match", "W/\"sha256:x\"")], 9), Asked::NotModified);
        assert_eq!(of(&[("if-none-match", "*")], 9), Asked::NotModified);
        // Several lines of one name count together.
        assert_eq!(of(&[("if-none-match", "\"a\", \"b\""), ("if-none-match", ETAG)], 9), Asked::NotModified);
        assert_eq!(of(&[("if-none-match", "\"a\"")], 9), Asked::Whole);
        assert_eq!(of(&[("if-match", "\"a\"")], 9), Asked::Other);
        assert_eq!(of(&[("if-match", "\"a\""), ("if-match", ETAG), range], 9), Asked::Part(0, 1));
        assert_eq!(of(&[("if-match", "W/\"sha256:x\"")], 9), Asked::Other);
        assert_eq!(of(&[("if-range", ETAG), range], 9), Asked::Part(0, 1));
        assert_eq!(of(&[("if-range", "\"a\""), range], 9), Asked::Whole);
    }

    #[test]
    fn chunks_have_a_first_and_a_last_byte() {
        assert_eq!(Chunk::parse("0-1023").map(|chunk| chunk.bytes()), Some(1024));
        assert_eq!(Chunk::parse("7-7"), Some(Chunk { first: 7, last: 7 }));
        for text in
            ["", "-", "1", "1-", "-1", "2-1", "a-b", "0 - 1", "+0-1", "0-18446744073709551615", "bytes 0-1/2"]
        {
            assert_eq!(Chunk::parse(text), None, "{text}");
        }
        assert_eq!((had(0), had(1), had(1024)), ("0-0".to_owned(), "0-0".to_owned(), "0-1023".to_owned()));
    }
}
