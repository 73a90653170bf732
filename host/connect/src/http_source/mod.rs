//! The source `http`: records that are posted to it, taken once they are durable.
//!
//! A request is answered when its records are in the spool and synced (`flow::spool`), so that whoever got `200` can
//! forget them. The spool is what the pipeline reads, and what a run after a crash reads again. `records` cuts bodies,
//! `answer` decides what a request gets, `server` has the sockets, and `pull` is the source.

mod answer;
mod body;
mod meter;
mod multipart;
mod pull;
mod records;
mod server;
mod tls;
mod token;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::Schema;
use flow::connector::{ConnectError, Decode, Places, Source};
use flow::spool::SpoolOptions;
use hyper::header::HeaderName;
use model::convert::REST;
use model::limits::{self, HTTP_ACCEPT_AGAIN_AFTER, HTTP_LISTEN_AGAIN_TIME};
use model::manifest::ColumnType;
use model::manifest::{TimeFrom, UnknownFields};
use model::plan::places::Access;
use model::plan::{Stream, declared_field};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::again::JsonAgain;
use crate::options::{self, OptionsError};
use crate::place::read_places;
use crate::places;
use crate::read::{json_rows, time_column};
use crate::secrets::SecretFrom;
use crate::{OpenSource, PlannedSource, SourceSpec, SpecError, Wanted};
use answer::{Responder, Rules};
use pull::{HttpSource, Place, SPLIT, spool_failed};
use records::{Bounds, Format};
use server::Server;
use token::Token;

/// Where it listens, unless the manifest says otherwise: on this machine alone.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// What stands under `with:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// The address and port to listen on; 127.0.0.1:8080 by default. Others than this machine reach it only where it
    /// is another address than a loopback one.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    listen: Option<SocketAddr>,
    /// The path that takes records; `/` by default.
    path: Option<String>,
    /// How a body is cut into records: lines, json (one document, or an array), jsonl, bytes (the body is one record),
    /// or auto, which goes by its `Content-Type` and is the default.
    #[serde(default)]
    format: Format,
    /// What senders have to show as `Authorization: Bearer`: `{ secret: NAME }` or `{ file: path }`.
    token: Option<SecretFrom>,
    /// Listen with TLS.
    tls: Option<TlsOptions>,
    /// Headers of a request that its records keep.
    #[serde(default)]
    headers: Vec<String>,
    /// The header of a request that is the key of its records.
    key_header: Option<String>,
    /// How much may wait in the spool; when it is full, senders get 429. 1GiB by default.
    #[serde(default, deserialize_with = "options::bytes")]
    #[schemars(with = "Option<String>")]
    spool_bytes_max: Option<u64>,
    /// The body of one request, unpacked. 8MiB by default.
    #[serde(default, deserialize_with = "options::bytes")]
    #[schemars(with = "Option<String>")]
    body_bytes_max: Option<u64>,
    /// Bodies of all requests that are under way. 128MiB by default; senders beyond it get 429.
    #[serde(default, deserialize_with = "options::bytes")]
    #[schemars(with = "Option<String>")]
    bodies_bytes_max: Option<u64>,
    /// The longest record. As long as a body by default.
    #[serde(default, deserialize_with = "options::bytes")]
    #[schemars(with = "Option<String>")]
    record_bytes_max: Option<u64>,
    /// Records of one request. 100000 by default.
    records_max: Option<usize>,
    /// Connections at once; more wait until one of them ends. 1024 by default.
    connections_max: Option<usize>,
    /// How long a request may take to come in. 30s by default; then it gets 408.
    #[serde(default, deserialize_with = "options::duration")]
    #[schemars(with = "Option<String>")]
    request_timeout: Option<Duration>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TlsOptions {
    /// Certificates in PEM, the server's own first.
    cert: PathBuf,
    /// Its key in PEM.
    key: PathBuf,
}

/// A source whose options were read.
struct Http {
    spec: SourceSpec,
    stream: Stream,
    listen: SocketAddr,
    path: String,
    format: Format,
    token: Option<SecretFrom>,
    tls: Option<TlsOptions>,
    headers: Vec<HeaderName>,
    key_header: Option<HeaderName>,
    spool_bytes_max: u64,
    body_bytes_max: usize,
    bodies_bytes_max: usize,
    bounds: Bounds,
    connections_max: usize,
    request_timeout: Duration,
}

