//! A file that notes that a sync of it has failed.

use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use disk::DiskFile;

pub(super) struct Watched {
    pub file: Box<dyn DiskFile>,
    pub unsynced: Arc<AtomicBool>,
}

impl DiskFile for Watched {
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
        self.file.sync().inspect_err(|_| self.unsynced.store(true, Ordering::SeqCst))
    }
}
