//! Referrers where a registry does not know them: an index that clients keep, under a tag that follows from the digest of what
//! its entries are about.
//!
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema>.

use std::time::Instant;

use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE};
use model::ids::Digest;
use model::limits::{CLIENT_ERROR_BYTES_MAX, CLIENT_INDEX_TRIES, REGISTRY_MANIFEST_BYTES_MAX};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::session::Request;
use super::wire::Payload;
use super::{ClientError, Origin as _, Remote};
use crate::manifest::{Descriptor, INDEX};
use crate::name::{Reference, Tag};

impl Remote {
    /// The index that is kept for a manifest, as it is, or none.
    async fn index_of(&self, tag: &Reference) -> Result<Option<Map<String, Value>>, ClientError> {
        let url = self.url(&format!("manifests/{tag}")).await?;
        let request = Request::new(Method::GET, url, &self.pull(), self.called(tag)).header(ACCEPT, INDEX);
        let answer = match self.session.ask(&request, REGISTRY_MANIFEST_BYTES_MAX, &[]).await {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let wrong = || ClientError::Protocol {
            what: self.called(tag),
            why: "by the specification an index is kept under this tag, and it is none: remove the tag"
                .to_owned(),
        };
        let index: Map<String, Value> = serde_json::from_slice(&answer.body).map_err(|_| wrong())?;
        let is_index = index.get("manifests").is_some_and(Value::is_array);
        if is_index { Ok(Some(index)) } else { Err(wrong()) }
    }

    pub(super) async fn referrers_by_tag(&self, of: &Digest) -> Result<Vec<Descriptor>, ClientError> {
        let tag = Reference::Tag(Tag::about(of, ""));
        let Some(mut index) = self.index_of(&tag).await? else { return Ok(vec![]) };
        let entries = index.remove("manifests").unwrap_or_default();
        serde_json::from_value(entries)
            .map_err(|error| ClientError::Protocol { what: self.called(&tag), why: error.to_string() })
    }

    /// Has the index of a manifest name something that is about it.
    pub(super) async fn add_referrer(&self, subject: &Digest, entry: &Descriptor) -> Result<(), ClientError> {
        let wanted = json!(entry);
        let change = |entries: &mut Vec<Value>| {
            let is_of = |known: &&mut Value| known.get("digest") == wanted.get("digest");
            match entries.iter_mut().find(is_of) {
                Some(_) => false,
                None => {
                    entries.push(wanted.clone());
                    true
                }
            }
        };
        self.change_index(subject, change).await
    }

    /// Has it not name it any more, where the registry does not keep that itself.
    pub(super) async fn drop_referrer(&self, subject: &Digest, digest: &Digest) -> Result<(), ClientError> {
        if self.referrers_by_api(subject, None).await?.is_some() {
            return Ok(());
        }
        let gone = json!(digest);
        let change = |entries: &mut Vec<Value>| {
            let before = entries.len();
            entries.retain(|known| known.get("digest") != Some(&gone));
            entries.len() < before
        };
        self.change_index(subject, change).await
    }

    /// Changes an index until nothing is left to change. Registries write what they get: who read before another has written
    /// would undo that. So it is read once more behind each write, a while later than a write takes.
    async fn change_index(
        &self,
        subject: &Digest,
        change: impl Fn(&mut Vec<Value>) -> bool,
    ) -> Result<(), ClientError> {
        let _alone = self.session.index.lock().await;
        let tag = Reference::Tag(Tag::about(subject, ""));
        for _ in 0..=CLIENT_INDEX_TRIES {
            let begun = Instant::now();
            let mut index = self.index_of(&tag).await?.unwrap_or_else(Map::new);
            let mut entries = match index.remove("manifests") {
                Some(Value::Array(entries)) => entries,
                _ => vec![],
            };
            if !change(&mut entries) {
                return Ok(());
            }
            // What else it says stays.
            index.entry("schemaVersion").or_insert_with(|| json!(2));
            index.entry("mediaType").or_insert_with(|| json!(INDEX));
            index.insert("manifests".to_owned(), Value::Array(entries));
            let bytes = serde_json::to_vec(&index).unwrap_or_default();
            let url = self.url(&format!("manifests/{tag}")).await?;
            let request = Request::new(Method::PUT, url, &self.push(), self.called(&tag))
                .header(CONTENT_TYPE, INDEX)
                .payload(Payload::Bytes(bytes.into()));
            self.session.ask(&request, CLIENT_ERROR_BYTES_MAX, &[]).await?;
            sleep(begun.elapsed().mul_f64(1.0 + fastrand::f64())).await;
        }
        Err(ClientError::Protocol {
            what: self.called(&tag),
            why: "what was written is not there afterwards: others write this index at the same time; try again".to_owned(),
        })
    }
}
