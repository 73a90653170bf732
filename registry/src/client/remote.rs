//! A repository of a registry: what it can do for whoever pulls and pushes.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, StatusCode};
use model::ids::Digest;
use model::limits::{CLIENT_ERROR_BYTES_MAX, REGISTRY_MANIFEST_BYTES_MAX};
use reqwest::Url;

use super::challenge::Scopes;
use super::download::Incoming;
use super::session::{Answer, Request, Session};
use super::wire::Payload;
use super::{ClientError, Content, Fetched, Moved, Origin, Progress, Target};
use crate::image_ref::RegistryHost;
use crate::manifest::{Descriptor, Manifest, TAKEN};
use crate::name::{Reference, Repository, Tag};

/// Of the manifest that an answer is about.
const DIGEST: &str = "docker-content-digest";
/// The registry has understood what a manifest is about.
const SUBJECT: &str = "oci-subject";

/// A repository of a registry.
#[derive(Clone, Debug)]
pub struct Remote {
    pub(super) session: Arc<Session>,
    pub(super) repository: Repository,
}

pub(super) fn pull(repository: &Repository) -> Scopes {
    Scopes::repository(repository, &["pull"])
}

impl Remote {
    pub(super) fn pull(&self) -> Scopes {
        pull(&self.repository)
    }

    pub(super) fn push(&self) -> Scopes {
        Scopes::repository(&self.repository, &["pull", "push"])
    }

    fn removal(&self) -> Scopes {
        Scopes::repository(&self.repository, &["pull", "push", "delete"])
    }

    /// The URL of a path within the repository.
    pub(super) async fn url(&self, path: &str) -> Result<Url, ClientError> {
        self.session.url(&format!("{}/{path}", self.repository)).await
    }

    pub(super) fn called_blob(&self, what: &Descriptor) -> String {
        self.called(&Reference::Digest(what.digest))
    }

    async fn manifest_request(&self, method: Method, reference: &Reference) -> Result<Request, ClientError> {
        let url = self.url(&format!("manifests/{reference}")).await?;
        Ok(Request::new(method, url, &self.pull(), self.called(reference)).header(ACCEPT, TAKEN.join(", ")))
    }

    /// The digest that an answer about a manifest names it by, in the algorithm that it was asked for by. What the registry
    /// says in another is not compared: some say SHA-256 whatever they were asked for.
    fn named_by(&self, reference: &Reference, answer: &Answer) -> Result<Option<Digest>, ClientError> {
        let said: Option<Digest> = answer.header(DIGEST).and_then(|said| said.parse().ok());
        match (reference, said) {
            (Reference::Digest(asked), Some(said))
                if said.algorithm() == asked.algorithm() && said != *asked =>
            {
                Err(ClientError::corrupt(self.called(reference), asked, &said))
            }
            (Reference::Digest(asked), _) => Ok(Some(*asked)),
            (Reference::Tag(_), said) => Ok(said),
        }
    }

    /// The manifest in an answer, once its bytes are what they are named by.
    fn fetched(&self, reference: &Reference, answer: Answer) -> Result<Fetched, ClientError> {
        let named = self.named_by(reference, &answer)?;
        let digest = match named {
            Some(named) => {
                let came = Digest::by(named.algorithm(), &answer.body);
                if came != named {
                    return Err(ClientError::corrupt(self.called(reference), &named, &came));
                }
                named
            }
            None => Digest::of(&answer.body),
        };
        let size = answer.body.len() as u64;
        let parsed = Manifest::parse(&answer.body, answer.header(CONTENT_TYPE));
        let manifest =
            parsed.map_err(|error| ClientError::Manifest { what: self.called(reference), error })?;
        Ok(Fetched { descriptor: manifest.descriptor(digest, size), bytes: answer.body })
    }
}

#[async_trait]
impl Origin for Remote {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ClientError> {
        let request = self.manifest_request(Method::HEAD, reference).await?;
        let answer = self.session.ask(&request, 0, &[]).await?;
        let size = answer.header(CONTENT_LENGTH).and_then(|bytes| bytes.parse::<u64>().ok());
        let media_type =
            answer.header(CONTENT_TYPE).map(|named| named.split(';').next().unwrap_or(named).trim());
        let media_type = media_type.filter(|named| TAKEN.contains(named));
        match (self.named_by(reference, &answer)?, size, media_type) {
            (Some(digest), Some(size), Some(media_type)) => Ok(Descriptor {
                media_type: media_type.to_owned(),
                digest,
                size,
                artifact_type: None,
                annotations: Default::default(),
            }),
            _ => Ok(self.manifest(reference).await?.descriptor),
        }
    }

    async fn manifest(&self, reference: &Reference) -> Result<Fetched, ClientError> {
        let request = self.manifest_request(Method::GET, reference).await?;
        match self.session.ask(&request, REGISTRY_MANIFEST_BYTES_MAX, &[]).await {
            Ok(answer) => self.fetched(reference, answer),
            Err(ClientError::Large { what, .. }) => Err(ClientError::LargeManifest { what }),
            Err(error) => Err(error),
        }
    }

    async fn blob(&self, what: &Descriptor, into: &Path, progress: &dyn Progress) -> Result<(), ClientError> {
        progress.begin(what);
        let mut incoming = Incoming::file(into, what.digest.algorithm()).await?;
        if let Err(error) = self.download(what, &mut incoming, progress).await {
            incoming.discard().await;
            return Err(error);
        }
        incoming.finish(what, &self.called_blob(what)).await?;
        progress.end(what, Moved::Brought);
        Ok(())
    }

