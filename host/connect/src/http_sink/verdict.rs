//! What an answer means for the records that were sent.

use std::time::{Duration, SystemTime};

use flow::connector::ConnectError;
use hyper::StatusCode;
use model::convert::shown;

/// What a server said.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    /// `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// `Location`, of a redirect.
    pub location: Option<String>,
    /// What its body begins with.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    #[error("`{0}` cannot be looked up: {1}")]
    Lookup(String, String),
    #[error("{0}")]
    Denied(String),
    #[error("no connection: {0}")]
    Connect(String),
    #[error("no connection over TLS: {0}")]
    Tls(String),
    #[error("the connection broke off: {0}")]
    Broke(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Delivered,
    /// Too much at once.
    Split,
    /// These records, for good.
    Refused {
        code: String,
        message: String,
    },
    /// Not now, or not at all.
    Failed(ConnectError),
}

/// `records`: how many were sent. `target`: where to.
pub(super) fn of(answer: &Result<Answer, NoAnswer>, records: usize, target: &str) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error @ NoAnswer::Denied(_)) => {
            let next = "name the address under `addresses`, if that is where it should go";
            return Verdict::Failed(ConnectError::failed(target, error, next));
        }
        Err(error) => return Verdict::Failed(ConnectError::retry(target, error, Duration::ZERO)),
    };
    let status = answer.status;
    let said = |what: &str| match answer.body.trim_ascii() {
        [] => format!("{what} {status}"),
        body => format!("{what} {status}: {}", shown(body)),
    };
    match status.as_u16() {
        200..=299 => Verdict::Delivered,
        300..=399 => {
            let to = answer.location.as_deref().unwrap_or("nowhere");
            let why = format!("it answers {status}, a redirect to {to}, and redirects are not followed");
            Verdict::Failed(ConnectError::failed(target, why, "name under `url` where records should go"))
        }
        413 if records > 1 => Verdict::Split,
        401 | 403 => {
            let next = "give the sink a `token` or `headers` that the server takes";
            Verdict::Failed(ConnectError::failed(target, said("it answers"), next))
        }
        404 => Verdict::Failed(ConnectError::failed(target, said("it answers"), "correct `url`")),
        408 | 425 | 429 | 500..=599 => {
            let after = answer.retry_after.as_deref().and_then(|text| wait(text, SystemTime::now()));
            Verdict::Failed(ConnectError::retry(target, said("it answers"), after.unwrap_or_default()))
        }
        code => Verdict::Refused { code: format!("http-{code}"), message: said("the server answers") },
    }
}

/// `Retry-After`: seconds, or a date.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use flow::connector::ConnectErrorKind;

    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Result<Answer, NoAnswer> {
        Ok(Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            retry_after: retry_after.map(str::to_owned),
            location: Some("https://b.com/".to_owned()),
            body: b"why\n".to_vec(),
        })
    }

    #[test]
    fn each_status_means_one_thing() {
        let short = |verdict| match verdict {
            Verdict::Delivered => "delivered".to_owned(),
            Verdict::Split => "split".to_owned(),
            Verdict::Refused { code, message } => format!("refused {code}: {message}"),
            Verdict::Failed(ConnectError { kind: ConnectErrorKind::Retry { after }, .. }) => {
                format!("again {after:?}")
            }
            Verdict::Failed(error) => format!("stop: {error}"),
        };
        let cases = [
            (200, 2, None, "delivered"),
            (204, 2, None, "delivered"),
            (302, 2, None, "stop: t: it answers 302 Found, a redirect to https://b.com/"),
            (400, 2, None, "refused http-400: the server answers 400 Bad Request: why"),
            (401, 2, None, "stop: t: it answers 401 Unauthorized: why; give the sink a `token`"),
            (403, 2, None, "stop: "),
            (404, 2, None, "stop: t: it answers 404 Not Found: why; correct `url`"),
            (408, 2, None, "again 0ns"),
            (409, 1, None, "refused http-409"),
            (413, 2, None, "split"),
            (413, 1, None, "refused http-413"),
            (422, 2, None, "refused http-422"),
            (425, 1, None, "again"),
            (429, 2, Some("7"), "again 7s"),
            (429, 2, Some("soon"), "again 0ns"),
            (500, 2, None, "again"),
            (503, 2, Some("Thu, 01 Jan 1970 00:00:10 GMT"), "again 0ns"),
        ];
        for (status, records, retry_after, expected) in cases {
            let found = short(of(&answer(status, retry_after), records, "t"));
            assert!(found.starts_with(expected), "{status}: {found}");
        }
        let none = short(of(&Err(NoAnswer::Connect("refused".to_owned())), 1, "t"));
        assert_eq!(none, "again 0ns");
        let denied = short(of(&Err(NoAnswer::Denied("it leads to 10.0.0.1".to_owned())), 1, "t"));
        assert!(denied.starts_with("stop: t: it leads to 10.0.0.1; name the address"), "{denied}");
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(wait("Thu, 01 Jan 1970 00:00:10 GMT", epoch), Some(Duration::from_secs(10)));
    }
}
