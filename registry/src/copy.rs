//! Copying an image with all that it names, from any origin to any target, and what says something of it: signatures come
//! along.
//!
//! The reference is written last, so that whoever asks for it finds all of it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use model::ids::Digest;
use model::limits::{CLIENT_BLOBS_AT_ONCE, CLIENT_COPIED_MANIFESTS, CLIENT_INDEX_DEPTH, CLIENT_PIECE_BYTES};
use serde::Deserialize;
use tempfile::TempDir;

use crate::client::{ClientError, Content, Fetched, Moved, Origin, Progress, Target};
use crate::manifest::{Descriptor, Manifest};
use crate::name::{Reference, Repository, Tag};

/// What cosign keeps about a manifest under a tag: signatures, attestations, and lists of what is in it.
const TAGGED: [&str; 3] = [".sig", ".att", ".sbom"];

/// Copies what `from` names to `to`, and with it, where `with_referrers`, what says something of it. What is there already is
/// not brought again. Gives the digest, which is the same on both sides.
pub async fn copy(
    origin: &dyn Origin,
    target: &dyn Target,
    from: &Reference,
    to: &Reference,
    with_referrers: bool,
    progress: &dyn Progress,
) -> Result<Digest, ClientError> {
    let scratch =
        tempfile::tempdir().map_err(|error| ClientError::File { path: std::env::temp_dir(), error })?;
    let copying = Copying { origin, target, with_referrers, progress, scratch, seen: Mutex::default() };
    copying.root(from, to).await
}

struct Copying<'a> {
    origin: &'a dyn Origin,
    target: &'a dyn Target,
    with_referrers: bool,
    progress: &'a dyn Progress,
    /// Where blobs are on their way through.
    scratch: TempDir,
    /// Manifests that were looked at.
    seen: Mutex<BTreeSet<Digest>>,
}

/// What a manifest names, with all that is said of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    blobs: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
}

/// What says something of a manifest.
struct About {
    referrers: Vec<Digest>,
    tagged: Vec<(Tag, Digest)>,
}

