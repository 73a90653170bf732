//! One file of a store: a head, then frames, each with its length and its CRC-32C.
//!
//! ```text
//! file:  "conv-dlq"  version u32  first sequence number u64  crc32c of these 20 bytes u32   frames ...
//! frame: length u32  crc32c of the payload u32  payload
//! ```
//!
//! All numbers are little-endian. A payload is never empty and begins as `entry` says, which is how the end of a
//! torn write is told from damage: behind a torn frame there is no whole one.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use model::limits::DEAD_LETTER_FRAME_BYTES_MAX;

use super::LettersError;
use super::entry::is_payload;

const MAGIC: &[u8; 8] = b"conv-dlq";
const VERSION: u32 = 1;
pub(super) const FILE_HEAD_BYTES: u64 = 24;
pub(super) const FRAME_HEAD_BYTES: usize = 8;
const EXTENSION: &str = "letters";

/// The name of the segment that begins with entry `first`.
pub(super) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.{EXTENSION}"))
}

/// The segments of a directory with the number in their names, ascending.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, LettersError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(LettersError::io(dir))? {
        let path = entry.map_err(LettersError::io(dir))?.path();
        let is_ours = path.extension().is_some_and(|extension| extension == EXTENSION);
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (true, Some(number)) = (is_ours, number) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn file_head(first: u64) -> [u8; FILE_HEAD_BYTES as usize] {
    let mut head = [0; FILE_HEAD_BYTES as usize];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..20].copy_from_slice(&first.to_le_bytes());
    let crc = crc32c::crc32c(&head[..20]);
    head[20..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Puts length and checksum before a payload that was written behind room for them.
pub(super) fn seal(frame: &mut [u8]) -> Result<(), LettersError> {
    let bytes = frame.len().saturating_sub(FRAME_HEAD_BYTES);
    let max = DEAD_LETTER_FRAME_BYTES_MAX;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= max);
    let length = length.ok_or(LettersError::TooLarge { bytes, max })?;
    let crc = crc32c::crc32c(&frame[FRAME_HEAD_BYTES..]);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
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
    path: &Path,
    first: u64,
    may_be_torn: bool,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), String>,
) -> Result<Tail, LettersError> {
    let io = LettersError::io;
    let file = File::open(path).map_err(io(path))?;
    let length = file.metadata().map_err(io(path))?.len();
    let mut file = BufReader::with_capacity(1 << 20, file);
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
                if may_be_torn && !whole_frame_behind(&mut file, end).map_err(io(path))? {
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
    if head == file_head(first) {
        return Ok(true);
    }
    if length == FILE_HEAD_BYTES && may_be_torn {
        return Ok(false);
    }
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    Err(match &head[..8] == MAGIC {
        false => foreign("it does not begin as one does".to_owned()),
        true if version != VERSION => foreign(format!("it is of version {version}, known is {VERSION}")),
        true => {
            let why = "its head is not what it was written as, or the file was renamed".to_owned();
            LettersError::Damaged { path: path.to_owned(), offset: 0, why }
        }
    })
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
    let (length, crc) = parse_frame_head(&head);
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

fn parse_frame_head(head: &[u8; FRAME_HEAD_BYTES]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = *head;
    (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]))
}

/// Whether a whole frame begins anywhere behind `at`: then what is at `at` was once whole too.
fn whole_frame_behind(file: &mut (impl Read + Seek), at: u64) -> std::io::Result<bool> {
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(at + 1))?;
    file.read_to_end(&mut rest)?;
    let frame = |start: usize| -> Option<bool> {
        let head: &[u8; FRAME_HEAD_BYTES] = rest.get(start..start + FRAME_HEAD_BYTES)?.try_into().ok()?;
        let (length, crc) = parse_frame_head(head);
        let payload = rest.get(start + FRAME_HEAD_BYTES..)?.get(..length)?;
        Some(is_payload(payload) && crc32c::crc32c(payload) == crc)
    };
    Ok((0..rest.len()).any(|start| frame(start) == Some(true)))
}

/// The payload of the frame at `offset`.
pub(super) fn read_frame(path: &Path, offset: u64) -> Result<Vec<u8>, LettersError> {
    let io = LettersError::io;
    let mut file = File::open(path).map_err(io(path))?;
    let length = file.metadata().map_err(io(path))?.len();
    file.seek(SeekFrom::Start(offset)).map_err(io(path))?;
    let mut payload = Vec::new();
    let damaged = |why: String| LettersError::Damaged { path: path.to_owned(), offset, why };
    match next_frame(&mut file, length.saturating_sub(offset), &mut payload).map_err(io(path))? {
        Frame::Whole => Ok(payload),
        Frame::None => Err(damaged("the file ends where a frame was".to_owned())),
        Frame::Bad(why) => Err(damaged(why)),
    }
}
