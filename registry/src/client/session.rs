//! What is shared by all that is asked of one registry: by which scheme it answers, who one is there, and how often something
//! is tried.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use model::limits::{CLIENT_ERROR_BYTES_MAX, CLIENT_REDIRECTS_MAX};
use reqwest::{Response, Url};
use tokio::sync::OnceCell;
use tokio::time::sleep;

use super::ClientError;
use super::address;
use super::auth::{Asked, Auth};
use super::challenge::{Challenge, Scopes};
use super::credentials::Keyring;
use super::failure::{self, Failure, Said, Tries};
use super::wire::{self, Payload, Wire};
use crate::image_ref::RegistryHost;

/// What is asked of a registry.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    pub(super) scopes: Scopes,
    /// What it is about, as people know it.
    pub(super) what: String,
}

impl Request {
    pub(super) fn new(method: Method, url: Url, scopes: &Scopes, what: impl Into<String>) -> Self {
        let (headers, payload) = (HeaderMap::new(), Payload::Nothing);
        Self { method, url, headers, payload, scopes: scopes.clone(), what: what.into() }
    }

    /// With a header; the values that there are here can all be one.
    pub(super) fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        self.headers.extend(HeaderValue::from_str(value.as_ref()).ok().map(|value| (name, value)));
        self
    }

    pub(super) fn payload(self, payload: Payload) -> Self {
        Self { payload, ..self }
    }
}

/// An answer with all of its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Where it came from in the end.
    pub(super) url: Url,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What is shared by all that is asked of one registry.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) host: RegistryHost,
    plain_http: bool,
    wire: Arc<Wire>,
    auth: Auth,
    base: OnceCell<Url>,
    /// It has not taken a blob along with the question whether it may be sent.
    pub(super) asks_first: AtomicBool,
    /// One at a time changes an index of referrers here.
    pub(super) index: tokio::sync::Mutex<()>,
}

impl Session {
    pub(super) fn new(host: RegistryHost, plain_http: bool, wire: Arc<Wire>, keyring: Arc<Keyring>) -> Self {
        let auth = Auth::new(host.clone(), keyring);
        let (base, asks_first, index) = (OnceCell::new(), AtomicBool::new(false), Default::default());
        Self { host, plain_http, wire, auth, base, asks_first, index }
    }

    /// Who one is to the registry, for people; known once it has asked.
    pub(super) fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The URL of a path below `/v2/`.
    pub(super) async fn url(&self, path: &str) -> Result<Url, ClientError> {
        let base = self.base.get_or_try_init(|| self.find_base()).await?;
        let url = base.join(path);
        url.map_err(|error| ClientError::Settings { why: format!("{}: {path}: {error}", self.host) })
    }

    /// What an answer leads on to; it is refused where that would be less safe than what led there.
    pub(super) fn lead(&self, from: &Url, to: &str) -> Result<Url, String> {
        address::lead(from, to, self.plain_http)
    }

    /// By https, but for what was said to speak http. On this machine nobody listens in, and most registries there have no
    /// certificate: which of the two it is, is asked.
    async fn find_base(&self) -> Result<Url, ClientError> {
        let by = |scheme: &str| {
            let text = format!("{scheme}://{}/v2/", self.host.answers_at());
            Url::parse(&text).map_err(|error| ClientError::Settings { why: format!("{text}: {error}") })
        };
        let (plain, safe) = (by("http")?, by("https")?);
        if self.plain_http {
            return Ok(plain);
        }
        if !self.host.is_loopback() {
            return Ok(safe);
        }
        let mut tries = Tries::default();
        loop {
            let failure = match self.looks_like(&plain).await {
                Ok(true) => return Ok(plain),
                // Nobody listens: by no scheme. A server of TLS is not silent: it ends what it does not understand.
                Err(failure @ (Failure::Connect { .. } | Failure::Silent { .. })) => failure,
                Ok(false) | Err(_) => match self.looks_like(&safe).await {
                    Ok(_) => return Ok(safe),
                    Err(failure) => failure,
                },
            };
            sleep(tries.again(failure, fastrand::f64())?).await;
        }
    }

    /// Has the registry say whether it lets one in. One that asks nobody is shown who one is all the same: what it does with that
    /// is the same as where it asks.
    pub(super) async fn ping(&self) -> Result<(), ClientError> {
        let url = self.url("").await?;
        let request = Request::new(Method::GET, url.clone(), &Scopes::default(), self.host.to_string());
        self.ask(&request, CLIENT_ERROR_BYTES_MAX, &[]).await?;
        if !self.auth.is_challenged().await {
            self.auth.challenged(Some(Challenge::Basic), &url).await;
            self.ask(&request, CLIENT_ERROR_BYTES_MAX, &[]).await?;
        }
        Ok(())
    }

