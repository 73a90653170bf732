//! Patterns of `like`: `%` is any text, `_` any one character, `\` takes the next one as it is.

use memchr::memmem::Finder;

#[derive(Debug, Clone)]
pub enum Pattern {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<Finder<'static>>),
    General(Box<[Part]>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Byte(u8),
    AnyCharacter,
    AnyText,
}

impl Pattern {
    pub fn parse(pattern: &str) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        let mut characters = pattern.chars();
        while let Some(found) = characters.next() {
            match found {
                '%' if parts.last() == Some(&Part::AnyText) => {}
                '%' => parts.push(Part::AnyText),
                '_' => parts.push(Part::AnyCharacter),
                found => {
                    let literal = if found == '\\' { characters.next().unwrap_or('\\') } else { found };
                    let mut bytes = [0; 4];
                    parts.extend(literal.encode_utf8(&mut bytes).bytes().map(Part::Byte));
                }
            }
        }
        Self::simplest(parts)
    }

    fn simplest(parts: Vec<Part>) -> Self {
        let literal = |parts: &[Part]| -> Option<Box<[u8]>> {
            parts.iter().map(|part| if let Part::Byte(byte) = part { Some(*byte) } else { None }).collect()
        };
        let starts = parts.first() == Some(&Part::AnyText);
        let ends = parts.len() > 1 && parts.last() == Some(&Part::AnyText);
        let middle = &parts[usize::from(starts)..parts.len() - usize::from(ends)];
        match (literal(middle), starts, ends) {
            (Some(text), false, false) => Pattern::Exact(text),
            (Some(text), false, true) => Pattern::Prefix(text),
            (Some(text), true, false) => Pattern::Suffix(text),
            (Some(text), true, true) => Pattern::Contains(Box::new(Finder::new(&text).into_owned())),
            (None, ..) => Pattern::General(parts.into()),
        }
    }
}

/// Whether all of `text` is as `parts` say. A `%` is tried with as little as will do, and only the last one is
/// ever taken up again: what comes after it can as well be found further on, what came before it stands.
pub fn matches(parts: &[Part], text: &[u8]) -> bool {
    let (mut part, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match parts.get(part) {
            Some(Part::AnyText) => {
                retry = Some((part + 1, at));
                part += 1;
                continue;
            }
            Some(Part::Byte(byte)) if text.get(at) == Some(byte) => {
                (part, at) = (part + 1, at + 1);
                continue;
            }
            Some(Part::AnyCharacter) if at < text.len() => {
                (part, at) = (part + 1, at + character_bytes(text[at]));
                continue;
            }
            None if at >= text.len() => return true,
            _ => {}
        }
        match retry {
            Some((after, from)) if from < text.len() => {
                let from = from + character_bytes(text[from]);
                retry = Some((after, from));
                (part, at) = (after, from);
            }
            _ => return false,
        }
    }
}

fn character_bytes(first: u8) -> usize {
    match first {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_the_whole_text() {
        for (pattern, text, wanted) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("ab%", "abcd", true),
            ("%cd", "abcd", true),
            ("%bc%", "abcd", true),
            ("%bd%", "abcd", false),
            ("a_c", "abc", true),
            ("a_c", "aüc", true),
            ("a__c", "aüc", false),
            ("%a%b%c", "xxaxbxbxc", true),
            ("%a%b%c", "xxaxbxbxcd", false),
            ("a%a", "a", false),
            ("%", "", true),
            ("_", "", false),
            ("", "", true),
            ("", "a", false),
            (r"100\%", "100%", true),
            (r"100\%", "1000", false),
            (r"a\_%", "a_b", true),
            ("_%_", "日", false),
            ("_%_", "日本", true),
        ] {
            let parts = Pattern::parse(pattern);
            let text_bytes = text.as_bytes();
            let found = match &parts {
                Pattern::Exact(exact) => text_bytes == &**exact,
                Pattern::Prefix(prefix) => text_bytes.starts_with(prefix),
                Pattern::Suffix(suffix) => text_bytes.ends_with(suffix),
                Pattern::Contains(finder) => finder.find(text_bytes).is_some(),
                Pattern::General(parts) => matches(parts, text_bytes),
            };
            assert_eq!(found, wanted, "{text:?} like {pattern:?}, which is {parts:?}");
        }
    }

    #[test]
    fn the_simplest_form_is_taken() {
        assert!(matches!(Pattern::parse("abc"), Pattern::Exact(_)));
        assert!(matches!(Pattern::parse("abc%"), Pattern::Prefix(_)));
        assert!(matches!(Pattern::parse("%abc"), Pattern::Suffix(_)));
        assert!(matches!(Pattern::parse("%%abc%%"), Pattern::Contains(_)));
        assert!(matches!(Pattern::parse("a%c"), Pattern::General(_)));
    }
}
