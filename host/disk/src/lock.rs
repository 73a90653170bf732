//! Names that one process has at a time.
//!
//! A lock of a name is one of a file that is made for it and removed while it is still held, so that nothing is left
//! behind. Whoever comes to hold a file that has lost the name meanwhile begins again. What a process leaves that was
//! killed is locked by nobody, and is taken over.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::Lock;

/// How often a file is opened that others make and remove meanwhile.
const TRIES: usize = 5;

pub(super) struct NameLock {
    path: PathBuf,
    file: File,
}

impl NameLock {
    /// None where somebody else has it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        for _ in 0..TRIES {
            let Some(file) = open_or_make(path)? else { continue };
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Ok(None),
                // Whoever keeps files on such a file system sees to it that one process writes them.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => {}
            }
            let lock = Self { path: path.to_owned(), file };
            if lock.has_name()? {
                return Ok(Some(lock));
            }
        }
        // One that has just gone is nobody's link: it was somebody's lock.
        match path.is_symlink() && !path.exists() {
            true => {
                Err(io::Error::new(ErrorKind::InvalidInput, "it is a link that leads nowhere: remove it"))
            }
            false => Ok(None),
        }
    }

    fn has_name(&self) -> io::Result<bool> {
        let is = self.file.metadata()?;
        match self.path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            there => Ok(there.map(|there| (there.dev(), there.ino()) == (is.dev(), is.ino()))?),
        }
    }

    /// Whether the file is one that was made for a lock: somebody may have kept something under such a name.
    fn is_made(&self) -> io::Result<bool> {
        let is = self.file.metadata()?;
        Ok(is.is_file() && is.len() == 0)
    }
}

impl Lock for NameLock {}

impl Drop for NameLock {
    fn drop(&mut self) {
        let is_ours = self.has_name().and_then(|has_name| Ok(has_name && self.is_made()?));
        if is_ours.unwrap_or(false) {
            // One that stays is taken over by whoever comes next.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Opens a file to be read. What is none, such as a pipe that nobody writes to, is refused and not waited for.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = open_at_once(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "it is no file")),
    }
}

fn open_at_once(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// To be read, which is enough for a lock: the file may be another user's. None where it went while it was looked for.
fn open_or_make(path: &Path) -> io::Result<Option<File>> {
    match open_at_once(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened.map(Some),
    }
    match OpenOptions::new().read(true).write(true).create_new(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        made => made.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_holders_and_leaves_no_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(".o.lock");
        let first = NameLock::take(&path).expect("a lock").expect("free");
        assert!(NameLock::take(&path).expect("an answer").is_none(), "it is held");
        // Somebody has opened the file, and comes to lock it when it is gone.
        let late = NameLock { path: path.clone(), file: File::open(&path).expect("a file") };
        drop(first);
        assert!(!path.exists() && !late.has_name().expect("an answer"));
        let second = NameLock::take(&path).expect("a lock").expect("free");
        drop(late);
        assert!(path.exists(), "whoever was late does not take it from the next one");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_taken_over_and_what_is_somebodys_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(".o.lock");
        std::fs::write(&path, "").expect("written");
        drop(NameLock::take(&path).expect("a lock").expect("free"));
        assert!(!path.exists());
        std::fs::write(&path, "a note").expect("written");
        drop(NameLock::take(&path).expect("a lock").expect("free"));
        assert_eq!(std::fs::read(&path).expect("there"), b"a note");
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("nowhere/at-all", &path).expect("a link");
        let told = NameLock::take(&path).err().expect("no lock").to_string();
        assert!(told.contains("leads nowhere"), "{told}");
    }

    #[test]
    fn a_pipe_is_no_file_and_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        assert_eq!(open_file(&path).expect_err("no file").to_string(), "it is no file");
        assert_eq!(open_file(dir.path()).expect_err("no file").to_string(), "it is no file");
        std::fs::write(dir.path().join("file"), "x").expect("written");
        assert!(open_file(&dir.path().join("file")).is_ok());
    }
}
