//! Uploads: begun, gone on with piece by piece, ended as a blob or thrown away.

use std::sync::Arc;

use axum::response::Response;
use http::header::{CONTENT_RANGE, LOCATION, RANGE};
use http::{Method, StatusCode};
use model::ids::{Algorithm, Digest};
use model::limits::{REGISTRY_HOLDERS_TRIED, REGISTRY_PIECE_BYTES};
use tokio::sync::OwnedMutexGuard;

use super::body::Incoming;
use super::{Answer, Asked, Registry, UPLOAD, blocking, created, empty, random, refusal_of, set};
use crate::name::Repository;
use crate::range::{self, Chunk};
use crate::refusal::{Code, Refusal};
use crate::route::{self, Action};
use crate::store::{Refused, StoreError, Upload, UploadId, Whole};

impl Registry {
    /// `POST`: a blob that others have, one that comes with it, or one that comes later.
    pub(super) async fn begin(
        self: &Arc<Self>,
        asked: Asked,
        from: Option<Repository>,
        body: &mut Incoming,
    ) -> Answer {
        if let Some(digest) = asked.query.one("mount")? {
            let digest = route::digest(digest)?;
            if self.mount(&asked, from, digest).await? {
                return Ok(created(&blob(&asked.repository, &digest), &digest));
            }
        }
        if let Some(digest) = asked.query.one("digest")? {
            let digest = route::digest(digest)?;
            if body.is_small() {
                return self.put_small(&asked, digest, body).await;
            }
            let upload = self.begin_upload(&asked, digest.algorithm()).await?;
            return self.end(&asked, upload, digest, body).await;
        }
        let algorithm = match asked.query.one("digest-algorithm")? {
            None => Algorithm::Sha256,
            Some(name) => Algorithm::parse(name).ok_or_else(|| {
                Refusal::new(
                    Code::DigestInvalid,
                    "`digest-algorithm` is none that is known; sha256 and sha512 are",
                )
            })?,
        };
        let id = UploadId(random()?);
        // The disk hears of it with the first byte.
        self.store.begin(&asked.repository, algorithm, id).map_err(|error| refusal_of(&error))?;
        Ok(goes_on(StatusCode::ACCEPTED, &asked.repository, id, 0))
    }

    /// Whether the repository has now what another one has. What may not be seen is not there.
    async fn mount(
        self: &Arc<Self>,
        asked: &Asked,
        from: Option<Repository>,
        digest: Digest,
    ) -> Result<bool, Refusal> {
        let (registry, repository, who) = (self.clone(), asked.repository.clone(), asked.who.clone());
        let quota = self.auth.access.quota(&repository);
        let mounted = blocking(move || {
            let candidates = match from {
                Some(from) => vec![from],
                None => registry.store.holders(&digest, REGISTRY_HOLDERS_TRIED)?,
            };
            let may = |from: &Repository| registry.auth.may(&who, from, Action::Pull);
            let from: Vec<Repository> = candidates.into_iter().filter(may).collect();
            match registry.store.mount(&repository, from, digest, quota) {
                Ok(()) => Ok(true),
                Err(StoreError::Refused(Refused::BlobUnknown { .. })) => Ok(false),
                Err(error) => Err(error),
            }
        });
        mounted.await
    }

    async fn begin_upload(self: &Arc<Self>, asked: &Asked, algorithm: Algorithm) -> Result<Held, Refusal> {
        let id = UploadId(random()?);
        let upload =
            self.store.begin(&asked.repository, algorithm, id).map_err(|error| refusal_of(&error))?;
        Ok(Held(upload.lock_owned().await))
    }

    /// A blob that is here as a whole is written at once.
    async fn put_small(self: &Arc<Self>, asked: &Asked, digest: Digest, body: &mut Incoming) -> Answer {
        let content = body.whole(REGISTRY_PIECE_BYTES).await?;
        let (store, repository, nonce) = (self.store.clone(), asked.repository.clone(), random()?);
        let quota = self.auth.access.quota(&repository);
        let writes = self.writes.blocking(move || {
            let whole = Whole { digest, content: &content, bytes_max: quota, nonce };
            store.put_blob(&repository, whole)
        });
        writes.await?;
        Ok(created(&blob(&asked.repository, &digest), &digest))
    }

