//! Manifests: given as they were pushed, whatever `Accept` says.

use std::sync::Arc;

use axum::body::Body;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, StatusCode};
use model::ids::{Algorithm, Digest};
use model::limits::{REGISTRY_MANIFEST_BYTES_MAX, REGISTRY_TAGS_AT_ONCE};

use super::blobs::{not_modified, other};
use super::body::Incoming;
use super::{
    Answer, Asked, Registry, SUBJECT, TAG, answer, blocking, created, empty, etag, name_content, random, set,
};
use crate::manifest::Manifest;
use crate::name::{Reference, Tag};
use crate::range::{self, Asked as Wanted};
use crate::refusal::{Code, Refusal};
use crate::store::Whole;

impl Registry {
    pub(super) async fn manifest(
        self: &Arc<Self>,
        asked: Asked,
        reference: Reference,
        body: &mut Incoming,
    ) -> Answer {
        match asked.head.method {
            Method::PUT => self.put_manifest(asked, reference, body).await,
            Method::DELETE => {
                let (store, repository) = (self.store.clone(), asked.repository);
                blocking(move || match reference {
                    Reference::Tag(tag) => store.remove_tag(&repository, &tag),
                    Reference::Digest(digest) => store.remove_manifest(&repository, digest),
                })
                .await?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            _ => self.give_manifest(asked, reference).await,
        }
    }

    async fn give_manifest(self: &Arc<Self>, asked: Asked, reference: Reference) -> Answer {
        let (store, repository) = (self.store.clone(), asked.repository);
        let (headers, is_head) = (asked.head.headers, asked.head.method == Method::HEAD);
        let (kept, wanted, content) = blocking(move || {
            let kept = store.manifest(&repository, &reference)?;
            let wanted = range::asked(&headers, &etag(&kept.digest), kept.bytes, false);
            let is_given = wanted == Wanted::Whole && !is_head;
            let content = if is_given { store.read_manifest(&kept)? } else { Vec::new() };
            Ok((kept, wanted, content))
        })
        .await?;
        match wanted {
            Wanted::NotModified => return Ok(not_modified(&kept.digest)),
            Wanted::Other => return Err(other()),
            _ => {}
        }
        let mut response = answer(StatusCode::OK, Body::from(content));
        name_content(&mut response, &kept.digest);
        set(&mut response, CONTENT_TYPE, kept.media_type);
        set(&mut response, CONTENT_LENGTH, kept.bytes.to_string());
        Ok(response)
    }

    async fn put_manifest(
        self: &Arc<Self>,
        asked: Asked,
        reference: Reference,
        body: &mut Incoming,
    ) -> Answer {
        let named: Vec<Tag> = tags(&asked)?;
        let content = body.whole(REGISTRY_MANIFEST_BYTES_MAX).await?;
        let content_type = asked.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let manifest = Manifest::parse(&content, content_type);
        let manifest = manifest.map_err(|error| Refusal::new(Code::ManifestInvalid, error.to_string()))?;
        let (digest, tags) = match reference {
            Reference::Digest(digest) => (digest, named.clone()),
            Reference::Tag(tag) => {
                let tags = std::iter::once(tag).chain(named.iter().cloned()).collect();
                (Digest::by(Algorithm::Sha256, &content), tags)
            }
        };
        let (subject, nonce) = (manifest.subject, random()?);
        let quota = self.auth.access.quota(&asked.repository);
        let (store, repository) = (self.store.clone(), asked.repository.clone());
        let writes = self.writes.blocking(move || {
            let whole = Whole { digest, content: &content, bytes_max: quota, nonce };
            store.put_manifest(&repository, whole, manifest, tags)
        });
        writes.await?;
        let mut response = created(&format!("/v2/{}/manifests/{digest}", asked.repository), &digest);
        if let Some(subject) = subject {
            set(&mut response, SUBJECT, subject.to_string());
        }
        if !named.is_empty() {
            // In one line: some clients take no more than 100.
            let named: Vec<&str> = named.iter().map(Tag::as_str).collect();
            set(&mut response, TAG, named.join(", "));
        }
        Ok(response)
    }
}

/// The tags that a manifest gets beside how it is named.
fn tags(asked: &Asked) -> Result<Vec<Tag>, Refusal> {
    let tags = asked.query.all("tag").map(|tag| tag.parse::<Tag>());
    let tags = tags
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Refusal::new(Code::TagInvalid, error.to_string()))?;
    if tags.len() > REGISTRY_TAGS_AT_ONCE {
        let message = format!("{} tags are given; {REGISTRY_TAGS_AT_ONCE} are the most at once", tags.len());
        return Err(Refusal::new(Code::TagInvalid, message).status(StatusCode::URI_TOO_LONG));
    }
    Ok(tags)
}
