//! What a registry keeps: contents in files that are named by their digests, and an index of who has which of them.
//!
//! ```text
//! DIR/lock                   one process at a time
//! DIR/index                  the index: pages with checksums (`disk::pages`), in which a database is
//! DIR/content/sha256-HEX     a content, whole: it gets this name when it is synced and is what the name says
//! DIR/content/upload-ID-...  one that is on its way
//! DIR/content/damaged-...    one that was found to be something else
//! ```
//!
//! A content is named before the index has it, so that what the index has is there. What no repository has is removed
//! while nobody puts anything in its place ([`Store::discard`]).

mod change;
mod check;
mod collect;
mod content;
mod index;
mod pieces;
mod tables;
mod upload;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use disk::fault::{self, Point};
use disk::{Disk, Lock, Mode, SystemDisk, is_full, make_dirs};
use model::ids::Digest;
use model::limits::{REGISTRY_RECENT_MAX, REGISTRY_REFERRERS_BYTES_MAX, REGISTRY_WALKED_AT_ONCE};

pub use change::{Change, Collected, Done, Mismatch, Refused, Room};
pub use check::Checked;
pub use collect::{Collection, Rules};
pub use content::{Content, Reader};
pub use index::Kept;
pub use upload::{SharedUpload, Upload, UploadId};

use crate::manifest::Manifest;
use crate::name::{Reference, Repository, Tag};
use content::Verified;
use index::Index;
use pieces::Pieces;
use upload::Uploads;

/// Where a store is, and what it goes by.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    /// Seconds since the Unix epoch.
    pub clock: fn() -> u64,
    /// Bytes of all contents; no bound where there is none.
    pub bytes_max: Option<u64>,
}

impl StoreOptions {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), disk: Arc::new(SystemDisk), clock: wall_clock, bytes_max: None }
    }
}

fn wall_clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Why a store does not do what it is asked for.
#[derive(thiserror::Error, Debug)]
pub enum StoreError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{}: {error}; look at the disk", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the disk of {} is full; free some space", path.display())]
    Full { path: PathBuf },
    #[error("{} is used by another process", path.display())]
    Locked { path: PathBuf },
    #[error("{} is not of this version: {why}; use the version that wrote it", path.display())]
    Foreign { path: PathBuf, why: String },
    #[error("{} is damaged: {why}; put it back from a copy", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("the index in {} broke: {why}", path.display())]
    Broke { path: PathBuf, why: String },
    #[error("the content {digest} is damaged: {why}; push it again, or put {} back from a copy", path.display())]
    Content { digest: Digest, path: PathBuf, why: String },
}

impl StoreError {
    fn io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(error.kind()) { Self::Full { path } } else { Self::Io { path, error } }
    }
}

type Result<T> = std::result::Result<T, StoreError>;

/// A store that this process has. All of it waits for the disk: nothing here is for an executor's threads.
pub struct Store {
    disk: Arc<dyn Disk>,
    contents: PathBuf,
    clock: fn() -> u64,
    bytes_max: Option<u64>,
    index: Index,
    uploads: Uploads,
    verified: Verified,
    pieces: Pieces,
    recent: Mutex<Recent>,
    /// Held by whoever gives a content its name until the index has it, and alone by whoever removes one.
    placing: RwLock<()>,
    _lock: Box<dyn Lock>,
}

/// Contents that somebody asked for lately and may be about to name in a manifest. When there are too many, the older half
/// is forgotten.
#[derive(Default)]
struct Recent {
    newer: HashMap<(Repository, Digest), u64>,
    older: HashMap<(Repository, Digest), u64>,
}

/// A content that is here as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'c> {
    pub digest: Digest,
    pub content: &'c [u8],
    /// Bytes that its repository may have.
    pub bytes_max: Option<u64>,
    /// A number that nobody has had.
    pub nonce: u128,
}

impl Whole<'_> {
    fn check(&self) -> Result<()> {
        let (found, said) = (Digest::by(self.digest.algorithm(), self.content), self.digest);
        if found == said {
            Ok(())
        } else {
            Err(Refused::OtherDigest(Box::new(Mismatch { found, said })).into())
        }
    }
}

