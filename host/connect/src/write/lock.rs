//! One writer for each file: a second process would take away what the first has prepared, or write over it.
//!
//! A lock stands beside the file, because the file itself is replaced while it is written. The file that is there at the
//! start is locked as well: it may have other names, and other users may not open what stands beside it. Those who rotate
//! have one lock for all of their files. Of devices and pipes there is none: several may write there.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use disk::{Disk, Lock};
use flow::connector::{Barrier, ConnectError};
use xxhash_rust::xxh3::xxh3_64;

use super::durable::directory_of;
use super::file::failed;
use super::{Block, Output};

/// What file systems take as a name.
const NAME_BYTES_MAX: usize = 255;

/// Held as long as somebody writes. Empty where there is nothing to hold.
pub(super) type Held = Vec<Box<dyn Lock>>;

/// For a single file, whose links are resolved.
pub(super) fn of_file(disk: &dyn Disk, file: &Path) -> Result<Held, ConnectError> {
    let there = disk.stat(file).map_err(|error| failed(file, &error))?;
    if there.is_some_and(|there| !there.is_file) {
        return Ok(Held::new());
    }
    let lock = directory_of(file).join(lock_name(file, ".lock"));
    let mut held = Held::new();
    match disk.lock_name(&lock) {
        // Who may not make files there, or not open what another user has made, has the lock of the file.
        Err(error) if is_closed(error.kind()) && there.is_some() => {}
        by_name => held.extend(held_by(file, &lock, by_name)?),
    }
    if there.is_some() {
        match disk.lock(file) {
            // Such a file system locks nothing.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            by_file => held.extend(held_by(file, file, by_file)?),
        }
    }
    Ok(held)
}

/// For all files of a row, which are named after `path`.
pub(super) fn of_row(disk: &dyn Disk, path: &Path) -> Result<Held, ConnectError> {
    let lock = directory_of(path).join(lock_name(path, ".rotate-lock"));
    Ok(held_by(path, &lock, disk.lock_name(&lock))?.into_iter().collect())
}

type Lockable = Option<Box<dyn Lock>>;

fn held_by(path: &Path, lock: &Path, held: std::io::Result<Lockable>) -> Result<Lockable, ConnectError> {
    match held {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => {
            let why = format!("it is written to by another run, which has {} locked", lock.display());
            let next = "let that one end first, or write to another file";
            Err(ConnectError::failed(path.to_string_lossy(), why, next))
        }
        // Without its directory there is nothing to keep from anybody.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(lock, &error)),
    }
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Hidden, and beside the file.
fn lock_name(path: &Path, end: &str) -> OsString {
    let name = path.file_name().unwrap_or_default();
    let mut lock = OsString::from(".");
    if 1 + name.len() + end.len() <= NAME_BYTES_MAX {
        lock.push(name);
    } else {
        lock.push(format!("{:016x}", xxh3_64(name.as_bytes())));
    }
    lock.push(end);
    lock
}

/// An output with the lock of its place, which is given up behind it.
pub(super) struct Locked {
    pub(super) output: Box<dyn Output>,
    pub(super) held: Held,
}

impl Output for Locked {
    /// A regular file does not block for ever, and its lock is given up before the process ends.
    fn is_waited_for(&self) -> bool {
        !self.held.is_empty()
    }

    fn write(&mut self, block: &Block) -> Result<(), ConnectError> {
        self.output.write(block)
    }

    fn flush(&mut self) -> Result<(), ConnectError> {
        self.output.flush()
    }

    fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.output.prepare(barrier)
    }

    fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        self.output.commit(token)
    }

    fn due_in(&self) -> Option<Duration> {
        self.output.due_in()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_of_files_and_rows_have_names_of_their_own() {
        let name = |path: &str, end| lock_name(Path::new(path), end).to_string_lossy().into_owned();
        assert_eq!(name("out/a.txt", ".lock"), ".a.txt.lock");
        assert_ne!(name("a.txt.rotate", ".lock"), name("a.txt", ".rotate-lock"));
        let (one, other) = ("x".repeat(250), "x".repeat(251));
        assert_ne!(name(&one, ".lock"), name(&other, ".lock"));
        assert!(name(&other, ".lock").len() <= NAME_BYTES_MAX);
    }
}
