//! A client of the API of a node: its routes as functions, over the types that the API answers with.
//!
//! [`place`] finds the node, [`failure`] says why something is not done, [`blocks`] reads what events are sent as. What is said
//! to people is the command line's.

mod blocks;
mod events;
pub mod failure;
pub mod place;
mod routes;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use control::state::Expects;
use model::limits::{API_ANSWER_BYTES_MAX, API_ANSWER_TIME, API_TRIES, API_WAIT_MAX, CLIENT_CONNECT_TIME};
use registry::client::Credential;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Method, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::types::ProblemBody;

pub use events::Events;
pub use failure::ClientError;
pub use place::Place;
pub use routes::Act;

/// Speaks with one node.
#[derive(Debug)]
pub struct Client {
    url: Url,
    token: Option<HeaderValue>,
    http: reqwest::Client,
    /// By which the place was found, for what is said where nobody answers.
    found: String,
}

/// A request that is sent, as often as it takes.
struct Asked {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Vec<u8>>,
}

impl Client {
    pub fn new(place: Place) -> Result<Self, ClientError> {
        let Place { url, token, ca_cert, found } = place;
        // Whoever was first has chosen; it is the same one everywhere here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let is_here = url.host_str().is_some_and(place::is_loopback);
        if url.scheme() == "http" && !is_here && token.is_some() {
            return Err(ClientError::InTheClear { url: url.to_string() });
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
        builder = match url.scheme() {
            // Nothing is asked of the system's certificates.
            "http" => builder.tls_certs_only([]),
            _ => builder.tls_certs_merge(ca_cert.as_deref().map_or(Ok(vec![]), certificates)?),
        };
        let http = builder.build().map_err(|error| ClientError::Tls { why: failure::chain(&error) })?;
        let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {}", token.as_str())));
        let mut token = token.transpose().map_err(|_| ClientError::NoToken { found: found.clone() })?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        Ok(Self { url, token, http, found })
    }

    /// Who somebody is to the registry of the node: the token stands for a password. None where there is no token.
    pub fn registry_credential(&self) -> Option<Credential> {
        let token = self.token.as_ref()?.to_str().ok()?.strip_prefix("Bearer ")?;
        Some(Credential::Password { user: "token".to_owned(), password: token.to_owned() })
    }

    /// The node, as it is shown.
    pub fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(&Asked { method: Method::GET, path: path.to_owned(), headers: vec![], body: None }).await
    }

    /// A write, under a key of its own, so that it is done once however often it is sent.
    async fn write<T: DeserializeOwned>(
        &self,
        (method, path): (Method, &str),
        expects: Expects,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        self.json(&write((method, path), expects, body)?).await
    }

    async fn json<T: DeserializeOwned>(&self, asked: &Asked) -> Result<T, ClientError> {
        let bytes = self.answer(asked).await?;
        // What has no body is nothing.
        let bytes = if bytes.is_empty() { b"null".as_slice() } else { &bytes };
        serde_json::from_slice(bytes)
            .map_err(|error| self.strange(format!("{error} in its answer to {}", asked.path)))
    }

    /// The body of the answer. What the node had no time for is sent again.
    async fn answer(&self, asked: &Asked) -> Result<Vec<u8>, ClientError> {
        let mut tries = 1;
        loop {
            let (error, wait) = match self.send(asked, Some(API_ANSWER_TIME)).await {
                Ok(response) => {
                    let wait = retry_after(&response);
                    match self.whole(response).await {
                        Ok(bytes) => return Ok(bytes),
                        Err(error) => (error, wait),
                    }
                }
                Err(error) => (error, None),
            };
            if tries == API_TRIES || !error.may_pass() {
                return Err(error);
            }
            tries += 1;
            let wait = wait.unwrap_or(WAIT);
            if wait > API_WAIT_MAX {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn send(&self, asked: &Asked, time: Option<Duration>) -> Result<Response, ClientError> {
        let Asked { method, path, headers, body } = asked;
        let url =
            self.url.join(path.trim_start_matches('/')).map_err(|error| self.strange(error.to_string()))?;
        let mut request = self.http.request(method.clone(), url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        for (name, value) in headers {
            request = request.header(name.clone(), value.clone());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(time) = time {
            request = request.timeout(time);
        }
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    /// What came, where it is no problem.
    async fn whole(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if bytes.len() + chunk.len() > API_ANSWER_BYTES_MAX {
                return Err(self.strange(format!("its answer has more than {API_ANSWER_BYTES_MAX} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        match status.is_success() {
            true => Ok(bytes),
            false => Err(match serde_json::from_slice::<ProblemBody>(&bytes) {
                Ok(problem) => ClientError::Problem(Box::new(problem)),
                Err(_) => self.strange(format!("it answers {status}, and not as a node does")),
            }),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let (url, found, why) = (self.url().to_owned(), self.found.clone(), failure::chain(error));
        match error.is_connect() {
            true => ClientError::Unreachable { url, found, why },
            false => ClientError::Broken { url, why },
        }
    }

    fn strange(&self, why: String) -> ClientError {
        ClientError::Strange { url: self.url().to_owned(), why }
    }
}

/// The wait before another try, where the node does not say how long.
const WAIT: Duration = Duration::from_millis(500);

fn write(
    (method, path): (Method, &str),
    expects: Expects,
    body: Option<&impl Serialize>,
) -> Result<Asked, ClientError> {
    let body = body
        .map(serde_json::to_vec)
        .transpose()
        .map_err(|error| ClientError::Body { why: error.to_string() })?;
    let key = format!("{:032x}", fastrand::u128(..));
    let mut headers = vec![(HeaderName::from_static("idempotency-key"), key)];
    match expects {
        Expects::Anything => {}
        Expects::Nothing => headers.push((reqwest::header::IF_NONE_MATCH, "*".to_owned())),
        Expects::Something => headers.push((reqwest::header::IF_MATCH, "*".to_owned())),
        Expects::Version(version) => headers.push((reqwest::header::IF_MATCH, format!("\"{version}\""))),
    }
    let headers =
        headers.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(&value).ok()?)));
    Ok(Asked { method, path: path.to_owned(), headers: headers.collect(), body })
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let wrong = |why: String| ClientError::Certificates { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let all = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(failure::chain(&error)))?;
    if all.is_empty() { Err(wrong("there is no certificate in it".to_owned())) } else { Ok(all) }
}
