//! What is remembered of repositories that were signed when a policy asked for it, so that they do not go back to none
//! because a policy is gone, or is another, or is not read.
//!
//! A file of one line that has a checksum of what follows, and JSON. It is replaced whole, and synced. Nothing is forgotten
//! to make room.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use model::limits::{TRUST_SEEN_BYTES_MAX, TRUST_SEEN_KEYS_MAX, TRUST_SEEN_REPOSITORIES_MAX};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::image_ref::ImageRef;
use crate::sign::{KeyError, PublicKey};

const HEAD: &str = "conveyor required signatures 1";

/// Repositories whose images were signed when that was required, and the last keys that did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<String, Vec<PublicKey>>);

/// Nothing was required yet.
pub(super) static NONE: Seen = Seen(BTreeMap::new());

/// [`Seen`], in a file.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    seen: Seen,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Keys in PEM by `REGISTRY/REPOSITORY`.
    repositories: BTreeMap<String, Vec<String>>,
}

/// Why it is not known what was required, or cannot be kept.
#[derive(thiserror::Error, Debug)]
pub enum MemoryError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error(
        "{} is damaged: it says of which repositories signatures were required; remove it to have that forgotten",
        path.display()
    )]
    Damaged { path: PathBuf },
    #[error(
        "{} has {TRUST_SEEN_REPOSITORIES_MAX} repositories, which are the most: remove it to have all of them forgotten",
        path.display()
    )]
    Full { path: PathBuf },
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Seen {
    /// The keys of a repository, the last one last; none where no signature was required.
    pub fn keys(&self, image: &ImageRef) -> &[PublicKey] {
        self.0.get(&name(image)).map_or(&[], Vec::as_slice)
    }

    /// Whether that was new. False for one repository too many.
    fn add(&mut self, image: &ImageRef, key: &PublicKey) -> Result<bool, ()> {
        let name = name(image);
        if !self.0.contains_key(&name) && self.0.len() >= TRUST_SEEN_REPOSITORIES_MAX {
            return Err(());
        }
        let keys = self.0.entry(name).or_default();
        if keys.contains(key) {
            return Ok(false);
        }
        keys.push(key.clone());
        let old = keys.len().saturating_sub(TRUST_SEEN_KEYS_MAX);
        keys.drain(..old);
        Ok(true)
    }
}

fn name(image: &ImageRef) -> String {
    format!("{}/{}", image.registry.without_usual_port(), image.repository)
}

