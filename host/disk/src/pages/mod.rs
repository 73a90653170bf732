//! The file beneath a database: pages, each with a checksum that is looked at whenever it is read.
//!
//! The database looks at checksums of its own only when it repairs itself, and takes any other page for what it wrote:
//! a flipped bit made it panic, or answer something else. Here nothing is handed to it that is not what it wrote.
//!
//! What a crash leaves is no damage, because the database never reads a page that it has not synced since: it writes new
//! pages into free places, syncs them, and only then has its header name them (a commit in two phases, which every
//! commit of ours is). Its header is written in place, and is not at the mercy of a torn write either: see `layout`.

mod layout;
mod overlay;

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use redb::StorageBackend;

use crate::frame::HeadError;
use crate::{DiskFile, read_exact_at};
use layout::{CHECKSUM_BYTES, RECORD_BYTES, Record};
pub use layout::{HEADER_BYTES, PAGE_BYTES};
pub use overlay::{Overlay, Plain};

/// Checksums of pages that were written and wait for a sync to be written as well: a megabyte or so.
const CHECKSUMS_MAX: usize = 16 << 10;

/// What was found to be wrong with a file first. The database may only say later that there was an error before.
#[derive(Clone, Debug, Default)]
pub struct Damage(Arc<OnceLock<String>>);

impl Damage {
    pub fn found(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Notes it, where nothing was found before. The error says what was found first.
    pub fn tell(&self, why: String) -> Error {
        Error::new(ErrorKind::InvalidData, self.0.get_or_init(|| why).clone())
    }
}

/// A file of checked pages, for a database to live in. It expects to be told of whole pages, or of the header alone.
pub struct Pages {
    file: Box<dyn DiskFile>,
    header: Mutex<Header>,
    /// Of pages that were written, by their numbers, and are not in the file yet: most of what is written before a sync
    /// lies one behind the other.
    checksums: Mutex<BTreeMap<u64, u32>>,
    damage: Damage,
}

struct Header {
    /// The one that counts.
    record: Record,
    /// Which of the two it is.
    index: usize,
    stands: Stands,
    /// Of the database, as long as the file is now.
    pages: u64,
}

/// Whether a record outlasts a power cut. Only then may the other one be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// It was there when the file was opened.
    Unknown,
    /// It was written, and the other one stands.
    No,
    Yes,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("damage", &self.damage).finish_non_exhaustive()
    }
}

/// Whether a database begins like this, as the files of older versions do.
pub fn is_plain(first: &[u8]) -> bool {
    first.starts_with(b"redb")
}

impl Pages {
    /// Makes an empty file into one with no database yet.
    pub fn create(file: Box<dyn DiskFile>) -> Result<Self> {
        file.set_bytes(layout::file_bytes(0))?;
        file.write_at(&layout::head(), 0)?;
        let mut record = Record { sequence: 0, pages: 0, header: [0; HEADER_BYTES] };
        for index in [1, 0] {
            record.sequence += 1;
            write_record(&*file, index, &record)?;
        }
        let header = Header { record, index: 0, stands: Stands::No, pages: 0 };
        Ok(Self::of(file, header, Damage::default()))
    }

    /// Opens one that is there.
    pub fn open(file: Box<dyn DiskFile>) -> std::result::Result<Self, OpenError> {
        let bytes = file.bytes()?;
        let mut head = layout::head();
        let there = file.read_at(&mut head, 0)?;
        layout::check_head(&head[..there])?;
        let damage = Damage::default();
        let ends = |had: String| damage.tell(format!("it ends at byte {bytes}, and {had}"));
        if bytes < layout::file_bytes(0) {
            return Err(ends("its header is behind that".to_owned()).into());
        }
        let mut copies = [[[0; RECORD_BYTES]; 2]; 2];
        for (index, copies) in copies.iter_mut().enumerate() {
            for (copy, at) in copies.iter_mut().zip(layout::record_places(index)) {
                read_exact_at(&*file, copy, at)?;
            }
        }
        let Some((index, record)) = layout::newest(copies) else {
            return Err(damage.tell("no copy of its header is whole".to_owned()).into());
        };
        let pages = match layout::pages_in(bytes) {
            // A crash came before there was a database in it.
            Some(_) if !is_plain(&record.header) => 0,
            Some(pages) if pages >= record.pages => pages,
            _ => return Err(ends(format!("had {} bytes", layout::file_bytes(record.pages))).into()),
        };
        let header = Header { record, index, stands: Stands::Unknown, pages };
        Ok(Self::of(file, header, damage))
    }

