//! What requests bring, and how answers are written. What a request has that cannot be read is a [`Problem`] like any other.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use control::state::{Expects, IdempotencyKey, PipelineName, Version};
use http_body_util::{BodyExt as _, Limited};
use model::limits::API_BODY_BYTES_MAX;
use model::manifest::Name;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{IntoParams, IntoResponses};

use super::Api;
use super::access::Caller;
use super::problem::{Kind, Problem};
use super::types::ProblemBody;

/// How every error is told.
#[derive(IntoResponses)]
#[response(
    status = "default",
    description = "Why not, and what to do next",
    content_type = "application/problem+json"
)]
#[expect(dead_code, reason = "it describes the answer of a `Problem`")]
pub struct AnyProblem(ProblemBody);

/// Which namespace.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct InNamespace {
    /// The namespace, such as `default`
    #[param(max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    pub namespace: String,
}

/// Which pipeline.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfPipeline {
    /// The namespace, such as `default`
    #[param(max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    pub namespace: String,
    /// The name of the pipeline
    #[param(max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    pub name: String,
}

impl InNamespace {
    pub fn parse(&self) -> Result<Name, Problem> {
        namespace(&self.namespace)
    }
}

impl OfPipeline {
    pub fn parse(&self) -> Result<PipelineName, Problem> {
        let name = Name::parse(&self.name)
            .map_err(|why| bad(format!("`{}` names no pipeline: {why}", self.name)))?;
        Ok(PipelineName::new(namespace(&self.namespace)?, name))
    }
}

pub fn namespace(text: &str) -> Result<Name, Problem> {
    Name::parse(text).map_err(|why| bad(format!("`{text}` names no namespace: {why}")))
}

/// A request that cannot be read.
pub fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadRequest, detail)
}

/// The parts of the path.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(error) => {
                Err(bad(format!("{}; see /v1/openapi.json for what the path takes", error.body_text())))
            }
        }
    }
}

/// What is behind the `?`.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => {
                Err(bad(format!("{}; see /v1/openapi.json for what may be asked", error.body_text())))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Whoever is let through was put there.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            Problem::new(
                Kind::Internal,
                "nobody has looked who asks; this is a mistake of Conveyor: report it",
            )
        })
    }
}

/// What a write expects, and under which key it is asked for.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Conditions {
    /// `"VERSION"`: it is done only where the pipeline is at this version, as its `ETag` says. `*`: only where there is one
    #[param(rename = "If-Match", nullable = false)]
    pub if_match: Option<String>,
    /// `*`: it is done only where there is no such pipeline
    #[param(rename = "If-None-Match", nullable = false)]
    pub if_none_match: Option<String>,
    /// Asked again under the same key, it is not done again, and the answer is the one that it had
    #[param(rename = "Idempotency-Key", nullable = false, min_length = 1, max_length = 128)]
    pub idempotency_key: Option<String>,
}

/// Under which key a write is asked for, of what has no version to expect.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Keyed {
    /// Asked again under the same key, it is not done again, and the answer is the one that it had
    #[param(rename = "Idempotency-Key", nullable = false, min_length = 1, max_length = 128)]
    pub idempotency_key: Option<String>,
}

impl Conditions {
    /// What has to be so.
    pub fn expects(&self) -> Result<Expects, Problem> {
        match (self.if_match.as_deref().map(str::trim), self.if_none_match.as_deref().map(str::trim)) {
            (None, None) => Ok(Expects::Anything),
            (None, Some("*")) => Ok(Expects::Nothing),
            (None, Some(other)) => Err(bad(format!(
                "`If-None-Match: {other}`: a write takes `*` there, and is done where there is nothing of that name"
            ))),
            (Some("*"), None) => Ok(Expects::Something),
            (Some(tag), None) => {
                let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                let version = version.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
                let version = version.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
                    bad(format!("`If-Match: {tag}`: write one version in quotes, as `ETag` has it, or `*`"))
                })?;
                Ok(Expects::Version(Version(version)))
            }
            (Some(_), Some(_)) => Err(bad("send `If-Match` or `If-None-Match`, not both")),
        }
    }

    pub fn key(&self) -> Result<Option<IdempotencyKey>, Problem> {
        key(self.idempotency_key.as_deref())
    }
}

impl Keyed {
    pub fn key(&self) -> Result<Option<IdempotencyKey>, Problem> {
        key(self.idempotency_key.as_deref())
    }
}

fn key(text: Option<&str>) -> Result<Option<IdempotencyKey>, Problem> {
    text.map(|text| text.parse().map_err(|error: control::state::BadName| bad(error.to_string()))).transpose()
}

/// The one value of a header.
fn one(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.to_owned())),
        _ => Err(bad(format!("send `{name}` once, in ASCII"))),
    }
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";