    pub(super) async fn upload(self: &Arc<Self>, asked: Asked, id: UploadId, body: &mut Incoming) -> Answer {
        let upload = match self.store.known_upload(&asked.repository, id) {
            Some(upload) => upload,
            None => {
                let (store, repository) = (self.store.clone(), asked.repository.clone());
                blocking(move || store.upload(&repository, id)).await?
            }
        };
        // Somebody may be at it whose connection is gone and who has not noticed yet.
        let held = tokio::time::timeout(self.body_time, upload.lock_owned()).await.map_err(|_| {
            let message = "another request goes on with this upload";
            Refusal::new(Code::BlobUploadInvalid, message).status(StatusCode::CONFLICT)
        })?;
        let held = Held(held);
        match asked.head.method {
            Method::PATCH => self.go_on(&asked, held, body).await,
            Method::PUT => {
                let digest = asked.query.one("digest")?.ok_or_else(|| {
                    Refusal::new(Code::DigestInvalid, "`digest` says what the upload is; it is missing")
                })?;
                let digest = route::digest(digest)?;
                let is_all =
                    held.0.bytes() == 0 && body.is_small() && !asked.head.headers.contains_key(CONTENT_RANGE);
                if is_all {
                    let answer = self.put_small(&asked, digest, body).await?;
                    self.cancel(held).await?;
                    return Ok(answer);
                }
                self.end(&asked, held, digest, body).await
            }
            Method::DELETE => {
                self.cancel(held).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Ok(goes_on(StatusCode::NO_CONTENT, &asked.repository, id, held.0.bytes())),
        }
    }

    async fn cancel(self: &Arc<Self>, mut held: Held) -> Result<(), Refusal> {
        let store = self.store.clone();
        if held.0.has_file() {
            return blocking(move || store.cancel(&mut held.0)).await;
        }
        store.cancel(&mut held.0).map_err(|error| refusal_of(&error))
    }

    async fn go_on(self: &Arc<Self>, asked: &Asked, held: Held, body: &mut Incoming) -> Answer {
        let held = self.take(asked, held, body).await?;
        let (id, bytes) = (held.0.id(), held.0.bytes());
        Ok(goes_on(StatusCode::ACCEPTED, &asked.repository, id, bytes))
    }

    async fn end(self: &Arc<Self>, asked: &Asked, held: Held, digest: Digest, body: &mut Incoming) -> Answer {
        let mut held = self.read(asked, held, body).await?;
        let quota = self.auth.access.quota(&asked.repository);
        let store = self.store.clone();
        self.writes.blocking(move || store.finish(&mut held.0, digest, quota)).await?;
        Ok(created(&blob(&asked.repository, &digest), &digest))
    }

    /// Reads a body into an upload, durably.
    async fn take(self: &Arc<Self>, asked: &Asked, held: Held, body: &mut Incoming) -> Result<Held, Refusal> {
        let mut held = self.read(asked, held, body).await?;
        let store = self.store.clone();
        self.writes.blocking(move || store.settle(&mut held.0).map(|()| held)).await
    }

    /// Reads a body into an upload. A chunk is there whole or not at all; of anything else what came is there, and its
    /// client may go on from that.
    async fn read(
        self: &Arc<Self>,
        asked: &Asked,
        mut held: Held,
        body: &mut Incoming,
    ) -> Result<Held, Refusal> {
        let begun = held.0.bytes();
        let chunk = chunk(asked, &held.0, body)?;
        let (store, repository) = (self.store.clone(), asked.repository.clone());
        let quota = self.auth.access.quota(&repository);
        let free = blocking(move || store.free(&repository, quota)).await?;
        loop {
            let piece = match body.piece().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(refusal) => {
                    self.leave(held, chunk.map(|_| begun)).await;
                    return Err(refusal);
                }
            };
            let bytes = held.0.bytes() + piece.bytes;
            if free.is_some_and(|free| bytes > free) {
                self.leave(held, Some(begun)).await;
                let message = "the blob is larger than the room that is left for it here; remove something";
                return Err(Refusal::new(Code::Denied, message));
            }
            if chunk.is_some_and(|chunk| bytes - begun > chunk.bytes()) {
                self.leave(held, Some(begun)).await;
                return Err(other_size());
            }
            let store = self.store.clone();
            let written = tokio::task::spawn_blocking(move || {
                let written = piece.parts.iter().try_for_each(|part| store.append(&mut held.0, part));
                (held, written)
            });
            let (back, written) = written.await.map_err(|_| Refusal::new(Code::Unknown, "a write broke"))?;
            held = back;
            if let Err(error) = written {
                self.leave(held, chunk.map(|_| begun)).await;
                return Err(refusal_of(&error));
            }
        }
        if chunk.is_some_and(|chunk| held.0.bytes() - begun != chunk.bytes()) {
            self.leave(held, Some(begun)).await;
            return Err(other_size());
        }
        Ok(held)
    }

    /// Leaves an upload so that somebody may go on with it: cut to so many bytes, where there are any to be cut off.
    async fn leave(self: &Arc<Self>, mut held: Held, cut: Option<u64>) {
        let store = self.store.clone();
        let left = blocking(move || {
            cut.map_or(Ok(()), |bytes| store.cut(&mut held.0, bytes))?;
            store.settle(&mut held.0)
        });
        if let Err(refusal) = left.await {
            tracing::debug!(why = refusal.message, "an upload could not be left to be gone on with");
        }
    }
}

/// An upload that this request has.
struct Held(OwnedMutexGuard<Upload>);

/// The chunk that a body says to be, which has to follow what there is.
fn chunk(asked: &Asked, upload: &Upload, body: &Incoming) -> Result<Option<Chunk>, Refusal> {
    let Some(said) = asked.head.headers.get(CONTENT_RANGE) else { return Ok(None) };
    let chunk = said.to_str().ok().and_then(Chunk::parse).ok_or_else(|| {
        Refusal::new(
            Code::BlobUploadInvalid,
            "`Content-Range` is the first and the last byte of a chunk: write 0-1023",
        )
    })?;
    if chunk.first != upload.bytes() {
        let message = format!("the chunk begins at byte {}, and {} is the next", chunk.first, upload.bytes());
        let refusal =
            Refusal::new(Code::BlobUploadInvalid, message).status(StatusCode::RANGE_NOT_SATISFIABLE);
        let refusal = refusal.header(LOCATION, place(&asked.repository, upload.id()));
        return Err(refusal.header(RANGE, range::had(upload.bytes())));
    }
    if body.said().is_some_and(|bytes| bytes != chunk.bytes()) {
        return Err(other_size());
    }
    Ok(Some(chunk))
}

fn other_size() -> Refusal {
    Refusal::new(
        Code::SizeInvalid,
        "the body has not as many bytes as `Content-Range` says; nothing of it was kept",
    )
}

fn blob(repository: &Repository, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

fn place(repository: &Repository, id: UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

fn goes_on(status: StatusCode, repository: &Repository, id: UploadId, bytes: u64) -> Response {
    let mut response = empty(status);
    set(&mut response, LOCATION, place(repository, id));
    set(&mut response, RANGE, range::had(bytes));
    set(&mut response, UPLOAD, id.to_string());
    response
}
