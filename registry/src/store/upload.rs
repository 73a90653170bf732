//! Uploads: contents on their way in, which go on where they ended, after a restart too.
//!
//! What of an upload is in its file is what it has; an upload without a byte is known to this process alone.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use disk::{DiskFile, Mode};
use model::ids::{Algorithm, Digest, Digester};
use model::limits::{REGISTRY_PIECE_BYTES, REGISTRY_UPLOADS_MAX};
use xxhash_rust::xxh3::xxh3_64;

use super::{Change, Mismatch, Refused, Result, Store, StoreError, lock};
use crate::name::Repository;

/// Names an upload: a random number, as 32 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub u128);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for UploadId {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_id = text.len() == 32 && text.bytes().all(is_digit);
        is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(())
    }
}

/// An upload. One request has it at a time.
pub struct Upload {
    id: UploadId,
    repository: Repository,
    path: PathBuf,
    bytes: u64,
    /// What they hash to so far; None where this process has not seen them all.
    digester: Option<Digester>,
    file: Option<Box<dyn DiskFile>>,
    /// Whether its name outlasts a power cut.
    is_named: bool,
    has_ended: bool,
    touched: u64,
}

/// Those that this process knows, by repository and id.
#[derive(Default)]
pub(super) struct Uploads(Mutex<HashMap<(Repository, UploadId), SharedUpload>>);

/// Whoever has it locked goes on with it.
pub type SharedUpload = Arc<tokio::sync::Mutex<Upload>>;

impl Uploads {
    /// Adds one. When there are too many, the one that was not touched for longest is forgotten, which is found again by
    /// its file.
    fn add(&self, upload: Upload) -> Result<SharedUpload> {
        let mut all = lock(&self.0);
        let place = (upload.repository.clone(), upload.id);
        if all.len() >= REGISTRY_UPLOADS_MAX {
            let idle =
                all.iter().filter_map(|(place, upload)| Some((upload.try_lock().ok()?.touched, place)));
            let oldest = idle.min().map(|(_, place)| place.clone());
            let oldest = oldest.ok_or(Refused::Uploads { max: REGISTRY_UPLOADS_MAX })?;
            all.remove(&oldest);
        }
        Ok(all.entry(place).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(upload))).clone())
    }

    fn get(&self, repository: &Repository, id: UploadId) -> Option<SharedUpload> {
        lock(&self.0).get(&(repository.clone(), id)).cloned()
    }

    fn end(&self, upload: &mut Upload) {
        upload.has_ended = true;
        upload.file = None;
        lock(&self.0).remove(&(upload.repository.clone(), upload.id));
    }

    /// Whether a file is of one that this process knows.
    pub(super) fn has(&self, path: &std::path::Path) -> bool {
        // One that is at work is here for sure.
        lock(&self.0).iter().any(|((repository, id), _)| path.ends_with(file_name(repository, *id)))
    }
}

/// The repository is part of the name, so that one cannot go on with the upload of another.
fn file_name(repository: &Repository, id: UploadId) -> String {
    format!("upload-{id}-{:016x}", xxh3_64(repository.as_str().as_bytes()))
}

impl Store {
    /// Begins an upload, whose digest is expected to be of this algorithm. The disk is not asked.
    pub fn begin(&self, repository: &Repository, algorithm: Algorithm, id: UploadId) -> Result<SharedUpload> {
        let upload = Upload {
            id,
            repository: repository.clone(),
            path: self.contents.join(file_name(repository, id)),
            bytes: 0,
            digester: Some(Digester::new(algorithm)),
            file: None,
            is_named: false,
            has_ended: false,
            touched: self.now(),
        };
        self.uploads.add(upload)
    }

    /// An upload that this process knows. The disk is not asked.
    pub fn known_upload(&self, repository: &Repository, id: UploadId) -> Option<SharedUpload> {
        self.uploads.get(repository, id)
    }

    /// An upload that is under way, or was when the process ended.
    pub fn upload(&self, repository: &Repository, id: UploadId) -> Result<SharedUpload> {
        if let Some(upload) = self.known_upload(repository, id) {
            return Ok(upload);
        }
        let path = self.contents.join(file_name(repository, id));
        let there = self.disk.stat(&path).map_err(|error| StoreError::io(&path, error))?;
        let bytes = there.ok_or(Refused::UploadUnknown)?.bytes;
        let (repository, digester, file) = (repository.clone(), None, None);
        let touched = self.now();
        self.uploads.add(Upload {
            id,
            repository,
            path,
            bytes,
            digester,
            file,
            is_named: true,
            has_ended: false,
            touched,
        })
    }