impl StoreOptions {
    /// Opens the store, which is made where there is none.
    pub fn open(self) -> Result<Store> {
        let Self { dir, disk, clock, bytes_max } = self;
        let contents = dir.join("content");
        make_dirs(&*disk, &contents).map_err(|error| StoreError::io(&contents, error))?;
        let lock = disk.lock(&dir.join("lock")).map_err(|error| StoreError::io(&dir, error))?;
        let _lock = lock.ok_or_else(|| StoreError::Locked { path: dir.clone() })?;
        let index = Index::open(disk.clone(), &dir.join("index"))?;
        let (uploads, verified, recent) = (Uploads::default(), Verified::default(), Mutex::default());
        Ok(Store {
            disk,
            contents,
            clock,
            bytes_max,
            index,
            uploads,
            verified,
            pieces: Pieces::default(),
            recent,
            placing: RwLock::default(),
            _lock,
        })
    }
}

impl Store {
    pub fn now(&self) -> u64 {
        (self.clock)()
    }

    /// Why nothing can be kept any more, where that is so: the process has to end, and another one look at what is there.
    pub fn broke(&self) -> Option<&str> {
        self.index.broke()
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.contents.join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }

    fn room(&self, repository: Option<u64>) -> Room {
        Room { repository, total: self.bytes_max }
    }

    fn apply(&self, change: Change) -> Result<Done> {
        self.index.apply(&self.contents, change)
    }

    /// Bytes that a repository may still get, where there is a bound.
    pub fn free(&self, repository: &Repository, bytes_max: Option<u64>) -> Result<Option<u64>> {
        if bytes_max.is_none() && self.bytes_max.is_none() {
            return Ok(None);
        }
        let (has, total) = self.index.usage(repository)?;
        let left = |max: Option<u64>, has: u64| max.map(|max| max.saturating_sub(has));
        Ok([left(bytes_max, has), left(self.bytes_max, total)].into_iter().flatten().min())
    }

    /// Bytes of a repository, and of all.
    pub fn usage(&self, repository: &Repository) -> Result<(u64, u64)> {
        self.index.usage(repository)
    }

    /// The bytes of a blob that the repository has and that is there. What is asked for is not collected for a while:
    /// whoever asks may be about to name it.
    pub fn blob(&self, repository: &Repository, digest: &Digest) -> Result<u64> {
        let bytes = self.index.blob(repository, digest)?.ok_or(Refused::BlobUnknown { digest: *digest })?;
        self.touch(repository, digest);
        self.check_there(digest, bytes).map(|()| bytes)
    }

    /// What was damaged, and put aside, is not there: whoever pushes it again mends it.
    fn check_there(&self, digest: &Digest, bytes: u64) -> Result<()> {
        let path = self.path_of(digest);
        match self.disk.stat(&path).map_err(|error| StoreError::io(&path, error))? {
            Some(there) if there.bytes == bytes => Ok(()),
            there => {
                let why = there.map(|there| format!("it has {} bytes, and had {bytes}", there.bytes));
                tracing::error!(%digest, why = why.as_deref().unwrap_or("its file is gone"), "a content is damaged");
                Err(Refused::BlobUnknown { digest: *digest }.into())
            }
        }
    }

    fn touch(&self, repository: &Repository, digest: &Digest) {
        let mut recent = lock(&self.recent);
        if recent.newer.len() >= REGISTRY_RECENT_MAX {
            recent.older = std::mem::take(&mut recent.newer);
        }
        recent.newer.insert((repository.clone(), *digest), self.now());
    }

    /// The content of a blob, to be read.
    pub fn open_blob(&self, repository: &Repository, digest: &Digest) -> Result<Content> {
        let bytes = self.index.blob(repository, digest)?.ok_or(Refused::BlobUnknown { digest: *digest })?;
        self.open_content(digest, bytes)
    }

