//! Where the splits of a source go on, as a checkpoint keeps it.
//!
//! A place says how far a file was read, what its decoder has to know there, and which file that was: by its
//! inode, and by a fingerprint of its first bytes, so that a file which was cut off, replaced or written anew
//! since then is noticed. Places are made once for each batch; they are JSON, with a version.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use flow::connector::{ConnectError, Cursor, Places};
use model::limits::FINGERPRINT_BYTES;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::csv::State;
use crate::digest::Trail;
use crate::input::read_some;

/// What to do about a place that leads nowhere.
pub(crate) const RESET: &str = "put the file back as it was, or begin anew with `run --reset`";

/// What of the places has changed when it is not this: an older Conveyor then says so rather than misread it.
const VERSION: u32 = 1;

/// How far a file was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Of the next record.
    pub(crate) offset: u64,
    /// Bytes before the next record, unpacked. None of formats that are not read byte after byte.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) position: u64,
    /// Lines before the next record, for messages.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) lines: u64,
    /// Bytes up to the end of the header, which a decoder reads again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) header: u64,
    /// In the middle of a record that is too long: its rest is skipped.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) skipping: bool,
    /// Where in that record, of CSV.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) within: State,
    /// Records that were taken, and stand behind `position` because one that begins before them is not whole.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) ahead: u64,
    /// There is nothing more to come.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) ended: bool,
    pub(crate) file: Mark,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) followed: Option<Generation>,
    /// Of all that was read of a followed file.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) trail: Option<Trail>,
}

/// A followed file begins anew under its name each time it is rotated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Generation {
    pub(crate) name: String,
    pub(crate) number: u64,
    /// The directory of the file itself, where its name is a link.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) beside: Option<PathBuf>,
    /// What the file itself is called, where its name is a link.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) target: Option<String>,
}

/// Which file it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Written down for whoever looks for the file. It is not compared: it may change when a disk is mounted.
    device: u64,
    inode: u64,
    /// When the file was made, in microseconds since the Unix epoch: an inode is soon given to another file. 0 where the
    /// file system does not say.
    #[serde(default, skip_serializing_if = "is_default")]
    born: u64,
    /// When it was opened.
    pub(crate) bytes: u64,
    /// How many of its first bytes the fingerprint is of.
    head: u64,
    print: u64,
}

/// What has become of a file.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    #[error("another file has that name now than the one that was read before (inode {found}, not {known})")]
    Replaced { known: u64, found: u64 },
    #[error("another file has that name now: it was made after the one that was read before")]
    Remade,
    #[error("it was cut off: it has {found} bytes, and had {known} before")]
    Shorter { known: u64, found: u64 },
    #[error("it was written anew: its first {head} bytes are not those that were read before")]
    Rewritten { head: u64 },
    #[error("it is gone, and was read only to byte {position}")]
    Gone { position: u64 },
}

impl Changed {
    pub(crate) fn of_file(&self, name: &str) -> ConnectError {
        ConnectError::failed(name, format!("it cannot be gone on with: {self}"), RESET)
    }
}

impl Mark {
    /// None of pipes and devices.
    pub(crate) fn of(file: &File) -> std::io::Result<Option<Self>> {
        let Some(mut mark) = Self::unread(&file.metadata()?) else { return Ok(None) };
        mark.grow(file, mark.bytes)?;
        Ok(Some(mark))
    }

    /// Of a file that nothing was read of yet. None of pipes and devices.
    pub(crate) fn unread(metadata: &Metadata) -> Option<Self> {
        let Id { device, inode, born } = Id::of(metadata);
        let mark = Self { device, inode, born, bytes: metadata.len(), head: 0, print: 0 };
        metadata.is_file().then_some(mark)
    }

    /// Whether the fingerprint is of as much as it can be.
    pub(crate) fn is_full(&self) -> bool {
        self.head >= FINGERPRINT_BYTES
    }

    /// Takes in what has come since, of a file that grows.
    pub(crate) fn grow(&mut self, file: &File, read: u64) -> std::io::Result<()> {
        (self.head, self.print) = fingerprint(At { file, at: 0 }, read.min(FINGERPRINT_BYTES))?;
        Ok(())
    }

    pub(crate) fn id(&self) -> Id {
        Id { device: self.device, inode: self.inode, born: self.born }
    }

    /// Whether `file` is the one that was marked, and has `bytes` at least.
    pub(crate) fn check(&self, file: &File, bytes: u64) -> std::io::Result<Result<(), Changed>> {
        let metadata = file.metadata()?;
        let found = Id::of(&metadata);
        if !found.may_be(&self.id()) || !metadata.is_file() {
            let is_remade = found.inode == self.inode;
            let replaced = Changed::Replaced { known: self.inode, found: found.inode };
            return Ok(Err(if is_remade { Changed::Remade } else { replaced }));
        }
        if metadata.len() < bytes {
            return Ok(Err(Changed::Shorter { known: bytes, found: metadata.len() }));
        }
        let same = self.is_head_of(file)?;
        Ok(if same { Ok(()) } else { Err(Changed::Rewritten { head: self.head }) })
    }

