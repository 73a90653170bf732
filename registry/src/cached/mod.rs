//! What was pulled before, between a client and a registry: components that run when no registry can be reached.
//!
//! [`Cached`] is an [`Origin`] over another one. What is asked for by its digest is asked for once, and is looked at each
//! time that it is read. What a name stands for is asked each time ([`Cached::asking`]), or once ([`Cached::pinned`]): with a
//! lock, nothing has to be asked again.

mod files;

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use model::ids::Digest;
use model::limits::{COMPONENT_BYTES_MAX, REGISTRY_MANIFEST_BYTES_MAX};
use serde::Deserialize;

pub use files::Cache;

use crate::client::{ClientError, Fetched, Origin, Progress};
use crate::image_ref::RegistryHost;
use crate::manifest::{Descriptor, IMAGE, INDEX, Manifest};
use crate::name::{Reference, Repository, Tag};

/// A repository, behind what was pulled of it before.
pub struct Cached<'a> {
    cache: &'a Cache,
    origin: &'a dyn Origin,
    /// Whether what was answered before is asked again.
    asks: bool,
}

impl<'a> Cached<'a> {
    /// Names are asked for; what they stand for is taken from the cache.
    pub fn asking(cache: &'a Cache, origin: &'a dyn Origin) -> Self {
        Self { cache, origin, asks: true }
    }

    /// Nothing is asked that was answered before.
    pub fn pinned(cache: &'a Cache, origin: &'a dyn Origin) -> Self {
        Self { cache, origin, asks: false }
    }

    /// The bytes of a component.
    pub async fn component(&self, what: &Descriptor, progress: &dyn Progress) -> Result<Bytes, ClientError> {
        if let Some(bytes) = self.cache.content(&what.digest) {
            return Ok(bytes);
        }
        let most = COMPONENT_BYTES_MAX as u64;
        if what.size > most {
            let what_is = self.called(&Reference::Digest(what.digest));
            return Err(ClientError::Large { what: what_is, bytes: what.size, most });
        }
        if let Ok(place) = self.cache.place_for(&what.digest) {
            match self.origin.blob(what, &place, progress).await {
                Err(ClientError::File { path, error }) => {
                    tracing::warn!(path = %path.display(), %error, "what is pulled cannot be kept; it is pulled in each run");
                }
                brought => brought?,
            }
            if let Some(bytes) = self.cache.content(&what.digest) {
                self.cache.tidy();
                return Ok(bytes);
            }
        }
        // Nothing can be kept here, or somebody else has removed it.
        self.origin.blob_bytes(what, most).await
    }

    fn question(&self, about: &str) -> String {
        // A layout has one repository, whatever that is called.
        match self.origin.at() {
            Some((host, repository)) => format!("{host}/{repository} {about}"),
            None => about.to_owned(),
        }
    }

    fn of_tag(&self, tag: &Tag) -> String {
        self.question(&format!("tag {tag}"))
    }

    fn kept<T: serde::de::DeserializeOwned>(&self, question: &str) -> Option<T> {
        if self.asks { None } else { self.cache.answer(question) }
    }

    fn not_there(&self, reference: &Reference) -> ClientError {
        ClientError::NotFound { what: self.called(reference) }
    }

    fn manifest_here(&self, digest: &Digest) -> Option<Fetched> {
        let bytes = self.cache.content(digest)?;
        let media_type = media_type(&bytes)?;
        let size = bytes.len() as u64;
        let manifest = Manifest::parse(&bytes, Some(&media_type)).ok()?;
        Some(Fetched { descriptor: manifest.descriptor(*digest, size), bytes })
    }
}

/// What a manifest is by its own word or, where it has none, by what it has.
fn media_type(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind = serde_json::from_slice(bytes).ok()?;
    let by_shape = if kind.manifests.is_some() { INDEX } else { IMAGE };
    Some(kind.media_type.unwrap_or_else(|| by_shape.to_owned()))
}

#[async_trait]
impl Origin for Cached<'_> {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ClientError> {
        let tag = match reference {
            Reference::Digest(digest) => {
                return match self.manifest_here(digest) {
                    Some(fetched) => Ok(fetched.descriptor),
                    None => self.origin.resolve(reference).await,
                };
            }
            Reference::Tag(tag) => tag,
        };
        let question = self.of_tag(tag);
        if let Some(answer) = self.kept::<Option<Descriptor>>(&question) {
            return answer.ok_or_else(|| self.not_there(reference));
        }
        match self.origin.resolve(reference).await {
            Ok(descriptor) => {
                self.cache.keep_answer(&question, &Some(&descriptor));
                Ok(descriptor)
            }
            Err(error) => {
                if error.is_not_found() {
                    self.cache.keep_answer(&question, &None::<Descriptor>);
                }
                Err(error)
            }
        }
    }

    async fn manifest(&self, reference: &Reference) -> Result<Fetched, ClientError> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(_) => self.resolve(reference).await?.digest,
        };
        if let Some(here) = self.manifest_here(&digest) {
            return Ok(here);
        }
        let fetched = self.origin.manifest(&Reference::Digest(digest)).await?;
        if fetched.bytes.len() <= REGISTRY_MANIFEST_BYTES_MAX {
            self.cache.keep(&digest, &fetched.bytes);
        }
        Ok(fetched)
    }

    async fn blob(&self, what: &Descriptor, into: &Path, progress: &dyn Progress) -> Result<(), ClientError> {
        self.origin.blob(what, into, progress).await
    }

    async fn blob_bytes(&self, what: &Descriptor, most: u64) -> Result<Bytes, ClientError> {
        if let Some(bytes) = self.cache.content(&what.digest).filter(|bytes| bytes.len() as u64 <= most) {
            return Ok(bytes);
        }
        let bytes = self.origin.blob_bytes(what, most).await?;
        self.cache.keep(&what.digest, &bytes);
        Ok(bytes)
    }

    async fn referrers(
        &self,
        of: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let question = self.question(&format!("referrers {of} {}", artifact_type.unwrap_or("*")));
        if let Some(answer) = self.kept(&question) {
            return Ok(answer);
        }
        let answer = self.origin.referrers(of, artifact_type).await?;
        self.cache.keep_answer(&question, &answer);
        Ok(answer)
    }

    async fn tags(&self) -> Result<Vec<Tag>, ClientError> {
        self.origin.tags().await
    }

    fn at(&self) -> Option<(&RegistryHost, &Repository)> {
        self.origin.at()
    }

    fn called(&self, reference: &Reference) -> String {
        self.origin.called(reference)
    }
}

#[cfg(test)]
mod tests;
