//! One file of a store: frames behind a head with the first sequence number.
//!
//! ```text
//! file:    head  frames ...
//! head:    number of the first entry
//! payload: see `entry`
//! ```
//!
//! Frames that were not synced may be lost in any order: what is behind a bad one may be whole. So each frame says how
//! much of its file was durable when it was written, which is how what a crash left is told from damage. So that the
//! last ones are not blind for long, a frame that closes nothing follows them when nothing else does: a mark. What is
//! damaged is passed over up to the next whole frame, and what is behind it is read.
//!
//! A segment gets its name when its head is durable (`MAKING` before).

use std::fmt;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use disk::frame::{self, HeadError, parse_head};
use disk::{Disk, DiskFile, Mode};
use model::limits::{DEAD_LETTER_FRAME_BYTES_MAX, READ_BYTES};

use super::LettersError;
use super::entry::{self, Head};

const MAGIC: &[u8; 8] = b"conv-dlq";
const VERSION: u32 = 1;
pub(super) const FILE_HEAD_BYTES: u64 = 24;
pub(super) use disk::frame::FRAME_HEAD_BYTES;
const EXTENSION: &str = "letters";
/// A segment that is being made.
pub(super) const MAKING: &str = "making";

/// The name of the segment that begins with entry `first`.
pub(super) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.{EXTENSION}"))
}

/// The segments of a directory with the number in their names, ascending.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u64, PathBuf)>, LettersError> {
    let mut found = Vec::new();
    for name in disk.list(dir).map_err(LettersError::io(dir))? {
        let path = dir.join(name);
        let is_ours = path.extension().is_some_and(|extension| extension == EXTENSION);
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (true, Some(number)) = (is_ours, number) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes what was being made when there was a crash.
pub(super) fn remove_unmade(disk: &dyn Disk, dir: &Path) -> Result<(), LettersError> {
    for name in disk.list(dir).map_err(LettersError::io(dir))? {
        let path = dir.join(name);
        if path.extension().is_some_and(|extension| extension == MAKING) {
            // It takes up space and does no harm.
            let _ = disk.remove(&path);
        }
    }
    Ok(())
}

pub(super) fn file_head(first: u64) -> Vec<u8> {
    frame::file_head(MAGIC, VERSION, &[first])
}

/// Puts length and checksum before a payload that was written behind room for them.
pub(super) fn seal(frame: &mut [u8]) -> Result<(), LettersError> {
    let max = DEAD_LETTER_FRAME_BYTES_MAX;
    if frame::seal(frame, max) {
        return Ok(());
    }
    Err(LettersError::TooLarge { bytes: frame.len().saturating_sub(FRAME_HEAD_BYTES), max })
}

/// Bytes of a segment that were whole before, and are not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: u64,
    pub why: String,
    /// The first entry that may have been in it.
    pub first: u64,
    /// The entry behind it, once that is known; as `first` where none was in it.
    pub next: Option<u64>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, bytes, why, first, next } = self;
        let path = path.display();
        write!(f, "{path} is damaged in {bytes} bytes from byte {offset} on: {why}; ")?;
        match next {
            Some(next) if next == first => {
                f.write_str("no entry is lost, and entries that were closed may be open again")
            }
            Some(next) if *next == first + 1 => write!(f, "entry {first} is lost"),
            Some(next) => write!(f, "entries {first} to {} are lost", next - 1),
            None => write!(f, "entries from {first} on that were in it are lost"),
        }
    }
}

/// The segment behind says how far the entries went that the one before has lost at its end.
pub(super) fn close_open_end(damage: &mut [Damage], first: u64) {
    if let Some(last) = damage.last_mut().filter(|last| last.next.is_none()) {
        last.next = Some(first);
    }
}

/// What is in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Behind the last whole frame.
    pub end: u64,
    /// Bytes behind it that are no whole frame, and that nothing says were durable.
    pub torn: u64,
    /// The number of the entry behind the last one.
    pub next: u64,
    /// Whether nothing is behind the last mark.
    pub is_marked: bool,
    /// What is damaged before the end, ascending.
    pub damage: Vec<Damage>,
}

/// Which segment is read.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    pub disk: &'a dyn Disk,
    pub path: &'a Path,
    pub first: u64,
    /// Whether it is the last one, to which a crash may have been writing.
    pub is_last: bool,
}

