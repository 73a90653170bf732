//! Addresses of mail in a text, told by their shape: letters, digits and a few marks around an `@`, with a domain
//! that has a dot and ends in letters.

/// Appends `text` with every address cut to its first character and its domain.
pub fn redact(text: &str, to: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for at in (0..bytes.len()).filter(|at| bytes[*at] == b'@') {
        if at < done {
            continue;
        }
        let start =
            done + bytes[done..at].iter().rposition(|byte| !is_local(*byte)).map_or(0, |before| before + 1);
        let Some(end) = domain_end(bytes, at + 1).filter(|_| start < at) else { continue };
        to.extend_from_slice(&bytes[done..start]);
        let first = text[start..].chars().next().map_or(1, char::len_utf8);
        to.extend_from_slice(&bytes[start..start + first]);
        to.extend_from_slice(b"***");
        to.extend_from_slice(&bytes[at..end]);
        done = end;
    }
    to.extend_from_slice(&bytes[done..]);
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._%+-'".contains(&byte) || byte >= 0x80
}

/// Where the domain that starts at `start` ends, if it is one.
fn domain_end(bytes: &[u8], start: usize) -> Option<usize> {
    let is_domain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(*byte, b'.' | b'-') || *byte >= 0x80;
    let length = bytes[start..].iter().take_while(|byte| is_domain(byte)).count();
    let mut end = start + length;
    // The full stop after an address is not of it.
    while end > start && matches!(bytes[end - 1], b'.' | b'-') {
        end -= 1;
    }
    let dot = bytes[start..end].iter().rposition(|byte| *byte == b'.')?;
    let top = &bytes[start + dot + 1..end];
    (dot > 0 && top.len() >= 2 && top.iter().all(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80))
        .then_some(end)
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_keep_their_first_character_and_domain() {
        for (text, wanted) in [
            ("anna@example.com", "a***@example.com"),
            ("a@example.com", "a***@example.com"),
            ("änne@example.com", "ä***@example.com"),
            ("Mail anna.b+x@mail.example.org, or bob@b.de.", "Mail a***@mail.example.org, or b***@b.de."),
            ("<x_y@z.co>;<q@r.io>", "<x***@z.co>;<q***@r.io>"),
            ("not@home", "not@home"),
            ("@example.com", "@example.com"),
            ("a@b@example.com", "a@b***@example.com"),
            ("user@1.2", "user@1.2"),
            ("user@.com", "user@.com"),
            ("no address", "no address"),
            ("", ""),
            ("@@@", "@@@"),
        ] {
            let mut redacted = Vec::new();
            super::redact(text, &mut redacted);
            assert_eq!(String::from_utf8(redacted).unwrap(), wanted, "{text}");
        }
    }
}
