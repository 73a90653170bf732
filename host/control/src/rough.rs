//! A disk for tests that is slow, full, or fails.

use std::io::{ErrorKind, Result};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use disk::{Disk, DiskFile, Lock, Mode, Stat, SystemDisk};

/// Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rough(Arc<Knobs>);

#[derive(Debug, Default)]
struct Knobs {
    sync_ms: AtomicU64,
    /// With what syncs fail.
    fails: Mutex<Option<ErrorKind>>,
    is_full: AtomicBool,
    /// Whether what one file gives up is there for others.
    frees: AtomicBool,
    /// Bytes that were given up and are there to be written.
    free: AtomicU64,
}

impl Rough {
    pub fn slow(sync: Duration) -> Self {
        let rough = Self::default();
        rough.0.sync_ms.store(sync.as_millis() as u64, Ordering::SeqCst);
        rough
    }

    pub fn fail_syncs(&self, with: ErrorKind) {
        *lock(&self.0.fails) = Some(with);
    }

    /// `frees`: what is given up is room for something else.
    pub fn fill(&self, is_full: bool, frees: bool) {
        self.0.is_full.store(is_full, Ordering::SeqCst);
        self.0.frees.store(frees, Ordering::SeqCst);
        self.0.free.store(0, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Knobs {
    fn take(&self, bytes: u64) -> Result<()> {
        if !self.is_full.load(Ordering::SeqCst) {
            return Ok(());
        }
        let taken =
            self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| ErrorKind::StorageFull.into())
    }
}

impl Disk for Rough {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn DiskFile>> {
        Ok(Box::new(RoughFile { file: SystemDisk.open(path, mode)?, knobs: self.0.clone() }))
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        SystemDisk.stat(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<std::ffi::OsString>> {
        SystemDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        SystemDisk.remove(path)
    }

    fn make_dir(&self, dir: &Path) -> Result<()> {
        SystemDisk.make_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        SystemDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        SystemDisk.lock(path)
    }

    fn lock_name(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        SystemDisk.lock_name(path)
    }
}

struct RoughFile {
    file: Box<dyn DiskFile>,
    knobs: Arc<Knobs>,
}

impl DiskFile for RoughFile {
    fn bytes(&self) -> Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize> {
        self.file.read_at(into, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.knobs.take(bytes.len() as u64)?;
        self.file.write_at(bytes, at)
    }

    fn set_bytes(&self, bytes: u64) -> Result<()> {
        let freed = self.file.bytes()?.saturating_sub(bytes);
        if self.knobs.frees.load(Ordering::SeqCst) {
            self.knobs.free.fetch_add(freed, Ordering::SeqCst);
        }
        self.file.set_bytes(bytes)
    }

    fn preallocate(&self, bytes: u64) -> Result<()> {
        self.knobs.take(bytes.saturating_sub(self.file.bytes()?))?;
        self.file.preallocate(bytes)
    }

    fn sync(&self) -> Result<()> {
        if let Some(kind) = *lock(&self.knobs.fails) {
            return Err(kind.into());
        }
        std::thread::sleep(Duration::from_millis(self.knobs.sync_ms.load(Ordering::SeqCst)));
        self.file.sync()
    }
}
