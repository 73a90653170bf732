//! What is there of a spool when it is opened: each segment is read once, and what a crash or a full disk left is told
//! from damage.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use disk::frame::HeadError;
use disk::{Disk, DiskFile, Mode, read_exact_at};

use super::log::{Segment, is_no_space};
use super::segment::{self, Head, MAKING, Name, Scanned, Tail};
use super::{Lost, SpoolError};

pub(super) struct Recovered {
    /// Ascending. More may be written to the last one, as far as it has room.
    pub segments: VecDeque<Segment>,
    /// The number that the next record gets.
    pub next: u64,
    /// Whether a mark is behind all of them.
    pub is_marked: bool,
}

/// The segments of a directory. What a crash left at the end of the last one is cut off, and what stays is durable.
/// Those that hold nothing from `from` on are not read: they are about to be released.
///
/// A segment that could not be made is there under another name, or is empty. Records went on in the one before it
/// then, so that any number of empty ones may stand behind one that is not: they are passed over. That all records
/// before an empty one were durable when it was begun still holds.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, from: Option<u64>) -> Result<Recovered, SpoolError> {
    let names = disk.list(dir).map_err(SpoolError::io(dir, "list"))?;
    let (files, empty) = sort(disk, dir, &names)?;
    if let (Some(lone), Some(begins)) = (empty.first(), files.first())
        && lone.name.first < begins.name.first
        && from.is_none_or(|from| from < begins.name.first)
        && (lone.is_newer() || begins.is_newer())
    {
        return Err(lone.holds_nothing());
    }
    let mut recovered =
        Recovered { segments: VecDeque::with_capacity(files.len()), next: 0, is_marked: true };
    for (at, File { name, path, .. }) in files.iter().enumerate() {
        let behind = files.get(at + 1).map(|behind| behind.name.first);
        let sure =
            empty.iter().map(|file| file.name.first).filter(|&first| behind.is_none_or(|next| first < next));
        let sure = sure.max().unwrap_or(0);
        let opened = match behind {
            Some(next) if from.is_some_and(|from| from >= next) => unread(disk, *name, path, next)?,
            _ => Reading { disk, dir, name: *name, path, behind, sure }.read(&mut recovered)?,
        };
        recovered.segments.push_back(opened);
    }
    let Some(last) = empty.last() else { return Ok(recovered) };
    let first = last.name.first;
    let had_head = if files.is_empty() { first > 0 } else { files.iter().any(File::is_newer) };
    if last.head.is_none() && first >= recovered.next && had_head {
        return Err(last.holds_nothing());
    }
    if files.is_empty() {
        recovered.next = first;
    }
    if let Some(room) = last.head.and_then(|head| head.made)
        && first == recovered.next
    {
        recovered.segments.push_back(last.begun(disk, dir, room)?);
        recovered.is_marked = true;
    }
    // The one that has the next number is made anew under its name.
    for file in empty.iter().filter(|file| file.name.first < recovered.next && !files.is_empty()) {
        // It is passed over as long as it is there.
        let _ = disk.remove(&file.path);
    }
    Ok(recovered)
}

/// A file with the name of a segment.
struct File {
    name: Name,
    path: PathBuf,
    /// Where it can be read.
    head: Option<Head>,
}

/// The segments that hold something, and those that are empty; both ascending. Those that were being made are removed.
fn sort(disk: &dyn Disk, dir: &Path, names: &[OsString]) -> Result<(Vec<File>, Vec<File>), SpoolError> {
    let (mut files, mut empty) = (Vec::new(), Vec::new());
    for name in names {
        let path = dir.join(name);
        if path.extension().is_some_and(|extension| extension == MAKING) {
            // It takes up space and does no harm.
            let _ = disk.remove(&path);
            continue;
        }
        let Some(name) = name.to_str().and_then(Name::parse) else { continue };
        let (head, is_empty) = look(disk, name, &path).map_err(SpoolError::io(&path, "read"))?;
        let file = File { name, path, head };
        if is_empty { empty.push(file) } else { files.push(file) }
    }
    files.sort_by_key(|file: &File| file.name.first);
    empty.sort_by_key(|file: &File| file.name.first);
    Ok((files, empty))
}