pub(crate) fn plan(spec: &SourceSpec) -> Result<PlannedSource, SpecError> {
    let options: Options = options::read(&spec.with, "http")?;
    let stream = stream(spec)?;
    if let TimeFrom::Column(name) = &spec.time {
        time_column(&stream, name)?;
    }
    let path = options.path.unwrap_or_else(|| "/".to_owned());
    if !path.starts_with('/') || path.contains(['?', '#', ' ']) {
        let message = format!("`path` is the path of a URL, such as `/orders`, not `{path}`");
        return Err(OptionsError::new("/path", message, "begin it with `/`, without a query").into());
    }
    let body_bytes_max = within(
        "/body-bytes-max",
        options.body_bytes_max,
        limits::HTTP_BODY_BYTES,
        1,
        limits::HTTP_BODY_BYTES_MAX,
    )?;
    let spool_bytes_max = within(
        "/spool-bytes-max",
        options.spool_bytes_max,
        limits::SPOOL_BYTES,
        limits::SPOOL_BYTES_MIN,
        limits::SPOOL_BYTES_MAX,
    )?;
    if body_bytes_max > spool_bytes_max / 2 {
        let message = "a body may be as long as the whole spool, which would then take nothing else";
        let help = "raise `spool-bytes-max` to twice `body-bytes-max` at least";
        return Err(OptionsError::new("/spool-bytes-max", message, help).into());
    }
    let bodies = options.bodies_bytes_max;
    let bodies = within(
        "/bodies-bytes-max",
        bodies,
        limits::HTTP_BODIES_BYTES.max(body_bytes_max),
        body_bytes_max,
        u64::MAX,
    )?;
    let record = options.record_bytes_max;
    let record = within("/record-bytes-max", record, body_bytes_max, 1, limits::HTTP_BODY_BYTES_MAX)?;
    let count = |pointer: &str, given: Option<usize>, default: usize, most: usize| {
        within(pointer, given.map(|given| given as u64), default as u64, 1, most as u64)
    };
    let connections = limits::HTTP_CONNECTIONS;
    let connections =
        count("/connections-max", options.connections_max, connections, limits::HTTP_CONNECTIONS_MAX)?;
    let most = limits::HTTP_REQUEST_RECORDS_MAX;
    let records_max = count("/records-max", options.records_max, limits::HTTP_REQUEST_RECORDS, most)?;
    let listen = options.listen.unwrap_or(LISTEN);
    let places = places::of_url(&listen.ip().to_string(), listen.port(), &path);
    let source = Http {
        spec: spec.clone(),
        stream: stream.clone(),
        listen,
        path,
        format: options.format,
        token: options.token,
        tls: options.tls,
        headers: options.headers.iter().map(|name| header("/headers", name)).collect::<Result<_, _>>()?,
        key_header: options.key_header.map(|name| header("/key-header", &name)).transpose()?,
        spool_bytes_max,
        body_bytes_max: body_bytes_max as usize,
        bodies_bytes_max: bodies as usize,
        bounds: Bounds { records_max: records_max as usize, record_bytes_max: record as usize },
        connections_max: connections as usize,
        request_timeout: request_timeout(options.request_timeout)?,
    };
    Ok(PlannedSource::new(stream, source).at(Access::Follows, places))
}

fn request_timeout(given: Option<Duration>) -> Result<Duration, OptionsError> {
    let timeout = given.unwrap_or(limits::HTTP_REQUEST_TIME);
    if timeout.is_zero() || timeout > limits::HTTP_REQUEST_TIME_MAX {
        let message = "`request-timeout` is from 1ms to 1h";
        return Err(OptionsError::new("/request-timeout", message, "30s is what it is without the option"));
    }
    Ok(timeout)
}

fn within(
    pointer: &str,
    given: Option<u64>,
    default: u64,
    least: u64,
    most: u64,
) -> Result<u64, OptionsError> {
    let value = given.unwrap_or(default);
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    let message = format!("`{}` is from {least} to {most}, and {value} is not", &pointer[1..]);
    Err(OptionsError::new(pointer, message, format!("{default} is what it is without the option")))
}

fn header(pointer: &str, name: &str) -> Result<HeaderName, OptionsError> {
    // A token that was kept with each record would be in every sink.
    let kept =
        HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| *name != hyper::header::AUTHORIZATION);
    kept.ok_or_else(|| {
        let message = format!("`{name}` is no header that records can keep");
        OptionsError::new(pointer, message, "name headers such as `x-device-id`")
    })
}

