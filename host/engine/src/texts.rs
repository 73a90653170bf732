//! Texts that guests give, bounded.

use model::limits;

/// A guest's text, cut to `bytes_max` at a character. Whoever shows it to people sees to what a terminal would obey.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
    text
}

/// The code of a refusal.
pub(crate) fn code(text: String) -> String {
    cut(text, limits::REJECTION_CODE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_text_is_cut_at_a_character_and_else_is_what_it_was() {
        for (text, bytes_max, expected) in [
            ("plain", 5, "plain"),
            ("\u{1b}[2J\ngone\r\u{9b}", 99, "\u{1b}[2J\ngone\r\u{9b}"),
            ("éé", 3, "é…"),
        ] {
            assert_eq!(cut(text.to_owned(), bytes_max), expected);
        }
    }
}
