//! From the rows of a batch to requests: which records go together, their bodies, and their ids.
//!
//! An id names a record for ever, and is the same when the record is sent again: after another try, after a crash,
//! together with other records than before. So it is each record that has one, and not each request.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array as _, BinaryArray};
use arrow::error::ArrowError;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;
use model::batch::{Batch, Rows};
use model::convert::{BAD_JSON, JsonWriter, is_json, shown, to_json};
use model::ids::RecordId;
use model::outcome::Rejection;
use model::plan::{Form, Stream};
use schemars::JsonSchema;
use serde::Deserialize;

/// The id of the one record of a request (draft-ietf-httpapi-idempotency-key-header).
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The ids of the records of a request, in their order.
pub(super) const IDS: HeaderName = HeaderName::from_static("conveyor-record-ids");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// One opaque record a line.
    Lines,
    /// One JSON document a line.
    Jsonl,
    /// An array of JSON documents.
    Json,
    /// One record in each request: as it is, or as a JSON object.
    Record,
}

impl Format {
    pub fn natural(input: &Stream) -> Self {
        if *input == Stream::Opaque { Self::Lines } else { Self::Jsonl }
    }

    pub fn form(self) -> Form {
        if self == Self::Lines { Form::Bytes } else { Form::Any }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Record => "record",
        }
    }
}

/// Where the ids of records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// One id a request.
    Key,
    /// All of a request, as a list.
    Header,
    /// Into each record.
    Field(Arc<str>),
}

/// A request but for where it goes.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub(super) struct Encoder {
    format: Format,
    /// Of rows; opaque records are as they are.
    writer: Option<JsonWriter>,
    ids: Ids,
    /// `{"name":"` of the field that an id goes into.
    field: Vec<u8>,
    headers: HeaderMap,
}

/// The records of a batch as texts.
pub(super) struct Texts {
    values: BinaryArray,
    rows: Rows,
}

impl Texts {
    fn get(&self, row: u32) -> Option<&[u8]> {
        let at = self.rows.at(row as usize);
        self.values.is_valid(at).then(|| self.values.value(at))
    }
}

impl Encoder {
    pub fn new(format: Format, input: &Stream, ids: Ids, mut headers: HeaderMap) -> Self {
        let writer = input.schema().map(|schema| JsonWriter::new(schema));
        let content_type = match (format, &writer) {
            (Format::Lines, _) => "text/plain; charset=utf-8",
            (Format::Jsonl, _) => "application/x-ndjson",
            (Format::Json, _) | (Format::Record, Some(_)) => "application/json",
            (Format::Record, None) => "application/octet-stream",
        };
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        let field = match &ids {
            Ids::Field(name) => {
                let name = serde_json::to_string(&**name).expect("a text is JSON");
                format!("{{{name}:\"").into_bytes()
            }
            Ids::Key | Ids::Header => Vec::new(),
        };
        Self { format, writer, ids, field, headers }
    }

    pub fn texts(&self, batch: &Batch) -> Result<Texts, ArrowError> {
        if let Some(writer) = &self.writer {
            return Ok(Texts { values: to_json(writer, batch)?, rows: Rows::All });
        }
        let column = &batch.columns()[0];
        let values = column.values().as_any().downcast_ref::<BinaryArray>();
        let values =
            values.expect("the column of opaque records is binary: `Batch::new` has checked it").clone();
        Ok(Texts { values, rows: column.rows().clone() })
    }

    /// The rows that the format can say, and why it cannot say the others.
    pub fn fitting(&self, texts: &Texts, rows: impl Iterator<Item = u32>) -> (Vec<u32>, Vec<Rejection>) {
        let mut refused = Vec::new();
        let fits = |row: &u32| match self.check(texts.get(*row)) {
            Ok(()) => true,
            Err((code, message)) => {
                refused.push(Rejection { row: *row, code: code.to_owned(), message });
                false
            }
        };
        let fit = rows.filter(fits).collect();
        (fit, refused)
    }