/// Opaque records, or rows of the columns that are declared.
fn stream(spec: &SourceSpec) -> Result<Stream, ConnectError> {
    if spec.schema.is_empty() {
        return Ok(Stream::Opaque);
    }
    let mut fields = Vec::with_capacity(spec.schema.len() + 1);
    for (name, column_type) in &spec.schema {
        let column_type = column_type.ok_or_else(|| {
            let why = "it is declared without a type, and there is no input yet to find it in";
            ConnectError::failed(format!("column `{name}`"), why, "give it a type under `schema`")
        })?;
        fields.push(declared_field(name, column_type));
    }
    if spec.unknown == UnknownFields::Rest {
        fields.push(declared_field(REST, ColumnType::Json));
    }
    Ok(Stream::Rows(Arc::new(Schema::new(fields))))
}

impl OpenSource for Http {
    fn open(self: Box<Self>, wanted: &Wanted, from: &Places) -> Result<Box<dyn Source>, ConnectError> {
        let spec = &self.spec;
        let Some(dir) = spec.spool.clone() else {
            let why = "what it has taken is kept in a spool, and there is no directory for it";
            let next = "run with `--state DIR`";
            return Err(ConnectError::failed(format!("source `{}`", spec.stage), why, next));
        };
        let token =
            self.token.as_ref().map(|from| spec.secrets.read(from, &spec.base, &spec.roots)).transpose()?;
        let token = token.map(|token| Token::new(&token));
        let tls = self.tls.as_ref().map(|tls| tls::acceptor(spec, &tls.cert, &tls.key)).transpose()?;
        let place = read_places::<Place>(from)?.remove(SPLIT);
        let (rows, output) = json_rows(&self.spec, &self.stream, wanted)?;
        let listener = self.bind()?;
        self.warn_of_strangers(token.is_some(), tls.is_some());
        let spool = SpoolOptions::new(dir, self.spool_bytes_max).open(place.map(|place| place.next));
        let (spool, reader) = spool.map_err(|error| spool_failed(&spec.stage, &error))?;
        let rules = Rules {
            path: self.path,
            format: self.format,
            token,
            headers: self.headers,
            key_header: self.key_header,
            body_bytes_max: self.body_bytes_max,
            bounds: self.bounds,
            request_timeout: self.request_timeout,
        };
        let responder = Arc::new(Responder::new(rules, spool, self.bodies_bytes_max));
        let server =
            Server::new(listener, tls, self.connections_max, self.request_timeout, responder.clone());
        Ok(Box::new(HttpSource::new(server, responder, reader, output, rows)))
    }

    fn again(&self, wanted: &Wanted) -> Result<Option<Box<dyn Decode>>, ConnectError> {
        let (rows, output) = json_rows(&self.spec, &self.stream, wanted)?;
        Ok(Some(Box::new(JsonAgain { rows, output })))
    }
}

impl Http {
    fn bind(&self) -> Result<TcpListener, ConnectError> {
        let begun = Instant::now();
        let bound = loop {
            let bound = TcpListener::bind(self.listen).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            match bound {
                // A pipeline that goes back to its last checkpoint may just be letting go of it.
                Err(error)
                    if error.kind() == ErrorKind::AddrInUse && begun.elapsed() < HTTP_LISTEN_AGAIN_TIME =>
                {
                    std::thread::sleep(HTTP_ACCEPT_AGAIN_AFTER);
                }
                bound => break bound,
            }
        };
        bound.map_err(|error| {
            let next = "name an address of this machine and a port that nobody uses with `listen`";
            ConnectError::failed(format!("{} cannot be listened on", self.listen), error, next)
        })
    }

    fn warn_of_strangers(&self, has_token: bool, has_tls: bool) {
        if self.listen.ip().is_loopback() || (has_token && has_tls) {
            return;
        }
        let missing = match (has_token, has_tls) {
            (false, false) => {
                "without `token` and `tls` anybody can send records, and anybody on the way can read them"
            }
            (false, true) => "without `token` anybody can send records",
            _ => "without `tls` anybody on the way can read the records and the token",
        };
        tracing::warn!(stage = %self.spec.stage, listen = %self.listen, "the source listens for other machines: {missing}");
    }
}
