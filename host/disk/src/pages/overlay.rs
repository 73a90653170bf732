//! A database that is looked at and not changed: what it writes stays in memory, above a file that is only read.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::layout::PAGE_BYTES;
use crate::{DiskFile, read_exact_at};

/// Clones are the same one. A database that is opened and closed writes a few pages: its header, and which pages are free.
#[derive(Clone, Debug)]
pub struct Overlay(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    below: Box<dyn StorageBackend>,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    bytes: u64,
    /// So much of what is below is still seen.
    below_bytes: u64,
    /// By number.
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl Overlay {
    pub fn over(below: impl StorageBackend) -> Result<Self> {
        let bytes = below.len()?;
        let changed = Changed { bytes, below_bytes: bytes, pages: BTreeMap::new() };
        Ok(Self(Arc::new(Shared { below: Box::new(below), changed: Mutex::new(changed) })))
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.0.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it is below, and zeros where that ends.
    fn read_below(&self, page: u64, below_bytes: u64) -> Result<Box<[u8; PAGE_BYTES]>> {
        let mut bytes = Box::new([0; PAGE_BYTES]);
        let at = page * PAGE_BYTES as u64;
        let there = below_bytes.saturating_sub(at).min(PAGE_BYTES as u64);
        self.0.below.read(at, &mut bytes[..there as usize])?;
        Ok(bytes)
    }
}

/// The pages that `bytes` at `offset` touch: the number of each, where in it they begin, and where in them it does.
fn parts(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let (page, within) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
        let range = done..bytes.min(done + PAGE_BYTES - within);
        done = range.end;
        (!range.is_empty()).then_some((page, within, range))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> Result<u64> {
        Ok(self.changed().bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let changed = self.changed();
        let end = offset + out.len() as u64;
        if end > changed.bytes {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let is_changed = parts(offset, out.len()).any(|(page, ..)| changed.pages.contains_key(&page));
        if !is_changed && end <= changed.below_bytes {
            drop(changed);
            return self.0.below.read(offset, out);
        }
        for (page, within, range) in parts(offset, out.len()) {
            let below;
            let bytes = match changed.pages.get(&page) {
                Some(bytes) => bytes,
                None => {
                    below = self.read_below(page, changed.below_bytes)?;
                    &below
                }
            };
            let bytes = &bytes[within..within + range.len()];
            out[range].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut changed = self.changed();
        changed.bytes = len;
        changed.below_bytes = changed.below_bytes.min(len);
        changed.pages.split_off(&len.div_ceil(PAGE_BYTES as u64));
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut changed = self.changed();
        for (page, within, range) in parts(offset, data.len()) {
            let is_whole = range.len() == PAGE_BYTES;
            let bytes = match changed.pages.remove(&page) {
                Some(bytes) => bytes,
                None if is_whole => Box::new([0; PAGE_BYTES]),
                None => self.read_below(page, changed.below_bytes)?,
            };
            let bytes = changed.pages.entry(page).or_insert(bytes);
            bytes[within..within + range.len()].copy_from_slice(&data[range]);
        }
        Ok(())
    }
}

/// A database in a file as it is, to be read.
pub struct Plain(pub Box<dyn DiskFile>);

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plain")
    }
}

impl StorageBackend for Plain {
    fn len(&self) -> Result<u64> {
        self.0.bytes()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        read_exact_at(&*self.0, out, offset)
    }

    fn set_len(&self, _len: u64) -> Result<()> {
        Err(is_read_only())
    }

    fn sync_data(&self) -> Result<()> {
        Err(is_read_only())
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> Result<()> {
        Err(is_read_only())
    }
}

fn is_read_only() -> Error {
    Error::new(ErrorKind::ReadOnlyFilesystem, "it is only read")
}