/// The head of a segment, and whether nothing is behind it, as far as that may be where nothing is damaged.
fn look(disk: &dyn Disk, name: Name, path: &Path) -> io::Result<(Option<Head>, bool)> {
    let file = disk.open(path, Mode::Read)?;
    let (bytes, mut content) = (file.bytes()?, vec![0; 2 * segment::FILE_HEAD_BYTES]);
    let there = file.read_at(&mut content, 0)?;
    content.truncate(there);
    let head = Head::parse(&content).ok().filter(|head| head.first == name.first);
    if name.given_up || !segment::is_blank(&content, head.as_ref()) {
        return Ok((head, false));
    }
    // One that was made as this version makes it has all of its head and of its length.
    let is_whole = match &head {
        Some(head) => head.made.is_none_or(|made| bytes >= made),
        None => !segment::is_named_when_whole(&content),
    };
    if !is_whole {
        return Ok((head, false));
    }
    let content = read_all(&*file)?;
    Ok((head, segment::is_blank(&content, head.as_ref())))
}

fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(file.bytes()?).unwrap_or(usize::MAX)];
    read_exact_at(file, &mut content, 0)?;
    Ok(content)
}

impl File {
    /// Whether whoever made it gave it its name when it had its head.
    fn is_newer(&self) -> bool {
        self.head.is_some_and(|head| head.made.is_some())
    }

    fn holds_nothing(&self) -> SpoolError {
        let why = "nothing is in it, not even its head";
        let (path, lost) = (self.path.clone(), Lost::from(self.name.first));
        SpoolError::Damaged { path, offset: 0, lost, why: why.to_owned() }
    }

    /// A segment that was begun, and nothing was written to it yet. Its name may not be durable.
    fn begun(&self, disk: &dyn Disk, dir: &Path, bytes: u64) -> Result<Segment, SpoolError> {
        let Self { name: Name { first, .. }, path, head } = self;
        let (salt, start) = head.map_or((0, 0), |head| (head.salt, head.start as u64));
        let file = disk.open(path, Mode::Change).map_err(SpoolError::io(path, "open"))?;
        disk.sync_dir(dir).map_err(SpoolError::io(dir, "sync"))?;
        let (path, file, holes) = (path.as_path().into(), file.into(), Default::default());
        Ok(Segment { first: *first, salt, path, file, start, holes, end: start, next: *first, bytes })
    }
}

fn unread(disk: &dyn Disk, name: Name, path: &Path, next: u64) -> Result<Segment, SpoolError> {
    let file = disk.open(path, Mode::Read).map_err(SpoolError::io(path, "open"))?;
    let bytes = file.bytes().map_err(SpoolError::io(path, "read"))?;
    let (first, salt, start, end, holes) = (name.first, 0, 0, bytes, Default::default());
    Ok(Segment { first, salt, path: path.into(), file: file.into(), start, holes, end, next, bytes })
}

/// One segment that is read.
struct Reading<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    name: Name,
    path: &'a Path,
    /// The first number of the segment behind it; none of the last one.
    behind: Option<u64>,
    /// Records before this one were durable.
    sure: u64,
}

