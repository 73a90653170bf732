//! One server, its address checked before it is dialled, over connections that are used again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flow::connector::{ConnectError, tls_client};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{HOST, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use model::grants::{Authority, Granted, Grants, Host, HostGrant, IpRange};
use model::limits;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::requests::Request;
use super::verdict::{Answer, NoAnswer};
use crate::SinkSpec;
use crate::options::OptionsError;

/// Where requests go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    shown: String,
    to: Authority,
    tls: bool,
    host: HeaderValue,
    path: Uri,
    /// What the name may lead to.
    grants: Grants,
}

impl Target {
    /// `addresses`: what is not public and may be dialled all the same.
    pub fn new(url: &Uri, addresses: &[String]) -> Result<Self, OptionsError> {
        let bad = |why: &str| {
            OptionsError::new("/url", format!("`{url}` cannot be sent to: {why}"), "write https://HOST/PATH")
        };
        let (tls, port) = match url.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(bad("its scheme is neither https nor http")),
        };
        let authority = url.authority().ok_or_else(|| bad("it names no host"))?;
        let to = Authority::parse(authority.as_str(), port).map_err(|error| bad(&error.to_string()))?;
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| bad("its host cannot stand in a header"))?;
        let granted = match &to.host {
            Host::Name(name) => Granted::Name(name.clone()),
            Host::Address(address) => Granted::Range(IpRange::one(*address)),
        };
        let mut http = vec![HostGrant { host: granted, port: to.port }];
        for text in addresses {
            let grant = format!("{text}:{}", to.port).parse::<HostGrant>().ok();
            let grant = grant.filter(|grant| matches!(grant.host, Granted::Range(_)));
            http.push(grant.ok_or_else(|| {
                let message = format!("`{text}` is no address and no range of them");
                OptionsError::new(
                    "/addresses",
                    message,
                    "write such as `10.0.0.5`, `10.1.0.0/16` or `[fd00::5]`",
                )
            })?);
        }
        let path = url.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
        let grants = Grants { http, ..Grants::default() };
        // What stands behind a `?` may be a key.
        let shown = format!("{}://{authority}{}", url.scheme_str().unwrap_or_default(), url.path());
        Ok(Self { shown, to, tls, host, path, grants })
    }
}

/// Certificates of authorities, from a file.
pub(super) fn authorities(
    spec: &SinkSpec,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let path = spec.base.join(path);
    let failed =
        |why: String| ConnectError::failed(path.display().to_string(), why, "name a file in PEM under `ca`");
    let inside = spec.roots.check(&path).map_err(|error| failed(error.to_string()))?;
    let text = std::fs::read(inside).map_err(|error| failed(error.to_string()))?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(failed("there is no certificate in it".to_owned())) } else { Ok(found) }
}

type Connection = SendRequest<Full<Bytes>>;

