//! A layout is brought into a store: each image under the repository that it names, with all that it leads to.

use std::collections::BTreeSet;

use model::ids::Digest;
use model::limits::{LAYOUT_INDEX_DEPTH_MAX, LOADED_SHOWN_MAX};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::client::ClientError;
use crate::layout::{Entry, Layout};
use crate::manifest::{Descriptor, Manifest, ManifestError, is_index};
use crate::name::{Reference, Repository, Tag};
use crate::store::{Store, StoreError, UploadId, Whole};

/// What was brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Entries of the layout that are there now, and bytes that were not there before.
    pub images: u64,
    pub bytes: u64,
    /// The first of them, as `REPOSITORY:TAG` or `REPOSITORY@DIGEST`.
    pub names: Vec<String>,
    /// The first of the tags that were there and stood for something else, as `REPOSITORY:TAG (was DIGEST)`.
    #[serde(default)]
    pub moved: Vec<String>,
    /// Entries that name no repository, by their names or digests.
    pub skipped: Vec<String>,
}

/// Why not all of a layout was brought. What was, is there.
#[derive(thiserror::Error, Debug)]
pub enum LoadError {
    #[error(transparent)]
    Layout(#[from] ClientError),
    #[error("{image}: {error}")]
    Store { image: String, error: Box<StoreError> },
    #[error("{image}: {digest}: {error}")]
    Manifest { image: String, digest: Box<Digest>, error: ManifestError },
    #[error(
        "{image}: {digest} is an index below {LAYOUT_INDEX_DEPTH_MAX} others, which is deeper than any should be"
    )]
    Deep { image: String, digest: Digest },
    #[error("the system has no random numbers")]
    NoRandom,
}

/// Brings all images, or those that name no repository into the one that is given for them. Waits for the disk.
pub fn load(store: &Store, layout: &Layout, unnamed: Option<&Repository>) -> Result<Loaded, LoadError> {
    let (mut loaded, mut brought) = (Loaded::default(), BTreeSet::new());
    let (placed, unplaced): (Vec<_>, Vec<_>) = layout
        .entries()
        .into_iter()
        .map(|entry| (place(&entry, unnamed), entry))
        .partition(|(place, _)| place.is_some());
    for (place, entry) in placed {
        let Some((repository, tag)) = place else { continue };
        let digest = entry.descriptor.digest;
        let image = match &tag {
            Some(tag) => format!("{repository}:{tag}"),
            None => format!("{repository}@{digest}"),
        };
        let there =
            tag.as_ref().and_then(|tag| store.manifest(&repository, &Reference::Tag(tag.clone())).ok());
        let bringing = Bringing { store, layout, repository: &repository, image: &image };
        loaded.bytes += bringing.manifest(&entry.descriptor, tag, 0)?;
        if let Some(was) = there.map(|there| there.digest).filter(|was| *was != digest)
            && loaded.moved.len() < LOADED_SHOWN_MAX
        {
            loaded.moved.push(format!("{image} (was {was})"));
        }
        // What says something of an image goes where that does, by whatever name it is in the layout.
        for about in layout.read_referrers(&digest)? {
            loaded.bytes += bringing.manifest(&about, None, 0)?;
            brought.insert(about.digest);
        }
        loaded.images += 1;
        if loaded.names.len() < LOADED_SHOWN_MAX {
            loaded.names.push(image);
        }
    }
    let left = unplaced.into_iter().filter(|(_, entry)| !brought.contains(&entry.descriptor.digest));
    let name =
        |entry: &Entry| entry.name().map_or_else(|| entry.descriptor.digest.to_string(), str::to_owned);
    loaded.skipped = left.map(|(_, entry)| name(&entry)).take(LOADED_SHOWN_MAX).collect();
    Ok(loaded)
}

/// Where an entry goes, and what it is called there. The registry that it names is the one that it comes from.
fn place(entry: &Entry, unnamed: Option<&Repository>) -> Option<(Repository, Option<Tag>)> {
    match (entry.image(), unnamed) {
        (Some(image), _) => Some((image.repository, image.tag)),
        (None, Some(unnamed)) => match entry.name() {
            Some(name) => Some((unnamed.clone(), Some(name.parse().ok()?))),
            None => Some((unnamed.clone(), None)),
        },
        (None, None) => None,
    }
}

