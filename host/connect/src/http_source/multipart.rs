//! Bodies of several parts (RFC 2046, section 5.1): each has headers, an empty line, and a body, between lines that no
//! part has in it.

use memchr::memmem;

use super::records::{BadBody, parameter};

/// The longest mark that the standard allows.
const BOUNDARY_BYTES_MAX: usize = 70;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub content_type: Option<&'a str>,
    pub body: &'a [u8],
}

/// The mark that stands between parts, of a `Content-Type`.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let value = parameter(content_type, "boundary")?;
    (1..=BOUNDARY_BYTES_MAX).contains(&value.len()).then(|| value.to_owned())
}

/// The parts in their order.
pub(super) fn parts<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<Part<'a>>, BadBody> {
    let mark = format!("--{boundary}");
    let between = format!("\r\n{mark}");
    let mut rest = match body.strip_prefix(mark.as_bytes()) {
        Some(rest) => rest,
        None => {
            let at = memmem::find(body, between.as_bytes()).ok_or(BadBody::Multipart("no part begins"))?;
            &body[at + between.len()..]
        }
    };
    let finder = memmem::Finder::new(between.as_bytes());
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        // Blanks may stand behind a mark.
        let line = memmem::find(rest, b"\r\n").ok_or(BadBody::Multipart("it ends within a part"))?;
        if !rest[..line].iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(BadBody::Multipart("a mark is not alone on its line"));
        }
        let part = &rest[line..];
        let end = finder.find(part).ok_or(BadBody::Multipart("it ends within a part"))?;
        parts.push(parse(&part[..end])?);
        rest = &part[end + between.len()..];
    }
    Ok(parts)
}

/// `part`: from the line break before its first header on.
fn parse(part: &[u8]) -> Result<Part<'_>, BadBody> {
    let end = memmem::find(part, b"\r\n\r\n")
        .ok_or(BadBody::Multipart("a part has no empty line before its body"))?;
    let head = std::str::from_utf8(&part[..end])
        .map_err(|_| BadBody::Multipart("a header of a part is not text"))?;
    let content_type = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-type").then(|| value.trim())
    });
    Ok(Part { content_type, body: &part[end + 4..] })
}
