//! OCI image layouts, in a directory or in a tar: what a registry has, in files.
//!
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>. A tar is read where it lies, without being
//! unpacked; one is written from a directory beside it, when all is there, and the same contents are the same bytes.
//! A layout has one repository, whose tags are the names of its entries, or the images of several, whose names are whole
//! references ([`Layout::of`]).

mod archive;
mod files;
mod index;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use disk::dir_of;
use model::ids::Digest;
use model::limits::{LAYOUT_INDEX_BYTES_MAX, REGISTRY_MANIFEST_BYTES_MAX};

pub use index::{Entry, REF_NAME};

use crate::client::{ClientError, Content, Fetched, Moved, Origin, Progress, Target};
use crate::manifest::{Descriptor, Manifest};
use crate::name::{Reference, Tag};
use files::{Files, Landing, Stored, blob_name};
use index::Index;

const MARK: &str = "oci-layout";
const MARKED: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX_FILE: &str = "index.json";

/// A layout, or what of it is one repository. Cheap to clone.
#[derive(Clone)]
pub struct Layout {
    inner: Arc<Inner>,
    /// What the names of its entries begin with.
    repository: Option<String>,
}

struct Inner {
    path: PathBuf,
    files: Files,
    index: Mutex<Index>,
    /// What says something of which manifest; found out when it is asked for first.
    about: Mutex<Option<About>>,
}

type About = BTreeMap<Digest, Vec<Descriptor>>;
type Result<T, E = ClientError> = std::result::Result<T, E>;

impl Layout {
    /// One that is there: a directory, or a tar of one.
    pub fn open(path: &Path) -> Result<Self> {
        let wrong = |why: String| ClientError::Layout { path: path.to_owned(), why };
        let meta = fs::metadata(path).map_err(|error| ClientError::File { path: path.to_owned(), error })?;
        let files = match meta.is_dir() {
            true => Files::Dir { dir: path.to_owned(), staging: None },
            false => {
                let file =
                    File::open(path).map_err(|error| ClientError::File { path: path.to_owned(), error })?;
                Files::Tar { places: archive::files(&file).map_err(wrong)?, file: Arc::new(file) }
            }
        };
        Self::of_files(path, files)
    }

