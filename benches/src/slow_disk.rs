//! The machine's disk with syncs that take longer than they do here.

use std::ffi::OsString;
use std::io::Result;
use std::path::Path;
use std::time::Duration;

use disk::{Disk, DiskFile, Lock, Mode, Stat, SystemDisk};

/// How long each sync takes beyond what it takes.
#[derive(Clone, Copy, Debug)]
pub struct SlowDisk(pub Duration);

impl Disk for SlowDisk {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile { file: SystemDisk.open(path, mode)?, sync: self.0 }))
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        SystemDisk.stat(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<OsString>> {
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

struct SlowFile {
    file: Box<dyn DiskFile>,
    sync: Duration,
}

impl DiskFile for SlowFile {
    fn bytes(&self) -> Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize> {
        self.file.read_at(into, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.file.write_at(bytes, at)
    }

    fn set_bytes(&self, bytes: u64) -> Result<()> {
        self.file.set_bytes(bytes)
    }

    fn preallocate(&self, bytes: u64) -> Result<()> {
        self.file.preallocate(bytes)
    }

    fn sync(&self) -> Result<()> {
        std::thread::sleep(self.sync);
        self.file.sync()
    }
}
