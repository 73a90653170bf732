//! What a try of a request comes to, and whether and when there is another: decided from values.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use model::limits::{
    CLIENT_ERROR_SHOWN_CHARS, CLIENT_RETRY_AFTER_MAX, CLIENT_TRIES_AGAIN, CLIENT_TRIES_AGAIN_DOUBTFUL,
    CLIENT_TRIES_AGAIN_SILENT, CLIENT_WAIT, CLIENT_WAIT_MAX,
};
use model::manifest::{Duration as Text, DurationRange, Retry};
use model::plain;
use serde::Deserialize;

use super::ClientError;

/// Why a try did not end with an answer that counts.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody was reached.
    Connect { host: String, why: String },
    /// Somebody was reached, and then the line broke.
    Lost { host: String, why: String },
    /// Somebody was reached, and then nothing came and nothing went.
    Silent { host: String, why: String },
    /// The registry had no time for it, or failed; what it said stands in the error.
    Busy { status: StatusCode, asked: Option<Duration>, error: ClientError },
    /// Another try would end the same.
    Final(ClientError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Final(error)
    }
}

impl Failure {
    pub(super) fn into_error(self) -> ClientError {
        match self {
            Self::Connect { host, why } | Self::Lost { host, why } | Self::Silent { host, why } => {
                ClientError::Unreachable { host, why }
            }
            Self::Busy { error, .. } | Self::Final(error) => error,
        }
    }

    fn tries_again(&self) -> u32 {
        match self {
            Self::Lost { .. } => CLIENT_TRIES_AGAIN,
            Self::Busy { status, .. } if *status != StatusCode::INTERNAL_SERVER_ERROR => CLIENT_TRIES_AGAIN,
            Self::Connect { .. } | Self::Busy { .. } => CLIENT_TRIES_AGAIN_DOUBTFUL,
            Self::Silent { .. } => CLIENT_TRIES_AGAIN_SILENT,
            Self::Final(_) => 0,
        }
    }
}

/// Whether an answer is one after which another try may do better.
pub(super) fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// What `Retry-After` asks for, where it does so in seconds.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    text.parse().ok().map(Duration::from_secs)
}

/// Tries of one request, or of one transfer.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
}

impl Tries {
    /// After a failure: how long to wait before the next try, or the error where there is none. `random`: from 0 to 1.
    pub(super) fn again(&mut self, failure: Failure, random: f64) -> Result<Duration, ClientError> {
        self.failed += 1;
        let asked = match &failure {
            Failure::Busy { asked, .. } => asked.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let backoff = DurationRange { from: Text(CLIENT_WAIT), to: Text(CLIENT_WAIT_MAX) };
        let retry = Retry { attempts: failure.tries_again(), backoff };
        match retry.wait(self.failed, asked, random) {
            Some(wait) if asked <= CLIENT_RETRY_AFTER_MAX => Ok(wait),
            _ => Err(failure.into_error()),
        }
    }

    /// Something came of the last try: the next failure is the first one again.
    pub(super) fn went_on(&mut self) {
        self.failed = 0;
    }
}

#[derive(Deserialize)]
struct Body {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    code: Option<String>,
    message: Option<String>,
}

/// What a registry says of a request that it does not do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: Option<String>,
    pub(super) message: String,
}