pub(super) struct Client {
    target: Target,
    method: Method,
    timeout: Duration,
    tls: TlsConnector,
    /// As many as there were requests at once.
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    pub fn new(
        target: Target,
        method: Method,
        timeout: Duration,
        authorities: &[CertificateDer<'static>],
    ) -> Self {
        let config = tls_client(authorities);
        Self { target, method, timeout, tls: TlsConnector::from(Arc::new(config)), idle: Mutex::default() }
    }

    /// As it is shown.
    pub fn target(&self) -> &str {
        &self.target.shown
    }

    pub async fn send(&self, request: Request) -> Result<Answer, NoAnswer> {
        let sent = timeout(self.timeout, self.exchange(request)).await;
        sent.unwrap_or(Err(NoAnswer::Timeout(self.timeout)))
    }

    async fn exchange(&self, request: Request) -> Result<Answer, NoAnswer> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut connection) = idle
            && connection.ready().await.is_ok()
        {
            // The server may have closed it meanwhile, which says nothing about the request.
            match self.ask(connection, &request).await {
                Err(NoAnswer::Broke(_)) => {}
                answer => return answer,
            }
        }
        let connection = self.connect().await?;
        self.ask(connection, &request).await
    }

    async fn ask(&self, mut connection: Connection, request: &Request) -> Result<Answer, NoAnswer> {
        let broke = |error: hyper::Error| NoAnswer::Broke(error.to_string());
        let mut asked = hyper::Request::new(Full::new(request.body.clone()));
        *asked.method_mut() = self.method.clone();
        *asked.uri_mut() = self.target.path.clone();
        *asked.headers_mut() = request.headers.clone();
        asked.headers_mut().insert(HOST, self.target.host.clone());
        let answer = connection.send_request(asked).await.map_err(broke)?;
        let (head, mut rest) = answer.into_parts();
        let text = |name| {
            head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned)
        };
        let (retry_after, location) = (text(RETRY_AFTER), text(LOCATION));
        // The records are taken, or not, whatever becomes of the rest.
        let mut body = Vec::new();
        let mut seen = 0;
        let is_whole = loop {
            match rest.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    seen += data.len();
                    let room = limits::HTTP_ANSWER_SHOWN_BYTES.saturating_sub(body.len());
                    body.extend_from_slice(&data[..data.len().min(room)]);
                    if seen > limits::HTTP_ANSWER_READ_BYTES {
                        break false;
                    }
                }
            }
        };
        if is_whole {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        Ok(Answer { status: head.status, retry_after, location, body })
    }

    /// Looked up, checked, dialled: what was checked is what is dialled.
    async fn connect(&self) -> Result<Connection, NoAnswer> {
        let until = limits::HTTP_CONNECT_TIME;
        let slow = || NoAnswer::Connect(format!("it takes longer than {until:?}"));
        timeout(until, self.dial()).await.unwrap_or_else(|_| Err(slow()))
    }

    async fn dial(&self) -> Result<Connection, NoAnswer> {
        let to = &self.target.to;
        let found: Vec<IpAddr> = match &to.host {
            Host::Address(address) => vec![*address],
            Host::Name(_) if to.host.is_localhost() => {
                vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            }
            Host::Name(name) => {
                let lookup = tokio::net::lookup_host((name.as_str(), to.port)).await;
                let lookup = lookup.map_err(|error| NoAnswer::Lookup(name.to_string(), error.to_string()))?;
                lookup.map(|address| address.ip()).collect()
            }
        };
        let allowed = self.target.grants.dialled(to, &found);
        let allowed = allowed.map_err(|refused| match refused {
            model::grants::Refused::Address { host, address } => {
                NoAnswer::Denied(format!("`{host}` leads to {address}, which is no public address"))
            }
            refused @ model::grants::Refused::Host(_) => NoAnswer::Denied(refused.to_string()),
        })?;
        let mut last = NoAnswer::Lookup(to.host.to_string(), "it has no address".to_owned());
        for address in allowed.into_iter().take(limits::HTTP_ADDRESSES_MAX) {
            match TcpStream::connect(SocketAddr::new(address, to.port)).await {
                Ok(stream) => return self.secure(stream).await,
                Err(error) => last = NoAnswer::Connect(error.to_string()),
            }
        }
        Err(last)
    }

    async fn secure(&self, stream: TcpStream) -> Result<Connection, NoAnswer> {
        stream.set_nodelay(true).map_err(|error| NoAnswer::Connect(error.to_string()))?;
        if !self.target.tls {
            return handshake(stream).await;
        }
        let name = match &self.target.to.host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
                .map_err(|error| NoAnswer::Tls(error.to_string()))?,
        };
        let stream =
            self.tls.connect(name, stream).await.map_err(|error| NoAnswer::Tls(error.to_string()))?;
        handshake(stream).await
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Connection, NoAnswer> {
    let mut http = Builder::new();
    http.max_buf_size(limits::HTTP_HEAD_BYTES_MAX).max_headers(limits::HTTP_HEADERS_MAX);
    let made = http.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = made.map_err(|error| NoAnswer::Broke(error.to_string()))?;
    // It ends with its sender; what broke it is told to whoever waits for an answer.
    tokio::spawn(connection);
    Ok(sender)
}
