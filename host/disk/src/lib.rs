//! The operations on files that durability rests on, each of them one thing that a crash may come before or after.
//!
//! What is promised is what a file system promises, and no more: bytes that were written are there after a crash only
//! once their file was synced, and a name only once its directory was. A simulation puts a disk of its own beneath,
//! which loses and tears what it may. [`SystemDisk`] is the real one.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

pub mod fault;
pub mod frame;
mod lock;
pub mod pages;

use lock::NameLock;
pub use lock::open_file;

/// What is copied at a time.
const COPY_BYTES: usize = 256 << 10;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To be read; it has to be there.
    Read,
    /// To be read and written; it has to be there, and keeps what is in it.
    Change,
    /// To be read and written, and empty, whatever was there.
    Create,
    /// To be read and written; none may be there.
    CreateNew,
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub bytes: u64,
    /// Whether it is a regular file, or a link to one.
    pub is_file: bool,
    pub is_dir: bool,
}

/// What changes with a file and with what is in it, as far as its file system notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub bytes: u64,
    /// When anything of it changed, in nanoseconds since the Unix epoch.
    pub changed_ns: i128,
}

/// Somebody holds it as long as it is not dropped.
pub trait Lock: Send + Sync {}

/// A file system.
pub trait Disk: Send + Sync + fmt::Debug {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>>;
    /// None where nothing has that name.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// Gives a file another name; what had the name before is replaced. Durable with the directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable with the directory.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes one directory; one that is there already is as good. Durable with the directory that it is in.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// Which names a directory has, and which files they stand for, outlasts a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Puts the first `bytes` of one file into another at `at`: an error where there are fewer.
    fn copy(&self, from: &Path, bytes: u64, to: &Path, at: u64) -> io::Result<()> {
        let (from, to) = (self.open(from, Mode::Read)?, self.open(to, Mode::Change)?);
        let mut piece = vec![0; COPY_BYTES.min(usize::try_from(bytes).unwrap_or(COPY_BYTES))];
        let mut done = 0;
        while done < bytes {
            let some = piece.len().min(usize::try_from(bytes - done).unwrap_or(COPY_BYTES));
            read_exact_at(&*from, &mut piece[..some], done)?;
            to.write_at(&piece[..some], at + done)?;
            done += some as u64;
        }
        Ok(())
    }
    /// Gives a file the permissions of another, where that is there. Nothing, where a disk knows of none.
    fn take_permissions(&self, path: &Path, of: &Path) -> io::Result<()> {
        let _ = (path, of);
        Ok(())
    }
    /// Takes the lock that a file stands for, which is made where there is none. None where somebody else has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// Takes the lock that a name stands for: a file has the name as long as it is held, and after a crash. None where
    /// somebody else has it.
    fn lock_name(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
}

/// An open file. Reading and writing name their places, so that nothing moves between two calls.
pub trait DiskFile: Send + Sync {
    fn bytes(&self) -> io::Result<u64>;
    /// Reads up to as many bytes as fit; fewer at the end of the file alone.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `bytes`. After an error, any part of them may be there.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Cuts the file, or makes it longer by zeros that take no space.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;
    /// Makes the file this long, by zeros whose space is taken already: writing there does not fail for want of it.
    fn preallocate(&self, bytes: u64) -> io::Result<()>;
    /// What was written outlasts a power cut, and the length with it. After an error nobody knows what of it does, and
    /// a second sync that goes well says nothing about that.
    fn sync(&self) -> io::Result<()>;
    /// None where a disk knows of none.
    fn stamp(&self) -> io::Result<Option<Stamp>> {
        Ok(None)
    }
}

/// Whether an error says that there is no room: waiting, or whoever looks after the disk, may help.
pub fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes the directories that are missing, durably.
pub fn make_dirs(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for above in dir.ancestors() {
        if disk.stat(or_here(above))?.is_some() {
            // Whoever made it may not have come to the sync; all above it are made before.
            if above.file_name().is_some() {
                match disk.sync_dir(dir_of(above)) {
                    // It was not made by us where we cannot even look.
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                    synced => synced?,
                }
            }
            break;
        }
        missing.push(above);
    }
    for dir in missing.into_iter().rev() {
        disk.make_dir(dir)?;
        disk.sync_dir(dir_of(dir))?;
    }
    Ok(())
}

/// The directory that a path is in.
pub fn dir_of(path: &Path) -> &Path {
    or_here(path.parent().unwrap_or(Path::new("")))
}

fn or_here(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

/// Fills `into` from `at` on; an error where the file ends before.
pub fn read_exact_at(file: &dyn DiskFile, into: &mut [u8], at: u64) -> io::Result<()> {
    if file.read_at(into, at)? < into.len() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != Mode::Read);
        match mode {
            Mode::Read | Mode::Change => {}
            Mode::Create => {
                options.create(true).truncate(true);
            }
            Mode::CreateNew => {
                options.create_new(true);
            }
        }
        Ok(Box::new(options.open(path)?))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match path.metadata() {
            Ok(there) => {
                Ok(Some(Stat { bytes: there.len(), is_file: there.is_file(), is_dir: there.is_dir() }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let names = std::fs::read_dir(or_here(dir))?.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        match std::fs::create_dir(dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            made => made,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(or_here(dir))?.sync_all()
    }

    /// Within the kernel, where it can.
    fn copy(&self, from: &Path, bytes: u64, to: &Path, at: u64) -> io::Result<()> {
        let from = File::open(from)?;
        let mut to = OpenOptions::new().write(true).open(to)?;
        to.seek(SeekFrom::Start(at))?;
        let copied = io::copy(&mut from.take(bytes), &mut to)?;
        if copied < bytes { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn take_permissions(&self, path: &Path, of: &Path) -> io::Result<()> {
        match of.metadata() {
            Ok(there) => std::fs::set_permissions(path, there.permissions()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn lock_name(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        Ok(NameLock::take(path)?.map(|lock| Box::new(lock) as Box<dyn Lock>))
    }
}

impl Lock for File {}

/// Written at a time where a file system cannot give space beforehand.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl DiskFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match std::os::unix::fs::FileExt::read_at(self, &mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(()),
        }
        let mut at = self.metadata()?.len();
        while at < bytes {
            let some = &ZEROS[..ZEROS.len().min((bytes - at) as usize)];
            self.write_all_at(some, at)?;
            at += some.len() as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn stamp(&self) -> io::Result<Option<Stamp>> {
        let there = self.metadata()?;
        let changed_ns = i128::from(there.ctime()) * 1_000_000_000 + i128::from(there.ctime_nsec());
        Ok(Some(Stamp { device: there.dev(), inode: there.ino(), bytes: there.len(), changed_ns }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_disk_does_what_the_trait_says() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk: &dyn Disk = &SystemDisk;
        let at = |name: &str| dir.path().join(name);
        make_dirs(disk, &at("a/b/c")).expect("made");
        make_dirs(disk, &at("a/b/c")).expect("there already");
        assert!(disk.stat(&at("a/b")).expect("a stat").expect("there").is_dir);
        let file = disk.open(&at("a/x"), Mode::CreateNew).expect("a file");
        assert!(disk.open(&at("a/x"), Mode::CreateNew).is_err(), "it was there");
        file.preallocate(100_000).expect("space");
        file.write_at(b"hello", 10).expect("written");
        file.sync().expect("synced");
        let mut read = [1; 8];
        read_exact_at(&*file, &mut read, 8).expect("read");
        assert_eq!(&read, b"\0\0hello\0");
        assert_eq!(file.bytes().expect("a length"), 100_000);
        file.set_bytes(12).expect("cut");
        assert_eq!(file.read_at(&mut read, 10).expect("read"), 2);
        assert!(read_exact_at(&*file, &mut read, 10).is_err());
        let other = disk.open(&at("z"), Mode::Create).expect("a file");
        other.write_at(b"before", 0).expect("written");
        disk.copy(&at("a/x"), 12, &at("z"), 4).expect("copied");
        let mut all = [1; 16];
        read_exact_at(&*other, &mut all, 0).expect("read");
        assert_eq!(&all, b"befo\0\0\0\0\0\0\0\0\0\0he");
        assert!(disk.copy(&at("a/x"), 13, &at("z"), 4).is_err(), "there is less in it");
        disk.take_permissions(&at("z"), &at("a/x")).expect("as it is");
        disk.take_permissions(&at("z"), &at("gone")).expect("nothing to take");
        let stamp = |file: &dyn DiskFile| file.stamp().expect("a stamp").expect("one");
        assert_ne!(stamp(&*file), stamp(&*other));
        let before = stamp(&*other);
        other.set_bytes(15).expect("cut");
        assert_ne!(stamp(&*other), before);
        disk.rename(&at("a/x"), &at("a/y")).expect("renamed");
        disk.sync_dir(&at("a")).expect("synced");
        assert_eq!(disk.list(&at("a")).expect("names"), ["b", "y"]);
        assert!(disk.open(&at("a/x"), Mode::Change).is_err(), "it has another name");
        assert_eq!(
            disk.stat(&at("a/y")).expect("a stat"),
            Some(Stat { bytes: 12, is_file: true, is_dir: false })
        );
        disk.open(&at("a/y"), Mode::Create).expect("emptied");
        assert_eq!(disk.stat(&at("a/y")).expect("a stat").map(|stat| stat.bytes), Some(0));
        let lock = disk.lock(&at("lock")).expect("a lock");
        assert!(lock.is_some() && disk.lock(&at("lock")).expect("no lock").is_none());
        drop(lock);
        assert!(disk.lock(&at("lock")).expect("a lock").is_some());
        disk.remove(&at("a/y")).expect("removed");
        assert_eq!(disk.stat(&at("a/y")).expect("a stat"), None);
    }
}
