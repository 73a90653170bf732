//! Why something is not done, as an answer: which status, and a body of RFC 9457 that says what to do next.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use control::state::{self, Refusal};
use control::{ProposeError, ReadError};
use model::limits::API_RETRY_AFTER;

use super::types::{ManifestProblem, ProblemBody};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// With what the `type` of each problem begins.
const URN: &str = "urn:conveyor:problem:";

/// An error, as it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: Kind,
    /// What it is, and what to do next.
    pub detail: String,
    pub problems: Vec<ManifestProblem>,
    pub retry_after: Option<Duration>,
}

/// What kind of problem it is. Each has one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    BadRequest,
    NoToken,
    Forbidden,
    ForeignPage,
    NoRoute,
    Unknown,
    Method,
    SlowBody,
    Taken,
    InUse,
    BeingDeleted,
    Full,
    Behind,
    Stale,
    TooLarge,
    MediaType,
    WrongHost,
    Invalid,
    Manifest,
    KeyUsed,
    TooManyRequests,
    Internal,
    Unavailable,
    UnknownOutcome,
}

impl Kind {
    /// The status, the name for programs, and the title.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "The request is not well formed"),
            Self::NoToken => (StatusCode::UNAUTHORIZED, "no-token", "A token is wanted"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The token does not allow that"),
            Self::ForeignPage => (StatusCode::FORBIDDEN, "foreign-page", "Another web page asks"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "no-route", "There is nothing at this path"),
            Self::Unknown => (StatusCode::NOT_FOUND, "unknown", "There is no such thing"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method", "The path does not take this method"),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "slow-body", "The body took too long to come"),
            Self::Taken => (StatusCode::CONFLICT, "taken", "The name is taken"),
            Self::InUse => (StatusCode::CONFLICT, "in-use", "Something needs it"),
            Self::BeingDeleted => (StatusCode::CONFLICT, "being-deleted", "It is being deleted"),
            Self::Full => (StatusCode::CONFLICT, "full", "There is no room for it"),
            Self::Behind => (StatusCode::GONE, "behind", "These events are not kept any more"),
            Self::Stale => {
                (StatusCode::PRECONDITION_FAILED, "stale", "It is not as the request expects it to be")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "It is too large"),
            Self::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is not what is taken here")
            }
            Self::WrongHost => {
                (StatusCode::MISDIRECTED_REQUEST, "wrong-host", "This node is not called like that")
            }
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "It cannot be as it is"),
            Self::Manifest => (StatusCode::UNPROCESSABLE_ENTITY, "manifest", "The manifest does not fit"),
            Self::KeyUsed => {
                (StatusCode::UNPROCESSABLE_ENTITY, "key-used", "The idempotency key was used before")
            }
            Self::TooManyRequests => {
                (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "There are too many requests")
            }
            Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something is wrong with the node")
            }
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The node cannot do that now")
            }
            Self::UnknownOutcome => {
                (StatusCode::GATEWAY_TIMEOUT, "unknown-outcome", "Nobody knows whether it was done")
            }
        }
    }

    pub fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The `type` of the body.
    pub fn urn(self) -> String {
        format!("{URN}{}", self.parts().1)
    }
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let retry_after = matches!(kind, Kind::Unavailable | Kind::UnknownOutcome).then_some(API_RETRY_AFTER);
        Self { kind, detail: detail.into(), problems: vec![], retry_after }
    }

    pub fn body(&self) -> ProblemBody {
        let (status, _, title) = self.kind.parts();
        ProblemBody {
            kind: self.kind.urn(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            problems: self.problems.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Texts and numbers: there is nothing in it that JSON cannot have.
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.kind == Kind::NoToken {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"conveyor\""));
        }
        if let Some(wait) = self.retry_after {
            // Whole seconds, and no sooner.
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::NoPipeline { .. }
            | Refusal::NoPipelineNumber { .. }
            | Refusal::NoRevision { .. }
            | Refusal::NoNode { .. }
            | Refusal::NoNamespace { .. }
            | Refusal::NoTag { .. }
            | Refusal::NoSecret { .. } => Kind::Unknown,
            // What a request expects decides that alone, and RFC 9110 has one status for it.
            Refusal::Stale { .. } | Refusal::Taken { .. } => Kind::Stale,
            Refusal::BeingDeleted { .. } => Kind::BeingDeleted,
            Refusal::NamespaceTaken { .. } | Refusal::NodeGone { .. } | Refusal::CannotTakeOver { .. } => {
                Kind::Taken
            }
            Refusal::NamespaceInUse { .. } | Refusal::DefaultNamespace => Kind::InUse,
            Refusal::OldEpoch { .. } | Refusal::NotBeingDeleted { .. } => Kind::Stale,
            Refusal::EpochTooHigh { .. } => Kind::Invalid,
            Refusal::KeyUsed { .. } => Kind::KeyUsed,
            Refusal::TooMany { what: state::Kind::Stages | state::Kind::Grants, .. } => Kind::Invalid,
            Refusal::TooMany { .. } | Refusal::NoRoom { .. } => Kind::Full,
            Refusal::TooLarge { .. } | Refusal::CommandTooLarge => Kind::TooLarge,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<ProposeError> for Problem {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Refused(refusal) => (*refusal).into(),
            ProposeError::Unknown => Self::new(Kind::UnknownOutcome, error.to_string()),
            ProposeError::Busy
            | ProposeError::Disk(_)
            | ProposeError::NotLeader { .. }
            | ProposeError::NoQuorum
            | ProposeError::Ended(_)
            | ProposeError::Stopping => Self::new(Kind::Unavailable, error.to_string()),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        Self::new(Kind::Unavailable, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use control::state::{NodeId, Version};

    use super::*;

    const KINDS: [Kind; 24] = [
        Kind::BadRequest,
        Kind::NoToken,
        Kind::Forbidden,
        Kind::ForeignPage,
        Kind::NoRoute,
        Kind::Unknown,
        Kind::Method,
        Kind::SlowBody,
        Kind::Taken,
        Kind::InUse,
        Kind::BeingDeleted,
        Kind::Full,
        Kind::Behind,
        Kind::Stale,
        Kind::TooLarge,
        Kind::MediaType,
        Kind::WrongHost,
        Kind::Invalid,
        Kind::Manifest,
        Kind::KeyUsed,
        Kind::TooManyRequests,
        Kind::Internal,
        Kind::Unavailable,
        Kind::UnknownOutcome,
    ];

    #[test]
    fn each_kind_has_a_name_of_its_own_and_a_status_of_an_error() {
        let names: BTreeSet<String> = KINDS.iter().map(|kind| kind.urn()).collect();
        assert_eq!(names.len(), KINDS.len());
        assert!(KINDS.iter().all(|kind| kind.status().as_u16() >= 400));
    }

    /// What was not done can be asked for again; what may have been done is told apart from that.
    #[test]
    fn what_the_control_state_says_has_a_status_that_fits() {
        let (name, version) = ("default/a".parse().expect("a name"), Version(3));
        let refused = |refusal| ProposeError::Refused(Box::new(refusal));
        let stale = Refusal::Stale { pipeline: name, expected: Version(1), found: version };
        let leader = Some(NodeId(4));
        for (error, status, retries) in [
            (refused(stale), 412, false),
            (refused(Refusal::CommandTooLarge), 413, false),
            (refused(Refusal::TooMany { what: state::Kind::Stages, max: 1 }), 422, false),
            (refused(Refusal::TooMany { what: state::Kind::Pipelines, max: 1 }), 409, false),
            (refused(Refusal::DefaultNamespace), 409, false),
            (ProposeError::NotLeader { leader }, 503, true),
            (ProposeError::NoQuorum, 503, true),
            (ProposeError::Busy, 503, true),
            (ProposeError::Stopping, 503, true),
            (ProposeError::Unknown, 504, true),
        ] {
            let problem = Problem::from(error.clone());
            let body = problem.body();
            assert_eq!((body.status, problem.retry_after.is_some()), (status, retries), "{error}");
            assert_eq!(body.detail, error.to_string());
            let response = problem.into_response();
            assert_eq!(response.headers().contains_key(RETRY_AFTER), retries);
            assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        }
        for error in [ReadError::Late, ReadError::NoQuorum, ReadError::NotLeader { leader }] {
            assert_eq!(Problem::from(error).kind, Kind::Unavailable);
        }
    }
}