impl Copying<'_> {
    async fn root(&self, from: &Reference, to: &Reference) -> Result<Digest, ClientError> {
        let fetched = self.origin.manifest(from).await?;
        let digest = fetched.descriptor.digest;
        self.see(digest)?;
        let is_there = self.target_has(to).await? == Some(digest);
        if !is_there {
            self.named(&fetched, 0).await?;
        }
        let about = self.about(&digest).await?;
        if !about.referrers.is_empty() || !about.tagged.is_empty() {
            if !is_there {
                self.put(&Reference::Digest(digest), &fetched).await?;
            }
            self.copy_about(about, 0).await?;
        }
        if !is_there {
            self.put(to, &fetched).await?;
        }
        Ok(digest)
    }

    async fn put(&self, to: &Reference, fetched: &Fetched) -> Result<(), ClientError> {
        let media_type = &fetched.descriptor.media_type;
        self.target.put_manifest(to, media_type, fetched.bytes.clone()).await.map(|_| ())
    }

    async fn target_has(&self, reference: &Reference) -> Result<Option<Digest>, ClientError> {
        match self.target.resolve(reference).await {
            Ok(found) => Ok(Some(found.digest)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a manifest is looked at for the first time.
    fn see(&self, digest: Digest) -> Result<bool, ClientError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= CLIENT_COPIED_MANIFESTS && !seen.contains(&digest) {
            let what = self.origin.called(&Reference::Digest(digest));
            let why = format!("more than {CLIENT_COPIED_MANIFESTS} manifests come along with it");
            return Err(ClientError::Protocol { what, why });
        }
        Ok(seen.insert(digest))
    }

    /// Copies a manifest that another one leads to.
    async fn manifest(&self, digest: Digest, depth: usize) -> Result<(), ClientError> {
        let reference = Reference::Digest(digest);
        if !self.see(digest)? {
            return Ok(());
        }
        if depth > CLIENT_INDEX_DEPTH {
            let what = self.origin.called(&reference);
            let why = format!("manifests are more than {CLIENT_INDEX_DEPTH} deep within one another");
            return Err(ClientError::Protocol { what, why });
        }
        if self.target_has(&reference).await?.is_none() {
            let fetched = self.origin.manifest(&reference).await?;
            self.named(&fetched, depth).await?;
            self.put(&reference, &fetched).await?;
        }
        let about = self.about(&digest).await?;
        self.copy_about(about, depth).await
    }

    /// Copies all that a manifest names.
    async fn named(&self, fetched: &Fetched, depth: usize) -> Result<(), ClientError> {
        let what = || self.origin.called(&Reference::Digest(fetched.descriptor.digest));
        let parsed = Manifest::parse(&fetched.bytes, Some(&fetched.descriptor.media_type));
        let manifest = parsed.map_err(|error| ClientError::Manifest { what: what(), error })?;
        // Layers that may not be given on, or lie elsewhere, stay where they are.
        let needed: BTreeSet<Digest> =
            manifest.names.iter().filter(|named| named.is_needed).map(|named| named.digest).collect();
        let named: Named = serde_json::from_slice(&fetched.bytes)
            .map_err(|error| ClientError::Manifest { what: what(), error: error.into() })?;
        for child in named.manifests {
            Box::pin(self.manifest(child.digest, depth + 1)).await?;
        }
        let mut seen = BTreeSet::new();
        let blobs = named.config.into_iter().chain(named.layers).chain(named.blobs);
        let blobs = blobs.filter(|blob| needed.contains(&blob.digest) && seen.insert(blob.digest));
        let copied = stream::iter(blobs).map(|blob| async move { self.blob(&blob).await });
        copied.buffer_unordered(CLIENT_BLOBS_AT_ONCE).try_collect().await
    }

    async fn blob(&self, what: &Descriptor) -> Result<(), ClientError> {
        let is_there = |how| {
            self.progress.begin(what);
            self.progress.end(what, how);
        };
        if let Some(from) = self.mounts_from()
            && self.target.mount(what, from).await?
        {
            is_there(Moved::Mounted);
            return Ok(());
        }
        if self.target.has_blob(what).await? {
            is_there(Moved::There);
            return Ok(());
        }
        let (first, second) =
            (Leg { of: self.progress, is_first: true }, Leg { of: self.progress, is_first: false });
        if what.size <= CLIENT_PIECE_BYTES as u64 {
            self.progress.begin(what);
            let bytes = self.origin.blob_bytes(what, what.size).await?;
            return self.target.put_blob(what, Content::Bytes(bytes), &second).await;
        }
        let path = self.scratch.path().join(what.digest.hex());
        self.origin.blob(what, &path, &first).await?;
        self.target.put_blob(what, Content::File(path.clone()), &second).await?;
        // What is left of it goes with the directory.
        let _ = tokio::fs::remove_file(path).await;
        Ok(())
    }

    /// The repository that the target can take blobs from by itself.
    fn mounts_from(&self) -> Option<&Repository> {
        let ((from, name), (to, other)) = (self.origin.at()?, self.target.at()?);
        (from == to && name != other).then_some(name)
    }

    async fn about(&self, digest: &Digest) -> Result<About, ClientError> {
        let mut about = About { referrers: vec![], tagged: vec![] };
        if !self.with_referrers {
            return Ok(about);
        }
        let referrers = self.origin.referrers(digest, None).await?;
        about.referrers = referrers.iter().map(|entry| entry.digest).collect();
        for suffix in TAGGED {
            let tag = Tag::about(digest, suffix);
            match self.origin.resolve(&Reference::Tag(tag.clone())).await {
                Ok(found) => about.tagged.push((tag, found.digest)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(about)
    }

    async fn copy_about(&self, about: About, depth: usize) -> Result<(), ClientError> {
        for digest in about.referrers {
            Box::pin(self.manifest(digest, depth + 1)).await?;
        }
        for (tag, digest) in about.tagged {
            self.tagged(tag, digest, depth).await?;
        }
        Ok(())
    }

    /// Copies what is kept under a tag that follows from a digest, unless that would take something away which only the target
    /// has: each signature is a layer.
    async fn tagged(&self, tag: Tag, digest: Digest, depth: usize) -> Result<(), ClientError> {
        let reference = Reference::Tag(tag);
        let known = self.target_has(&reference).await?;
        if known == Some(digest) {
            return Ok(());
        }
        let fetched = self.origin.manifest(&Reference::Digest(digest)).await?;
        if known.is_some() {
            let theirs = layers(&self.target.manifest(&reference).await?);
            if !theirs.is_subset(&layers(&fetched)) {
                let what = self.target.called(&reference);
                let why = "it has signatures there that would be lost, since they do not come along: copy without signatures, or \
                           remove the tag there";
                return Err(ClientError::Protocol { what, why: why.to_owned() });
            }
        }
        self.named(&fetched, depth).await?;
        self.put(&reference, &fetched).await
    }
}

fn layers(fetched: &Fetched) -> BTreeSet<Digest> {
    let named: Named = serde_json::from_slice(&fetched.bytes).unwrap_or_default();
    named.layers.iter().map(|layer| layer.digest).collect()
}

/// One half of the way of a blob, which goes through here: people see it as one.
struct Leg<'a> {
    of: &'a dyn Progress,
    is_first: bool,
}

impl Progress for Leg<'_> {
    fn begin(&self, what: &Descriptor) {
        if self.is_first {
            self.of.begin(what);
        }
    }

    fn at(&self, what: &Descriptor, bytes: u64) {
        self.of.at(what, if self.is_first { bytes / 2 } else { what.size / 2 + bytes / 2 });
    }

    fn end(&self, what: &Descriptor, how: Moved) {
        if !self.is_first {
            self.of.end(what, how);
        }
    }
}
