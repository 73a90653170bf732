//! From the body of a request to records: one way for each kind of content. Nothing in here waits.

use flow::spool::Records;
use memchr::memchr_iter;
use model::convert::{is_json, shown};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::multipart;

/// How a body is cut into records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// As `Content-Type` says.
    #[default]
    Auto,
    /// One record a line.
    Lines,
    /// One JSON document, or an array with one record in each element.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// The body is the record.
    Bytes,
}

/// How many records may come at once, and how long each may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub records_max: usize,
    pub record_bytes_max: usize,
}

/// Why a body is not taken; nothing of it is.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub(super) enum BadBody {
    #[error("{place} is not JSON: {found}")]
    NotJson { place: String, found: String },
    #[error("the body is not JSON: {why}")]
    NotOneJson { why: String },
    #[error(
        "{place} is longer than {max} bytes, which is the most that a record may have (`record-bytes-max`)"
    )]
    TooLong { place: String, max: usize },
    #[error("the body has more than {max} records, which is the most of one request (`records-max`)")]
    TooMany { max: usize },
    #[error("the body is not what multipart says: {0}")]
    Multipart(&'static str),
    #[error("part {number}: {error}")]
    Part { number: usize, error: Box<BadBody> },
    #[error("`{0}` is no content that this source takes; {TAKES}")]
    Type(String),
    #[error(
        "`charset={0}` is not one that this source reads; send utf-8, or application/octet-stream for bytes as they are"
    )]
    Charset(String),
}

/// What a sender may say that it sends.
const TAKES: &str = "send text/plain, application/json, application/x-ndjson, application/octet-stream or multipart, \
                     or let the source set `format`";

impl BadBody {
    /// Whether it is too much of something, rather than wrong.
    pub fn is_too_large(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::TooMany { .. } => true,
            Self::Part { error, .. } => error.is_too_large(),
            _ => false,
        }
    }

    pub fn is_type(&self) -> bool {
        match self {
            Self::Type(_) | Self::Charset(_) => true,
            Self::Part { error, .. } => error.is_type(),
            _ => false,
        }
    }
}

/// What is in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    One(Format),
    /// Parts with types of their own, between these marks.
    Multipart {
        boundary: String,
    },
}

impl Content {
    /// What `Content-Type` says, where the source does not say it. One that is empty says nothing.
    pub fn of(format: Format, content_type: Option<&str>) -> Result<Self, BadBody> {
        let said = content_type.unwrap_or_default();
        let kind = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind.starts_with("multipart/") {
            let boundary = multipart::boundary(said).ok_or(BadBody::Multipart("it names no boundary"))?;
            return Ok(Self::Multipart { boundary });
        }
        let format = match (format, kind.as_str()) {
            (Format::Auto, "application/json") => Format::Json,
            // RFC 6839: whatever else it is, it is JSON.
            (Format::Auto, kind) if kind.ends_with("+json") => Format::Json,
            (
                Format::Auto,
                "application/x-ndjson"
                | "application/ndjson"
                | "application/jsonl"
                | "application/x-jsonlines"
                | "application/json-lines",
            ) => Format::Jsonl,
            (Format::Auto, "application/octet-stream") => Format::Bytes,
            (Format::Auto, kind) if kind.is_empty() || kind.starts_with("text/") => Format::Lines,
            (Format::Auto, _) => {
                return Err(BadBody::Type(shown(kind.as_bytes())));
            }
            (format, _) => format,
        };
        // Where a line ends, and what JSON is, is looked for in bytes of these.
        match parameter(said, "charset") {
            Some(charset)
                if format != Format::Bytes
                    && !CHARSETS.iter().any(|known| known.eq_ignore_ascii_case(charset)) =>
            {
                Err(BadBody::Charset(shown(charset.as_bytes())))
            }
            _ => Ok(Self::One(format)),
        }
    }
}

/// What text may be written in.
const CHARSETS: [&str; 4] = ["utf-8", "utf8", "us-ascii", "ascii"];

/// What a `Content-Type` says behind its kind.
pub(super) fn parameter<'a>(content_type: &'a str, name: &str) -> Option<&'a str> {
    let value = content_type.split(';').skip(1).find_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        found.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })?;
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// Cuts a body into records, of which there may be none. `format`: what the source says, for parts that do not.
pub(super) fn cut(
    content: &Content,
    format: Format,
    body: &[u8],
    bounds: Bounds,
    records: &mut Records,
) -> Result<(), BadBody> {
    match content {
        Content::One(format) => cut_one(*format, body, &mut Cut { records, bounds })?,
        Content::Multipart { boundary } => {
            for (at, part) in multipart::parts(body, boundary)?.into_iter().enumerate() {
                let of_part = |error| BadBody::Part { number: at + 1, error: Box::new(error) };
                match Content::of(format, part.content_type).map_err(of_part)? {
                    Content::One(format) => {
                        cut_one(format, part.body, &mut Cut { records, bounds }).map_err(of_part)?;
                    }
                    Content::Multipart { .. } => {
                        return Err(of_part(BadBody::Multipart("a part has parts of its own")));
                    }
                }
            }
        }
    }
    Ok(())
}