    /// What the index has of a manifest, which is there.
    pub fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Kept> {
        let kept = match reference {
            Reference::Digest(digest) => self
                .index
                .manifest(repository, digest)?
                .ok_or(Refused::ManifestUnknown { digest: *digest })?,
            Reference::Tag(tag) => {
                self.index.tagged(repository, tag)?.ok_or_else(|| Refused::TagUnknown { tag: tag.clone() })?
            }
        };
        match self.check_there(&kept.digest, kept.bytes) {
            Err(StoreError::Refused(_)) => Err(Refused::ManifestUnknown { digest: kept.digest }.into()),
            checked => checked.map(|()| kept),
        }
    }

    /// The bytes of a manifest, as they were pushed.
    pub fn read_manifest(&self, kept: &Kept) -> Result<Vec<u8>> {
        self.read_content(&self.open_content(&kept.digest, kept.bytes)?)
    }

    /// Takes a whole content as a blob.
    pub fn put_blob(&self, repository: &Repository, whole: Whole<'_>) -> Result<()> {
        whole.check()?;
        let Whole { digest, content, bytes_max, nonce } = whole;
        let (repository, bytes, room) = (repository.clone(), content.len() as u64, self.room(bytes_max));
        self.put(digest, content, Change::Blob { repository, digest, bytes, room, now: self.now() }, nonce)
    }