impl Said {
    /// By the body, in the form of the specification or in any other.
    pub(super) fn parse(status: StatusCode, body: &[u8]) -> Self {
        let of_status = || status.canonical_reason().unwrap_or("it does not say why").to_owned();
        if let Ok(parsed) = serde_json::from_slice::<Body>(body)
            && let Some(first) = parsed.errors.first()
        {
            let messages: Vec<String> = parsed
                .errors
                .iter()
                .filter_map(|entry| entry.message.as_deref().or(entry.code.as_deref()))
                .map(shown)
                .filter(|message| !message.is_empty())
                .collect();
            let message = if messages.is_empty() { of_status() } else { messages.join("; ") };
            return Self { code: first.code.as_deref().map(shown), message };
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        // A page for a browser says nothing to people here.
        let message = if text.is_empty() || text.starts_with('<') { of_status() } else { shown(text) };
        Self { code: None, message }
    }

    /// As the error of something that was asked for. `what` says where, too; `hint` is what to do where somebody has to be let
    /// in.
    pub(super) fn into_error(self, what: &str, status: StatusCode, hint: &str) -> ClientError {
        let what = what.to_owned();
        match status {
            StatusCode::NOT_FOUND => ClientError::NotFound { what },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ClientError::Denied { what, why: format!("the registry says: {}; {hint}", self.message) }
            }
            _ => {
                ClientError::Refused { what, status: status.as_u16(), code: self.code, message: self.message }
            }
        }
    }
}

/// Text of somebody else, in a line of bounded length.
pub(super) fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(CLIENT_ERROR_SHOWN_CHARS).collect();
    if cut.len() < text.len() {
        cut.push_str("...");
    }
    plain::line(cut.trim()).into_owned()
}

/// An error with all that led to it, each said once.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = vec![];
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !words.iter().any(|known| known.contains(&text)) {
            words.push(text);
        }
        next = error.source();
    }
    shown(&words.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(status: u16, asked: Option<Duration>) -> Failure {
        let status = StatusCode::from_u16(status).expect("a status");
        let error = Said::parse(status, b"").into_error("x", status, "");
        Failure::Busy { status, asked, error }
    }

    fn lost() -> Failure {
        Failure::Lost { host: "h".to_owned(), why: "w".to_owned() }
    }

    fn waits(failure: impl Fn() -> Failure) -> Vec<u64> {
        let mut tries = Tries::default();
        let mut all = vec![];
        while let Ok(wait) = tries.again(failure(), 1.0) {
            all.push(wait.as_millis() as u64);
        }
        all
    }

    #[test]
    fn waits_double_and_tries_end() {
        assert_eq!(waits(lost), [200, 400, 800, 1600, 3200]);
        assert_eq!(waits(|| busy(503, None)), [200, 400, 800, 1600, 3200]);
        assert_eq!(waits(|| busy(500, None)), [200, 400]);
        let connect = || Failure::Connect { host: "h".to_owned(), why: "w".to_owned() };
        assert_eq!(waits(connect), [200, 400]);
        let silent = || Failure::Silent { host: "h".to_owned(), why: "w".to_owned() };
        assert_eq!(waits(silent), [200]);
        let finally = || Failure::Final(ClientError::NotFound { what: "x".to_owned() });
        assert!(waits(finally).is_empty());
    }

    #[test]
    fn a_registry_may_ask_for_more_time_up_to_a_bound() {
        assert_eq!(waits(|| busy(429, Some(Duration::from_secs(3))))[..2], [3000, 3000]);
        assert!(waits(|| busy(429, Some(Duration::from_secs(3600)))).is_empty());
    }

    #[test]
    fn a_transfer_that_went_on_begins_to_count_again() {
        let mut tries = Tries::default();
        for _ in 0..20 {
            assert!(tries.again(lost(), 0.0).is_ok());
            tries.went_on();
        }
    }

    #[test]
    fn what_a_registry_says_is_shown_in_a_line() {
        let said = |body: &str| Said::parse(StatusCode::BAD_REQUEST, body.as_bytes());
        let of = said(r#"{"errors":[{"code":"A","message":"one"},{"code":"B"},{"message":""}]}"#);
        assert_eq!(of, Said { code: Some("A".to_owned()), message: "one; B".to_owned() });
        assert_eq!(said("<html>").message, "Bad Request");
        assert_eq!(said("").message, "Bad Request");
        assert_eq!(said(r#"{"errors":[]}"#).message, r#"{"errors":[]}"#);
        assert_eq!(said("a\u{1b}[2J\nb").message, "a\\u{1b}[2J\\nb");
        assert!(said(&"x".repeat(10_000)).message.len() < 500);
    }
}