struct Cut<'a> {
    records: &'a mut Records,
    bounds: Bounds,
}

impl Cut<'_> {
    fn push(&mut self, place: impl Fn() -> String, value: &[u8]) -> Result<(), BadBody> {
        let Bounds { records_max, record_bytes_max } = self.bounds;
        if value.len() > record_bytes_max {
            return Err(BadBody::TooLong { place: place(), max: record_bytes_max });
        }
        if self.records.count() as usize >= records_max {
            return Err(BadBody::TooMany { max: records_max });
        }
        self.records.push(value);
        Ok(())
    }
}

fn cut_one(format: Format, body: &[u8], into: &mut Cut<'_>) -> Result<(), BadBody> {
    let the_body = || "the body".to_owned();
    match format {
        Format::Lines | Format::Auto => {
            each_line(body, |number, line| into.push(|| format!("line {number}"), line))
        }
        Format::Jsonl => each_line(body, |number, line| {
            if line.iter().all(u8::is_ascii_whitespace) {
                return Ok(());
            }
            let place = || format!("line {number}");
            if !is_json(line) {
                return Err(BadBody::NotJson { place: place(), found: shown(line) });
            }
            into.push(place, line)
        }),
        Format::Bytes if body.is_empty() => Ok(()),
        Format::Bytes => into.push(the_body, body),
        Format::Json => {
            let text = without_bom(body).trim_ascii();
            if text.first() != Some(&b'[') {
                if text.is_empty() {
                    return Ok(());
                }
                if !is_json(text) {
                    return Err(BadBody::NotJson { place: the_body(), found: shown(text) });
                }
                return into.push(the_body, &on_one_line(text));
            }
            let elements: Vec<&RawValue> = serde_json::from_slice(text)
                .map_err(|error| BadBody::NotOneJson { why: error.to_string() })?;
            for (at, element) in elements.into_iter().enumerate() {
                into.push(|| format!("element {at}"), &on_one_line(element.get().as_bytes()))?;
            }
            Ok(())
        }
    }
}

/// The line break at the end begins no line.
fn each_line(body: &[u8], mut each: impl FnMut(usize, &[u8]) -> Result<(), BadBody>) -> Result<(), BadBody> {
    let body = without_bom(body);
    if body.is_empty() {
        return Ok(());
    }
    let mut start = 0;
    let last = (body.last() != Some(&b'\n')).then_some(body.len());
    for (at, end) in memchr_iter(b'\n', body).chain(last).enumerate() {
        let line = body.get(start..end).unwrap_or_default();
        start = end + 1;
        each(at + 1, line.strip_suffix(b"\r").unwrap_or(line))?;
    }
    Ok(())
}

