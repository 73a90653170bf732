//! What a request gets: everything between its head and its answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flow::spool::{NotTaken, Numbers, Records, Spool};
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request;
use hyper::{Method, Request, Response, StatusCode};
use model::limits::HTTP_RETRY_AFTER;
use tokio::time::timeout;

use super::body::{NoBody, Packing, Room, Share, read, read_on};
use super::meter::Meter;
use super::records::{BadBody, Bounds, Content, Format, cut};
use super::token::Token;

/// What requests have to be like.
pub(super) struct Rules {
    pub path: String,
    pub format: Format,
    pub token: Option<Token>,
    pub headers: Vec<HeaderName>,
    pub key_header: Option<HeaderName>,
    pub body_bytes_max: usize,
    pub bounds: Bounds,
    pub request_timeout: Duration,
}

/// Answers requests, one for all connections.
pub(super) struct Responder {
    rules: Rules,
    spool: Spool,
    room: Room,
    pub meter: Arc<Meter>,
}

/// An answer, and whether all of its request was read: where it was not, its connection ends, and what still comes on it is
/// no next request.
pub(super) struct Answer {
    pub response: Response<Full<Bytes>>,
    pub is_whole: bool,
}

/// Why a request is not taken.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
enum Refusal {
    #[error("there is nothing here; post to {path}")]
    NotFound { path: String },
    #[error("records are posted: send a POST")]
    Method,
    #[error("this source wants `Authorization: Bearer` with its token")]
    Unauthorized,
    #[error("`Content-Encoding` is one that this source does not unpack; send gzip, zstd or none")]
    Encoding,
    #[error("a header is not what it should be: {0}")]
    Header(HeaderName),
    #[error("the request took longer than {0:?} to come in")]
    Slow(Duration),
    #[error(transparent)]
    NoBody(#[from] NoBody),
    #[error(transparent)]
    BadBody(#[from] BadBody),
    #[error("{0}; send it again later")]
    Later(NotTaken),
    #[error("the source has failed; its log says why")]
    Failed,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BadBody(error) if error.is_type() => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::NoBody(NoBody::TooLong { .. }) | Self::Later(NotTaken::TooLarge { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::BadBody(error) if error.is_too_large() => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoBody(NoBody::Busy) => StatusCode::TOO_MANY_REQUESTS,
            Self::Later(NotTaken::Stopping) | Self::Failed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Later(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoBody(_) | Self::BadBody(_) | Self::Header(_) => StatusCode::BAD_REQUEST,
        }
    }

    fn answer(&self) -> Response<Full<Bytes>> {
        let status = self.status();
        let mut answer = Response::new(Full::from(format!("{self}\n")));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HTTP_RETRY_AFTER.as_secs().into());
            }
            _ => {}
        }
        answer
    }
}

impl From<NotTaken> for Refusal {
    fn from(why: NotTaken) -> Self {
        match why {
            // What is wrong with the disk is for the log and not for senders.
            NotTaken::Failed(_) => Self::Failed,
            why => Self::Later(why),
        }
    }
}

impl Responder {
    pub fn new(rules: Rules, spool: Spool, bodies_bytes_max: usize) -> Self {
        let meter = Arc::new(Meter::new(spool.meter()));
        Self { rules, spool, room: Room::new(bodies_bytes_max), meter }
    }

    pub async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let (head, mut body) = request.into_parts();
        let taken = self.take(&head, &mut body).await;
        // Whoever was too slow is not waited for once more.
        let is_whole = !matches!(taken, Err(Refusal::Slow(_)))
            && timeout(self.rules.request_timeout, read_on(&mut body)).await.unwrap_or(false);
        let mut response = match taken {
            Ok(taken) => {
                let said = match taken {
                    Some(Numbers { first, records }) => {
                        format!("{{\"records\":{records},\"first\":{first}}}\n")
                    }
                    None => "{\"records\":0}\n".to_owned(),
                };
                let mut response = Response::new(Full::from(said));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(refusal) => refusal.answer(),
        };
        if !is_whole {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.meter.count(response.status());
        Answer { response, is_whole }
    }

    /// Puts what a request brings into the spool; none where it brings no records. All that can be refused by its head
    /// is, before its body is read.
    async fn take<B>(&self, head: &request::Parts, body: &mut B) -> Result<Option<Numbers>, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let rules = &self.rules;
        if head.uri.path() != rules.path {
            return Err(Refusal::NotFound { path: rules.path.clone() });
        }
        if head.method != Method::POST {
            return Err(Refusal::Method);
        }
        if let Some(token) = &rules.token
            && !token.admits(head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes))
        {
            return Err(Refusal::Unauthorized);
        }
        let packing = Packing::of(text_of(&head.headers, &CONTENT_ENCODING)?).ok_or(Refusal::Encoding)?;
        let content = Content::of(rules.format, text_of(&head.headers, &CONTENT_TYPE)?)?;
        let mut share = Share::of(&self.room);
        let read = timeout(rules.request_timeout, read(body, rules.body_bytes_max, &mut share)).await;
        let body = read.map_err(|_| Refusal::Slow(rules.request_timeout))??;
        let body = packing.unpack(body, rules.body_bytes_max, &mut share)?;
        let mut records = self.labelled(&head.headers);
        cut(&content, rules.format, &body, rules.bounds, &mut records)?;
        drop(body);
        if records.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.spool.append(records).await?))
    }

    /// No records yet, with what they all keep of their request.
    fn labelled(&self, headers: &HeaderMap) -> Records {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let records = Records::new(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
        let Rules { headers: kept, key_header, .. } = &self.rules;
        let key = key_header.as_ref().and_then(|name| headers.get(name)).map(HeaderValue::as_bytes);
        if kept.is_empty() && key.is_none() {
            return records;
        }
        let kept = kept.iter().flat_map(|name| {
            headers.get_all(name).into_iter().map(|value| (name.as_str(), value.as_bytes()))
        });
        records.labelled(key, kept)
    }
}

/// The value of a header that is text. None where there is none.
fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let value = headers.get(name).map(HeaderValue::to_str).transpose();
    value.map_err(|_| Refusal::Header(name.clone()))
}