    /// Whether somebody there answers by that scheme: a server of TLS answers others with 400, or not at all.
    async fn looks_like(&self, url: &Url) -> Result<bool, Failure> {
        let sent = |_| {};
        let headers = HeaderMap::new();
        let answer = self.wire.send(&Method::GET, url, &headers, &Payload::Nothing, None, &sent);
        let mut answer = answer.await?;
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            self.auth.challenged(Challenge::of(answer.headers()), url).await;
        }
        // What was not read would cost the connection.
        let _ = wire::whole(&mut answer, CLIENT_ERROR_BYTES_MAX).await;
        Ok(status != StatusCode::BAD_REQUEST)
    }

    /// Asks, as often as it is worth, and gives the answer with its body of at most `most` bytes. Statuses below 400 are
    /// answers, and those in `expected`; all others are errors.
    pub(super) async fn ask(
        &self,
        request: &Request,
        most: usize,
        expected: &[StatusCode],
    ) -> Result<Answer, ClientError> {
        let mut tries = Tries::default();
        loop {
            let failure = match self.answer(request, most, expected, &|_| {}).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let wait = tries.again(failure, fastrand::f64())?;
            tracing::debug!(what = request.what, ?wait, "is tried again");
            sleep(wait).await;
        }
    }

    /// The same in one try.
    pub(super) async fn answer(
        &self,
        request: &Request,
        most: usize,
        expected: &[StatusCode],
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<Answer, Failure> {
        let mut response = self.open(request, expected, sent).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let url = response.url().clone();
        let body = match request.method {
            Method::HEAD => Bytes::new(),
            _ => match wire::whole(&mut response, most).await? {
                Some(body) => body,
                None => {
                    let bytes = response.content_length().unwrap_or(most as u64 + 1);
                    let what = request.what.clone();
                    return Err(ClientError::Large { what, bytes, most: most as u64 }.into());
                }
            },
        };
        Ok(Answer { status, headers, url, body })
    }

    /// The same with the body still to come.
    pub(super) async fn open(
        &self,
        request: &Request,
        expected: &[StatusCode],
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<Response, Failure> {
        let mut response = self.let_in(request, sent).await?;
        let status = response.status();
        if status.as_u16() < 400 || expected.contains(&status) {
            return Ok(response);
        }
        let asked = failure::asked(response.headers());
        let body = match request.method {
            Method::HEAD => None,
            // Why it is refused is good to know, and no more than that.
            _ => wire::whole(&mut response, CLIENT_ERROR_BYTES_MAX).await.unwrap_or_default(),
        };
        let said = Said::parse(status, body.as_deref().unwrap_or_default());
        let hint = self.auth.hint().await;
        let error = said.into_error(&request.what, status, &hint);
        Err(match failure::is_busy(status) {
            true => Failure::Busy { status, asked, error },
            false => Failure::Final(error),
        })
    }

    /// Asks as whoever one is, and once more where the registry asks who that is.
    async fn let_in(&self, request: &Request, sent: &(dyn Fn(u64) + Sync)) -> Result<Response, Failure> {
        let mut shown = self.auth.header(&self.wire, self.plain_http, &request.scopes).await?;
        let mut was_asked = false;
        loop {
            let mut response = self.follow(request, shown.as_ref(), sent).await?;
            let is_ours = self.base.get().is_none_or(|base| address::is_same(base, response.url()));
            if response.status() != StatusCode::UNAUTHORIZED || was_asked || !is_ours {
                return Ok(response);
            }
            let (challenge, by) = (Challenge::of(response.headers()), response.url().clone());
            let _ = wire::whole(&mut response, CLIENT_ERROR_BYTES_MAX).await;
            was_asked = true;
            let (wire, scopes) = (&self.wire, &request.scopes);
            let asked = self.auth.asked(wire, self.plain_http, (challenge, &by), scopes, shown.as_ref());
            match asked.await? {
                Asked::Shows(header) => shown = Some(header),
                Asked::HasNothing(why) => {
                    let what = request.what.clone();
                    return Err(ClientError::Denied { what, why }.into());
                }
            }
        }
    }

    /// Asks, and goes where the answer leads to. Who one is, is told to the registry alone.
    async fn follow(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<Response, Failure> {
        let mut url = request.url.clone();
        for _ in 0..=CLIENT_REDIRECTS_MAX {
            let base = self.base.get();
            let shown = authorization.filter(|_| base.is_some_and(|base| address::is_same(base, &url)));
            let (method, headers, payload) = (&request.method, &request.headers, &request.payload);
            let mut response = self.wire.send(method, &url, headers, payload, shown, sent).await?;
            let wrong = |why| Failure::Final(ClientError::Protocol { what: request.what.clone(), why });
            let Some(to) = address::redirect(method, response.status(), response.headers()).map_err(wrong)?
            else {
                return Ok(response);
            };
            let next = self.lead(&url, to).map_err(wrong)?;
            let _ = wire::whole(&mut response, CLIENT_ERROR_BYTES_MAX).await;
            url = next;
        }
        let why = format!("it led on more than {CLIENT_REDIRECTS_MAX} times");
        Err(ClientError::Protocol { what: request.what.clone(), why }.into())
    }
}
