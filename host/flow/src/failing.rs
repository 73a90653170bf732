//! A disk for tests that fails as it is told.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use disk::{Disk, DiskFile, Lock, Mode, Stat, SystemDisk};

/// The directory of the system, with faults. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Failing(Arc<Faults>);

#[derive(Debug)]
struct Faults {
    /// Syncs of files that go well before they fail.
    syncs: AtomicU32,
    /// Syncs of files that were asked for.
    synced: AtomicU32,
    /// Bytes that can still be preallocated.
    space: AtomicU64,
    /// Whether writes come to their middle, and then there is no room.
    is_full: AtomicBool,
}

impl Failing {
    pub fn new(syncs: u32, space: u64) -> Self {
        let (syncs, space) = (syncs.into(), space.into());
        Self(Arc::new(Faults { syncs, synced: AtomicU32::new(0), space, is_full: AtomicBool::new(false) }))
    }

    /// It fails nowhere until it is told to.
    pub fn nowhere() -> Self {
        Self::new(u32::MAX, u64::MAX)
    }

    pub fn syncs(&self, left: u32) {
        self.0.syncs.store(left, Ordering::SeqCst);
    }

    pub fn synced(&self) -> u32 {
        self.0.synced.load(Ordering::SeqCst)
    }

    pub fn space(&self, left: u64) {
        self.0.space.store(left, Ordering::SeqCst);
    }

    pub fn fill(&self, is_full: bool) {
        self.0.is_full.store(is_full, Ordering::SeqCst);
    }
}

impl Disk for Failing {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FailingFile(SystemDisk.open(path, mode)?, self.0.clone())))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        SystemDisk.stat(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        SystemDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.make_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        SystemDisk.lock(path)
    }

    fn lock_name(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        SystemDisk.lock_name(path)
    }
}

struct FailingFile(Box<dyn DiskFile>, Arc<Faults>);

impl DiskFile for FailingFile {
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(into, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.1.is_full.load(Ordering::SeqCst) {
            self.0.write_at(&bytes[..bytes.len() / 2], at)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write_at(bytes, at)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_bytes(bytes)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        let left = self.1.space.load(Ordering::SeqCst);
        let left = left.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        self.1.space.store(left, Ordering::SeqCst);
        self.0.preallocate(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.synced.fetch_add(1, Ordering::SeqCst);
        match self.1.syncs.load(Ordering::SeqCst) {
            0 => Err(io::Error::other("the disk is on fire")),
            left => {
                self.1.syncs.store(left - 1, Ordering::SeqCst);
                self.0.sync()
            }
        }
    }
}
