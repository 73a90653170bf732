//! The files of the cache: contents by their digests, and answers by their questions.
//!
//! A content is looked at when it is read: what is not what its name says is removed, and as good as not there. Files get
//! their names when they are whole. What was used longest ago goes when there is too much; what somebody reads has a lock
//! of the system, shared, for as long as the process has its [`Cache`], and stays.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use model::ids::Digest;
use model::limits::{COMPONENT_CACHE_ENTRIES_MAX, COMPONENT_CACHE_PART_AGE, REGISTRY_REFERRERS_BYTES_MAX};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Before the name of a file that is not whole yet.
const PART: &str = ".new-";

/// What was pulled, in a directory. Cheap where nothing is in it; nothing is made before something is kept.
pub struct Cache {
    contents: PathBuf,
    answers: PathBuf,
    bytes_max: u64,
    /// Files that this process has read, each with a shared lock.
    held: Mutex<HashMap<PathBuf, File>>,
    parts: AtomicU64,
}

/// A file, when it is decided which of them go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub path: PathBuf,
    pub bytes: u64,
    pub used: SystemTime,
}

/// Those that go, so that what is left has at most so many bytes and files: the ones that were used longest ago.
pub(super) fn too_many(mut entries: Vec<Entry>, bytes_max: u64, entries_max: usize) -> Vec<Entry> {
    entries.sort_by(|one, other| other.used.cmp(&one.used).then_with(|| one.path.cmp(&other.path)));
    let mut bytes = 0_u64;
    let mut nth = 0;
    entries.retain(|entry| {
        bytes = bytes.saturating_add(entry.bytes);
        nth += 1;
        bytes > bytes_max || nth > entries_max
    });
    entries.reverse();
    entries
}

impl Cache {
    /// `bytes_max`: of all its files.
    pub fn new(dir: &Path, bytes_max: u64) -> Self {
        Self {
            contents: dir.join("contents"),
            answers: dir.join("answers"),
            bytes_max,
            held: Mutex::default(),
            parts: AtomicU64::new(0),
        }
    }

    /// A content, where it is there and is what its digest says.
    pub fn content(&self, digest: &Digest) -> Option<Bytes> {
        let path = self.path_of(digest);
        let bytes = self.read(&path, u64::MAX)?;
        if Digest::by(digest.algorithm(), &bytes) == *digest {
            return Some(bytes.into());
        }
        tracing::warn!(path = %path.display(), "what was pulled is damaged on the disk; it is pulled again");
        self.forget(&path);
        None
    }

    /// Says that a content is in use, so that it stays.
    pub fn touch(&self, digest: &Digest) {
        self.hold(&self.path_of(digest));
    }

    /// Keeps a content. Where that cannot be done it is pulled again the next time, which is no failure.
    pub fn keep(&self, digest: &Digest, bytes: &[u8]) {
        self.write(&self.path_of(digest), bytes);
    }

    /// Where a content would be, in a directory that is there.
    pub fn place_for(&self, digest: &Digest) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.contents)?;
        Ok(self.path_of(digest))
    }

    /// What was answered to a question when it was asked last.
    pub fn answer<T: DeserializeOwned>(&self, question: &str) -> Option<T> {
        let bytes = self.read(&self.path_of_answer(question), REGISTRY_REFERRERS_BYTES_MAX as u64 * 2)?;
        let (hash, text) = bytes.split_at_checked(64)?;
        if Digest::of(text).hex().as_bytes() != hash {
            return None;
        }
        let (asked, answer): (String, T) = serde_json::from_slice(text).ok()?;
        (asked == question).then_some(answer)
    }

    pub fn keep_answer<T: Serialize>(&self, question: &str, answer: &T) {
        if let Ok(text) = serde_json::to_vec(&(question, answer)) {
            let bytes = [Digest::of(&text).hex().as_bytes(), &text].concat();
            self.write(&self.path_of_answer(question), &bytes);
        }
    }

    /// Removes what is too much, and what a crash has left.
    pub fn tidy(&self) {
        let now = SystemTime::now();
        let mut entries = Vec::new();
        for dir in [&self.contents, &self.answers] {
            for file in fs::read_dir(dir).into_iter().flatten().flatten() {
                let Ok(about) = file.metadata() else { continue };
                let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let is_part = file.file_name().to_string_lossy().starts_with('.');
                let age = now.duration_since(used).unwrap_or(Duration::ZERO);
                if is_part && age < COMPONENT_CACHE_PART_AGE {
                    continue;
                }
                if is_part {
                    let _ = fs::remove_file(file.path());
                    continue;
                }
                entries.push(Entry { path: file.path(), bytes: about.len(), used });
            }
        }
        for entry in too_many(entries, self.bytes_max, COMPONENT_CACHE_ENTRIES_MAX) {
            let Ok(file) = File::open(&entry.path) else { continue };
            // Of those that hold it, this process is one.
            if file.try_lock().is_ok() {
                let _ = fs::remove_file(&entry.path);
            }
        }
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.contents.join(digest.to_string().replace(':', "-"))
    }

    fn path_of_answer(&self, question: &str) -> PathBuf {
        self.answers.join(Digest::of(question.as_bytes()).hex())
    }

    fn read(&self, path: &Path, most: u64) -> Option<Vec<u8>> {
        self.hold(path);
        let mut bytes = Vec::new();
        disk::open_file(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// From now on it stays, and counts as used just now.
    fn hold(&self, path: &Path) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(path) {
            return;
        }
        if let Ok(file) = disk::open_file(path)
            && file.lock_shared().is_ok()
        {
            let _ = file.set_modified(SystemTime::now());
            held.insert(path.to_owned(), file);
        }
    }

    fn forget(&self, path: &Path) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        let _ = fs::remove_file(path);
    }

    fn write(&self, path: &Path, bytes: &[u8]) {
        let Some(dir) = path.parent() else { return };
        let nth = self.parts.fetch_add(1, Ordering::Relaxed);
        let part = dir.join(format!("{PART}{}-{nth}", std::process::id()));
        let written = fs::create_dir_all(dir)
            .and_then(|()| fs::write(&part, bytes))
            .and_then(|()| fs::rename(&part, path));
        match written {
            // Another file has its name now.
            Ok(()) => {
                self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
                self.hold(path);
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what was pulled cannot be kept; it is pulled again next time");
                let _ = fs::remove_file(&part);
            }
        }
    }
}
