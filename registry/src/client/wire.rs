//! One request over HTTP, and its answer: which connection it takes, and how long it may be silent. Who asks, where a redirect
//! leads and whether there is another try is decided by others.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method};
use model::limits::{CLIENT_ANSWER_TIME, CLIENT_CONNECT_TIME, CLIENT_PIECE_BYTES, CLIENT_SILENCE};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Response, Url};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::{Instant, sleep, timeout};

use super::failure::{Failure, chain};
use super::{ClientError, Content};
use crate::image_ref::is_loopback;

/// What goes along with a request.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Nothing,
    Bytes(Bytes),
    /// A content from one of its bytes on, and how many bytes it has in all.
    Rest {
        content: Content,
        from: u64,
        bytes: u64,
    },
}

impl Payload {
    fn bytes(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Rest { from, bytes, .. } => bytes.saturating_sub(*from),
        }
    }
}

/// Connections. Those to this machine never go through a proxy, and without TLS need none of the system's certificates.
#[derive(Debug)]
pub(super) struct Wire {
    trusted: Vec<Certificate>,
    here: OnceLock<reqwest::Client>,
    here_by_tls: OnceLock<reqwest::Client>,
    outside: OnceLock<reqwest::Client>,
}

/// How often it is looked whether anything went out, and told how much.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Wire {
    /// `ca_cert`: certificates that are trusted beside those of the system.
    pub(super) fn new(ca_cert: Option<&Path>) -> Result<Self, ClientError> {
        // Whoever was first has chosen; it is the same one everywhere here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let trusted = ca_cert.map_or(Ok(vec![]), certificates)?;
        let (here, here_by_tls, outside) = Default::default();
        Ok(Self { trusted, here, here_by_tls, outside })
    }

    fn client(&self, url: &Url) -> Result<&reqwest::Client, ClientError> {
        let is_here = url.host_str().is_some_and(is_loopback);
        let (slot, is_plain) = match (is_here, url.scheme()) {
            (true, "http") => (&self.here, true),
            (true, _) => (&self.here_by_tls, false),
            (false, _) => (&self.outside, false),
        };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("conveyor/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CLIENT_CONNECT_TIME)
            .redirect(Policy::none())
            .referer(false)
            .http1_only();
        if is_here {
            builder = builder.no_proxy();
        }
        builder = match is_plain {
            true => builder.tls_certs_only([]),
            false => builder.tls_certs_merge(self.trusted.iter().cloned()),
        };
        let built = builder.build().map_err(|error| ClientError::Settings {
            why: format!(
                "connections by TLS cannot be set up: {}; install the certificates of the system (ca-certificates), or name \
                 some by --ca-cert",
                chain(&error)
            ),
        })?;
        Ok(slot.get_or_init(|| built))
    }

    /// Sends a request and waits for the head of its answer. `sent` is told how much of the payload went out.
    pub(super) async fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        payload: &Payload,
        authorization: Option<&HeaderValue>,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<Response, Failure> {
        let outgoing = Outgoing::default();
        let mut request = reqwest::Request::new(method.clone(), url.clone());
        *request.headers_mut() = headers.clone();
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        if !matches!(payload, Payload::Nothing)
            || matches!(*method, Method::POST | Method::PUT | Method::PATCH)
        {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(payload.bytes()));
        }
        *request.body_mut() = outgoing.body(payload);
        let mut answer = std::pin::pin!(self.client(url)?.execute(request));
        let (mut seen, mut since) = (0, Instant::now());
        // What was sent may take the registry a while.
        let most = if method.is_safe() { CLIENT_ANSWER_TIME } else { CLIENT_SILENCE };
        loop {
            tokio::select! {
                answer = &mut answer => return answer.map_err(|error| outgoing.failure(url, &error)),
                () = sleep(LOOK_EVERY) => {}
            }
            let now = outgoing.bytes.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
                sent(seen);
            } else if since.elapsed() > most {
                return Err(silent(url, most));
            }
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let wrong = |why: String| ClientError::Settings { why: format!("{}: {why}", path.display()) };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(chain(&error)))?;
    match found.is_empty() {
        true => Err(wrong("it has no certificate: name a file of PEM".to_owned())),
        false => Ok(found),
    }
}

/// What is on its way out of one request.
#[derive(Clone, Default)]
struct Outgoing {
    bytes: Arc<AtomicU64>,
    /// Why the content could not be read: that is nobody else's failure.
    broken: Arc<Mutex<Option<ClientError>>>,
}

impl Outgoing {
    fn body(&self, payload: &Payload) -> Option<reqwest::Body> {
        match payload {
            Payload::Nothing => None,
            Payload::Bytes(bytes) => Some(bytes.clone().into()),
            Payload::Rest { content, from, bytes } => {
                let (content, from, to) = (content.clone(), *from, *bytes);
                let outgoing = self.clone();
                let pieces = stream::once(async move { Pieces::open(content, from, to, outgoing).await });
                let pieces = pieces.flat_map(|opened| match opened {
                    Ok(pieces) => stream::unfold(pieces, Pieces::next).boxed(),
                    Err(error) => stream::once(async move { Err(error) }).boxed(),
                });
                Some(reqwest::Body::wrap_stream(pieces.boxed()))
            }
        }
    }

