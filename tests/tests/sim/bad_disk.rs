//! Disks that help to make a mistake: one that says it has synced, and one that makes every checksum right.

use std::ffi::OsString;
use std::io::Result;
use std::path::Path;
use std::sync::Arc;

use disk::{Disk, DiskFile, Lock, Mode, Stat};

use super::disk::SimDisk;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NoSync,
    /// What is read of frames has the checksum of what is there.
    NoChecksum {
        /// Bytes of a file before its first frame.
        head: usize,
    },
}

#[derive(Clone, Debug)]
pub struct BadDisk {
    disk: SimDisk,
    fault: Fault,
}

impl BadDisk {
    /// The disk itself, or one with a fault before it.
    pub fn over(disk: &SimDisk, fault: Option<Fault>) -> Arc<dyn Disk> {
        match fault {
            None => Arc::new(disk.clone()),
            Some(fault) => Arc::new(Self { disk: disk.clone(), fault }),
        }
    }
}

impl Disk for BadDisk {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn DiskFile>> {
        let file = self.disk.open(path, mode)?;
        Ok(Box::new(BadFile { file, fault: self.fault }))
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        self.disk.stat(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<OsString>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.disk.remove(path)
    }

    fn make_dir(&self, dir: &Path) -> Result<()> {
        self.disk.make_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.disk.sync_dir(dir)
    }

    fn copy(&self, from: &Path, bytes: u64, to: &Path, at: u64) -> Result<()> {
        self.disk.copy(from, bytes, to, at)
    }

    fn take_permissions(&self, path: &Path, of: &Path) -> Result<()> {
        self.disk.take_permissions(path, of)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        self.disk.lock(path)
    }

    fn lock_name(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        self.disk.lock_name(path)
    }
}

struct BadFile {
    file: Box<dyn DiskFile>,
    fault: Fault,
}

impl DiskFile for BadFile {
    fn bytes(&self) -> Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize> {
        let Fault::NoChecksum { head } = self.fault else { return self.file.read_at(into, at) };
        let mut all = vec![0; self.file.bytes()? as usize];
        let count = self.file.read_at(&mut all, 0)?;
        all.truncate(count);
        make_checksums_right(&mut all, head);
        let there = all.get(at as usize..).unwrap_or_default();
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        Ok(count)
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
        match self.fault {
            Fault::NoSync => Ok(()),
            Fault::NoChecksum { .. } => self.file.sync(),
        }
    }
}

/// Of all frames one behind the other: length, checksum, payload.
fn make_checksums_right(all: &mut [u8], head: usize) {
    let mut at = head;
    while let Some(&[a, b, c, d]) = all.get(at..at + 4) {
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some(payload) = all.get(at + 8..at + 8 + length).filter(|payload| !payload.is_empty()) else {
            return;
        };
        let crc = crc32c::crc32c(payload);
        all[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at += 8 + length;
    }
}
