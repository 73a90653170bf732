//! Bodies of requests, within their bounds of bytes and of time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use model::limits::{
    REGISTRY_BODY_DRAINED_BYTES, REGISTRY_PIECE_BYTES, REGISTRY_PIECE_PARTS_MAX, REGISTRY_RECEIVED_BYTES,
};

use crate::refusal::{Code, Refusal};

/// The body of one request.
pub(super) struct Incoming {
    body: Body,
    /// What the client says that it sends.
    bytes: Option<u64>,
    /// It waits to be told that the body is wanted.
    waits: bool,
    has_ended: bool,
    /// It broke behind a piece that was given.
    failure: Option<Refusal>,
    /// How long the next bytes of it may take.
    time: Duration,
}

/// Some of a body, in the parts that it came in.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub parts: Vec<Bytes>,
    pub bytes: u64,
}

impl Piece {
    fn add(&mut self, part: Bytes) {
        self.bytes += part.len() as u64;
        self.parts.push(part);
    }
}

impl Incoming {
    pub fn new(body: Body, headers: &HeaderMap, time: Duration) -> Self {
        let bytes = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Self { body, bytes, waits: headers.contains_key(EXPECT), has_ended: false, failure: None, time }
    }

    /// Bytes of it, where the client says how many.
    pub fn said(&self) -> Option<u64> {
        self.bytes
    }

    /// Whether it fits into one piece.
    pub fn is_small(&self) -> bool {
        self.bytes.is_some_and(|bytes| bytes <= REGISTRY_PIECE_BYTES as u64)
    }

    async fn frame(&mut self, within: Duration) -> Result<Option<Bytes>, Refusal> {
        if self.has_ended {
            return Ok(None);
        }
        self.waits = false;
        loop {
            let frame = tokio::time::timeout(within, self.body.frame()).await.map_err(|_| {
                self.has_ended = true;
                let message = format!("nothing came of the body for {} s", within.as_secs());
                Refusal::new(Code::Unknown, message).status(StatusCode::REQUEST_TIMEOUT)
            })?;
            match frame {
                None => {
                    self.has_ended = true;
                    return Ok(None);
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
                Some(Err(error)) => {
                    self.has_ended = true;
                    let message = format!("the body ended before its end: {error}");
                    return Err(Refusal::new(Code::SizeInvalid, message));
                }
            }
        }
    }

    /// The next piece, which is as large as a write should be, or the last; in the parts that it came in, none of which is
    /// empty. What came before an error is given before it.
    pub async fn piece(&mut self) -> Result<Option<Piece>, Refusal> {
        if let Some(refusal) = self.failure.take() {
            return Err(refusal);
        }
        let mut piece = Piece::default();
        while piece.bytes < REGISTRY_RECEIVED_BYTES as u64 && piece.parts.len() < REGISTRY_PIECE_PARTS_MAX {
            match self.frame(self.time).await {
                Ok(Some(data)) => piece.add(data),
                Ok(None) => break,
                Err(refusal) if piece.parts.is_empty() => return Err(refusal),
                Err(refusal) => {
                    self.failure = Some(refusal);
                    break;
                }
            }
        }
        Ok((!piece.parts.is_empty()).then_some(piece))
    }

    /// All of it, where that is no more than `max` bytes.
    pub async fn whole(&mut self, max: usize) -> Result<Bytes, Refusal> {
        let large = || {
            let refusal = Refusal::new(Code::SizeInvalid, format!("the body has more than {max} bytes"));
            refusal.status(StatusCode::PAYLOAD_TOO_LARGE)
        };
        if self.bytes.is_some_and(|bytes| bytes > max as u64) {
            return Err(large());
        }
        let Some(first) = self.frame(self.time).await? else { return Ok(Bytes::new()) };
        // As it came, where that is all; else into as much as was said, where that is not much.
        let said = self.bytes.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if first.len() == said {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(said.min(REGISTRY_PIECE_BYTES));
        let mut next = Some(first);
        while let Some(data) = next {
            if whole.len() + data.len() > max {
                return Err(large());
            }
            whole.extend_from_slice(&data);
            next = self.frame(self.time).await?;
        }
        Ok(whole.freeze())
    }

    /// Reads a bit of what nobody wants, so that a client that sends on comes to reading the answer.
    pub async fn drain(&mut self) {
        let mut drained = 0;
        while !self.waits && drained < REGISTRY_BODY_DRAINED_BYTES {
            match self.frame(Duration::from_secs(1)).await {
                Ok(Some(data)) => drained += data.len(),
                _ => return,
            }
        }
    }
}