    fn of_files(path: &Path, files: Files) -> Result<Self> {
        let wrong = |why: String| ClientError::Layout { path: path.to_owned(), why };
        let file = |error| ClientError::File { path: path.to_owned(), error };
        let read = |name: &str| -> Result<Vec<u8>> {
            let stored = files.open(name).map_err(file)?;
            let stored = stored.ok_or_else(|| {
                wrong(format!("it is no OCI image layout: it has no `{name}`; `conveyor bundle` writes one"))
            })?;
            match stored.bytes() {
                0..=LAYOUT_INDEX_BYTES_MAX => stored.read().map_err(file),
                bytes => Err(wrong(format!("its `{name}` has {bytes} bytes; {LAYOUT_INDEX_BYTES_MAX} are the most"))),
            }
        };
        let mark: serde_json::Value = serde_json::from_slice(&read(MARK)?)
            .map_err(|error| wrong(format!("its `{MARK}` is not what it should be: {error}")))?;
        let version = mark.get("imageLayoutVersion").and_then(serde_json::Value::as_str);
        if version != Some("1.0.0") {
            let version = model::plain::line(version.unwrap_or("not given")).into_owned();
            return Err(wrong(format!("the version of its layout is {version}; 1.0.0 is known")));
        }
        let index = Index::parse(&read(INDEX_FILE)?)
            .map_err(|why| wrong(format!("its `{INDEX_FILE}` is not what it should be: {why}")))?;
        let inner = Inner { path: path.to_owned(), files, index: Mutex::new(index), about: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), repository: None })
    }

    /// One that is written to: a tar where its name ends with `.tar`, which is there after [`Layout::finish`]; a directory
    /// otherwise, which may be a layout already.
    pub fn create(path: &Path) -> Result<Self> {
        let file = |error| ClientError::File { path: path.to_owned(), error };
        let is_tar = path.extension().is_some_and(|end| end == "tar");
        let files = match is_tar && !path.is_dir() {
            true => {
                fs::create_dir_all(dir_of(path)).map_err(file)?;
                let staging = tempfile::Builder::new().prefix(".layout-").tempdir_in(dir_of(path)).map_err(file)?;
                Files::Dir { dir: staging.path().to_owned(), staging: Some(staging) }
            }
            false => {
                let has_any = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
                if path.exists() && (has_any || !path.is_dir()) {
                    return Self::open(path).and_then(|layout| match layout.inner.files.dir() {
                        Some(_) => Ok(layout),
                        None => Err(layout.inner.read_only()),
                    });
                }
                fs::create_dir_all(path).map_err(file)?;
                Files::Dir { dir: path.to_owned(), staging: None }
            }
        };
        if let Some(dir) = files.dir() {
            let write = |name: &str, text: &str| files::replace(&dir.join(name), text.as_bytes()).map_err(file);
            write(INDEX_FILE, &Index::new().print())?;
            write(MARK, MARKED)?;
        }
        Self::of_files(path, files)
    }

    /// What of it is the repository of this name, with its registry: `registry.example.com/acme/large`.
    pub fn of(&self, repository: &str) -> Self {
        Self { inner: self.inner.clone(), repository: Some(repository.to_owned()) }
    }

    /// Writes the tar, where it is one. `replaces`: another file of that name goes.
    pub fn finish(&self, replaces: bool) -> Result<()> {
        let Inner { path, files, .. } = &*self.inner;
        let Some(dir) = files.dir().filter(|_| files.is_staged()) else { return Ok(()) };
        files::pack(dir, &self.inner.reachable()?, path, replaces)
    }

    /// What `index.json` has.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.inner.index).entries().to_vec()
    }

    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// A manifest by what a descriptor says, checked. Waits for the disk.
    pub fn read_manifest(&self, descriptor: &Descriptor) -> Result<Bytes> {
        self.inner.manifest(descriptor)
    }

    /// Whether a blob is there in the size that it should have. Waits for the disk.
    pub fn has(&self, digest: &Digest, bytes: u64) -> Result<bool> {
        Ok(self.inner.open(digest)?.is_some_and(|stored| stored.bytes() == bytes))
    }

    /// Gives a blob piece by piece. What it is has to be looked at by whoever takes it. Waits for the disk.
    pub fn each_piece<E: From<ClientError>>(
        &self,
        digest: &Digest,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let stored = self.inner.open(digest)?.ok_or_else(|| self.inner.not_found(digest))?;
        let mut failed = None;
        let read = stored.each(|piece| {
            take(piece).map_err(|error| {
                failed = Some(error);
                io::Error::other("it is not taken")
            })
        });
        match (failed, read) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(ClientError::File { path: self.inner.path.clone(), error }.into()),
            (None, Ok(())) => Ok(()),
        }
    }

    /// What says something of a manifest, of whatever repository. Waits for the disk.
    pub fn read_referrers(&self, of: &Digest) -> Result<Vec<Descriptor>> {
        let mut about = lock(&self.inner.about);
        let about = match &mut *about {
            Some(about) => about,
            none => none.insert(self.inner.read_about()?),
        };
        let mut found = about.get(of).cloned().unwrap_or_default();
        // As clients keep them where a registry has no referrers.
        let fallback = format!("{}-{}", of.algorithm().name(), of.hex()).parse();
        if let Ok(tag) = fallback
            && let Some(descriptor) = self.entry(&Reference::Tag(tag))?
        {
            let bytes = self.inner.manifest(&descriptor)?;
            let index = Index::parse(&bytes).map_err(|why| {
                self.inner.wrong(format!("{}, its list of what is about {of}, is damaged: {why}", descriptor.digest))
            })?;
            found.extend(index.entries().iter().map(|entry| entry.descriptor.clone()));
        }
        found.sort_by_key(|descriptor| descriptor.digest);
        found.dedup_by_key(|descriptor| descriptor.digest);
        Ok(found)
    }

    /// Runs what waits for the disk elsewhere than on the executor.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let layout = self.clone();
        let worked = tokio::task::spawn_blocking(move || work(&layout)).await;
        worked.unwrap_or_else(|error| Err(self.inner.wrong(format!("it broke: {error}"))))
    }

    fn entry(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        let index = lock(&self.inner.index);
        let entry = match reference {
            Reference::Tag(tag) => index.by_tag(self.repository.as_deref(), tag),
            Reference::Digest(digest) => index.by_digest(digest),
        };
        Ok(entry.map(|entry| entry.descriptor.clone()))
    }

    /// What a reference stands for: an entry of the index, or by its digest any manifest that is there.
    fn find(&self, reference: &Reference) -> Result<(Descriptor, Option<Bytes>)> {
        if let Some(descriptor) = self.entry(reference)? {
            return Ok((descriptor, None));
        }
        let missing = || ClientError::NotFound { what: self.called(reference) };
        let Reference::Digest(digest) = reference else { return Err(missing()) };
        let stored = self.inner.open(digest)?.ok_or_else(missing)?;
        let bytes = self.inner.whole(&stored, digest, REGISTRY_MANIFEST_BYTES_MAX as u64)?;
        let manifest = Manifest::parse(&bytes, None).map_err(|_| missing())?;
        Ok((manifest.descriptor(*digest, bytes.len() as u64), Some(bytes)))
    }

    fn put(&self, reference: &Reference, media_type: &str, bytes: &Bytes) -> Result<Digest> {
        let dir = self.inner.files.dir().ok_or_else(|| self.inner.read_only())?;
        let what = || self.called(reference);
        let digest = match reference {
            Reference::Digest(wanted) => match Digest::by(wanted.algorithm(), bytes) {
                came if came == *wanted => came,
                came => return Err(ClientError::corrupt(what(), wanted, &came)),
            },
            Reference::Tag(_) => Digest::of(bytes),
        };
        let manifest = Manifest::parse(bytes, Some(media_type))
            .map_err(|error| ClientError::Manifest { what: what(), error })?;
        for named in manifest.names.iter().filter(|named| named.is_needed) {
            if !self.has(&named.digest, named.bytes)? {
                return Err(self.inner.wrong(format!("{} names {}, which is not there", what(), named.digest)));
            }
        }
        let descriptor = manifest.descriptor(digest, bytes.len() as u64);
        files::put(dir, &descriptor, &Content::Bytes(bytes.clone()))?;
        let below: Vec<Digest> = manifest.names.iter().map(|named| named.digest).collect();
        self.inner.change(|index| index.put(descriptor, self.repository.as_deref(), reference, &below))?;
        Ok(digest)
    }

    fn remove(&self, reference: &Reference) -> Result<()> {
        let dir = self.inner.files.dir().ok_or_else(|| self.inner.read_only())?;
        let found = self.inner.change(|index| index.remove(self.repository.as_deref(), reference))?;
        let Reference::Digest(digest) = reference else {
            return if found { Ok(()) } else { Err(ClientError::NotFound { what: self.called(reference) }) };
        };
        if lock(&self.inner.index).by_digest(digest).is_some() {
            return Ok(());
        }
        let path = dir.join(blob_name(digest));
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !found => {
                Err(ClientError::NotFound { what: self.called(reference) })
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ClientError::File { path, error }),
            _ => Ok(()),
        }
    }
}

