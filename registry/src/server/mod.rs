//! The HTTP of a registry: all of the OCI distribution specification 1.1, over a store and over rights. What a request
//! means is decided elsewhere (`route`, `range`, `page`, `manifest`, `auth`); here it is read, done and answered.

mod admin;
mod blobs;
mod body;
mod listen;
mod lists;
mod manifests;
mod tokens;
mod uploads;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use model::ids::Digest;
use serde_json::json;

pub use admin::{AdminError, Asked as AdminAsked, Told as AdminTold, ask, listen as listen_admin};
pub use listen::{ListenError, Server, ServerOptions, Tls};
pub use writes::Writes;

use crate::auth::{self, Auth, Shown, Who};
use crate::name::Repository;
use crate::refusal::{Code, Refusal};
use crate::route::{Action, Query, Route, Thing, action};
use crate::store::{Refused, Store, StoreError};

/// A registry, as requests see it.
#[derive(Debug)]
pub struct Registry {
    pub store: Arc<Store>,
    pub auth: Auth,
    /// Nothing is pushed and nothing deleted.
    pub is_read_only: bool,
    /// Scheme and host by which clients find it, where what they send as `Host` is not it.
    pub url: Option<String>,
    /// Whether clients come by TLS.
    pub is_tls: bool,
    /// Turns of those who make something durable.
    pub writes: Writes,
    /// How long the next bytes of a body may take, and one request waits for another to leave its upload.
    pub body_time: Duration,
}

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

type Answer = Result<Response, Refusal>;

/// What one request is about.
struct Asked {
    head: Parts,
    query: Query,
    who: Who,
    repository: Repository,
}

/// All paths of a registry: `/v2/` and what is below, and `/token`.
pub fn router(registry: Arc<Registry>) -> Router {
    Router::new().fallback(async move |request: Request| registry.clone().answer(request).await)
}

impl Registry {
    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request) -> Response {
        let begun = Instant::now();
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let is_head = method == Method::HEAD;
        let mut body = body::Incoming::new(body, &head.headers, self.body_time);
        let answer = self.serve(head, &mut body).await;
        let mut response = match answer {
            Ok(response) => response,
            Err(refusal) => {
                body.drain().await;
                refused(&refusal)
            }
        };
        if is_head {
            *response.body_mut() = Body::empty();
        }
        response.headers_mut().insert(VERSION, HeaderValue::from_static("registry/2.0"));
        let (status, took_us) = (response.status().as_u16(), begun.elapsed().as_micros() as u64);
        let path = model::plain::line(&path);
        match method.as_str() {
            "GET" | "HEAD" => tracing::debug!(%method, %path, status, took_us, "answered"),
            _ => tracing::info!(%method, %path, status, took_us, "answered"),
        }
        response
    }

    async fn serve(self: &Arc<Self>, head: Parts, body: &mut body::Incoming) -> Answer {
        let route = Route::parse(head.uri.path())?;
        route.allow(&head.method)?;
        let query = Query::parse(head.uri.query());
        if route == Route::Token {
            return self.token(&head, &query, body).await;
        }
        let who = self.who(&head).await?;
        let (repository, thing) = match route {
            Route::Base => return self.base(&head, &who),
            Route::Catalog => return self.catalog(&query, who).await,
            Route::Token => return Err(Refusal::new(Code::Unsupported, "it is answered elsewhere")),
            Route::In(repository, thing) => (repository, thing),
        };
        let action = action(&head.method, &thing);
        let from = mounted_from(&query, &thing)?;
        let mut wanted = vec![(&repository, action)];
        wanted.extend(from.iter().map(|from| (from, Action::Pull)));
        self.auth.check(&who, &wanted, &self.at(&head))?;
        if self.is_read_only && action != Action::Pull {
            return Err(Refusal::new(
                Code::Unsupported,
                "the registry is read-only: nothing is pushed or deleted",
            ));
        }
        let asked = Asked { head, query, who, repository };
        match thing {
            Thing::Tags => self.tags(asked).await,
            Thing::Referrers(subject) => self.referrers(asked, subject).await,
            Thing::Manifest(reference) => self.manifest(asked, reference, body).await,
            Thing::Blob(digest) => self.blob(asked, digest).await,
            Thing::Uploads => self.begin(asked, from, body).await,
            Thing::Upload(id) => self.upload(asked, id, body).await,
        }
    }

    /// Scheme and host by which the client found us.
    fn at(&self, head: &Parts) -> String {
        auth::named_by(&head.headers, self.url.as_deref(), self.is_tls)
    }

    async fn who(&self, head: &Parts) -> Result<Who, Refusal> {
        let Some(keys) = &self.auth.keys else { return Ok(Who::anonymous()) };
        let again = |why: &str| {
            let refusal = self.auth.challenge(&[], &self.at(head), false);
            Refusal { message: why.to_owned(), ..refusal }
        };
        match auth::shown(&head.headers)? {
            Shown::Nothing => Ok(Who::anonymous()),
            Shown::Password { user, password } => {
                self.by_password(&user, &password).await.and_then(|is_right| {
                    if is_right {
                        Ok(Who::user(user))
                    } else {
                        Err(again("the name or the password is wrong"))
                    }
                })
            }
            Shown::Bearer(token) => match keys.tokens.scopes(&token, self.store.now()) {
                Ok((user, scopes)) if user.as_ref().is_none_or(|user| keys.passwords.knows(user)) => {
                    Ok(Who { user, scopes: Some(scopes) })
                }
                Ok(_) => Err(again("the token's user is gone")),
                Err(error) => Err(again(&error.to_string())),
            },
        }
    }

    async fn by_password(&self, user: &str, password: &str) -> Result<bool, Refusal> {
        let Some(keys) = &self.auth.keys else { return Ok(false) };
        let checked = keys.passwords.check(user, password).await;
        checked.map_err(|error| Refusal::new(Code::TooManyRequests, error.to_string()))
    }

    /// Clients ask here whether they have to sign in: where anybody may, the answer is yes, also where much is public.
    fn base(&self, head: &Parts, who: &Who) -> Answer {
        if self.auth.keys.is_some() && who.user.is_none() && who.scopes.is_none() {
            return Err(self.auth.challenge(&[], &self.at(head), false));
        }
        Ok(json_answer("application/json", "{}".to_owned()))
    }
}