    fn failure(&self, url: &Url, error: &reqwest::Error) -> Failure {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        match broken {
            Some(error) => Failure::Final(error),
            None => failed(url, error),
        }
    }
}

/// A content that is sent piece by piece.
struct Pieces {
    content: Read,
    left: u64,
    outgoing: Outgoing,
}

enum Read {
    Bytes(Bytes),
    File(tokio::fs::File, std::path::PathBuf),
}

impl Pieces {
    async fn open(content: Content, from: u64, to: u64, outgoing: Outgoing) -> io::Result<Self> {
        let left = to.saturating_sub(from);
        let content = match content {
            Content::Bytes(bytes) => {
                let (from, to) = (from.min(bytes.len() as u64), to.min(bytes.len() as u64));
                Read::Bytes(bytes.slice(from as usize..to as usize))
            }
            Content::File(path) => {
                let opened = async {
                    let mut file = tokio::fs::File::open(&path).await?;
                    file.seek(io::SeekFrom::Start(from)).await?;
                    file.set_max_buf_size(CLIENT_PIECE_BYTES);
                    Ok(file)
                };
                match opened.await {
                    Ok(file) => Read::File(file, path),
                    Err(error) => return Err(outgoing.breaks(path, error)),
                }
            }
        };
        Ok(Self { content, left, outgoing })
    }

    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.left == 0 {
            return None;
        }
        let most = self.left.min(CLIENT_PIECE_BYTES as u64) as usize;
        let piece = match &mut self.content {
            Read::Bytes(bytes) => Ok(bytes.split_to(most.min(bytes.len()))),
            Read::File(file, path) => {
                let mut piece = BytesMut::with_capacity(most);
                let read = (&mut *file).take(most as u64).read_buf(&mut piece).await;
                match read {
                    Ok(0) => {
                        let why = "it became shorter while it was sent";
                        Err(self
                            .outgoing
                            .breaks(path.clone(), io::Error::new(io::ErrorKind::UnexpectedEof, why)))
                    }
                    Ok(_) => Ok(piece.freeze()),
                    Err(error) => Err(self.outgoing.breaks(path.clone(), error)),
                }
            }
        };
        let bytes = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        self.left = if bytes == 0 { 0 } else { self.left - bytes };
        self.outgoing.bytes.fetch_add(bytes, Ordering::Relaxed);
        Some((piece, self))
    }
}

impl Outgoing {
    /// Keeps why a file could not be read, for whoever waits for the answer; what is sent on only ends the connection.
    fn breaks(&self, path: std::path::PathBuf, error: io::Error) -> io::Error {
        let kind = error.kind();
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(ClientError::File { path, error });
        kind.into()
    }
}

/// The next bytes of an answer; None at its end.
pub(super) async fn piece(response: &mut Response) -> Result<Option<Bytes>, Failure> {
    match timeout(CLIENT_ANSWER_TIME, response.chunk()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error)) => Err(failed(response.url(), &error)),
        Err(_) => Err(silent(response.url(), CLIENT_ANSWER_TIME)),
    }
}

/// All of an answer; None where it has more bytes than `most`.
pub(super) async fn whole(response: &mut Response, most: usize) -> Result<Option<Bytes>, Failure> {
    let said = response.content_length().unwrap_or(0);
    if said > most as u64 {
        return Ok(None);
    }
    let mut all = BytesMut::with_capacity(said as usize);
    while let Some(piece) = piece(response).await? {
        if all.len() + piece.len() > most {
            return Ok(None);
        }
        all.extend_from_slice(&piece);
    }
    Ok(Some(all.freeze()))
}

/// Host and port of a URL.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn silent(url: &Url, time: Duration) -> Failure {
    let why = format!("it took the connection, and then nothing came for {} s", time.as_secs());
    Failure::Silent { host: authority(url), why }
}

fn failed(url: &Url, error: &reqwest::Error) -> Failure {
    let host = authority(url);
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(why) = of_tls(cause).and_then(for_good) {
            return Failure::Final(ClientError::Unreachable { host, why });
        }
        source = cause.source();
    }
    // The URL is said by whoever tells of it.
    let why = error.source().map_or_else(|| error.to_string(), chain);
    match error.is_connect() {
        true => Failure::Connect { host, why },
        false => Failure::Lost { host, why },
    }
}

/// What TLS has to say, within as many errors of input and output as it was put into.
fn of_tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut inner = error;
    while let Some(within) = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        inner = within;
    }
    inner.downcast_ref()
}

/// What is said of a certificate that has the mark of those that sign others.
const SIGNS_OTHERS: &str = "CaUsedAsEndEntity";

/// What no other try mends.
fn for_good(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::InvalidCertificate(_) if error.to_string().contains(SIGNS_OTHERS) => Some(format!(
            "its certificate is one that signs others, and no server's ({error}); make one without that: `openssl req -x509` \
             takes `-addext basicConstraints=critical,CA:FALSE`"
        )),
        rustls::Error::InvalidCertificate(_) => {
            Some(format!("its certificate is not trusted ({error}); --ca-cert FILE names one that is"))
        }
        rustls::Error::InvalidMessage(_) => {
            Some(format!("it does not speak TLS ({error}); --plain-http speaks http with it"))
        }
        _ => None,
    }
}
