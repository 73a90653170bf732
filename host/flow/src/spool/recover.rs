//! What is there of a spool when it is opened: each segment is read once, and what a crash left is told from damage.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::SpoolError;
use super::log::{Segment, is_no_space};
use super::segment::{self, FILE_HEAD_BYTES, Name, Scanned, Tail};
use crate::disk::{Disk, Mode, read_exact_at};
use crate::frame::HeadError;

pub(super) struct Recovered {
    /// Ascending. More may be written to the last one, as far as it has room.
    pub segments: VecDeque<Segment>,
    /// The number that the next record gets.
    pub next: u64,
}

/// The segments of a directory. What a crash left at the end of the last one is cut off, and what stays is durable.
/// Those that hold nothing from `from` on are not read: they are about to be released.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, from: Option<u64>) -> Result<Recovered, SpoolError> {
    let names = disk.list(dir).map_err(SpoolError::io(dir, "list"))?;
    let named = names.iter().filter_map(|name| Some((Name::parse(name.to_str()?)?, dir.join(name))));
    let mut named: Vec<(Name, PathBuf)> = named.collect();
    named.sort_by_key(|(name, _)| name.first);
    if let [before @ .., (name, path)] = &named[..]
        && !before.is_empty()
        && !is_begun(disk, *name, path).map_err(SpoolError::io(path, "read"))?
    {
        // The one before it knows the next number, and may have gone on where this one could not be made.
        disk.remove(path).map_err(SpoolError::io(path, "remove"))?;
        disk.sync_dir(dir).map_err(SpoolError::io(dir, "sync"))?;
        named.pop();
    }
    let mut recovered = Recovered { segments: VecDeque::with_capacity(named.len()), next: 0 };
    for (at, (name, path)) in named.iter().enumerate() {
        let behind = named.get(at + 1).map(|(behind, _)| behind.first);
        let opened = match behind {
            Some(next) if from.is_some_and(|from| from >= next) => unread(disk, *name, path, next).map(Some),
            _ => Reading { disk, dir, name: *name, path, behind }.read(&mut recovered.next),
        };
        recovered.segments.extend(opened?);
    }
    Ok(recovered)
}

fn unread(disk: &dyn Disk, name: Name, path: &Path, next: u64) -> Result<Segment, SpoolError> {
    let file = disk.open(path, Mode::Read).map_err(SpoolError::io(path, "open"))?;
    let bytes = file.bytes().map_err(SpoolError::io(path, "read"))?;
    let (first, salt, end) = (name.first, 0, bytes);
    Ok(Segment { first, salt, path: path.into(), file: file.into(), end, next, bytes })
}

/// One segment that is read.
struct Reading<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    name: Name,
    path: &'a Path,
    /// The first number of the segment behind it; none of the last one.
    behind: Option<u64>,
}