impl Inner {
    fn wrong(&self, why: String) -> ClientError {
        ClientError::Layout { path: self.path.clone(), why }
    }

    fn read_only(&self) -> ClientError {
        self.wrong("it is a tar, which stays as it is; name one that is not there yet, or a directory".to_owned())
    }

    fn not_found(&self, digest: &Digest) -> ClientError {
        ClientError::NotFound { what: format!("{digest} in {}", self.path.display()) }
    }

    fn open(&self, digest: &Digest) -> Result<Option<Stored>> {
        let opened = self.files.open(&blob_name(digest));
        opened.map_err(|error| ClientError::File { path: self.path.clone(), error })
    }

    /// All of a blob, which is what its digest says.
    fn whole(&self, stored: &Stored, digest: &Digest, most: u64) -> Result<Bytes> {
        let what = || format!("{digest} in {}", self.path.display());
        if stored.bytes() > most {
            return Err(ClientError::Large { what: what(), bytes: stored.bytes(), most });
        }
        let bytes = stored.read().map_err(|error| ClientError::File { path: self.path.clone(), error })?;
        match Digest::by(digest.algorithm(), &bytes) {
            came if came == *digest => Ok(bytes.into()),
            came => Err(ClientError::corrupt(what(), digest, &came)),
        }
    }