impl Memory {
    pub fn open(path: PathBuf) -> Result<Self, MemoryError> {
        let seen = read(&path)?;
        Ok(Self { path, seen })
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Remembers that an image was signed with this key when that was required; durable when it returns.
    pub fn remember(&mut self, image: &ImageRef, key: &PublicKey) -> Result<(), MemoryError> {
        if self.seen.keys(image).contains(key) {
            return Ok(());
        }
        let failed = |error| MemoryError::Io { path: self.path.clone(), error };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(failed)?;
        // Others may remember something at the same time. The lock goes with the file.
        let lock = File::create(self.path.with_extension("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut seen = read(&self.path)?;
        let is_new = seen.add(image, key).map_err(|()| MemoryError::Full { path: self.path.clone() })?;
        if is_new {
            let text = written(&seen)?;
            let making = self.path.with_extension("making");
            let mut file = File::create(&making).map_err(failed)?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            fs::rename(&making, &self.path).map_err(failed)?;
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        }
        self.seen = seen;
        Ok(())
    }
}

fn read(path: &Path) -> Result<Seen, MemoryError> {
    let failed = |error| MemoryError::Io { path: path.to_owned(), error };
    let mut text = Vec::new();
    match disk::open_file(path) {
        Ok(file) => file.take(TRUST_SEEN_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Seen::default()),
        Err(error) => return Err(failed(error)),
    };
    parse(&text).ok_or_else(|| MemoryError::Damaged { path: path.to_owned() })
}

fn parse(text: &[u8]) -> Option<Seen> {
    let (head, json) = std::str::from_utf8(text).ok()?.split_once('\n')?;
    if head != self::head(json) {
        return None;
    }
    let kept: Kept = serde_json::from_str(json).ok()?;
    let keys =
        |keys: Vec<String>| keys.iter().map(|key| PublicKey::from_pem(key).ok()).collect::<Option<_>>();
    let repositories = kept.repositories.into_iter();
    Some(Seen(repositories.map(|(name, pems)| Some((name, keys(pems)?))).collect::<Option<_>>()?))
}

fn written(seen: &Seen) -> Result<String, KeyError> {
    let mut kept = Kept::default();
    for (name, keys) in &seen.0 {
        kept.repositories.insert(name.clone(), keys.iter().map(PublicKey::to_pem).collect::<Result<_, _>>()?);
    }
    let mut json =
        serde_json::to_string_pretty(&kept).map_err(|error| KeyError::Encode(error.to_string()))?;
    json.push('\n');
    Ok(format!("{}\n{json}", head(&json)))
}

fn head(json: &str) -> String {
    format!("{HEAD} xxh3={:016x}", xxh3_64(json.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sign::{Key, KeyKind};

    fn key() -> PublicKey {
        Key::generate(KeyKind::P256).expect("a key").public().expect("public")
    }

    fn image(text: &str) -> ImageRef {
        text.parse().expect("an image")
    }

    #[test]
    fn what_was_remembered_is_there_after_it_was_opened_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("below/required");
        let (first, second) = (key(), key());
        let mut memory = Memory::open(path.clone()).expect("none yet");
        let mut other = Memory::open(path.clone()).expect("none yet");
        memory.remember(&image("a.example/b:1"), &first).expect("kept");
        other.remember(&image("a.example/b:2"), &second).expect("kept");
        other.remember(&image("a.example/c:1"), &first).expect("kept");
        let again = Memory::open(path).expect("there");
        assert_eq!(again.seen().keys(&image("a.example/b:3")), [first.clone(), second]);
        assert_eq!(again.seen().keys(&image("a.example/c:3")), [first]);
        assert!(again.seen().keys(&image("a.example/d:3")).is_empty());
        assert_eq!(again.seen(), other.seen());
    }

    #[test]
    fn a_damaged_file_is_refused_and_not_taken_for_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("required");
        Memory::open(path.clone()).expect("none").remember(&image("a.example/b:1"), &key()).expect("kept");
        let right = fs::read(&path).expect("a file");
        for at in [0, 20, right.len() / 2, right.len() - 1] {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            fs::write(&path, &wrong).expect("written");
            assert!(matches!(Memory::open(path.clone()), Err(MemoryError::Damaged { .. })), "byte {at}");
        }
        for wrong in [&right[..0], &right[..right.len() - 1], &right[..right.len() / 2]] {
            fs::write(&path, wrong).expect("written");
            assert!(matches!(Memory::open(path.clone()), Err(MemoryError::Damaged { .. })));
        }
    }

    #[test]
    fn the_last_keys_are_kept_and_no_repository_too_many() {
        let mut seen = Seen::default();
        let keys: Vec<PublicKey> = (0..=TRUST_SEEN_KEYS_MAX).map(|_| key()).collect();
        for key in &keys {
            assert_eq!(seen.add(&image("a.example/b:1"), key), Ok(true));
        }
        assert_eq!(seen.keys(&image("a.example/b:1")), &keys[1..]);
        for nth in 1..TRUST_SEEN_REPOSITORIES_MAX {
            seen.0.insert(format!("a.example/r{nth}"), vec![keys[0].clone()]);
        }
        assert_eq!(seen.add(&image("a.example/one-more:1"), &keys[0]), Err(()));
        assert_eq!(seen.add(&image("a.example/b:1"), &keys[0]), Ok(true));
        assert!(
            written(&seen).expect("JSON").len() as u64 <= TRUST_SEEN_BYTES_MAX / TRUST_SEEN_KEYS_MAX as u64
        );
    }

    proptest! {
        #[test]
        fn nothing_that_is_in_the_file_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), json in ".{0,60}") {
            let _ = parse(&bytes).is_some();
            let _ = parse(format!("{}\n{json}", head(&json)).as_bytes()).is_some();
        }
    }
}
