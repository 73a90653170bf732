//! How the file of a store is found, made, taken over from an older version, and kept from two processes at once.
//!
//! It comes to be under another name and gets its own when it is whole, because nobody could go on with what a crash
//! leaves of one that was being made.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use disk::DiskFile as _;
use disk::pages::{Damage, Overlay, Pages, is_plain};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::CheckpointError;
use super::kept::{Kept, io, unopened};
use super::takeover;

/// Of the name that a file has while it is being made.
const MAKING: &str = "making";
/// How often a file is opened that has become another one meanwhile, which happens once or twice in its life.
const TRIES: usize = 5;

/// Who may have a file at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Nobody,
    Readers,
}

/// Opens the file, or makes it, and then it is durable once its directory is.
pub(super) fn open_or_make(path: &Path) -> Result<Kept, CheckpointError> {
    let options = OpenOptions::new().read(true).write(true).to_owned();
    for _ in 0..TRIES {
        match locked(path, &options, With::Nobody)? {
            None => make(path)?,
            Some(file) if is_plain_file(path, &file)? => take_over(path, &file)?,
            Some(file) => {
                let pages = Pages::open(Box::new(file)).map_err(|error| unopened(path, error))?;
                return Kept::open(path, pages.damage(), |options| options.create_with_backend(pages));
            }
        }
    }
    Err(CheckpointError::Locked { path: path.to_owned() })
}

/// Opens the file to be read; what is there stays as it is. None where there is none.
pub(super) fn look(path: &Path) -> Result<Option<Kept>, CheckpointError> {
    let options = OpenOptions::new().read(true).to_owned();
    let Some(file) = locked(path, &options, With::Readers)? else { return Ok(None) };
    if is_plain_file(path, &file)? {
        let above = takeover::above(Box::new(file)).map_err(|error| io(path, error))?;
        return Kept::open(path, Damage::default(), |options| takeover::checked(options, above)).map(Some);
    }
    let pages = Pages::open(Box::new(file)).map_err(|error| unopened(path, error))?;
    let damage = pages.damage();
    let above = Overlay::over(pages).map_err(|error| io(path, error))?;
    Kept::open(path, damage, |options| options.create_with_backend(above)).map(Some)
}

/// The file under a name, which is nobody else's as long as it is open. None where there is none.
fn locked(path: &Path, options: &OpenOptions, with: With) -> Result<Option<File>, CheckpointError> {
    let failed = |error: io::Error| io(path, error);
    for _ in 0..TRIES {
        let file = match options.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let lock = if with == With::Nobody { file.try_lock() } else { file.try_lock_shared() };
        match lock {
            Err(TryLockError::WouldBlock) => break,
            // Whoever keeps files on such a file system sees to it that one process has them.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Ok(()) => {}
        }
        // Before it was locked, somebody may have given the name to another file.
        let there = path.metadata();
        let is = file.metadata().map_err(failed)?;
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (is.dev(), is.ino())) {
            return Ok(Some(file));
        }
    }
    Err(CheckpointError::Locked { path: path.to_owned() })
}

fn is_plain_file(path: &Path, file: &File) -> Result<bool, CheckpointError> {
    let mut first = [0; 8];
    file.read_at(&mut first, 0).map_err(|error| io(path, error))?;
    Ok(is_plain(&first))
}

/// A file under the name of one that is being made, empty.
fn making(path: &Path) -> Result<File, CheckpointError> {
    let making = path.with_extension(MAKING);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).to_owned();
    let file = locked(&making, &options, With::Nobody)?;
    let file = file.ok_or_else(|| CheckpointError::Locked { path: path.to_owned() })?;
    file.set_bytes(0).map_err(|error| io(path, error))?;
    Ok(file)
}

/// Makes a file with no database in it, unless somebody else has been quicker.
fn make(path: &Path) -> Result<(), CheckpointError> {
    let file = making(path)?;
    let made = || {
        Pages::create(Box::new(file.try_clone()?))?;
        file.sync()?;
        let making = path.with_extension(MAKING);
        match renameat_with(CWD, &making, CWD, path, RenameFlags::NOREPLACE) {
            // Some file systems cannot promise that nothing is replaced.
            Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(&making, path),
            Err(Errno::EXIST) => std::fs::remove_file(&making),
            renamed => renamed.map_err(io::Error::from),
        }
    };
    made().map_err(|error| io(path, error))
}

/// Puts a file of checked pages into the place of a plain one, at once. `plain` is locked.
fn take_over(path: &Path, plain: &File) -> Result<(), CheckpointError> {
    let file = making(path)?;
    let clone =
        |file: &File| Ok::<_, CheckpointError>(Box::new(file.try_clone().map_err(|error| io(path, error))?));
    let (plain, to) = (clone(plain)?, clone(&file)?);
    takeover::take_over(path, plain, to)?;
    std::fs::rename(path.with_extension(MAKING), path).map_err(|error| io(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_of_a_file_that_was_being_made_is_made_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("checkpoints.redb");
        std::fs::write(dir.path().join("checkpoints.making"), vec![1; 300_000]).expect("written");
        let first = open_or_make(&path).expect("made");
        assert!(matches!(open_or_make(&path), Err(CheckpointError::Locked { .. })));
        assert!(matches!(look(&path), Err(CheckpointError::Locked { .. })));
        drop(first);
        let (one, other) = (look(&path).expect("a look"), look(&path).expect("another"));
        assert!(one.is_some() && other.is_some());
        assert!(matches!(open_or_make(&path), Err(CheckpointError::Locked { .. })), "it is read");
        drop((one, other));
        open_or_make(&path).expect("opened");
        let names = std::fs::read_dir(dir.path()).expect("a directory");
        let names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(names, ["checkpoints.redb"]);
    }

    /// A crash came between the name and the database.
    #[test]
    fn a_file_with_no_database_in_it_yet_gets_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("checkpoints.redb");
        make(&path).expect("made");
        assert!(look(&path).expect("a look").is_some());
        open_or_make(&path).expect("opened");
    }

    #[test]
    fn a_file_of_that_name_is_opened_whatever_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("checkpoints.redb");
        std::fs::write(&path, b"something else entirely").expect("written");
        assert!(matches!(open_or_make(&path), Err(CheckpointError::Foreign { .. })));
        assert_eq!(std::fs::read(&path).expect("there"), b"something else entirely");
    }
}
