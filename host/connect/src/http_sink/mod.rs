//! The sink `http`: records in requests, each with ids by which a receiver can drop what comes again.
//!
//! A batch is delivered when it has been answered for, so that a checkpoint has nothing left to make durable. What a
//! server asks to be sent later is, by the stage's `retry`; what was delivered of a batch by then is not sent again,
//! unless the process dies. `requests` makes bodies, `verdict` decides what an answer means, `client` has the sockets.

mod client;
mod requests;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use flow::connector::{Barrier, Committed, ConnectError, Figure, Figures, Refusals, Sink};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{Method, Uri};
use model::batch::Batch;
use model::ids::RecordId;
use model::limits;
use model::outcome::Rejection;
use model::plan::places::Access;
use model::plan::{Form, Stream};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::options::{self, OptionsError};
use crate::places;
use crate::secrets::SecretFrom;
use crate::{OpenSink, PlannedSink, SinkSpec, SpecError};
use client::{Client, Target};
use requests::{Encoder, Format, Ids};
use verdict::Verdict;

/// What stands under `with:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// Where requests go, `https://` or `http://`.
    url: String,
    /// POST by default; PUT or PATCH.
    method: Option<String>,
    /// How records are put into requests: lines, jsonl, json (an array) or record (one in each request). By default
    /// rows go as jsonl and opaque records as lines.
    format: Option<Format>,
    /// Headers of each request.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// What goes as `Authorization: Bearer`: `{ secret: NAME }` or `{ file: path }`.
    token: Option<SecretFrom>,
    /// jsonl and json: the field that gets a record's id. Without it the ids go as a header.
    id_field: Option<String>,
    /// Records of one request: 100 by default, at most 200 where their ids go as a header.
    records_max: Option<usize>,
    /// The body of one request; a record that is longer goes alone. 1MiB by default.
    #[serde(default, deserialize_with = "options::bytes")]
    #[schemars(with = "Option<String>")]
    bytes_max: Option<u64>,
    /// Requests at once. 1 by default, which keeps their order.
    connections: Option<usize>,
    /// How long one request may take, connecting included. 30s by default.
    #[serde(default, deserialize_with = "options::duration")]
    #[schemars(with = "Option<String>")]
    timeout: Option<Duration>,
    /// Addresses that are not public ones and that the host of `url` may lead to, such as `10.1.0.0/16`.
    #[serde(default)]
    addresses: Vec<String>,
    /// Certificates in PEM of authorities that are believed beside the public ones.
    ca: Option<PathBuf>,
}

/// A sink whose options were read.
struct Http {
    spec: SinkSpec,
    target: Target,
    method: Method,
    format: Option<Format>,
    ids: Ids,
    headers: HeaderMap,
    token: Option<SecretFrom>,
    records_max: usize,
    bytes_max: usize,
    connections: usize,
    timeout: Duration,
    ca: Option<PathBuf>,
}

pub(crate) fn plan(spec: &SinkSpec) -> Result<PlannedSink, SpecError> {
    let options: Options = options::read(&spec.with, "http")?;
    let url: Uri = options.url.parse().map_err(|error| {
        OptionsError::new("/url", format!("`{}` is no URL: {error}", options.url), "write https://HOST/PATH")
    })?;
    let target = Target::new(&url, &options.addresses)?;
    let method = match options.method.as_deref().unwrap_or("POST") {
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        other => {
            let message = format!("records are not sent with `{other}`");
            return Err(OptionsError::new("/method", message, "use POST, PUT or PATCH").into());
        }
    };
    let ids = ids(&options)?;
    let most = match ids {
        Ids::Header => limits::HTTP_HEADER_IDS_MAX,
        Ids::Field(_) | Ids::Key => limits::HTTP_SENT_RECORDS_MAX,
    };
    let given = |pointer: &str, given: Option<u64>, default: u64, most: u64| match given.unwrap_or(default) {
        value if (1..=most).contains(&value) => Ok(value),
        value => {
            let message = format!("`{}` is from 1 to {most}, and {value} is not", &pointer[1..]);
            Err(OptionsError::new(pointer, message, format!("{default} is what it is without the option")))
        }
    };
    let count = |count: Option<usize>| count.map(|count| count as u64);
    let records_max =
        given("/records-max", count(options.records_max), limits::HTTP_SENT_RECORDS as u64, most as u64)?;
    let bytes_max =
        given("/bytes-max", options.bytes_max, limits::HTTP_SENT_BYTES, limits::HTTP_REQUEST_BYTES_MAX)?;
    let connections = given("/connections", count(options.connections), 1, limits::HTTP_SENDERS_MAX as u64)?;
    let timeout = options.timeout.unwrap_or(limits::HTTP_SENT_TIME);
    if timeout.is_zero() || timeout > limits::HTTP_SENT_TIME_MAX {
        let message = "`timeout` is from 1ms to 10m";
        return Err(OptionsError::new("/timeout", message, "30s is what it is without the option").into());
    }
    let form = options.format.map_or(Form::Any, Format::form);
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let places = places::of_url(url.host().unwrap_or_default(), port, url.path());
    let sink = Http {
        spec: spec.clone(),
        target,
        method,
        format: options.format,
        ids,
        headers: headers(&options.headers)?,
        token: options.token,
        records_max: records_max as usize,
        bytes_max: bytes_max as usize,
        connections: connections as usize,
        timeout,
        ca: options.ca,
    };
    Ok(PlannedSink::new(form, sink).at(Access::Sends, places))
}

