//! A repository in memory, for tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use model::ids::Digest;

use crate::client::{ClientError, Content, Fetched, Origin, Progress, Target};
use crate::manifest::{Descriptor, IMAGE, Manifest};
use crate::name::{Reference, Tag};

#[derive(Default)]
pub struct Fake(Mutex<Kept>);

/// What somebody else does to what is kept.
type Meanwhile = Box<dyn FnOnce(&mut Kept) + Send>;

#[derive(Default)]
pub struct Kept {
    pub blobs: BTreeMap<Digest, Bytes>,
    pub manifests: BTreeMap<Digest, Bytes>,
    pub tags: BTreeMap<Tag, Digest>,
    /// Called where a tag is replaced, before it is: what somebody else does at that moment.
    pub meanwhile: Vec<Meanwhile>,
}

impl Fake {
    pub fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().expect("nothing panicked")
    }

    /// An image of one layer, under a tag.
    pub async fn image(&self, tag: &str, config: &str, layer: &str) -> Descriptor {
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": { "mediaType": "application/vnd.wasm.config.v0+json", "digest": Digest::of(config.as_bytes()), "size": config.len() },
            "layers": [{ "mediaType": "application/wasm", "digest": Digest::of(layer.as_bytes()), "size": layer.len() }],
        });
        let bytes = Bytes::from(manifest.to_string());
        let reference = Reference::Tag(tag.parse().expect("a tag"));
        self.put_manifest(&reference, IMAGE, bytes).await.expect("put");
        self.resolve(&reference).await.expect("put")
    }
}

fn descriptor(bytes: &Bytes) -> Descriptor {
    let manifest = Manifest::parse(bytes, Some(IMAGE)).expect("a manifest");
    manifest.descriptor(Digest::of(bytes), bytes.len() as u64)
}

fn missing(what: impl ToString) -> ClientError {
    ClientError::NotFound { what: what.to_string() }
}

#[async_trait]
impl Origin for Fake {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ClientError> {
        Ok(self.manifest(reference).await?.descriptor)
    }

    async fn manifest(&self, reference: &Reference) -> Result<Fetched, ClientError> {
        let kept = self.kept();
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => *kept.tags.get(tag).ok_or_else(|| missing(tag))?,
        };
        let bytes = kept.manifests.get(&digest).ok_or_else(|| missing(digest))?.clone();
        Ok(Fetched { descriptor: descriptor(&bytes), bytes })
    }

    async fn blob(&self, _: &Descriptor, _: &Path, _: &dyn Progress) -> Result<(), ClientError> {
        unreachable!("signatures are small")
    }

    async fn blob_bytes(&self, what: &Descriptor, most: u64) -> Result<Bytes, ClientError> {
        let bytes = self.kept().blobs.get(&what.digest).cloned().ok_or_else(|| missing(what.digest))?;
        assert!(what.size <= most, "more was asked for than is wanted");
        if Digest::of(&bytes) != what.digest {
            return Err(ClientError::corrupt("a blob", &what.digest, &Digest::of(&bytes)));
        }
        Ok(bytes)
    }

    async fn referrers(
        &self,
        of: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let kept = self.kept();
        let all = kept
            .manifests
            .values()
            .filter(|bytes| Manifest::parse(bytes, Some(IMAGE)).expect("a manifest").subject == Some(*of));
        let all = all.map(descriptor);
        Ok(all
            .filter(|found| artifact_type.is_none() || found.artifact_type.as_deref() == artifact_type)
            .collect())
    }

    async fn tags(&self) -> Result<Vec<Tag>, ClientError> {
        Ok(self.kept().tags.keys().cloned().collect())
    }

    fn called(&self, reference: &Reference) -> String {
        reference.to_string()
    }
}

#[async_trait]
impl Target for Fake {
    async fn has_blob(&self, what: &Descriptor) -> Result<bool, ClientError> {
        Ok(self.kept().blobs.contains_key(&what.digest))
    }

    async fn put_blob(&self, what: &Descriptor, from: Content, _: &dyn Progress) -> Result<(), ClientError> {
        let Content::Bytes(bytes) = from else { unreachable!("signatures are small") };
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (what.digest, what.size));
        self.kept().blobs.insert(what.digest, bytes);
        Ok(())
    }

    async fn put_manifest(
        &self,
        reference: &Reference,
        _: &str,
        bytes: Bytes,
    ) -> Result<Digest, ClientError> {
        let mut kept = self.kept();
        let digest = Digest::of(&bytes);
        kept.manifests.insert(digest, bytes);
        if let Reference::Tag(tag) = reference {
            kept.tags.insert(tag.clone(), digest);
            if let Some(meanwhile) = kept.meanwhile.pop() {
                meanwhile(&mut kept);
            }
        }
        Ok(digest)
    }

    async fn delete(&self, _: &Reference) -> Result<(), ClientError> {
        unreachable!("nothing is removed")
    }
}