    fn of(file: Box<dyn DiskFile>, header: Header, damage: Damage) -> Self {
        Self { file, header: Mutex::new(header), checksums: Mutex::default(), damage }
    }

    /// What is found to be wrong while the database has it.
    pub fn damage(&self) -> Damage {
        self.damage.clone()
    }

    fn header(&self) -> MutexGuard<'_, Header> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checksums(&self) -> MutexGuard<'_, BTreeMap<u64, u32>> {
        self.checksums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts checksums into the file, those that lie together at once. Whoever looks for one waits until all are there.
    fn write_checksums(&self, checksums: &mut BTreeMap<u64, u32>) -> Result<()> {
        let mut run = Vec::new();
        let mut next = None;
        for (page, checksum) in std::mem::take(checksums) {
            let (_, at) = layout::place(page);
            match &mut next {
                Some((from, behind)) if *behind == at => *behind += CHECKSUM_BYTES as u64,
                next => {
                    if let Some((from, _)) = next.replace((at, at + CHECKSUM_BYTES as u64)) {
                        self.file.write_at(&run, from)?;
                        run.clear();
                    }
                }
            }
            run.extend(checksum.to_le_bytes());
        }
        next.map_or(Ok(()), |(from, _)| self.file.write_at(&run, from))
    }

    /// Writes what the header is now, beside the last one that stands.
    fn write_header(&self, header: &mut Header, change: impl FnOnce(&mut Record)) -> Result<()> {
        if header.stands == Stands::Unknown {
            self.file.sync()?;
            header.stands = Stands::Yes;
        }
        if header.stands == Stands::Yes {
            header.index = 1 - header.index;
        }
        header.stands = Stands::No;
        header.record.sequence += 1;
        header.record.pages = header.pages;
        change(&mut header.record);
        write_record(&*self.file, header.index, &header.record)
    }

    fn sync(&self, header: &mut Header) -> Result<()> {
        self.write_checksums(&mut self.checksums())?;
        self.file.sync()?;
        header.stands = Stands::Yes;
        Ok(())
    }

    /// Reads pages that lie one behind the other.
    fn read_run(&self, page: u64, out: &mut [u8]) -> Result<()> {
        let at = layout::place(page).0;
        read_exact_at(&*self.file, out, at).map_err(|error| self.ended(page, error))?;
        for (page, bytes) in (page..).zip(out.chunks(PAGE_BYTES)) {
            if layout::checksum(page, bytes) != self.checksum_of(page)? {
                let at = layout::place(page).0;
                let why = format!("page {page}, at byte {at}, is not what was written there");
                return Err(self.damage.tell(why));
            }
        }
        Ok(())
    }

    /// What is not waiting to be written is in the file, and stays there while it is read.
    fn checksum_of(&self, page: u64) -> Result<u32> {
        let waiting = self.checksums().get(&page).copied();
        if let Some(checksum) = waiting {
            return Ok(checksum);
        }
        let mut checksum = [0; CHECKSUM_BYTES];
        let read = read_exact_at(&*self.file, &mut checksum, layout::place(page).1);
        read.map_err(|error| self.ended(page, error))?;
        Ok(u32::from_le_bytes(checksum))
    }

    fn ended(&self, page: u64, error: Error) -> Error {
        match error.kind() {
            ErrorKind::UnexpectedEof => {
                self.damage.tell(format!("it ends before page {page}, which is in use"))
            }
            _ => error,
        }
    }

    fn write_run(&self, page: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_at(bytes, layout::place(page).0)?;
        for (page, bytes) in (page..).zip(bytes.chunks(PAGE_BYTES)) {
            let checksum = layout::checksum(page, bytes);
            self.checksums().insert(page, checksum);
        }
        let mut checksums = self.checksums();
        if checksums.len() > CHECKSUMS_MAX { self.write_checksums(&mut checksums) } else { Ok(()) }
    }
}

fn write_record(file: &dyn DiskFile, index: usize, record: &Record) -> Result<()> {
    let bytes = record.encode();
    layout::record_places(index).into_iter().try_for_each(|at| file.write_at(&bytes, at))
}

/// What is asked for, as the database is known to ask.
enum Asked {
    /// Bytes of its header.
    Header(std::ops::Range<usize>),
    /// Pages from this one on.
    Pages(u64),
}

fn asked(offset: u64, bytes: usize) -> Result<Asked> {
    let page_bytes = PAGE_BYTES as u64;
    match offset / page_bytes {
        0 if offset + bytes as u64 <= page_bytes => {
            Ok(Asked::Header(offset as usize..offset as usize + bytes))
        }
        page if page > 0 && offset.is_multiple_of(page_bytes) && bytes.is_multiple_of(PAGE_BYTES) => {
            Ok(Asked::Pages(page))
        }
        _ => Err(no_pages(offset, bytes)),
    }
}

fn no_pages(offset: u64, bytes: usize) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{bytes} bytes at {offset} are no pages"))
}