fn ids(options: &Options) -> Result<Ids, OptionsError> {
    match (&options.id_field, options.format) {
        (None, Some(Format::Record)) => Ok(Ids::Key),
        (None, _) => Ok(Ids::Header),
        (Some(_), Some(format @ (Format::Lines | Format::Record))) => {
            let message =
                format!("`id-field` is an option of jsonl and json, and the format is {}", format.as_str());
            Err(OptionsError::new("/id-field", message, "remove it: ids go as a header"))
        }
        (Some(_), None) => {
            let message = "`id-field` is an option of jsonl and json";
            Err(OptionsError::new("/id-field", message, "set `format: jsonl` beside it"))
        }
        (Some(name), _) => Ok(Ids::Field(name.as_str().into())),
    }
}

fn headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, OptionsError> {
    let ours = [AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, requests::KEY, requests::IDS];
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| !ours.contains(name));
        let name = parsed.ok_or_else(|| {
            let message = format!("`{name}` is no header that can be set");
            OptionsError::new(
                "/headers",
                message,
                "a token is given as `token`; the others are the sink's own",
            )
        })?;
        let value = HeaderValue::from_str(value).map_err(|_| {
            let message = format!("the value of `{name}` cannot stand in a header");
            OptionsError::new("/headers", message, "use visible ASCII characters")
        })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

impl OpenSink for Http {
    fn open(
        self: Box<Self>,
        input: &Stream,
        _committed: Option<Committed>,
    ) -> Result<Box<dyn Sink>, ConnectError> {
        let Self { spec, target, method, ids, mut headers, timeout, .. } = *self;
        if let Some(from) = &self.token {
            let token = spec.secrets.read(from, &spec.base, &spec.roots)?;
            let value = HeaderValue::from_str(&format!("Bearer {token}")).map(|mut value| {
                value.set_sensitive(true);
                value
            });
            let value = value.map_err(|_| {
                ConnectError::failed(
                    "the token",
                    "it cannot stand in a header",
                    "give one of visible ASCII characters",
                )
            })?;
            headers.insert(AUTHORIZATION, value);
        }
        let format = self.format.unwrap_or(Format::natural(input));
        let encoder = Encoder::new(format, input, ids, headers);
        let authorities = match &self.ca {
            Some(path) => client::authorities(&spec, path)?,
            None => Vec::new(),
        };
        let meter = Arc::new(Meter::default());
        let client = Client::new(target, method, timeout, &authorities);
        let bounds = Bounds {
            records_max: if format == Format::Record { 1 } else { self.records_max },
            bytes_max: self.bytes_max,
            connections: self.connections,
        };
        Ok(Box::new(HttpSink { client, encoder, bounds, meter, progress: None }))
    }
}

struct Bounds {
    records_max: usize,
    bytes_max: usize,
    connections: usize,
}

struct HttpSink {
    client: Client,
    encoder: Encoder,
    bounds: Bounds,
    meter: Arc<Meter>,
    /// Of the batch that is tried again.
    progress: Option<Progress>,
}

/// What became of the records of a batch so far.
struct Progress {
    first: Option<RecordId>,
    /// By row: delivered, or refused.
    done: Vec<bool>,
    refusals: Refusals,
}

impl Progress {
    fn new(ids: &[RecordId]) -> Self {
        Self { first: ids.first().copied(), done: vec![false; ids.len()], refusals: Vec::new() }
    }