/// Reads all frames of a segment, and hands over the head of each with its offset.
pub(super) fn scan(segment: Segment<'_>, each: impl FnMut(u64, Head)) -> Result<Scanned, LettersError> {
    let io = LettersError::io;
    let file = segment.disk.open(segment.path, Mode::Read).map_err(io(segment.path))?;
    let length = file.bytes().map_err(io(segment.path))?;
    let found = Scanned { end: 0, torn: 0, next: segment.first, is_marked: true, damage: Vec::new() };
    let mut scan = Scan { segment, file: &*file, length, found, each };
    match scan.head()? {
        true => scan.frames().map_err(io(segment.path))?,
        false => scan.found.torn = length,
    }
    Ok(scan.found)
}

struct Scan<'a, E> {
    segment: Segment<'a>,
    file: &'a dyn DiskFile,
    length: u64,
    found: Scanned,
    each: E,
}

impl<E: FnMut(u64, Head)> Scan<'_, E> {
    /// Whether there is a head; one that was not written to its end is none. One that is damaged is passed over where a
    /// frame behind it shows whose it was.
    fn head(&mut self) -> Result<bool, LettersError> {
        let Segment { path, first, is_last, .. } = self.segment;
        let mut head = [0; FILE_HEAD_BYTES as usize];
        let there = self.file.read_at(&mut head, 0).map_err(LettersError::io(path))?;
        self.found.end = FILE_HEAD_BYTES;
        let why = match frame::parse_file_head(&head[..there], MAGIC, VERSION) {
            Ok([number]) if number == first => return Ok(true),
            _ if self.length <= FILE_HEAD_BYTES && is_last => {
                self.found.end = 0;
                return Ok(false);
            }
            Ok(_) => {
                let why = "its head is that of another file: it was renamed".to_owned();
                return Err(LettersError::Damaged { path: path.to_owned(), offset: 0, why });
            }
            Err(error @ HeadError::Version { .. }) => {
                return Err(LettersError::Foreign { path: path.to_owned(), why: error.to_string() });
            }
            Err(error) => error,
        };
        self.found.end = 0;
        let passed = self.pass_over(&why.to_string(), false).map_err(LettersError::io(path))?;
        match (passed, why) {
            (true, _) => Ok(true),
            (false, HeadError::Damaged) => {
                let why = "its head is not what it was written as".to_owned();
                Err(LettersError::Damaged { path: path.to_owned(), offset: 0, why })
            }
            (false, why) => Err(LettersError::Foreign { path: path.to_owned(), why: why.to_string() }),
        }
    }

    fn frames(&mut self) -> io::Result<()> {
        let mut payload = Vec::new();
        let mut from = self.found.end;
        let mut reader = BufReader::with_capacity(READ_BYTES, From { file: self.file, at: from });
        loop {
            let why = match next_frame(&mut reader, self.length - self.found.end, &mut payload)? {
                Frame::Whole => {
                    self.take(&payload);
                    continue;
                }
                Frame::None => return Ok(()),
                Frame::Bad(why) => why,
            };
            if !self.pass_over(&why, true)? {
                return Ok(());
            }
            from = self.found.end;
            reader = BufReader::with_capacity(READ_BYTES, From { file: self.file, at: from });
        }
    }

    /// Takes a whole frame in. One that does not belong there is passed over.
    fn take(&mut self, payload: &[u8]) {
        let bytes = (FRAME_HEAD_BYTES + payload.len()) as u64;
        if let Err(why) = self.take_head(payload) {
            self.damaged(bytes, &why, None);
        }
        self.found.end += bytes;
    }

    fn take_head(&mut self, payload: &[u8]) -> Result<(), String> {
        let (head, _) = entry::head(payload)?;
        let due = self.found.next;
        let said = match &head {
            Head::Refused(refused) => Some((refused.first, refused.count)),
            // Marks of the version before do not say which entry is next.
            Head::Closed(closed) => (closed.next > 0).then_some((closed.next, 0)),
        };
        let (first, count) = said.unwrap_or((due, 0));
        if first < due {
            return Err(format!("entry {first} stands where {due} is due"));
        }
        match self.found.damage.last_mut().filter(|last| last.next.is_none()) {
            Some(last) => last.next = said.map(|_| first),
            None if first > due => self.damaged(0, "entries are missing before it", Some(first)),
            None => {}
        }
        self.found.is_marked = matches!(&head, Head::Closed(closed) if closed.is_mark());
        self.found.next = first.saturating_add(count);
        (self.each)(self.found.end, head);
        Ok(())
    }

    /// Goes on at the next whole frame, where it is known that what is not whole here was durable. Else what is left is
    /// torn, and this is false.
    fn pass_over(&mut self, why: &str, may_be_torn: bool) -> io::Result<bool> {
        let at = self.found.end;
        let mut rest = Vec::new();
        // What is written meanwhile is none of it.
        From { file: self.file, at }.take(self.length - at).read_to_end(&mut rest)?;
        let is_durable = |durable: u64| durable > at || !self.segment.is_last;
        let behind = Behind::of(&rest, at, is_durable);
        let is_durable = is_durable(behind.durable);
        match behind.first {
            Some(next) if is_durable => {
                self.damaged(next - at, why, None);
                self.found.end = next;
                Ok(true)
            }
            _ if !may_be_torn => Ok(false),
            None if is_durable => {
                self.damaged(self.length - at, why, None);
                self.found.end = self.length;
                Ok(false)
            }
            _ => {
                self.found.torn = self.length - at;
                Ok(false)
            }
        }
    }

    fn damaged(&mut self, bytes: u64, why: &str, next: Option<u64>) {
        let (path, offset, first) = (self.segment.path.to_owned(), self.found.end, self.found.next);
        self.found.damage.push(Damage { path, offset, bytes, why: why.to_owned(), first, next });
    }
}

