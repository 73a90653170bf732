//! Who one is to one registry: a name and a password with each request, or tokens, which are asked for when they are wanted and
//! kept for as long as they are good.
//!
//! <https://distribution.github.io/distribution/spec/auth/token/> and .../oauth/.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use model::limits::{
    CLIENT_ERROR_BYTES_MAX, CLIENT_REDIRECTS_MAX, CLIENT_TOKEN_ANSWER_BYTES_MAX, CLIENT_TOKEN_MARGIN,
    CLIENT_TOKEN_TIME, CLIENT_TOKEN_TIME_MAX, CLIENT_TOKENS_KEPT,
};
use reqwest::{Response, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ClientError;
use super::address;
use super::challenge::{Challenge, Scopes};
use super::credentials::{Credential, Keyring};
use super::failure::{self, Failure, Said};
use super::wire::{self, Payload, Wire};
use crate::image_ref::RegistryHost;

/// By what clients say what program they are.
const CLIENT_ID: &str = "conveyor";

/// Who one is to one registry.
#[derive(Debug)]
pub(super) struct Auth {
    host: RegistryHost,
    keyring: Arc<Keyring>,
    /// One at a time: whoever waits for it finds the token that it was about to ask for.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How the registry asks, and where it does. None until it has.
    challenge: Option<(Challenge, Option<Url>)>,
    /// None until it was looked up, which happens where the registry asks.
    who: Option<Credential>,
    tokens: Vec<Token>,
    /// Whether a token is wanted that gets others, and the one that came.
    wants_identity: bool,
    identity: Option<String>,
}

#[derive(Debug)]
struct Token {
    scopes: Scopes,
    header: HeaderValue,
    until: Instant,
}

/// What there is to show to a registry that asks.
pub(super) enum Asked {
    Shows(HeaderValue),
    /// Nothing that it has not seen; why, and what to do.
    HasNothing(String),
}

/// What somebody who gives tokens answers.
#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

impl Auth {
    pub(super) fn new(host: RegistryHost, keyring: Arc<Keyring>) -> Self {
        Self { host, keyring, state: Mutex::default() }
    }

    /// Has it be somebody who is not in the keyring (yet), and asks for a token that gets others where there is one.
    pub(super) async fn be(&self, who: Credential) {
        let mut state = self.state.lock().await;
        (state.who, state.wants_identity) = (Some(who), true);
    }

    /// The token that gets others, where there is one.
    pub(super) async fn identity(&self) -> Option<String> {
        self.state.lock().await.identity.clone()
    }

    /// The registry was found to ask so.
    pub(super) async fn challenged(&self, challenge: Option<Challenge>, by: &Url) {
        let mut state = self.state.lock().await;
        state.challenge = challenge.map(|challenge| (challenge, Some(by.clone()))).or(state.challenge.take());
    }

    pub(super) async fn is_challenged(&self) -> bool {
        self.state.lock().await.challenge.is_some()
    }

    /// What to do where the registry does not let one.
    pub(super) async fn hint(&self) -> String {
        match self.state.lock().await.who.as_ref().and_then(Credential::user) {
            Some(user) => format!("you are signed in there as `{}`", failure::shown(user)),
            None => format!("sign in with `conveyor login {}`", self.host),
        }
    }

    /// What is shown along with a request, as far as the registry is known to want anything.
    pub(super) async fn header(
        &self,
        wire: &Wire,
        plain_http: bool,
        scopes: &Scopes,
    ) -> Result<Option<HeaderValue>, Failure> {
        let mut state = self.state.lock().await;
        let Some((challenge, by)) = state.challenge.clone() else { return Ok(None) };
        self.look_up(&mut state).await?;
        match challenge {
            Challenge::Basic => Ok(basic(&state)),
            Challenge::Bearer { realm, service, .. } => {
                let realm = self.realm(by.as_ref(), &realm, plain_http)?;
                self.token(&mut state, wire, plain_http, &realm, service.as_deref(), scopes).await.map(Some)
            }
        }
    }

    /// What to show to a registry that asks after it was shown something, or nothing.
    pub(super) async fn asked(
        &self,
        wire: &Wire,
        plain_http: bool,
        (challenge, by): (Option<Challenge>, &Url),
        scopes: &Scopes,
        shown: Option<&HeaderValue>,
    ) -> Result<Asked, Failure> {
        let Some(challenge) = challenge else {
            let why =
                "the registry wants to know who asks, and not in a way that is known (Basic and Bearer are)";
            return Ok(Asked::HasNothing(why.to_owned()));
        };
        let mut state = self.state.lock().await;
        state.challenge = Some((challenge.clone(), Some(by.clone())));
        self.look_up(&mut state).await?;
        let header = match &challenge {
            Challenge::Basic => basic(&state),
            Challenge::Bearer { realm, service, scope } => {
                state.tokens.retain(|token| Some(&token.header) != shown);
                let realm = self.realm(Some(by), realm, plain_http)?;
                let scopes = scopes.and(scope);
                let token = self.token(&mut state, wire, plain_http, &realm, service.as_deref(), &scopes);
                Some(token.await?)
            }
        };
        Ok(
            match (
                header.filter(|header| Some(header) != shown),
                state.who.as_ref().and_then(Credential::user),
            ) {
                (Some(header), _) => Asked::Shows(header),
                (None, None) => Asked::HasNothing(format!(
                    "nobody is signed in there: use `conveyor login {}`",
                    self.host
                )),
                (None, Some(user)) => Asked::HasNothing(format!(
                    "the registry does not take the name and the password of `{}`: sign in again with `conveyor login {}`",
                    failure::shown(user),
                    self.host
                )),
            },
        )
    }

    async fn look_up(&self, state: &mut State) -> Result<(), ClientError> {
        if state.who.is_some() {
            return Ok(());
        }
        let (keyring, host) = (self.keyring.clone(), self.host.clone());
        let found = tokio::task::spawn_blocking(move || keyring.find(&host)).await;
        // It ends by itself, unless the process does.
        let found = found.map_err(|error| ClientError::Settings { why: error.to_string() })?;
        state.who = Some(found?);
        Ok(())
    }

    /// Where tokens are given: that is for the registry to say, but for the line that it is asked over.
    fn realm(&self, by: Option<&Url>, realm: &str, plain_http: bool) -> Result<Url, ClientError> {
        let url = match by {
            Some(by) => address::lead(by, realm, plain_http),
            None => Url::parse(realm).map_err(|error| error.to_string()),
        };
        let what = format!("{} says where tokens are given", self.host);
        url.map_err(|why| ClientError::Protocol { what, why })
    }

    /// A token that was asked for before, or a new one.
    async fn token(
        &self,
        state: &mut State,
        wire: &Wire,
        plain_http: bool,
        realm: &Url,
        service: Option<&str>,
        scopes: &Scopes,
    ) -> Result<HeaderValue, Failure> {
        let who = state.who.clone().unwrap_or_default();
        if let Credential::Token(token) = &who {
            return Ok(self.bearer(token)?);
        }
        let now = Instant::now();
        state.tokens.retain(|token| token.until > now);
        if let Some(token) = state.tokens.iter().find(|token| token.scopes.cover(scopes)) {
            return Ok(token.header.clone());
        }
        let asking = Asking { auth: self, wire, plain_http, realm, service, scopes };
        let given = asking.ask(&who, state.wants_identity).await?;
        let wrong = |why: &str| {
            Failure::Final(ClientError::Protocol { what: wire::authority(realm), why: why.to_owned() })
        };
        let token = given.token.or(given.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| wrong("it answers without a token"))?;
        let header = self.bearer(&token)?;
        state.identity = given.refresh_token.or(state.identity.take());
        let time =
            given.expires_in.filter(|&seconds| seconds > 0).map_or(CLIENT_TOKEN_TIME, Duration::from_secs);
        let time = time.min(CLIENT_TOKEN_TIME_MAX);
        let until = now + time.saturating_sub(CLIENT_TOKEN_MARGIN).max(time / 2);
        if state.tokens.len() >= CLIENT_TOKENS_KEPT {
            state.tokens.remove(0);
        }
        state.tokens.push(Token { scopes: scopes.clone(), header: header.clone(), until });
        Ok(header)
    }

    fn bearer(&self, token: &str) -> Result<HeaderValue, ClientError> {
        let header = HeaderValue::try_from(format!("Bearer {token}"));
        let mut header = header.map_err(|_| ClientError::Protocol {
            what: self.host.to_string(),
            why: "a token has characters that no header can have".to_owned(),
        })?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn basic(state: &State) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Basic {}", state.who.as_ref()?.basic()?)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// One request for a token.
struct Asking<'a> {
    auth: &'a Auth,
    wire: &'a Wire,
    plain_http: bool,
    realm: &'a Url,
    service: Option<&'a str>,
    scopes: &'a Scopes,
}

impl Asking<'_> {
    async fn ask(&self, who: &Credential, wants_identity: bool) -> Result<Given, Failure> {
        if let Credential::Identity { token, .. } = who {
            let mut answer = self.by_form(token).await?;
            // Not everybody who gives tokens knows this way, and they say so in several.
            let is_unknown = matches!(answer.status().as_u16(), 401 | 404 | 405 | 501);
            if !is_unknown {
                return self.read(&mut answer).await;
            }
            let _ = wire::whole(&mut answer, CLIENT_ERROR_BYTES_MAX).await;
        }
        let mut answer = self.by_query(who, wants_identity).await?;
        self.read(&mut answer).await
    }

    fn form(&self, token: &str) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token");
        form.append_pair("client_id", CLIENT_ID);
        if let Some(service) = self.service {
            form.append_pair("service", service);
        }
        let scopes: Vec<String> = self.scopes.each().collect();
        if !scopes.is_empty() {
            form.append_pair("scope", &scopes.join(" "));
        }
        form.append_pair("refresh_token", token);
        form.finish()
    }

    async fn by_form(&self, token: &str) -> Result<Response, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let payload = Payload::Bytes(self.form(token).into_bytes().into());
        self.wire.send(&Method::POST, self.realm, &headers, &payload, None, &|_| {}).await
    }

    async fn by_query(&self, who: &Credential, wants_identity: bool) -> Result<Response, Failure> {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = self.service {
                query.append_pair("service", service);
            }
            for scope in self.scopes.each() {
                query.append_pair("scope", &scope);
            }
            if let Credential::Password { user, .. } = who {
                query.append_pair("account", user);
            }
            query.append_pair("client_id", CLIENT_ID);
            if wants_identity {
                query.append_pair("offline_token", "true");
            }
        }
        let shown = who.basic().and_then(|pair| HeaderValue::try_from(format!("Basic {pair}")).ok());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let wrong = |why| ClientError::Protocol { what: wire::authority(self.realm), why };
        for _ in 0..=CLIENT_REDIRECTS_MAX {
            let shown = shown.as_ref().filter(|_| address::is_same(self.realm, &url));
            let answer =
                self.wire.send(&Method::GET, &url, &headers, &Payload::Nothing, shown, &|_| {}).await?;
            let to = address::redirect(&Method::GET, answer.status(), answer.headers()).map_err(wrong)?;
            match to {
                None => return Ok(answer),
                Some(to) => url = address::lead(&url, to, self.plain_http).map_err(wrong)?,
            }
        }
        Err(wrong(format!("it led on more than {CLIENT_REDIRECTS_MAX} times")).into())
    }

    async fn read(&self, answer: &mut Response) -> Result<Given, Failure> {
        let (status, asked) = (answer.status(), failure::asked(answer.headers()));
        let body = wire::whole(answer, CLIENT_TOKEN_ANSWER_BYTES_MAX).await?.unwrap_or_default();
        let what = format!("a token of {} for {}", wire::authority(self.realm), self.auth.host);
        if status == StatusCode::OK {
            let given = serde_json::from_slice(&body);
            let why = |error: serde_json::Error| format!("it is no answer with a token: {error}");
            return Ok(given.map_err(|error| ClientError::Protocol { what, why: why(error) })?);
        }
        let said = Said::parse(status, &body);
        if failure::is_busy(status) {
            return Err(Failure::Busy { status, asked, error: said.into_error(&what, status, "") });
        }
        // What it means is the same, however it is said: whoever this is gets none.
        let why = format!(
            "none is given ({}: {}): check the name and the password, and sign in with `conveyor login {}`",
            status.as_u16(),
            said.message,
            self.auth.host
        );
        Err(ClientError::Denied { what, why }.into())
    }
}