    fn check(&self, text: Option<&[u8]>) -> Result<(), (&'static str, String)> {
        let Some(text) = text else {
            return Err((
                "no-value",
                "the record has a key and no value, which a request cannot say".to_owned(),
            ));
        };
        if self.writer.is_some() {
            return Ok(());
        }
        match self.format {
            Format::Lines if memchr(b'\n', text).is_some() => {
                let message = "the record has a line break in it; send it as json or record".to_owned();
                Err(("newline-in-value", message))
            }
            Format::Lines | Format::Record => Ok(()),
            Format::Jsonl | Format::Json if !is_json(text) => {
                Err((BAD_JSON, format!("the record is not JSON: {}", shown(text))))
            }
            _ if matches!(self.ids, Ids::Field(_)) && text.trim_ascii().first() != Some(&b'{') => Err((
                "no-object",
                format!("the record is no JSON object, which `id-field` needs: {}", shown(text)),
            )),
            _ => Ok(()),
        }
    }

    /// Which rows go together.
    pub fn split(
        &self,
        texts: &Texts,
        rows: &[u32],
        records_max: usize,
        bytes_max: usize,
    ) -> VecDeque<Vec<u32>> {
        let mut requests = VecDeque::new();
        let (mut current, mut bytes) = (Vec::new(), 0);
        for &row in rows {
            let more = texts.get(row).map_or(0, <[u8]>::len) + 1 + self.field.len();
            if !current.is_empty() && (current.len() >= records_max || bytes + more > bytes_max) {
                requests.push_back(std::mem::take(&mut current));
                bytes = 0;
            }
            current.push(row);
            bytes += more;
        }
        if !current.is_empty() {
            requests.push_back(current);
        }
        requests
    }

    pub fn request(&self, texts: &Texts, ids: &[RecordId], rows: &[u32]) -> Request {
        let length: usize = rows.iter().filter_map(|&row| texts.get(row)).map(|text| text.len() + 1).sum();
        let mut body = Vec::with_capacity(length + 2 + rows.len() * (self.field.len() + 34));
        let (before, between, after): (&[u8], &[u8], &[u8]) = match self.format {
            Format::Lines | Format::Jsonl => (b"", b"", b"\n"),
            Format::Json => (b"[", b",", b""),
            Format::Record => (b"", b"", b""),
        };
        body.extend_from_slice(before);
        for (nth, &row) in rows.iter().enumerate() {
            if nth > 0 {
                body.extend_from_slice(between);
            }
            self.put(texts.get(row).unwrap_or_default(), ids[row as usize], &mut body);
            body.extend_from_slice(after);
        }
        if self.format == Format::Json {
            body.push(b']');
        }
        let mut headers = self.headers.clone();
        let shown: Vec<String> = match self.ids {
            Ids::Field(_) => Vec::new(),
            Ids::Key | Ids::Header => rows.iter().map(|&row| ids[row as usize].to_string()).collect(),
        };
        if !shown.is_empty() {
            let name = if self.ids == Ids::Key { KEY } else { IDS };
            let value = HeaderValue::from_str(&shown.join(",")).expect("ids are hexadecimal digits");
            headers.insert(name, value);
        }
        Request { headers, body: body.into() }
    }