impl Reading<'_> {
    /// None where it was not even begun. `next`: becomes the number behind it.
    fn read(&self, next: &mut u64) -> Result<Option<Segment>, SpoolError> {
        let Name { first, given_up } = self.name;
        let file = self.disk.open(self.path, Mode::Change).map_err(self.failed("open"))?;
        let bytes = file.bytes().map_err(self.failed("read"))?;
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        read_exact_at(&*file, &mut content, 0).map_err(self.failed("read"))?;
        let scanned = match segment::scan(&content, first) {
            Ok(scanned) => scanned,
            Err(_) if given_up => {
                Scanned { salt: 0, end: FILE_HEAD_BYTES as u64, next: first, tail: Tail::Clean }
            }
            // A segment is used once its head is durable: one without was being made when there was a crash. It is made
            // anew under its name, which is the next number.
            Err(_) if self.behind.is_none() && is_blank(&content) => {
                *next = first;
                return Ok(None);
            }
            Err(HeadError::Damaged) => return Err(self.damaged(0, first, &HeadError::Damaged.to_string())),
            Err(error) => {
                return Err(SpoolError::Foreign { path: self.path.to_owned(), why: error.to_string() });
            }
        };
        let Scanned { salt, end, .. } = scanned;
        let mut segment = Segment {
            first,
            salt,
            path: self.path.into(),
            file: file.into(),
            end,
            next: scanned.next,
            bytes,
        };
        if given_up {
            // How many records its rest had nobody knows: no more than bytes, and their numbers are not given again.
            *next = self.behind.unwrap_or(scanned.next + bytes.saturating_sub(end));
            segment.bytes = end;
            tracing::warn!(
                file = %self.path.display(), from = scanned.next, before = *next,
                "a segment of the spool was given up: of these records, none that it had is delivered"
            );
            return Ok(Some(segment));
        }
        *next = scanned.next;
        self.check(&scanned)?;
        if self.behind.is_none() {
            self.make_ready(&mut segment, scanned.tail)?;
        }
        Ok(Some(segment))
    }

    fn check(&self, scanned: &Scanned) -> Result<(), SpoolError> {
        let Scanned { end, next, tail, .. } = *scanned;
        match (tail, self.behind) {
            (Tail::Damaged(why), _) => {
                Err(self.damaged(end, next, &format!("{why}, and a whole frame is behind it")))
            }
            (Tail::Torn, Some(_)) => {
                Err(self.damaged(end, next, "a frame is not whole, and another segment is behind it"))
            }
            (_, Some(behind)) if next != behind => {
                let why = format!(
                    "its last record is {}, and the first one of the next file is {behind}: its end was cut off, or \
                     a file between them is gone",
                    next.saturating_sub(1)
                );
                Err(self.damaged(end, next, &why))
            }
            _ => Ok(()),
        }
    }

    /// Cuts off what was not written to its end, and makes what stays durable: it may be in the memory of the kernel
    /// alone, and records are handed out of it.
    fn make_ready(&self, segment: &mut Segment, tail: Tail) -> Result<(), SpoolError> {
        let Segment { file, end, bytes, .. } = segment;
        if tail == Tail::Torn {
            tracing::warn!(
                file = %self.path.display(), at = *end,
                "records that were not written to their end are cut off: nobody was told that they were taken"
            );
            file.set_bytes(*end).map_err(self.failed("cut"))?;
            *bytes = match file.preallocate(*bytes) {
                Ok(()) => *bytes,
                // It is full then.
                Err(error) if is_no_space(error.kind()) => *end,
                Err(error) => return Err(self.failed("make room in")(error)),
            };
        }
        let synced = file.sync().and_then(|()| self.disk.sync_dir(self.dir));
        synced.map_err(|error| SpoolError::NotDurable { path: self.path.to_owned(), why: error.to_string() })
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> SpoolError + '_ {
        SpoolError::io(self.path, doing)
    }

    fn damaged(&self, offset: u64, next: u64, why: &str) -> SpoolError {
        SpoolError::Damaged { path: self.path.to_owned(), offset, next, why: why.to_owned() }
    }
}

/// Whether a segment was made as far as its head.
fn is_begun(disk: &dyn Disk, name: Name, path: &Path) -> io::Result<bool> {
    let file = disk.open(path, Mode::Read)?;
    let mut content = vec![0; FILE_HEAD_BYTES];
    let there = file.read_at(&mut content, 0)?;
    content.truncate(there);
    if name.given_up || segment::scan(&content, name.first).is_ok() {
        return Ok(true);
    }
    let bytes = usize::try_from(file.bytes()?).unwrap_or(usize::MAX);
    content.resize(bytes, 0);
    read_exact_at(&*file, &mut content, 0)?;
    Ok(!is_blank(&content))
}

/// Whether nothing stands behind the head.
fn is_blank(content: &[u8]) -> bool {
    content.iter().skip(FILE_HEAD_BYTES).all(|&byte| byte == 0)
}
