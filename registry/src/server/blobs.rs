//! Blobs: asked for, given, deleted.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{Method, StatusCode};
use model::ids::Digest;
use model::limits::REGISTRY_PIECE_BYTES;

use super::{Answer, Asked, Registry, answer, blocking, empty, etag, name_content, set};
use crate::range::{self, Asked as Wanted};
use crate::refusal::{Code, Refusal};
use crate::store::{Reader, Store, StoreError};

/// What of a content goes out.
enum Given {
    Nothing,
    Now(Bytes),
    Pieces(Box<Reader>),
}

impl Registry {
    pub(super) async fn blob(self: &Arc<Self>, asked: Asked, digest: Digest) -> Answer {
        let (store, repository) = (self.store.clone(), asked.repository.clone());
        if asked.head.method == Method::DELETE {
            blocking(move || store.remove_blob(&repository, digest)).await?;
            return Ok(empty(StatusCode::ACCEPTED));
        }
        let headers = asked.head.headers;
        let etag = etag(&digest);
        if asked.head.method == Method::HEAD {
            let bytes = blocking(move || store.blob(&repository, &digest)).await?;
            let what = range::asked(&headers, &etag, bytes, false);
            return self.content(digest, bytes, what, Given::Nothing);
        }
        let (bytes, what, given) = blocking(move || {
            let mut content = store.open_blob(&repository, &digest)?;
            let bytes = content.bytes;
            let what = range::asked(&headers, &etag, bytes, true);
            let given = match what {
                Wanted::Whole if bytes <= REGISTRY_PIECE_BYTES as u64 => {
                    Given::Now(store.read_content(&content)?.into())
                }
                Wanted::Whole => Given::Pieces(Box::new(store.reader(content, 0, bytes))),
                Wanted::Part(from, to) => {
                    store.verify(&mut content)?;
                    Given::Pieces(Box::new(store.reader(content, from, to)))
                }
                _ => Given::Nothing,
            };
            Ok((bytes, what, given))
        })
        .await?;
        self.content(digest, bytes, what, given)
    }

    fn content(&self, digest: Digest, bytes: u64, what: Wanted, given: Given) -> Answer {
        let (status, length) = match what {
            Wanted::Whole => (StatusCode::OK, bytes),
            Wanted::Part(from, to) => (StatusCode::PARTIAL_CONTENT, to - from),
            Wanted::NotModified => return Ok(not_modified(&digest)),
            Wanted::Other => return Err(other()),
            Wanted::Nothing => {
                let refusal = Refusal::new(
                    Code::RangeInvalid,
                    format!("the blob has {bytes} bytes, and nothing there"),
                );
                return Err(refusal.header(CONTENT_RANGE, format!("bytes */{bytes}")));
            }
        };
        let body = match given {
            Given::Nothing => Body::empty(),
            Given::Now(bytes) => Body::from(bytes),
            Given::Pieces(reader) => pieces(self.store.clone(), reader),
        };
        let mut response = answer(status, body);
        name_content(&mut response, &digest);
        set(&mut response, CONTENT_TYPE, "application/octet-stream");
        set(&mut response, ACCEPT_RANGES, "bytes");
        set(&mut response, CONTENT_LENGTH, length.to_string());
        if let Wanted::Part(from, to) = what {
            set(&mut response, CONTENT_RANGE, format!("bytes {from}-{}/{bytes}", to - 1));
        }
        Ok(response)
    }
}

pub(super) fn not_modified(digest: &Digest) -> Response {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    name_content(&mut response, digest);
    response
}

pub(super) fn other() -> Refusal {
    let message = "it is not what `If-Match` says";
    Refusal::new(Code::Unknown, message).status(StatusCode::PRECONDITION_FAILED)
}

/// An error ends the connection before all is sent that was promised, so that the client knows.
fn pieces(store: Arc<Store>, reader: Box<Reader>) -> Body {
    let pieces = stream::try_unfold(reader, move |mut reader| {
        let store = store.clone();
        async move {
            let next =
                tokio::task::spawn_blocking(move || Ok::<_, StoreError>((reader.next(&store)?, reader)));
            match next.await {
                Ok(Ok((Some(piece), reader))) => Ok(Some((piece, reader))),
                Ok(Ok((None, _))) => Ok(None),
                Ok(Err(error)) => Err(std::io::Error::other(error)),
                Err(error) => Err(std::io::Error::other(error)),
            }
        }
    });
    Body::from_stream(pieces)
}
