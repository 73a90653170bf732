//! Walking JSON text without building values: where a string ends, what kind of value comes next.
//!
//! Only what a caller looks at is taken apart; the inside of nested values is checked, their depth included, and
//! skipped.

use std::borrow::Cow;

use super::json_check::{is_json_text, value_end};

/// A value of JSON, as far as it is of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    Null,
    Bool(bool),
    /// The digits as they stand.
    Number(&'a str),
    Text(Quoted<'a>),
    /// A list or an object, as it stands.
    Nested(&'a str),
}

/// The text of a string as it stands, between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// The text that is meant. None where an escape means nothing, such as half of a surrogate pair.
    pub fn text(self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.raw));
        }
        serde_json::from_str(&format!("\"{}\"", self.raw)).ok().map(Cow::Owned)
    }

    /// Between the quotes, as it stands.
    pub fn raw(self) -> &'a str {
        self.raw
    }
}

impl<'a> Scalar<'a> {
    /// The value as JSON text again.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(text) | Self::Nested(text) => out.extend_from_slice(text.as_bytes()),
            Self::Text(quoted) => {
                out.push(b'"');
                out.extend_from_slice(quoted.raw.as_bytes());
                out.push(b'"');
            }
        }
    }

    /// What it is, for messages.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Nested(text) if text.starts_with('[') => "a list",
            Self::Nested(_) => "an object",
        }
    }
}

/// What is not JSON, and where.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("{expected} expected at byte {at}")]
pub struct Malformed {
    pub at: usize,
    pub expected: &'static str,
}

/// Whether the bytes are one JSON document and nothing else.
pub fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(is_json_text)
}

/// Calls `each` with every name and value of the one object that `text` is, until it says `false`.
pub fn members<'a>(
    text: &'a str,
    mut each: impl FnMut(Cow<'a, str>, Scalar<'a>) -> bool,
) -> Result<(), Malformed> {
    let mut scanner = Scanner::new(text);
    let mut more = scanner.open()?;
    while more {
        let name = scanner.name()?;
        let name = name.text().ok_or_else(|| scanner.expected("a field name without broken escapes"))?;
        if !each(name, scanner.value()?) {
            return Ok(());
        }
        more = scanner.next()?;
    }
    scanner.end()
}

/// The one value that `text` is.
pub(super) fn scalar(text: &str) -> Option<Scalar<'_>> {
    Scanner::new(text).value().ok()
}

/// A position in JSON text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Steps into an object: whether it has any member.
    #[inline]
    pub(super) fn open(&mut self) -> Result<bool, Malformed> {
        self.space();
        self.take(b'{', "a JSON object")?;
        self.space();
        Ok(!self.eat(b'}'))
    }

    /// The name of the next member; the value is next.
    #[inline]
    pub(super) fn name(&mut self) -> Result<Quoted<'a>, Malformed> {
        self.space();
        let name = self.string()?;
        self.space();
        self.take(b':', "`:`")?;
        Ok(name)
    }

    /// Behind a value: whether another member follows.
    #[inline]
    pub(super) fn next(&mut self) -> Result<bool, Malformed> {
        self.space();
        if self.eat(b',') {
            return Ok(true);
        }
        self.take(b'}', "`,` or `}`")?;
        Ok(false)
    }

    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.expected("the end of the record")) }
    }

    #[inline]
    pub(super) fn value(&mut self) -> Result<Scalar<'a>, Malformed> {
        self.space();
        match self.peek() {
            Some(b'"') => Ok(Scalar::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number().map(Scalar::Number),
            Some(b'{' | b'[') => self.nested().map(Scalar::Nested),
            Some(b't') => self.word("true", Scalar::Bool(true)),
            Some(b'f') => self.word("false", Scalar::Bool(false)),
            Some(b'n') => self.word("null", Scalar::Null),
            _ => Err(self.expected("a value")),
        }
    }

    fn word(&mut self, word: &'static str, scalar: Scalar<'a>) -> Result<Scalar<'a>, Malformed> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(scalar);
        }
        Err(self.expected("a value"))
    }

    fn string(&mut self) -> Result<Quoted<'a>, Malformed> {
        self.take(b'"', "`\"`")?;
        let bytes = self.text.as_bytes();
        let (start, mut escaped) = (self.at, false);
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(self.expected("the end of a text")),
            }
        }
        // An escape just before the end may have stepped over it; quotes and escapes are ASCII, so that what
        // is between is cut at characters.
        let raw = self.text.get(start..self.at).ok_or_else(|| self.expected("an escape"))?;
        self.at += 1;
        let quoted = Quoted { raw, escaped };
        if escaped && quoted.text().is_none() {
            return Err(Malformed { at: start, expected: "a text without broken escapes" });
        }
        Ok(quoted)
    }

    fn number(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.expected("a digit")) }
    }

    fn nested(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        self.at = value_end(self.text.as_bytes(), start)
            .map_err(|_| self.expected("a well-formed list or object"))?;
        Ok(&self.text[start..self.at])
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    #[inline]
    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), Malformed> {
        if self.eat(byte) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn expected(&self, expected: &'static str) -> Malformed {
        Malformed { at: self.at.min(self.text.len()), expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_with_their_kinds() {
        let text = r#" { "a" : -1.5e3 , "b\n":"x\u00e9", "c":[1,{"d":"]"}], "e":null,"f":true } "#;
        let mut found = Vec::new();
        members(text, |name, value| {
            let mut json = Vec::new();
            value.write(&mut json);
            found.push(format!("{name:?} {} {}", value.kind(), String::from_utf8_lossy(&json)));
            true
        })
        .expect("an object");
        let expected = [
            r#""a" a number -1.5e3"#,
            r#""b\n" a text "x\u00e9""#,
            r#""c" a list [1,{"d":"]"}]"#,
            r#""e" null null"#,
            r#""f" a boolean true"#,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_serde_json_refuses_is_refused_here_too() {
        let cases = [
            "",
            "{",
            "{}x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":-}",
            "{\"a\":\"\\\"}",
            "{\"a\":\"\\",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\n\"}",
            "{\"a\":tru}",
            "{\"a\":[1,]}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "[1]",
            "{\"a\":\"é\\é\"}",
        ];
        for case in cases {
            assert!(members(case, |_, _| true).is_err(), "{case} passes");
            assert!(serde_json::from_str::<serde_json::Map<_, _>>(case).is_err(), "{case} is fine");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken_or_refused_as_serde_json_does(text in r#"[{}\[\]:,"\\ae1.0\-é ]{0,24}"#) {
            let ours = members(&text, |_, _| true).is_ok();
            let theirs = serde_json::from_str::<serde_json::Map<_, _>>(&text).is_ok();
            proptest::prop_assert_eq!(ours, theirs);
        }
    }
}
