//! Text that came from outside, as people see it.
//!
//! A terminal does not show some characters but obeys them: they move its cursor, change its colours or its title, turn
//! the order of what is read, or end a line. In words for people those are shown as escapes, such as `\u{1b}`. What is
//! data stays as it is.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// Whether a character is shown as itself, where it stands, and does nothing else. Newlines and tabs are not plain:
/// they are structure, where they are not somebody else's.
pub fn is_plain(c: char) -> bool {
    // Marks, embeddings, overrides and isolates of direction; separators of lines and of paragraphs.
    let obeyed = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
    );
    !obeyed && !c.is_control()
}

/// A text within a line: all that is not plain is escaped, newlines and tabs too.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_plain, |c, out| out.extend(c.escape_default()))
}

/// A text of several lines: newlines and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, stays, |c, out| out.extend(c.escape_default()))
}

/// A text of JSON that means the same: what is not plain can only stand within its strings, where JSON has escapes for it.
pub fn json(text: &str) -> Cow<'_, str> {
    escaped(text, stays, |c, out| {
        // Writing into a string does not fail. All of them have 16 bits.
        let _ = write!(out, "\\u{:04x}", c as u32);
    })
}

fn stays(c: char) -> bool {
    is_plain(c) || matches!(c, '\n' | '\t')
}

fn escaped(text: &str, stays: fn(char) -> bool, escape: fn(char, &mut String)) -> Cow<'_, str> {
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match stays(c) {
            true => shown.push(c),
            false => escape(c, &mut shown),
        }
    }
    Cow::Owned(shown)
}

/// A text of several lines as it is shown, and where in that its bytes are.
#[derive(Clone, Debug)]
pub struct Shown {
    pub text: Arc<str>,
    /// From these bytes of the text on, those of what is shown.
    moved: Vec<(usize, usize)>,
}

impl Shown {
    /// Line breaks of two characters become one.
    pub fn of(text: &Arc<str>) -> Self {
        if text.chars().all(stays) {
            return Self { text: text.clone(), moved: Vec::new() };
        }
        let mut shown = String::with_capacity(text.len() + 16);
        let mut moved = Vec::new();
        for (at, c) in text.char_indices() {
            if stays(c) {
                shown.push(c);
                continue;
            }
            if !text[at..].starts_with("\r\n") {
                shown.extend(c.escape_default());
            }
            moved.push((at + c.len_utf8(), shown.len()));
        }
        Self { text: shown.into(), moved }
    }

    /// Where a byte of the text is shown.
    pub fn place(&self, at: usize) -> usize {
        let before = self.moved.partition_point(|(from, _)| *from <= at);
        let (from, to) = before.checked_sub(1).map_or((0, 0), |last| self.moved[last]);
        to.saturating_add(at - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters that are obeyed, each with its escape.
    const OBEYED: [(char, &str); 17] = [
        ('\0', "\\u{0}"),
        ('\u{7}', "\\u{7}"),
        ('\u{8}', "\\u{8}"),
        ('\r', "\\r"),
        ('\u{b}', "\\u{b}"),
        ('\u{1b}', "\\u{1b}"),
        ('\u{7f}', "\\u{7f}"),
        ('\u{85}', "\\u{85}"),
        ('\u{9b}', "\\u{9b}"),
        ('\u{61c}', "\\u{61c}"),
        ('\u{200e}', "\\u{200e}"),
        ('\u{200f}', "\\u{200f}"),
        ('\u{2028}', "\\u{2028}"),
        ('\u{2029}', "\\u{2029}"),
        ('\u{202e}', "\\u{202e}"),
        ('\u{2066}', "\\u{2066}"),
        ('\u{2069}', "\\u{2069}"),
    ];

    #[test]
    fn what_a_terminal_obeys_is_shown_and_all_else_stays() {
        for (c, escape) in OBEYED {
            let text = format!("a{c}b");
            assert_eq!(line(&text), format!("a{escape}b"));
            assert_eq!(lines(&text), format!("a{escape}b"));
        }
        assert_eq!(line("a\n\tb"), "a\\n\\tb");
        assert_eq!(lines("a\n\tb"), "a\n\tb");
        // A joiner of letters and a variation of an emoji are part of what is written.
        let plain = "plain é 中 \u{200d}👩\u{200d}🔬 \u{fe0f} \u{a0}";
        assert!(matches!(line(plain), Cow::Borrowed(text) if text == plain));
    }

    #[test]
    fn json_means_what_it_meant() {
        for (c, _) in OBEYED {
            let value = serde_json::json!({ format!("k{c}"): [format!("{c}\\{c}")] });
            let text = format!("{value:#}");
            let shown = json(&text);
            assert!(shown.chars().all(stays), "{shown:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), value);
        }
    }

    #[test]
    fn places_move_with_what_is_shown() {
        let text: Arc<str> = "a\u{1b}é\r\n\u{202e}z".into();
        let shown = Shown::of(&text);
        assert_eq!(&*shown.text, "a\\u{1b}é\n\\u{202e}z");
        for (at, c) in text.char_indices().filter(|(_, c)| is_plain(*c) || *c == '\n') {
            assert!(shown.text[shown.place(at)..].starts_with(c), "{c:?} at {at}");
        }
        assert_eq!(&shown.text[shown.place(1)..shown.place(2)], "\\u{1b}");
        assert_eq!(shown.place(text.len()), shown.text.len());
        assert_eq!(shown.place(text.len() + 7), shown.text.len() + 7, "beyond the end as far as before");
        let plain: Arc<str> = "a\n\tb".into();
        assert_eq!((&*Shown::of(&plain).text, Shown::of(&plain).place(3)), ("a\n\tb", 3));
    }
}