    fn sized(&self, what: &Descriptor) -> Result<Stored> {
        let stored = self.open(&what.digest)?.ok_or_else(|| self.not_found(&what.digest))?;
        if stored.bytes() != what.size {
            let what_is = format!("{} in {}", what.digest, self.path.display());
            let (expected, came) = (format!("{} bytes", what.size), format!("{} bytes", stored.bytes()));
            return Err(ClientError::Corrupt { what: what_is, expected, came });
        }
        Ok(stored)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes> {
        self.whole(&self.sized(descriptor)?, &descriptor.digest, REGISTRY_MANIFEST_BYTES_MAX as u64)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T> {
        let dir = self.files.dir().ok_or_else(|| self.read_only())?;
        let mut index = lock(&self.index);
        let mut changed = index.clone();
        let done = change(&mut changed);
        let text = changed.print();
        if text.len() as u64 > LAYOUT_INDEX_BYTES_MAX {
            return Err(self.wrong(format!("its `{INDEX_FILE}` would have more than {LAYOUT_INDEX_BYTES_MAX} bytes")));
        }
        let path = dir.join(INDEX_FILE);
        files::replace(&path, text.as_bytes()).map_err(|error| ClientError::File { path, error })?;
        *index = changed;
        // Whoever finds out what is about what has that lock first, and then this one.
        drop(index);
        *lock(&self.about) = None;
        Ok(done)
    }

    fn read_about(&self) -> Result<About> {
        let entries = lock(&self.index).entries().to_vec();
        let mut about = About::new();
        for entry in entries {
            let bytes = self.manifest(&entry.descriptor)?;
            // An entry may be of a kind that is no manifest, which is about nothing.
            let Ok(manifest) = Manifest::parse(&bytes, Some(&entry.descriptor.media_type)) else { continue };
            if let Some(subject) = manifest.subject {
                let descriptor = manifest.descriptor(entry.descriptor.digest, entry.descriptor.size);
                about.entry(subject).or_default().push(descriptor);
            }
        }
        Ok(about)
    }

    /// All that the entries lead to, themselves among it.
    fn reachable(&self) -> Result<Vec<Digest>> {
        let mut found = BTreeMap::new();
        let mut left: Vec<(Digest, u64)> = {
            let index = lock(&self.index);
            index.entries().iter().map(|entry| (entry.descriptor.digest, entry.descriptor.size)).collect()
        };
        while let Some((digest, bytes)) = left.pop() {
            if found.insert(digest, bytes).is_some() || bytes > REGISTRY_MANIFEST_BYTES_MAX as u64 {
                continue;
            }
            let Some(stored) = self.open(&digest)? else { continue };
            let bytes = self.whole(&stored, &digest, REGISTRY_MANIFEST_BYTES_MAX as u64)?;
            // What is no manifest leads nowhere.
            if let Ok(manifest) = Manifest::parse(&bytes, None) {
                left.extend(manifest.names.iter().map(|named| (named.digest, named.bytes)));
            }
        }
        Ok(found.into_keys().collect())
    }
}

#[async_trait]
impl Origin for Layout {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor> {
        let reference = reference.clone();
        self.blocking(move |layout| layout.find(&reference).map(|(descriptor, _)| descriptor)).await
    }

    async fn manifest(&self, reference: &Reference) -> Result<Fetched> {
        let reference = reference.clone();
        self.blocking(move |layout| {
            let (descriptor, bytes) = layout.find(&reference)?;
            let bytes = bytes.map_or_else(|| layout.inner.manifest(&descriptor), Ok)?;
            Ok(Fetched { descriptor, bytes })
        })
        .await
    }

    async fn blob(&self, what: &Descriptor, into: &Path, progress: &dyn Progress) -> Result<()> {
        progress.begin(what);
        let (wanted, into) = (what.clone(), into.to_owned());
        self.blocking(move |layout| {
            let stored = layout.inner.sized(&wanted)?;
            let file = |error| ClientError::File { path: into.clone(), error };
            let mut landing = Landing::new(&into, &wanted).map_err(file)?;
            stored.each(|piece| landing.take(piece)).map_err(file)?;
            landing.end(&into, &format!("{} in {}", wanted.digest, layout.inner.path.display()))
        })
        .await?;
        progress.at(what, what.size);
        progress.end(what, Moved::Brought);
        Ok(())
    }

    async fn blob_bytes(&self, what: &Descriptor, most: u64) -> Result<Bytes> {
        let what = what.clone();
        self.blocking(move |layout| layout.inner.whole(&layout.inner.sized(&what)?, &what.digest, most)).await
    }

    async fn referrers(&self, of: &Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>> {
        let of = *of;
        let mut found = self.blocking(move |layout| layout.read_referrers(&of)).await?;
        found.retain(|descriptor| artifact_type.is_none_or(|of| descriptor.artifact_type.as_deref() == Some(of)));
        Ok(found)
    }

    async fn tags(&self) -> Result<Vec<Tag>> {
        Ok(lock(&self.inner.index).tags(self.repository.as_deref()))
    }

    fn called(&self, reference: &Reference) -> String {
        let name = index::name(self.repository.as_deref(), reference);
        let path = self.inner.path.display();
        match (name, reference) {
            (Some(name), _) => format!("oci:{path}:{name}"),
            (None, Reference::Digest(digest)) => format!("oci:{path}@{digest}"),
            (None, Reference::Tag(tag)) => format!("oci:{path}:{tag}"),
        }
    }
}

#[async_trait]
impl Target for Layout {
    async fn has_blob(&self, what: &Descriptor) -> Result<bool> {
        let what = what.clone();
        self.blocking(move |layout| layout.has(&what.digest, what.size)).await
    }

    async fn put_blob(&self, what: &Descriptor, from: Content, progress: &dyn Progress) -> Result<()> {
        progress.begin(what);
        let wanted = what.clone();
        let how = self
            .blocking(move |layout| {
                let dir = layout.inner.files.dir().ok_or_else(|| layout.inner.read_only())?;
                if layout.has(&wanted.digest, wanted.size)? {
                    return Ok(Moved::There);
                }
                files::put(dir, &wanted, &from).map(|()| Moved::Brought)
            })
            .await?;
        progress.at(what, what.size);
        progress.end(what, how);
        Ok(())
    }

    async fn put_manifest(&self, reference: &Reference, media_type: &str, bytes: Bytes) -> Result<Digest> {
        let (reference, media_type) = (reference.clone(), media_type.to_owned());
        self.blocking(move |layout| layout.put(&reference, &media_type, &bytes)).await
    }

    async fn delete(&self, reference: &Reference) -> Result<()> {
        let reference = reference.clone();
        self.blocking(move |layout| layout.remove(&reference)).await
    }
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layout").field("path", &self.inner.path).field("repository", &self.repository).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
