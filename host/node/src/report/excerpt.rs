//! Texts and bytes that somebody else made up, as a terminal can show them.

use std::fmt::Write as _;

use model::plain;

/// The first bytes: text as text, everything else as pairs of hexadecimal digits.
pub fn excerpt(bytes: &[u8], bytes_max: usize) -> String {
    let cut = &bytes[..bytes.len().min(bytes_max)];
    let (text, is_text) = match std::str::from_utf8(cut) {
        Ok(text) => (text, true),
        // A character that is cut in two at the end is left out.
        Err(error) if error.error_len().is_none() && cut.len() < bytes.len() => {
            (std::str::from_utf8(&cut[..error.valid_up_to()]).unwrap_or_default(), true)
        }
        Err(_) => ("", false),
    };
    let mut shown = String::new();
    match is_text {
        true => shown.push_str(&plain::line(text)),
        false => cut.iter().enumerate().for_each(|(at, byte)| {
            // Writing to a text does not fail.
            let _ = write!(shown, "{}{byte:02x}", if at > 0 { " " } else { "" });
        }),
    }
    if cut.len() < bytes.len() {
        shown.push_str(" ...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_what_they_are_and_never_obeyed() {
        let cases: [(&[u8], usize, &str); 6] = [
            (b"text", 9, "text"),
            (b"text", 2, "te ..."),
            ("a\u{e9}b".as_bytes(), 2, "a ..."),
            (b"a\x1b[31m\n", 99, "a\\u{1b}[31m\\n"),
            (&[0xff, 0, 16], 99, "ff 00 10"),
            (&[0xff, 0, 16], 2, "ff 00 ..."),
        ];
        for (bytes, most, expected) in cases {
            assert_eq!(excerpt(bytes, most), expected, "{bytes:?}");
        }
    }
}