/// What is behind a frame that is not whole.
struct Behind {
    /// The first whole frame.
    first: Option<u64>,
    /// The most that was durable when one of them was written.
    durable: u64,
}

impl Behind {
    /// `rest`: what of the file is at `at` and behind it. Once it `is_enough` that so much was durable, the rest is not
    /// looked at.
    fn of(rest: &[u8], at: u64, is_enough: impl Fn(u64) -> bool) -> Self {
        let mut behind = Self { first: None, durable: 0 };
        // Where its length is not what is damaged, the next one is where it says. Looking anywhere may find a frame
        // within a record.
        let said = rest.first_chunk().map_or(0, |head| FRAME_HEAD_BYTES.saturating_add(parse_head(head).0));
        let mut start = if whole_at(rest, at, said).is_some() { said } else { 1 };
        while start < rest.len() {
            let Some((bytes, durable)) = whole_at(rest, at, start) else {
                start += 1;
                continue;
            };
            behind.first.get_or_insert(at + start as u64);
            behind.durable = behind.durable.max(durable);
            if is_enough(behind.durable) {
                break;
            }
            start += bytes;
        }
        behind
    }
}

/// The bytes of the whole frame at a place behind `at`, and how much was durable when it was written.
fn whole_at(rest: &[u8], at: u64, start: usize) -> Option<(usize, u64)> {
    let (payload, crc) = rest.get(start..).and_then(frame::payload_of)?;
    let offset = at + start as u64;
    let head = entry::head_at_a_glance(payload)?;
    let is_here = head.at() == 0 || head.at() == offset;
    let is_whole = is_here && head.durable() <= offset && crc32c::crc32c(payload) == crc;
    is_whole.then_some((FRAME_HEAD_BYTES + payload.len(), head.durable()))
}

enum Frame {
    Whole,
    None,
    Bad(String),
}

fn next_frame(file: &mut impl Read, left: u64, payload: &mut Vec<u8>) -> io::Result<Frame> {
    if left == 0 {
        return Ok(Frame::None);
    }
    if left < FRAME_HEAD_BYTES as u64 {
        return Ok(Frame::Bad("a frame is cut off in its head".to_owned()));
    }
    let mut head = [0; FRAME_HEAD_BYTES];
    file.read_exact(&mut head)?;
    let (length, crc) = parse_head(&head);
    let left = left - FRAME_HEAD_BYTES as u64;
    if length == 0 || length > DEAD_LETTER_FRAME_BYTES_MAX || length as u64 > left {
        return Ok(Frame::Bad(format!("a frame says that it has {length} bytes, and {left} are left")));
    }
    payload.resize(length, 0);
    file.read_exact(payload)?;
    Ok(match crc32c::crc32c(payload) == crc {
        true => Frame::Whole,
        false => Frame::Bad("a frame does not have its checksum".to_owned()),
    })
}

/// A file, read from a place on.
struct From<'a> {
    file: &'a dyn DiskFile,
    at: u64,
}

impl Read for From<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// The payload of the frame at `offset`.
pub(super) fn read_frame(disk: &dyn Disk, path: &Path, offset: u64) -> Result<Vec<u8>, LettersError> {
    let io = LettersError::io;
    let file = disk.open(path, Mode::Read).map_err(io(path))?;
    let length = file.bytes().map_err(io(path))?;
    let mut file = From { file: &*file, at: offset };
    let mut payload = Vec::new();
    let damaged = |why: String| LettersError::Damaged { path: path.to_owned(), offset, why };
    match next_frame(&mut file, length.saturating_sub(offset), &mut payload).map_err(io(path))? {
        Frame::Whole => Ok(payload),
        Frame::None => Err(damaged("the file ends where a frame was".to_owned())),
        Frame::Bad(why) => Err(damaged(why)),
    }
}