impl<S: Send + Sync> FromRequestParts<S> for Conditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let one = |name| one(&parts.headers, name);
        Ok(Self {
            if_match: one(IF_MATCH.as_str())?,
            if_none_match: one(IF_NONE_MATCH.as_str())?,
            idempotency_key: one(IDEMPOTENCY_KEY)?,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Keyed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Conditions { if_match, if_none_match, idempotency_key } =
            Conditions::from_request_parts(parts, state).await?;
        match if_match.or(if_none_match) {
            Some(_) => Err(bad("this has no version to expect: leave `If-Match` and `If-None-Match` out")),
            None => Ok(Self { idempotency_key }),
        }
    }
}

/// The body, which has to be JSON.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(no_json());
        }
        let bytes = whole(body, api.times.0).await?;
        read(&bytes).map(Self)
    }
}

/// The body, where there is one.
pub struct MaybeJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<Api>> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = whole(body, api.times.0).await?;
        match (bytes.is_empty(), is_json(&parts.headers)) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => read(&bytes).map(|read: Option<T>| Self(read.unwrap_or_default())),
            (false, false) => Err(no_json()),
        }
    }
}

fn no_json() -> Problem {
    Problem::new(Kind::MediaType, "send JSON, and say so: `Content-Type: application/json`")
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = value.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}

async fn whole(body: Body, time: Duration) -> Result<Bytes, Problem> {
    let limited = Limited::new(body, API_BODY_BYTES_MAX);
    let collected = timeout(time, limited.collect()).await.map_err(|_| {
        let detail = format!("the body did not come within {} s; send it again, faster", time.as_secs());
        Problem::new(Kind::SlowBody, detail)
    })?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Problem::new(
            Kind::TooLarge,
            format!("the body has more than {API_BODY_BYTES_MAX} bytes; make the manifest smaller"),
        )),
        Err(error) => Err(bad(format!("the body broke off: {error}; send it again"))),
    }
}

/// What is no JSON was sent wrong; what is JSON and something else was meant wrong.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let at = error.path().to_string();
        let place = if at == "." { String::new() } else { format!("`{at}`: ") };
        let error = error.into_inner();
        let kind = if error.is_data() { Kind::Invalid } else { Kind::BadRequest };
        Problem::new(kind, format!("the body: {place}{error}; /v1/openapi.json says what it takes"))
    })?;
    json.end().map_err(|error| bad(format!("the body: {error}; send one value of JSON")))?;
    Ok(value)
}

/// An answer with a body.
#[derive(Debug)]
pub struct Answer<T> {
    pub status: StatusCode,
    pub body: T,
    /// Of a pipeline.
    pub version: Option<u64>,
    /// Where what was made is.
    pub location: Option<String>,
}

impl<T> Answer<T> {
    pub fn ok(body: T) -> Self {
        Self { status: StatusCode::OK, body, version: None, location: None }
    }

    pub fn at(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }

    pub fn with(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub fn made_at(self, location: String) -> Self {
        Self { location: Some(location), ..self.with(StatusCode::CREATED) }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let body = match serde_json::to_vec(&self.body) {
            Ok(body) => body,
            Err(error) => {
                let detail = format!(
                    "the answer cannot be written: {error}; this is a mistake of Conveyor: report it"
                );
                return Problem::new(Kind::Internal, detail).into_response();
            }
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let tag = self.version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok());
        let location = self.location.and_then(|location| HeaderValue::from_str(&location).ok());
        headers.extend(
            [(ETAG, tag), (LOCATION, location)].into_iter().filter_map(|(name, value)| Some((name, value?))),
        );
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Expects, Kind> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let conditions = Conditions {
            if_match: owned(if_match),
            if_none_match: owned(if_none_match),
            ..Conditions::default()
        };
        conditions.expects().map_err(|problem| problem.kind)
    }

    #[test]
    fn what_a_write_expects_is_read_and_what_nobody_understands_is_refused() {
        assert_eq!(conditions(None, None), Ok(Expects::Anything));
        assert_eq!(conditions(None, Some("*")), Ok(Expects::Nothing));
        assert_eq!(conditions(Some("*"), None), Ok(Expects::Something));
        assert_eq!(conditions(Some(" \"12\" "), None), Ok(Expects::Version(Version(12))));
        for tag in
            ["", "12", "\"\"", "\"a\"", "W/\"1\"", "\"1\", \"2\"", "\"+1\"", "\"99999999999999999999\""]
        {
            assert_eq!(conditions(Some(tag), None), Err(Kind::BadRequest), "{tag}");
        }
        assert_eq!(conditions(None, Some("\"1\"")), Err(Kind::BadRequest));
        assert_eq!(conditions(Some("\"1\""), Some("*")), Err(Kind::BadRequest));
    }
}