/// Text without the mark that some writers begin it with.
fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// JSON that goes on one line: inside of texts line breaks are escaped, so that all there are stand between the parts.
fn on_one_line(json: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if memchr::memchr2(b'\n', b'\r', json).is_none() {
        return json.into();
    }
    let byte = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    json.iter().map(byte).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { records_max: 4, record_bytes_max: 10 };

    fn records(format: Format, content_type: Option<&str>, body: &str) -> Result<Vec<String>, String> {
        let mut records = Records::new(0);
        let cut = Content::of(format, content_type)
            .and_then(|content| cut(&content, format, body.as_bytes(), BOUNDS, &mut records));
        cut.map_err(|error| error.to_string())?;
        Ok(records.values().map(|value| String::from_utf8_lossy(value).into_owned()).collect())
    }

    #[test]
    fn a_body_is_cut_by_what_it_says_that_it_is() {
        let (plain, json, lines) =
            (Some("text/plain; charset=utf-8"), Some("application/json"), Some("application/x-ndjson"));
        let bytes = Some("Application/Octet-Stream");
        let cases: &[(Format, Option<&str>, &str, &[&str])] = &[
            (Format::Auto, None, "one", &["one"]),
            (Format::Auto, plain, "one\ntwo\r\n", &["one", "two"]),
            (Format::Auto, plain, "\n\nx", &["", "", "x"]),
            (Format::Auto, plain, "\n", &[""]),
            (Format::Auto, plain, "\u{feff}a\n", &["a"]),
            (Format::Auto, bytes, "a\nb", &["a\nb"]),
            (Format::Auto, json, " {\"a\":\n1}\n", &["{\"a\": 1}"]),
            (Format::Auto, json, "[1, {\"b\":2},\n\"x\"]", &["1", "{\"b\":2}", "\"x\""]),
            (Format::Auto, json, "\"[\"", &["\"[\""]),
            (Format::Auto, json, "\u{feff}{\"a\":1}", &["{\"a\":1}"]),
            (Format::Auto, json, "\u{feff} [1]", &["1"]),
            (Format::Auto, Some("application/vnd.api+json; charset=\"UTF-8\""), "[1, 2]", &["1", "2"]),
            (Format::Auto, Some("application/json;charset=utf8"), "1", &["1"]),
            (Format::Auto, Some("text/plain; Charset = us-ascii"), "a\nb", &["a", "b"]),
            (Format::Auto, Some(""), "a\nb", &["a", "b"]),
            (Format::Auto, Some(" "), "a\nb", &["a", "b"]),
            // Nothing is wrong with a body that has no records.
            (Format::Auto, None, "", &[]),
            (Format::Auto, json, " \n", &[]),
            (Format::Auto, json, "[]", &[]),
            (Format::Auto, lines, "\n \n", &[]),
            (Format::Auto, bytes, "", &[]),
            (Format::Bytes, Some("text/plain; charset=utf-16"), "a\0\n\0", &["a\0\n\0"]),
            (Format::Auto, lines, "{}\n\n[1]\n", &["{}", "[1]"]),
            (Format::Lines, json, "[\n1]", &["[", "1]"]),
            (Format::Jsonl, Some("application/x-www-form-urlencoded"), "1\n2", &["1", "2"]),
            (Format::Bytes, None, "0123456789", &["0123456789"]),
        ];
        for (format, content_type, body, expected) in cases {
            let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(records(*format, *content_type, body), Ok(expected), "{content_type:?} {body:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let (json, lines) = (Some("application/json"), Some("application/x-ndjson"));
        let cases = [
            (json, "{\"a\"", "the body is not JSON: "),
            (json, "[1, 2", "the body is not JSON: EOF"),
            (json, "[1] 2", "the body is not JSON: trailing"),
            (lines, "{}\nnope\n", "line 2 is not JSON: nope"),
            (None, "ok\n0123456789a", "line 2 is longer than 10 bytes"),
            (json, "[1,\"0123456789\"]", "element 1 is longer than 10 bytes"),
            (None, "1\n2\n3\n4\n5", "more than 4 records"),
            (Some("image/png"), "x", "`image/png` is no content"),
            (Some("text/plain; charset=utf-16"), "x", "`charset=utf-16` is not one that this source reads"),
            (Some("application/json; charset=\"UTF-16LE\""), "1", "`charset=UTF-16LE`"),
            (Some("text/plain; charset=iso-8859-1"), "x", "send utf-8, or application/octet-stream"),
            (Some("multipart/form-data"), "x", "names no boundary"),
        ];
        for (content_type, body, expected) in cases {
            let error = records(Format::Auto, content_type, body).expect_err(body);
            assert!(error.contains(expected), "{content_type:?} {body:?}: {error}");
        }
    }

    #[test]
    fn parts_are_cut_each_by_its_own_type() {
        let multipart = Some("multipart/form-data; boundary=\"b b\"");
        let body = "preamble\r\n--b b\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\none\ntwo\r\n--b b\r\n\
                    content-type: application/json\r\n\r\n[3]\r\n--b b--\r\nepilogue";
        let all = Ok(["one", "two", "3"].map(str::to_owned).to_vec());
        assert_eq!(records(Format::Auto, multipart, body), all);
        let bad = body.replace("[3]", "[3");
        let error = records(Format::Auto, multipart, &bad).expect_err("it is not JSON");
        assert!(error.starts_with("part 2: the body is not JSON"), "{error}");
        let many = body.replace("one\ntwo", "1\n2\n3\n4");
        assert!(records(Format::Auto, multipart, &many).is_err_and(|error| error.contains("more than 4")));
        for cut in ["--b b--", "--b b\r\nContent-D"] {
            let error = records(Format::Auto, multipart, body.split(cut).next().expect("a beginning"));
            assert!(
                error.as_ref().is_err_and(|error| error.contains("not what multipart says")),
                "{error:?}"
            );
        }
    }
}