    fn is_of(&self, ids: &[RecordId]) -> bool {
        self.first == ids.first().copied() && self.done.len() == ids.len()
    }

    fn delivered(&mut self, rows: &[u32]) {
        rows.iter().for_each(|&row| self.done[row as usize] = true);
    }

    fn refused(&mut self, rows: &[u32], code: &str, message: &str) {
        self.delivered(rows);
        self.refusals.extend(rows.iter().map(|&row| Rejection {
            row,
            code: code.to_owned(),
            message: message.to_owned(),
        }));
    }
}

impl HttpSink {
    /// Sends what of the batch was not sent yet. The first error ends it, when what is under way has been answered.
    async fn send(
        &self,
        batch: &Batch,
        ids: &[RecordId],
        progress: &mut Progress,
    ) -> Result<(), ConnectError> {
        let texts = self.encoder.texts(batch).map_err(|error| {
            ConnectError::failed("the rows", error, "leave that column out with a projection")
        })?;
        let left = (0..batch.rows() as u32).filter(|&row| !progress.done[row as usize]);
        let (fit, refused) = self.encoder.fitting(&texts, left);
        refused.iter().for_each(|refusal| progress.refused(&[refusal.row], &refusal.code, &refusal.message));
        let mut queue: VecDeque<Vec<u32>> =
            self.encoder.split(&texts, &fit, self.bounds.records_max, self.bounds.bytes_max);
        let mut under_way = FuturesUnordered::new();
        let mut failed = None;
        loop {
            while failed.is_none() && under_way.len() < self.bounds.connections {
                let Some(rows) = queue.pop_front() else { break };
                let request = self.encoder.request(&texts, ids, &rows);
                under_way.push(async move {
                    let answer = self.client.send(request).await;
                    (rows, answer)
                });
            }
            let Some((rows, answer)) = under_way.next().await else { break };
            self.meter.count(answer.as_ref().ok().map(|answer| answer.status.as_u16()));
            match verdict::of(&answer, rows.len(), self.client.target()) {
                Verdict::Delivered => progress.delivered(&rows),
                Verdict::Split => {
                    let (front, back) = rows.split_at(rows.len() / 2);
                    queue.push_front(back.to_vec());
                    queue.push_front(front.to_vec());
                }
                Verdict::Refused { code, message } => progress.refused(&rows, &code, &message),
                Verdict::Failed(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Sink for HttpSink {
    async fn write(&mut self, batch: &Batch, ids: &[RecordId]) -> Result<Refusals, ConnectError> {
        let kept = self.progress.take().filter(|progress| progress.is_of(ids));
        let mut progress = kept.unwrap_or_else(|| Progress::new(ids));
        let sent = self.send(batch, ids, &mut progress).await;
        if let Err(error) = sent {
            self.progress = Some(progress);
            return Err(error);
        }
        let mut refusals = progress.refusals;
        refusals.sort_by_key(|refusal| refusal.row);
        Ok(refusals)
    }

    fn wants_ids(&self) -> bool {
        true
    }

    fn figures(&self) -> Option<Arc<dyn Figures>> {
        Some(self.meter.clone())
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    /// What was written has been answered for.
    async fn prepare(&mut self, _barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        Ok(Vec::new())
    }

    async fn commit(&mut self, _token: &[u8]) -> Result<(), ConnectError> {
        Ok(())
    }
}

/// What requests were answered with.
#[derive(Debug, Default)]
struct Meter {
    by_class: [AtomicU64; 5],
    unanswered: AtomicU64,
}

impl Meter {
    fn count(&self, status: Option<u16>) {
        let class = status.and_then(|status| self.by_class.get(usize::from(status / 100).wrapping_sub(1)));
        class.unwrap_or(&self.unanswered).fetch_add(1, Ordering::Relaxed);
    }
}

impl Figures for Meter {
    fn figures(&self) -> Vec<Figure> {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
        let counts = self.by_class.iter().chain([&self.unanswered]);
        let figure = |(class, count): (&str, &AtomicU64)| Figure {
            name: "sink_requests",
            help: "Requests that a sink sent, by the class of the status that they were answered with",
            label: Some(("status", class.to_owned())),
            value: count.load(Ordering::Relaxed),
            counts: true,
        };
        classes.into_iter().zip(counts).map(figure).filter(|figure| figure.value > 0).collect()
    }
}