    /// Adds bytes to the end. What could not be written whole is not there.
    pub fn append(&self, upload: &mut Upload, bytes: &[u8]) -> Result<()> {
        upload.check()?;
        upload.touched = self.now();
        let at = upload.bytes;
        let file = self.file(upload)?;
        if let Err(error) = file.write_at(bytes, at) {
            // So that it is not taken for written after a restart.
            let _ = file.set_bytes(at);
            return Err(StoreError::io(&upload.path, error));
        }
        upload.bytes += bytes.len() as u64;
        if let Some(digester) = &mut upload.digester {
            digester.update(bytes);
        }
        Ok(())
    }

    /// Takes back what is behind the first `bytes`.
    pub fn cut(&self, upload: &mut Upload, bytes: u64) -> Result<()> {
        upload.check()?;
        if bytes < upload.bytes {
            let cut = self.file(upload)?.set_bytes(bytes);
            cut.map_err(|error| StoreError::io(&upload.path, error))?;
            (upload.bytes, upload.digester) = (bytes, None);
        }
        Ok(())
    }

    /// Makes durable what it has, so that it can be acknowledged.
    pub fn settle(&self, upload: &mut Upload) -> Result<()> {
        upload.check()?;
        let Some(file) = &upload.file else { return Ok(()) };
        if let Err(error) = file.sync() {
            // Nobody knows what of it is there.
            let error = StoreError::io(&upload.path, error);
            self.cancel(upload)?;
            return Err(error);
        }
        upload.file = None;
        if !upload.is_named {
            self.disk.sync_dir(&self.contents).map_err(|error| StoreError::io(&self.contents, error))?;
            upload.is_named = true;
        }
        Ok(())
    }

    /// The upload is whole: it is the blob of this digest, or it is refused and gone.
    pub fn finish(&self, upload: &mut Upload, said: Digest, bytes_max: Option<u64>) -> Result<()> {
        upload.check()?;
        self.file(upload)?;
        let found = self.digest_of(upload, said.algorithm())?;
        if found != said {
            self.cancel(upload)?;
            return Err(Refused::OtherDigest(Box::new(Mismatch { found, said })).into());
        }
        let synced = self.file(upload)?.sync();
        let path = upload.path.clone();
        self.uploads.end(upload);
        if let Err(error) = synced {
            let _ = self.disk.remove(&path);
            return Err(StoreError::io(&path, error));
        }
        let (repository, bytes, room) = (upload.repository.clone(), upload.bytes, self.room(bytes_max));
        self.place(&path, said, Change::Blob { repository, digest: said, bytes, room, now: self.now() })
    }

    /// Throws an upload away. One without a file does not ask the disk for anything.
    pub fn cancel(&self, upload: &mut Upload) -> Result<()> {
        upload.check()?;
        let has_file = upload.has_file();
        self.uploads.end(upload);
        if !has_file {
            return Ok(());
        }
        match self.disk.remove(&upload.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|error| StoreError::io(&upload.path, error)),
        }
    }

    fn file<'u>(&self, upload: &'u mut Upload) -> Result<&'u dyn DiskFile> {
        if upload.file.is_none() {
            let mode = if upload.bytes == 0 { Mode::Create } else { Mode::Change };
            let file =
                self.disk.open(&upload.path, mode).map_err(|error| StoreError::io(&upload.path, error))?;
            upload.file = Some(file);
        }
        upload.file.as_deref().ok_or_else(|| Refused::UploadUnknown.into())
    }

    /// Of what came through this process it is known; otherwise the file is read.
    fn digest_of(&self, upload: &mut Upload, algorithm: Algorithm) -> Result<Digest> {
        if let Some(digester) = upload.digester.as_ref().filter(|digester| digester.algorithm() == algorithm)
        {
            return Ok(digester.clone().finish());
        }
        let (bytes, path) = (upload.bytes, upload.path.clone());
        let file = self.file(upload)?;
        let (mut digester, mut piece, mut at) = (Digester::new(algorithm), vec![0; REGISTRY_PIECE_BYTES], 0);
        while at < bytes {
            let some = piece.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
            disk::read_exact_at(file, &mut piece[..some], at)
                .map_err(|error| StoreError::io(&path, error))?;
            digester.update(&piece[..some]);
            at += some as u64;
        }
        Ok(digester.finish())
    }
}

impl Upload {
    /// Bytes that it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn id(&self) -> UploadId {
        self.id
    }

    /// Whether anything of it is on the disk.
    pub fn has_file(&self) -> bool {
        self.file.is_some() || self.is_named || self.bytes > 0
    }

    /// Whoever waited for it may find that it has ended meanwhile.
    fn check(&self) -> Result<()> {
        if self.has_ended { Err(Refused::UploadUnknown.into()) } else { Ok(()) }
    }
}
