//! One file of a store: frames behind a head with the first sequence number.
//!
//! Frames that were not synced may be lost in any order: what is behind a bad one may be whole. So each frame says how
//! much of its file was durable when it was written, which is how what a crash left is told from damage.

use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use model::limits::{DEAD_LETTER_FRAME_BYTES_MAX, READ_BYTES};

use super::LettersError;
use super::entry::durable_before;
use crate::disk::{Disk, DiskFile, Mode};
use crate::frame::{self, HeadError, parse_head};

const MAGIC: &[u8; 8] = b"conv-dlq";
const VERSION: u32 = 1;
pub(super) const FILE_HEAD_BYTES: u64 = 24;
pub(super) use crate::frame::FRAME_HEAD_BYTES;
const EXTENSION: &str = "letters";

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

/// How the frames of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Behind the last whole frame.
    pub end: u64,
    /// Bytes behind it of a frame that was not written to its end.
    pub torn: u64,
}

/// Reads all frames of a segment, each handed over with its offset and payload. `may_be_torn`: it is the last
/// segment, to which a crash may have been writing.
pub(super) fn scan(
    disk: &dyn Disk,
    path: &Path,
    first: u64,
    may_be_torn: bool,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), String>,
) -> Result<Tail, LettersError> {
    let io = LettersError::io;
    let file = disk.open(path, Mode::Read).map_err(io(path))?;
    let length = file.bytes().map_err(io(path))?;
    let whole = &*file;
    let mut file = BufReader::with_capacity(READ_BYTES, From { file: whole, at: 0 });
    if !check_head(path, &mut file, first, length, may_be_torn)? {
        return Ok(Tail { end: 0, torn: length });
    }
    let mut end = FILE_HEAD_BYTES;
    let mut payload = Vec::new();
    loop {
        let damaged = |why: String| LettersError::Damaged { path: path.to_owned(), offset: end, why };
        match next_frame(&mut file, length - end, &mut payload).map_err(io(path))? {
            Frame::Whole => {
                each(end, &payload).map_err(damaged)?;
                end += (FRAME_HEAD_BYTES + payload.len()) as u64;
            }
            Frame::None => return Ok(Tail { end, torn: 0 }),
            Frame::Bad(why) => {
                if may_be_torn && !durable_frame_behind(whole, end).map_err(io(path))? {
                    return Ok(Tail { end, torn: length - end });
                }
                return Err(damaged(why));
            }
        }
    }
}

/// Whether the head is whole; one that was not written to its end is none.
fn check_head(
    path: &Path,
    file: &mut impl Read,
    first: u64,
    length: u64,
    may_be_torn: bool,
) -> Result<bool, LettersError> {
    if length < FILE_HEAD_BYTES && may_be_torn {
        return Ok(false);
    }
    let mut head = [0; FILE_HEAD_BYTES as usize];
    let foreign = |why: String| LettersError::Foreign { path: path.to_owned(), why };
    match file.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(foreign("it is cut off in its head".to_owned()));
        }
        Err(error) => return Err(LettersError::Io { path: path.to_owned(), error }),
    }
    match frame::parse_file_head(&head, MAGIC, VERSION) {
        Ok([number]) if number == first => Ok(true),
        _ if length == FILE_HEAD_BYTES && may_be_torn => Ok(false),
        Err(error @ (HeadError::Foreign | HeadError::Version { .. })) => Err(foreign(error.to_string())),
        Ok(_) | Err(HeadError::Damaged) => {
            let why = "its head is not what it was written as, or the file was renamed".to_owned();
            Err(LettersError::Damaged { path: path.to_owned(), offset: 0, why })
        }
    }
}

enum Frame {
    Whole,
    None,
    Bad(String),
}

fn next_frame(file: &mut impl Read, left: u64, payload: &mut Vec<u8>) -> std::io::Result<Frame> {
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

/// Whether a whole frame begins anywhere behind `at` that was written when what is at `at` was durable.
fn durable_frame_behind(file: &dyn DiskFile, at: u64) -> std::io::Result<bool> {
    let mut rest = Vec::new();
    From { file, at: at + 1 }.read_to_end(&mut rest)?;
    let is_durable = |start: usize| {
        let there = rest.get(start..).and_then(frame::payload_of);
        there.is_some_and(|(payload, crc)| {
            durable_before(payload).is_some_and(|durable| durable > at) && crc32c::crc32c(payload) == crc
        })
    };
    Ok((0..rest.len()).any(is_durable))
}

/// A file, read from a place on.
struct From<'a> {
    file: &'a dyn DiskFile,
    at: u64,
}

impl Read for From<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
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
