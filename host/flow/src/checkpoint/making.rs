//! How the file of a store comes to be: it is made under another name and gets its own when it is whole, because what a
//! crash leaves of one that was being made is no database, and nobody could go on with it.

use std::io;
use std::path::Path;

use redb::{Database, DatabaseError, StorageError};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Of the name that a file has while it is being made.
const MAKING: &str = "making";

/// Opens the file with `create`, or makes it, and then it is durable with its directory.
pub(super) fn open_or_make(
    path: &Path,
    create: impl Fn(&Path) -> Result<Database, DatabaseError>,
) -> Result<Database, DatabaseError> {
    if path.exists() {
        return create(path);
    }
    let making = path.with_extension(MAKING);
    let made = match create(&making) {
        Err(error) if is_half_made(&error) => {
            std::fs::remove_file(&making)?;
            create(&making)?
        }
        made => made?,
    };
    match renameat_with(CWD, &making, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(made),
        // Some file systems cannot promise that nothing is replaced.
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::rename(&making, path)?;
            Ok(made)
        }
        // Somebody else has been quicker, and has it open.
        Err(Errno::EXIST) => create(path),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

fn is_half_made(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Io(error)) => error.kind() == io::ErrorKind::InvalidData,
        DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_of_a_file_that_was_being_made_is_made_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("checkpoints.redb");
        let open = || open_or_make(&path, |path| Database::create(path));
        std::fs::write(dir.path().join("checkpoints.making"), vec![0; 8192]).expect("written");
        let first = open().expect("made");
        assert!(matches!(open(), Err(DatabaseError::DatabaseAlreadyOpen)));
        drop(first);
        open().expect("opened");
        let names = std::fs::read_dir(dir.path()).expect("a directory");
        let names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(names, ["checkpoints.redb"]);
    }

    #[test]
    fn a_file_of_that_name_is_opened_whatever_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("checkpoints.redb");
        std::fs::write(&path, b"something else entirely").expect("written");
        assert!(open_or_make(&path, |path| Database::create(path)).is_err());
        assert_eq!(std::fs::read(&path).expect("there"), b"something else entirely");
    }
}