    async fn blob_bytes(&self, what: &Descriptor, most: u64) -> Result<Bytes, ClientError> {
        if what.size > most {
            return Err(ClientError::Large { what: self.called_blob(what), bytes: what.size, most });
        }
        let mut incoming = Incoming::memory();
        self.download(what, &mut incoming, &()).await?;
        incoming.finish(what, &self.called_blob(what)).await
    }

    async fn referrers(
        &self,
        of: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, ClientError> {
        self.list_referrers(of, artifact_type).await
    }

    async fn tags(&self) -> Result<Vec<Tag>, ClientError> {
        self.list_tags().await
    }

    fn at(&self) -> Option<(&RegistryHost, &Repository)> {
        Some((&self.session.host, &self.repository))
    }

    fn called(&self, reference: &Reference) -> String {
        let (host, repository) = (&self.session.host, &self.repository);
        match reference {
            Reference::Tag(tag) => format!("{host}/{repository}:{tag}"),
            Reference::Digest(digest) => format!("{host}/{repository}@{digest}"),
        }
    }
}

#[async_trait]
impl Target for Remote {
    async fn has_blob(&self, what: &Descriptor) -> Result<bool, ClientError> {
        let url = self.url(&format!("blobs/{}", what.digest)).await?;
        let request = Request::new(Method::HEAD, url, &self.push(), self.called_blob(what));
        let answer = match self.session.ask(&request, 0, &[]).await {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        let bytes = answer.header(CONTENT_LENGTH).and_then(|bytes| bytes.parse::<u64>().ok());
        // Some say nothing of it by saying 0.
        match bytes.filter(|&bytes| bytes != what.size && bytes > 0) {
            Some(bytes) => Err(ClientError::Corrupt {
                what: self.called_blob(what),
                expected: format!("{} bytes", what.size),
                came: format!("{bytes} bytes"),
            }),
            None => Ok(true),
        }
    }

    async fn put_blob(
        &self,
        what: &Descriptor,
        from: Content,
        progress: &dyn Progress,
    ) -> Result<(), ClientError> {
        progress.begin(what);
        let is_there = self.has_blob(what).await?;
        if !is_there {
            self.upload(what, &from, progress).await?;
        }
        progress.end(what, if is_there { Moved::There } else { Moved::Brought });
        Ok(())
    }

    async fn mount(&self, what: &Descriptor, from: &Repository) -> Result<bool, ClientError> {
        self.mount_from(what, from).await
    }

    async fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, ClientError> {
        let digest = match reference {
            Reference::Digest(asked) => Digest::by(asked.algorithm(), &bytes),
            Reference::Tag(_) => Digest::of(&bytes),
        };
        let called = self.called(reference);
        if let Reference::Digest(asked) = reference
            && digest != *asked
        {
            return Err(ClientError::corrupt(called, asked, &digest));
        }
        let parsed = Manifest::parse(&bytes, Some(media_type));
        let manifest = parsed.map_err(|error| ClientError::Manifest { what: called.clone(), error })?;
        let url = self.url(&format!("manifests/{reference}")).await?;
        let request = Request::new(Method::PUT, url, &self.push(), called)
            .header(CONTENT_TYPE, media_type)
            .payload(Payload::Bytes(bytes.clone()));
        let answer = self.session.ask(&request, CLIENT_ERROR_BYTES_MAX, &[]).await?;
        self.named_by(&Reference::Digest(digest), &answer)?;
        if let Some(subject) = manifest.subject
            && answer.header(SUBJECT).is_none()
        {
            self.add_referrer(&subject, &manifest.descriptor(digest, bytes.len() as u64)).await?;
        }
        Ok(digest)
    }

    async fn delete(&self, reference: &Reference) -> Result<(), ClientError> {
        // What it is about, while that can be read; and whether it is there.
        let subject = match reference {
            Reference::Digest(_) => self.subject_of(reference).await?,
            Reference::Tag(_) => self.resolve(reference).await.map(|_| None)?,
        };
        let url = self.url(&format!("manifests/{reference}")).await?;
        let request = Request::new(Method::DELETE, url, &self.removal(), self.called(reference));
        let not_done = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::BAD_REQUEST, StatusCode::NOT_IMPLEMENTED];
        match self.session.ask(&request, CLIENT_ERROR_BYTES_MAX, &not_done).await {
            Ok(answer) if not_done.contains(&answer.status) => {
                return Err(self.not_deleted(reference, &answer));
            }
            Ok(_) => {}
            // It may have been deleted by a try whose answer was lost.
            Err(error) if error.is_not_found() => match self.resolve(reference).await {
                Err(now) if now.is_not_found() => {}
                _ => return Err(error),
            },
            Err(error) => return Err(error),
        }
        match (subject, reference) {
            (Some(subject), Reference::Digest(digest)) => self.drop_referrer(&subject, digest).await,
            _ => Ok(()),
        }
    }
}

impl Remote {
    async fn subject_of(&self, reference: &Reference) -> Result<Option<Digest>, ClientError> {
        match self.manifest(reference).await {
            Ok(fetched) => {
                Ok(Manifest::parse(&fetched.bytes, None).ok().and_then(|manifest| manifest.subject))
            }
            // What is not understood can be deleted all the same.
            Err(ClientError::Manifest { .. } | ClientError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Many registries delete manifests and no tags; some delete nothing unless they are set up to.
    fn not_deleted(&self, reference: &Reference, answer: &Answer) -> ClientError {
        let said = super::failure::Said::parse(answer.status, &answer.body);
        let next = match reference {
            Reference::Tag(_) => {
                "; a registry that deletes no tags may delete the manifest with all its tags, by its digest"
            }
            Reference::Digest(_) => "; it may have to be set up to delete anything",
        };
        ClientError::Refused {
            what: self.called(reference),
            status: answer.status.as_u16(),
            code: said.code,
            message: said.message + next,
        }
    }
}