/// The repository that a blob is to be mounted from.
fn mounted_from(query: &Query, thing: &Thing) -> Result<Option<Repository>, Refusal> {
    let from =
        if *thing == Thing::Uploads && query.one("mount")?.is_some() { query.one("from")? } else { None };
    from.filter(|from| !from.is_empty())
        .map(|from| from.parse().map_err(crate::route::wrong_name))
        .transpose()
}

fn answer(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Without a body.
fn empty(status: StatusCode) -> Response {
    let mut response = answer(status, Body::empty());
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

fn json_answer(content_type: &'static str, body: String) -> Response {
    let bytes = body.len();
    let mut response = answer(StatusCode::OK, Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    response
}

fn refused(refusal: &Refusal) -> Response {
    let mut response = json_answer("application/json", refusal.body());
    *response.status_mut() = refusal.status;
    for (name, value) in &refusal.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// Sets a header. What is set is made here, of names and numbers, and always is a value.
fn set(response: &mut Response, name: HeaderName, value: impl AsRef<str>) {
    if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
        response.headers_mut().append(name, value);
    }
}

fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

fn name_content(response: &mut Response, digest: &Digest) {
    set(response, DIGEST, digest.to_string());
    set(response, ETAG, etag(digest));
}

/// 201, and where it is.
fn created(location: &str, digest: &Digest) -> Response {
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, LOCATION, location);
    set(&mut response, DIGEST, digest.to_string());
    response
}

/// Does something that waits for the disk, where waiting harms nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| refusal_of(&error)),
        Err(error) => {
            tracing::error!(%error, "a request broke");
            Err(Refusal::new(Code::Unknown, "the registry has a defect here: its log says more"))
        }
    }
}

fn refusal_of(error: &StoreError) -> Refusal {
    let code = match error {
        StoreError::Refused(refused) => match refused {
            Refused::RepositoryUnknown { .. } => Code::NameUnknown,
            Refused::BlobUnknown { .. } => Code::BlobUnknown,
            Refused::ManifestUnknown { .. } | Refused::TagUnknown { .. } => Code::ManifestUnknown,
            Refused::Lacks { .. } => Code::ManifestBlobUnknown,
            Refused::OtherSize { .. } => Code::ManifestInvalid,
            Refused::OtherDigest(_) => Code::DigestInvalid,
            Refused::UploadUnknown => Code::BlobUploadUnknown,
            Refused::Uploads { .. } => Code::TooManyRequests,
            Refused::RepositoryFull { .. } | Refused::RegistryFull { .. } => Code::Denied,
        },
        StoreError::Full { .. } => {
            tracing::error!(%error, "something could not be kept");
            return Refusal::new(Code::Unavailable, "the disk of the registry is full");
        }
        StoreError::Content { digest, .. } => {
            let message = "the content is damaged here, and is not given: push it again";
            return Refusal::new(Code::Unknown, message).about(json!({ "digest": digest }));
        }
        _ => {
            tracing::error!(%error, "something could not be done");
            return Refusal::new(Code::Unknown, "the registry could not do it: its log says why");
        }
    };
    let refusal = Refusal::new(code, error.to_string());
    match error {
        StoreError::Refused(
            Refused::BlobUnknown { digest } | Refused::ManifestUnknown { digest } | Refused::Lacks { digest },
        ) => refusal.about(json!({ "digest": digest })),
        StoreError::Refused(Refused::TagUnknown { tag }) => refusal.about(json!({ "tag": tag.as_str() })),
        _ => refusal,
    }
}

/// A number that nobody has had, and nobody guesses.
fn random() -> Result<u128, Refusal> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 16];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Refusal::new(Code::Unknown, "the system has no random numbers"))?;
    Ok(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