/// Pages from `page` on in parts that lie together: the first page of each, and the range of its bytes.
fn runs(mut page: u64, bytes: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        if from == bytes {
            return None;
        }
        let left = ((bytes - from) / PAGE_BYTES) as u64;
        let run = layout::run_of(page).min(left);
        let (first, range) = (page, from..from + run as usize * PAGE_BYTES);
        (page, from) = (page + run, range.end);
        Some((first, range))
    })
}

impl StorageBackend for Pages {
    fn len(&self) -> Result<u64> {
        Ok(self.header().pages * PAGE_BYTES as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        match asked(offset, out.len())? {
            Asked::Header(range) => {
                let header = self.header();
                let behind = std::iter::repeat(&0);
                let bytes = header.record.header.iter().chain(behind).skip(range.start);
                out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = *byte);
                Ok(())
            }
            Asked::Pages(page) => {
                runs(page, out.len()).try_for_each(|(page, range)| self.read_run(page, &mut out[range]))
            }
        }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        if !len.is_multiple_of(PAGE_BYTES as u64) {
            return Err(no_pages(0, len as usize));
        }
        let (mut header, pages) = (self.header(), len / PAGE_BYTES as u64);
        // What is cut off is not missed later: the record that says so stands before.
        if pages < header.record.pages {
            header.pages = pages;
            self.write_header(&mut header, |_| {})?;
            self.sync(&mut header)?;
        }
        // Nor is what was written there.
        self.checksums().split_off(&pages);
        self.file.set_bytes(layout::file_bytes(pages))?;
        header.pages = pages;
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        self.sync(&mut self.header())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        match asked(offset, data.len())? {
            Asked::Header(range) if range.end <= HEADER_BYTES => {
                self.write_header(&mut self.header(), |record| record.header[range].copy_from_slice(data))
            }
            Asked::Header(_) => Err(no_pages(offset, data.len())),
            Asked::Pages(page) => {
                runs(page, data.len()).try_for_each(|(page, range)| self.write_run(page, &data[range]))
            }
        }
    }
}

/// Why a file is none of checked pages.
#[derive(thiserror::Error, Debug)]
pub enum OpenError {
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(transparent)]
    Io(#[from] Error),
}

#[cfg(test)]
mod tests;