    /// Takes a manifest, under these tags beside its digest.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        whole: Whole<'_>,
        manifest: Manifest,
        tags: Vec<Tag>,
    ) -> Result<()> {
        whole.check()?;
        let Whole { digest, content, bytes_max, nonce } = whole;
        let (manifest, room, bytes) = (Box::new(manifest), self.room(bytes_max), content.len() as u64);
        let (repository, now) = (repository.clone(), self.now());
        let change = Change::Manifest { repository, digest, bytes, manifest, tags, room, now };
        self.put(digest, content, change, nonce)
    }

    fn put(&self, digest: Digest, content: &[u8], change: Change, nonce: u128) -> Result<()> {
        let path = self.contents.join(format!("upload-{nonce:032x}-whole"));
        let written = || {
            let file = self.disk.open(&path, Mode::CreateNew)?;
            file.write_at(content, 0)?;
            file.sync()
        };
        if let Err(error) = written() {
            let _ = self.disk.remove(&path);
            return Err(StoreError::io(&path, error));
        }
        self.place(&path, digest, change)
    }

    /// Gives a content that is synced its name, and then lets the index know.
    fn place(&self, path: &Path, digest: Digest, change: Change) -> Result<()> {
        fault::hit(Point::ContentSynced);
        let placing = self.placing.read().unwrap_or_else(PoisonError::into_inner);
        let named = self.disk.rename(path, &self.path_of(&digest));
        if let Err(error) = named {
            drop(placing);
            let _ = self.disk.remove(path);
            return Err(StoreError::io(path, error));
        }
        fault::hit(Point::ContentNamed);
        let applied = self.apply(change);
        drop(placing);
        fault::hit(Point::ContentIndexed);
        if applied.is_err()
            && let Err(error) = self.discard(&[digest])
        {
            tracing::warn!(%error, "a content that nobody has stays until it is collected");
        }
        applied.map(|_| ())
    }

    /// Removes contents that no repository has any more. Gives their bytes.
    fn discard(&self, digests: &[Digest]) -> Result<u64> {
        let _alone = self.placing.write().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        for digest in digests {
            if !self.index.holders(digest, 1)?.is_empty() {
                continue;
            }
            let path = self.path_of(digest);
            let there = self.disk.stat(&path).map_err(|error| StoreError::io(&path, error))?;
            if let Some(there) = there {
                self.disk.remove(&path).map_err(|error| StoreError::io(&path, error))?;
                bytes += there.bytes;
            }
        }
        Ok(bytes)
    }

    /// Has a repository have a blob that others have: the first of `from` that does.
    pub fn mount(
        &self,
        repository: &Repository,
        from: Vec<Repository>,
        digest: Digest,
        bytes_max: Option<u64>,
    ) -> Result<()> {
        let bytes = from.iter().find_map(|from| self.index.blob(from, &digest).transpose()).transpose()?;
        let bytes = bytes.ok_or(Refused::BlobUnknown { digest })?;
        self.check_there(&digest, bytes)?;
        let (repository, room) = (repository.clone(), self.room(bytes_max));
        self.apply(Change::Mount { repository, from, digest, room, now: self.now() }).map(|_| ())
    }

    /// The repositories that have some content, no more than `max`.
    pub fn holders(&self, digest: &Digest, max: usize) -> Result<Vec<Repository>> {
        self.index.holders(digest, max)
    }

    pub fn remove_tag(&self, repository: &Repository, tag: &Tag) -> Result<()> {
        self.apply(Change::RemoveTag { repository: repository.clone(), tag: tag.clone() }).map(|_| ())
    }

    /// Removes a manifest, with all tags that it has.
    pub fn remove_manifest(&self, repository: &Repository, digest: Digest) -> Result<()> {
        self.remove(Change::RemoveManifest { repository: repository.clone(), digest })
    }

    pub fn remove_blob(&self, repository: &Repository, digest: Digest) -> Result<()> {
        self.remove(Change::RemoveBlob { repository: repository.clone(), digest })
    }

    fn remove(&self, change: Change) -> Result<()> {
        if let Done::Unheld(digests) = self.apply(change)? {
            // It is removed already; what is left of its file is collected.
            if let Err(error) = self.discard(&digests) {
                tracing::warn!(%error, "a content that nobody has stays until it is collected");
            }
        }
        Ok(())
    }

    /// Tags behind `last`, sorted, and whether there are more.
    pub fn tags(
        &self,
        repository: &Repository,
        last: Option<&str>,
        entries: usize,
    ) -> Result<(Vec<String>, bool)> {
        let tags = self.index.tags(repository, last, entries)?;
        Ok(tags.ok_or_else(|| Refused::RepositoryUnknown { repository: repository.clone() })?)
    }

    /// Names of repositories behind `last` that are `wanted`, sorted, and whether there are more.
    pub fn repositories(
        &self,
        last: Option<&str>,
        entries: usize,
        wanted: &dyn Fn(&Repository) -> bool,
    ) -> Result<(Vec<Repository>, bool)> {
        self.index.repositories(last, entries, wanted)
    }

    /// Each repository in turn, some of them at a time: others come and go meanwhile.
    fn each_repository(&self, mut each: impl FnMut(Repository) -> Result<()>) -> Result<()> {
        let mut last: Option<Repository> = None;
        loop {
            let after = last.as_ref().map(Repository::as_str);
            let (repositories, _) = self.repositories(after, REGISTRY_WALKED_AT_ONCE, &|_| true)?;
            let Some(end) = repositories.last().cloned() else { return Ok(()) };
            repositories.into_iter().try_for_each(&mut each)?;
            last = Some(end);
        }
    }

    /// Descriptors of manifests whose subject this is, behind the manifest `last`, of one of these artifact types where
    /// there are any; and the manifest behind which there are more.
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        last: Option<&Digest>,
        types: &[String],
    ) -> Result<(Vec<serde_json::Value>, Option<Digest>)> {
        let (mut found, mut bytes, mut at, mut more) = (Vec::new(), 0, None, None);
        self.index.referrers(repository, subject, last, &mut |digest, json| {
            let Ok(descriptor) = serde_json::from_slice::<serde_json::Value>(json) else { return true };
            let of_type =
                descriptor.get("artifactType").and_then(serde_json::Value::as_str).unwrap_or_default();
            if !types.is_empty() && !types.iter().any(|wanted| wanted == of_type) {
                return true;
            }
            bytes += json.len();
            if bytes > REGISTRY_REFERRERS_BYTES_MAX && !found.is_empty() {
                more = at;
                return false;
            }
            at = Some(digest);
            found.push(descriptor);
            true
        })?;
        Ok((found, more))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("contents", &self.contents).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