    fn put(&self, text: &[u8], id: RecordId, out: &mut Vec<u8>) {
        let start = out.len();
        match &self.ids {
            Ids::Field(_) => {
                out.extend_from_slice(&self.field);
                out.extend_from_slice(id.to_string().as_bytes());
                // Behind its opening brace: what follows is a field, or its end.
                let rest = text.trim_ascii().get(1..).unwrap_or_default().trim_ascii_start();
                out.extend_from_slice(if rest.first() == Some(&b'}') { b"\"" } else { b"\"," });
                out.extend_from_slice(rest);
            }
            Ids::Key | Ids::Header => out.extend_from_slice(text),
        }
        if self.format == Format::Jsonl {
            // Inside of texts they are escaped, so that all there are stand between the parts.
            out[start..]
                .iter_mut()
                .filter(|byte| matches!(byte, b'\n' | b'\r'))
                .for_each(|byte| *byte = b' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::http_sink::batch;

    fn bodies(
        format: Format,
        ids: Ids,
        values: &[&str],
        records_max: usize,
    ) -> (Vec<String>, Vec<Request>, Vec<Rejection>) {
        let (batch, of) = batch(values);
        let encoder = Encoder::new(format, &Stream::Opaque, ids, HeaderMap::new());
        let texts = encoder.texts(&batch).expect("texts");
        let (fit, refused) = encoder.fitting(&texts, 0..batch.rows() as u32);
        let split = encoder.split(&texts, &fit, records_max, 1000);
        let requests: Vec<Request> = split.iter().map(|rows| encoder.request(&texts, &of, rows)).collect();
        let bodies = requests.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned());
        (bodies.collect(), requests, refused)
    }

    #[test]
    fn records_become_bodies_of_each_format() {
        let (found, requests, _) = bodies(Format::Lines, Ids::Header, &["a", "b", "c"], 2);
        assert_eq!(found, ["a\nb\n", "c\n"]);
        let ids: Vec<String> = batch(&["a", "b", "c"]).1.iter().map(ToString::to_string).collect();
        assert_eq!(requests[0].headers[IDS], format!("{},{}", ids[0], ids[1]));
        let (found, requests, _) = bodies(Format::Record, Ids::Key, &["a\n", "b"], 1);
        assert_eq!(found, ["a\n", "b"]);
        assert_eq!(
            (&requests[1].headers[KEY], &requests[1].headers[CONTENT_TYPE]),
            (
                &HeaderValue::from_str(&ids[1]).expect("an id"),
                &HeaderValue::from_static("application/octet-stream")
            )
        );
        let (found, _, refused) = bodies(Format::Json, Ids::Header, &["1", "nope", "{\"a\":\n2}"], 9);
        assert_eq!((found, refused[0].row), (vec!["[1,{\"a\":\n2}]".to_owned()], 1));
        let (found, _, _) = bodies(Format::Jsonl, Ids::Header, &["{\"a\":\n2}", "3"], 9);
        assert_eq!(found, ["{\"a\": 2}\n3\n"]);
        let field = || Ids::Field("_id".into());
        let (found, requests, refused) = bodies(Format::Jsonl, field(), &[" { }", "{\"a\":1}", "[]"], 9);
        assert_eq!(found, [format!("{{\"_id\":\"{}\"}}\n{{\"_id\":\"{}\",\"a\":1}}\n", ids[0], ids[1])]);
        assert_eq!((refused[0].row, refused[0].code.as_str()), (2, "no-object"));
        assert!(!requests[0].headers.contains_key(IDS));
    }

    #[test]
    fn requests_are_bounded_in_records_and_bytes() {
        let (batch, _) = batch(&["aaaa", "bb", "c", "dddddddddd", "e"]);
        let encoder = Encoder::new(Format::Lines, &Stream::Opaque, Ids::Header, HeaderMap::new());
        let texts = encoder.texts(&batch).expect("texts");
        let cases: [(usize, usize, &[&[u32]]); 4] = [
            (9, 100, &[&[0, 1, 2, 3, 4]]),
            (2, 100, &[&[0, 1], &[2, 3], &[4]]),
            (9, 8, &[&[0, 1], &[2], &[3], &[4]]),
            (1, 1, &[&[0], &[1], &[2], &[3], &[4]]),
        ];
        for (records_max, bytes_max, expected) in cases {
            assert_eq!(
                encoder.split(&texts, &[0, 1, 2, 3, 4], records_max, bytes_max),
                expected,
                "{records_max} {bytes_max}"
            );
        }
    }
}
