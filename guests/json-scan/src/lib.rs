//! Walks JSON text (RFC 8259) without building values: what is looked for is borrowed from the text, and what is
//! not is checked and skipped. Not in here: what a stage makes of it.

mod pointer;
mod text;

pub use pointer::{Found, Pointers};
pub use text::Quoted;

/// Lists and objects within one another, at most: bounds the stack that a walk takes.
pub const DEPTH_MAX: usize = 128;

/// A value where it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'t> {
    Null,
    Bool(bool),
    /// The digits as they stand.
    Number(&'t str),
    Text(Quoted<'t>),
    /// With its brackets.
    List(&'t str),
    /// With its braces.
    Object(&'t str),
}

impl<'t> Value<'t> {
    pub fn name(self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

/// What is not JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not UTF-8 at byte {0}")]
    Utf8(usize),
    #[error("{wanted} is missing at byte {at}")]
    Missing { wanted: &'static str, at: usize },
    #[error("there is more after the value, at byte {0}")]
    Trailing(usize),
    #[error("a text with a control character or an escape that means nothing, at byte {0}")]
    Text(usize),
    #[error("a number that is none, at byte {0}")]
    Number(usize),
    #[error("more than {DEPTH_MAX} lists and objects within one another, at byte {0}")]
    Depth(usize),
}

pub(crate) type Result<T> = std::result::Result<T, Malformed>;

/// The value that is the whole of `bytes`.
pub fn value(bytes: &[u8]) -> Result<Value<'_>> {
    let mut walk = Walk::new(bytes)?;
    let value = walk.value(0)?;
    walk.end()?;
    Ok(value)
}

/// The elements of `text`, which is a list or null; anything else is the error, as is what is not JSON.
pub fn elements<'t>(text: &'t str, to: &mut Vec<Value<'t>>) -> std::result::Result<(), NoList<'t>> {
    let mut walk = Walk { text, at: 0 };
    walk.blanks();
    if walk.peek() != Some(b'[') {
        let value = walk.value(0).and_then(|value| walk.end().map(|()| value))?;
        return if value == Value::Null { Ok(()) } else { Err(NoList::Other(value)) };
    }
    walk.at += 1;
    walk.list(0, |walk, _, depth| {
        to.push(walk.value(depth)?);
        Ok(())
    })?;
    Ok(walk.end()?)
}

/// Why there are no elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoList<'t> {
    Malformed(Malformed),
    Other(Value<'t>),
}

impl From<Malformed> for NoList<'_> {
    fn from(malformed: Malformed) -> Self {
        NoList::Malformed(malformed)
    }
}

/// A place in a text.
#[derive(Debug)]
pub(crate) struct Walk<'t> {
    pub(crate) text: &'t str,
    pub(crate) at: usize,
}

impl<'t> Walk<'t> {
    pub(crate) fn new(bytes: &'t [u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|error| Malformed::Utf8(error.valid_up_to()))?;
        Ok(Walk { text, at: 0 })
    }

    #[inline(always)]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline(always)]
    pub(crate) fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.blanks();
        if self.at == self.text.len() { Ok(()) } else { Err(Malformed::Trailing(self.at)) }
    }

    /// The value that comes next, checked to its end.
    pub(crate) fn value(&mut self, depth: usize) -> Result<Value<'t>> {
        self.blanks();
        let start = self.at;
        match self.peek() {
            Some(b'"') => Ok(Value::Text(self.quoted()?)),
            Some(b'{') => {
                self.at += 1;
                self.object(depth, |walk, _, depth| walk.skip(depth))?;
                Ok(Value::Object(&self.text[start..self.at]))
            }
            Some(b'[') => {
                self.at += 1;
                self.list(depth, |walk, _, depth| walk.skip(depth))?;
                Ok(Value::List(&self.text[start..self.at]))
            }
            Some(b't') => self.word("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Value::Bool(false)),
            Some(b'n') => self.word("null").map(|()| Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(Malformed::Missing { wanted: "a value", at: self.at }),
        }
    }

    /// Past the value that comes next, checked to its end.
    pub(crate) fn skip(&mut self, depth: usize) -> Result<()> {
        self.blanks();
        match self.peek() {
            Some(b'"') => self.quoted().map(|_| ()),
            Some(b'0'..=b'9' | b'-') => self.number().map(|_| ()),
            Some(b'{') => {
                self.at += 1;
                self.object(depth, |walk, _, depth| walk.skip(depth))
            }
            Some(b'[') => {
                self.at += 1;
                self.list(depth, |walk, _, depth| walk.skip(depth))
            }
            _ => self.value(depth).map(|_| ()),
        }
    }

    /// The members of an object whose `{` is behind us. `member` has to go past the value.
    #[inline]
    pub(crate) fn object(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, Quoted<'t>, usize) -> Result<()>,
    ) -> Result<()> {
        let inner = self.deeper(depth)?;
        self.blanks();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(Malformed::Missing { wanted: "the name of a member", at: self.at });
            }
            let name = self.quoted()?;
            self.blanks();
            if !self.take(b':') {
                return Err(Malformed::Missing { wanted: "`:`", at: self.at });
            }
            member(self, name, inner)?;
            self.blanks();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(Malformed::Missing { wanted: "`,` or `}`", at: self.at });
            }
        }
    }

    /// The elements of a list whose `[` is behind us. `element` has to go past each.
    #[inline]
    pub(crate) fn list(
        &mut self,
        depth: usize,
        mut element: impl FnMut(&mut Self, usize, usize) -> Result<()>,
    ) -> Result<()> {
        let inner = self.deeper(depth)?;
        self.blanks();
        if self.take(b']') {
            return Ok(());
        }
        let mut index = 0;
        loop {
            element(self, index, inner)?;
            index += 1;
            self.blanks();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(Malformed::Missing { wanted: "`,` or `]`", at: self.at });
            }
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize> {
        if depth >= DEPTH_MAX { Err(Malformed::Depth(self.at)) } else { Ok(depth + 1) }
    }

    #[inline(always)]
    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &'static str) -> Result<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Malformed::Missing { wanted: "a value", at: self.at });
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<Value<'t>> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(Malformed::Number(start));
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(Malformed::Number(start));
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(Malformed::Number(start));
            }
        }
        Ok(Value::Number(&self.text[start..self.at]))
    }

    #[inline(always)]
    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_and_stand_as_they_were() {
        for (text, wanted) in [
            ("null", Value::Null),
            (" true ", Value::Bool(true)),
            ("-0.5e+10", Value::Number("-0.5e+10")),
            ("[1, [2], {}]", Value::List("[1, [2], {}]")),
            (r#"{"a":{"b":[null]}}"#, Value::Object(r#"{"a":{"b":[null]}}"#)),
            ("[]", Value::List("[]")),
        ] {
            assert_eq!(value(text.as_bytes()), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for (text, wanted) in [
            ("", Malformed::Missing { wanted: "a value", at: 0 }),
            ("{", Malformed::Missing { wanted: "the name of a member", at: 1 }),
            (r#"{"a"}"#, Malformed::Missing { wanted: "`:`", at: 4 }),
            (r#"{"a":1,}"#, Malformed::Missing { wanted: "the name of a member", at: 7 }),
            (r#"{"a":1 "b":2}"#, Malformed::Missing { wanted: "`,` or `}`", at: 7 }),
            ("[1 2]", Malformed::Missing { wanted: "`,` or `]`", at: 3 }),
            ("[1,]", Malformed::Missing { wanted: "a value", at: 3 }),
            ("01", Malformed::Trailing(1)),
            ("1.", Malformed::Number(0)),
            ("-", Malformed::Number(0)),
            ("1e", Malformed::Number(0)),
            ("truth", Malformed::Missing { wanted: "a value", at: 0 }),
            ("nul", Malformed::Missing { wanted: "a value", at: 0 }),
            ("1 2", Malformed::Trailing(2)),
            (r#""a"#, Malformed::Missing { wanted: "a closing quote", at: 2 }),
            (r#""\x""#, Malformed::Text(1)),
            ("\"\n\"", Malformed::Text(1)),
            (r#""\ud800""#, Malformed::Text(1)),
        ] {
            assert_eq!(value(text.as_bytes()), Err(wanted), "{text}");
        }
        assert_eq!(value(b"\"\xff\""), Err(Malformed::Utf8(1)));
        let deep = [vec![b'['; 200], vec![b']'; 200]].concat();
        assert_eq!(value(&deep), Err(Malformed::Depth(129)));
        let deepest = [vec![b'['; 128], vec![b']'; 128]].concat();
        assert!(value(&deepest).is_ok());
    }

    #[test]
    fn elements_of_a_list() {
        let mut found = Vec::new();
        elements(r#" [1, "a", null, [2]] "#, &mut found).unwrap();
        let names: Vec<_> = found.iter().map(|value| value.name()).collect();
        assert_eq!(names, ["a number", "a text", "null", "a list"]);
        found.clear();
        assert_eq!(elements("null", &mut found), Ok(()));
        assert_eq!(elements("[]", &mut found), Ok(()));
        assert!(found.is_empty());
        assert_eq!(elements("{}", &mut found), Err(NoList::Other(Value::Object("{}"))));
        assert_eq!(elements("[1] x", &mut found), Err(NoList::Malformed(Malformed::Trailing(4))));
    }
}