/// One image on its way.
struct Bringing<'a> {
    store: &'a Store,
    layout: &'a Layout,
    repository: &'a Repository,
    /// As people know it.
    image: &'a str,
}

impl Bringing<'_> {
    fn no_manifest(&self, digest: &Digest, error: ManifestError) -> LoadError {
        LoadError::Manifest { image: self.image.to_owned(), digest: Box::new(*digest), error }
    }

    fn wrong(&self, error: StoreError) -> LoadError {
        LoadError::Store { image: self.image.to_owned(), error: Box::new(error) }
    }

    /// Brings a manifest when all is there that it names. Gives the bytes that were not there before.
    fn manifest(&self, what: &Descriptor, tag: Option<Tag>, depth: usize) -> Result<u64, LoadError> {
        let digest = what.digest;
        if depth > LAYOUT_INDEX_DEPTH_MAX {
            return Err(LoadError::Deep { image: self.image.to_owned(), digest });
        }
        let bytes = self.layout.read_manifest(what)?;
        let manifest = Manifest::parse(&bytes, Some(&what.media_type))
            .map_err(|error| self.no_manifest(&digest, error))?;
        let mut brought = 0;
        for named in &manifest.names {
            if !named.is_needed && !self.layout.has(&named.digest, named.bytes)? {
                continue;
            }
            brought += match is_index(&manifest.media_type) {
                true => self.below(&named.digest, named.bytes, depth)?,
                false => self.blob(named.digest, named.bytes)?,
            };
        }
        let is_there = self.store.manifest(self.repository, &Reference::Digest(digest)).is_ok();
        let whole = Whole { digest, content: &bytes, bytes_max: None, nonce: random()? };
        let put = self.store.put_manifest(self.repository, whole, manifest, tag.into_iter().collect());
        put.map_err(|error| self.wrong(error))?;
        Ok(if is_there { brought } else { brought + bytes.len() as u64 })
    }

    /// A manifest that an index names. What kind it is, is in itself.
    fn below(&self, digest: &Digest, size: u64, depth: usize) -> Result<u64, LoadError> {
        let mut what = Descriptor {
            media_type: String::new(),
            digest: *digest,
            size,
            artifact_type: None,
            annotations: Default::default(),
        };
        let bytes = self.layout.read_manifest(&what)?;
        let manifest = Manifest::parse(&bytes, None).map_err(|error| self.no_manifest(digest, error))?;
        what.media_type = manifest.media_type;
        self.manifest(&what, None, depth + 1)
    }

    fn blob(&self, digest: Digest, bytes: u64) -> Result<u64, LoadError> {
        let wrong = |error| self.wrong(error);
        if self.store.blob(self.repository, &digest).is_ok() {
            return Ok(0);
        }
        if !self.layout.has(&digest, bytes)? {
            return Err(ClientError::NotFound {
                what: format!("{digest} in {}", self.layout.path().display()),
            }
            .into());
        }
        let holders = self.store.holders(&digest, 1).map_err(wrong)?;
        if !holders.is_empty() && self.store.mount(self.repository, holders, digest, None).is_ok() {
            return Ok(0);
        }
        let id = UploadId(random()?);
        self.store.begin(self.repository, digest.algorithm(), id).map_err(wrong)?;
        let shared = self.store.upload(self.repository, id).map_err(wrong)?;
        let mut upload = shared.blocking_lock();
        let read =
            self.layout.each_piece(&digest, |piece| self.store.append(&mut upload, piece).map_err(wrong));
        if let Err(error) = read {
            // Why it failed matters more; what is left of it is collected.
            let _ = self.store.cancel(&mut upload);
            return Err(error);
        }
        self.store.finish(&mut upload, digest, None).map_err(wrong)?;
        Ok(bytes)
    }
}

fn random() -> Result<u128, LoadError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| LoadError::NoRandom)?;
    Ok(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