    /// Whether `file`, whichever it is, begins with the same bytes.
    pub(crate) fn is_head_of(&self, file: &File) -> std::io::Result<bool> {
        self.is_head_in(At { file, at: 0 })
    }

    /// The same of what is not a file by itself.
    pub(crate) fn is_head_in(&self, file: impl Read) -> std::io::Result<bool> {
        Ok(self.head == 0 || fingerprint(file, self.head)? == (self.head, self.print))
    }
}

/// How many bytes there are, up to `bytes`, and their hash.
fn fingerprint(file: impl Read, bytes: u64) -> std::io::Result<(u64, u64)> {
    let mut left = file.take(bytes);
    let (mut hash, mut count, mut buffer) = (Xxh3::new(), 0, [0; FINGERPRINT_BYTES as usize]);
    loop {
        match read_some(&mut left, &mut buffer)? {
            0 => return Ok((count, hash.digest())),
            read => {
                hash.update(&buffer[..read]);
                count += read as u64;
            }
        }
    }
}

/// Reads a file from a place of its own on, wherever others read it.
pub(crate) struct At<'a> {
    pub(crate) file: &'a File,
    pub(crate) at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// What tells files apart, whatever they are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    device: u64,
    inode: u64,
    born: u64,
}

impl Id {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born = born.map_or(0, |born| born.as_micros() as u64);
        Self { device: metadata.dev(), inode: metadata.ino(), born }
    }

    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether both may be the same file in two lives of this process. Devices are not compared: a disk may have another
    /// number when it is mounted again.
    pub(crate) fn may_be(&self, other: &Self) -> bool {
        self.inode == other.inode && (self.born == other.born || self.born == 0 || other.born == 0)
    }
}

#[derive(Serialize)]
struct Written<'a, T> {
    v: u32,
    #[serde(flatten)]
    place: &'a T,
}

/// A place as a checkpoint holds it.
pub(crate) fn cursor<T: Serialize>(split: &Arc<str>, place: &T) -> Cursor {
    let place = serde_json::to_vec(&Written { v: VERSION, place });
    Cursor { split: split.clone(), place: place.expect("places are numbers and names, which JSON can say") }
}

/// All places of a source, as they were written.
pub(crate) fn read_places<T: DeserializeOwned>(from: &Places) -> Result<BTreeMap<Arc<str>, T>, ConnectError> {
    from.iter().map(|(split, place)| Ok((split.clone(), read_place(split, place)?))).collect()
}

fn read_place<T: DeserializeOwned>(split: &Arc<str>, place: &[u8]) -> Result<T, ConnectError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let unreadable = |why: String| {
        let next = "go on with the version of Conveyor that wrote it, or begin anew with `run --reset`";
        ConnectError::failed(&**split, why, next)
    };
    let broken =
        |error: serde_json::Error| unreadable(format!("its place in the checkpoint cannot be read: {error}"));
    let Version { v } = serde_json::from_slice(place).map_err(broken)?;
    if v != VERSION {
        return Err(unreadable(format!("its place in the checkpoint is of version {v}, not {VERSION}")));
    }
    serde_json::from_slice(place).map_err(broken)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_has_become_of_a_file_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a");
        std::fs::write(&path, "first line\nsecond\n").expect("a file");
        let file = File::open(&path).expect("a file");
        let mark = Mark::of(&file).expect("read").expect("a regular file");
        let check = |bytes| {
            mark.check(&File::open(&path).expect("a file"), bytes).expect("read").map_err(|c| c.to_string())
        };
        assert_eq!(check(mark.bytes), Ok(()));
        let mut more = File::options().append(true).open(&path).expect("a file");
        more.write_all(b"third\n").expect("written");
        assert_eq!(check(mark.bytes), Ok(()), "it may grow");
        more.set_len(5).expect("cut");
        assert!(check(mark.bytes).is_err_and(|why| why.contains("it has 5 bytes, and had 18 before")));
        std::fs::write(&path, "other lines, and more of them\n").expect("written");
        assert!(check(mark.bytes).is_err_and(|why| why.contains("written anew")));
        std::fs::write(directory.path().join("b"), "first line\nsecond\n").expect("a file");
        std::fs::rename(directory.path().join("b"), &path).expect("renamed");
        assert!(check(mark.bytes).is_err_and(|why| why.contains("another file has that name now")));
    }

    #[test]
    fn places_come_back_as_they_were_and_others_are_told() {
        let split: Arc<str> = "a.csv".into();
        let place = Place {
            offset: 7,
            position: 90,
            skipping: true,
            within: State::EscapedInQuotes,
            ..Place::default()
        };
        let written = cursor(&split, &place);
        let places = Places::from([(split.clone(), written.place)]);
        assert_eq!(read_places::<Place>(&places).expect("a place")[&split], place);
        for (bytes, expected) in [
            (&b"{\"v\":9}"[..], "is of version 9, not 1"),
            (b"{\"v\":1}", "cannot be read: missing field"),
            (b"nonsense", "cannot be read"),
        ] {
            let error = read_places::<Place>(&Places::from([(split.clone(), bytes.to_vec())]));
            let error = error.expect_err("no place").to_string();
            assert!(error.starts_with("a.csv: ") && error.contains(expected), "{error}");
        }
    }
}