impl Reading<'_> {
    fn read(&self, recovered: &mut Recovered) -> Result<Segment, SpoolError> {
        let Name { first, given_up } = self.name;
        let file = self.disk.open(self.path, Mode::Change).map_err(self.failed("open"))?;
        let content = read_all(&*file).map_err(self.failed("read"))?;
        let bytes = content.len() as u64;
        let scanned = match segment::scan(&content, first) {
            Ok(scanned) => scanned,
            Err(_) if given_up => Scanned::nothing(first, bytes),
            Err(HeadError::Damaged) => {
                let why = if segment::is_blank(&content, None) {
                    "nothing is in it"
                } else {
                    "its head is not what it was written as"
                };
                return Err(self.damaged(0, Lost::from(first), why));
            }
            Err(error) => {
                return Err(SpoolError::Foreign { path: self.path.to_owned(), why: error.to_string() });
            }
        };
        let mut segment = Segment {
            first,
            salt: scanned.head.salt,
            path: self.path.into(),
            file: file.into(),
            start: scanned.head.start as u64,
            holes: scanned.holes.as_slice().into(),
            end: scanned.end,
            next: scanned.next,
            bytes,
        };
        recovered.is_marked = scanned.is_marked;
        if given_up {
            recovered.next = self.give_up(&scanned, bytes);
            segment.bytes = scanned.end;
            return Ok(segment);
        }
        recovered.next = scanned.next;
        self.check(&scanned)?;
        if self.behind.is_none() {
            self.make_ready(&mut segment, &scanned)?;
        }
        Ok(segment)
    }

    /// Says what is done without, and gives the number behind it.
    fn give_up(&self, scanned: &Scanned, bytes: u64) -> u64 {
        let mut lost = lost_of(scanned);
        // How many records an end had that is gone nobody knows: no more than bytes, and their numbers are not given
        // again.
        let left = bytes.saturating_sub(scanned.end);
        let unknown = match scanned.tail {
            Tail::Clean if scanned.is_marked => 0,
            Tail::Clean | Tail::Torn { .. } => left,
            Tail::Cut { bytes } => left + bytes,
        };
        let next = self.behind.unwrap_or(scanned.next + unknown);
        lost.add(scanned.next, next);
        tracing::warn!(
            file = %self.path.display(),
            "a segment of the spool was given up: of {lost}, none that it had is delivered"
        );
        next
    }

    fn check(&self, scanned: &Scanned) -> Result<(), SpoolError> {
        let Scanned { end, next, tail, holes, .. } = scanned;
        let mut lost = lost_of(scanned);
        lost.add(*next, self.behind.unwrap_or(self.sure));
        if let Some(hole) = holes.first() {
            let why = format!("{}, and a whole frame is behind it", hole.why);
            return Err(self.damaged(hole.at, lost, &why));
        }
        let (lost, why) = match (tail, self.behind) {
            (Tail::Cut { bytes }, Some(_)) => (lost, format!("{bytes} bytes of its end are cut off")),
            (Tail::Cut { bytes }, None) => {
                (Lost::from(*next), format!("{bytes} bytes of its end are cut off"))
            }
            (Tail::Torn { .. }, Some(_)) => {
                (lost, "a frame is not whole, and another segment is behind it".to_owned())
            }
            (Tail::Clean, Some(behind)) if *next != behind => {
                let why = format!(
                    "its last record is {}, and the first one of the next file is {behind}: its end was cut off, or a \
                     file between them is gone",
                    next.saturating_sub(1)
                );
                (lost, why)
            }
            (_, None) if *next < self.sure => {
                (lost, format!("it ends before record {}, at which another one was begun", self.sure))
            }
            _ => return Ok(()),
        };
        Err(self.damaged(*end, lost, &why))
    }

    /// Cuts off what was not written to its end, and makes what stays durable: it may be in the memory of the kernel
    /// alone, and records are handed out of it.
    fn make_ready(&self, segment: &mut Segment, scanned: &Scanned) -> Result<(), SpoolError> {
        let Segment { file, end, bytes, .. } = segment;
        if let Tail::Torn { bytes } = scanned.tail {
            tracing::warn!(
                file = %self.path.display(), at = *end, bytes,
                "the end of the spool is cut off: it is no whole record, and nothing behind it says that it was synced. \
                 A crash leaves this of records that nobody was answered for; damage to the last ones before a crash \
                 looks the same"
            );
        }
        match (scanned.tail, scanned.head.made) {
            (Tail::Torn { bytes }, Some(_)) => {
                let blank = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
                file.write_at(&blank, *end).map_err(self.failed("cut"))?;
            }
            // Nothing more is written to one of the version before: its room is given back.
            (_, None) => {
                file.set_bytes(*end).map_err(self.failed("cut"))?;
                *bytes = *end;
            }
            _ => {}
        }
        let not_durable = |error: io::Error| match error.kind() {
            kind if is_no_space(kind) => self.failed("sync")(error),
            _ => SpoolError::NotDurable { path: self.path.to_owned(), why: error.to_string() },
        };
        file.sync().and_then(|()| self.disk.sync_dir(self.dir)).map_err(not_durable)
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> SpoolError + '_ {
        SpoolError::io(self.path, doing)
    }

    fn damaged(&self, offset: u64, lost: Lost, why: &str) -> SpoolError {
        SpoolError::Damaged { path: self.path.to_owned(), offset, lost, why: why.to_owned() }
    }
}

/// The records that were in what is damaged, but for the end.
fn lost_of(scanned: &Scanned) -> Lost {
    let mut lost = Lost::default();
    scanned.holes.iter().for_each(|hole| lost.add(hole.first, hole.next));
    lost
}
