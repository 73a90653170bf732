//! One file of a spool, as bytes: what is in it, and whether its end was torn by a crash or damaged later.
//!
//! ```text
//! payload: salt u64  number of the first record u64  records u32  chunks ...
//! ```
//!
//! A frame is what was made durable at once. The next one is written only when it is, so that a whole frame behind a
//! bad one means that the bad one was whole before: that is damage. A bad one with no whole one behind it is what a
//! crash left of a write that nobody was told of. The salt is drawn for each file: a record that holds the bytes of a
//! frame cannot be taken for one.

use std::path::{Path, PathBuf};

use crate::frame::{self, FRAME_HEAD_BYTES, HeadError};

const MAGIC: &[u8; 8] = b"conv-spl";
const VERSION: u32 = 1;
/// Magic, version, number of the first record, salt, checksum.
pub(super) const FILE_HEAD_BYTES: usize = 32;
/// Of a payload, before its chunks.
const PAYLOAD_HEAD_BYTES: usize = 20;
/// What of a frame is before its chunks.
pub(super) const OVERHEAD_BYTES: usize = FRAME_HEAD_BYTES + PAYLOAD_HEAD_BYTES;
/// A segment.
const EXTENSION: &str = "spool";
/// A segment that somebody has given up: what is whole at its beginning is read, the rest is done without.
const GIVEN_UP: &str = "given-up";

/// The name of the segment that begins with record `first`.
pub(super) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.{EXTENSION}"))
}

/// What a file of a spool is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub first: u64,
    pub given_up: bool,
}

impl Name {
    /// None of other files.
    pub fn parse(name: &str) -> Option<Self> {
        let (number, extension) = name.split_once('.')?;
        let given_up = match extension {
            EXTENSION => false,
            GIVEN_UP => true,
            _ => return None,
        };
        Some(Self { first: number.parse().ok()?, given_up })
    }
}

/// The name under which a damaged segment is given up.
pub(super) fn given_up(path: &Path) -> PathBuf {
    path.with_extension(GIVEN_UP)
}

pub(super) fn file_head(first: u64, salt: u64) -> Vec<u8> {
    frame::file_head(MAGIC, VERSION, &[first, salt])
}

/// Which segment a frame is of, and which record is due in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub salt: u64,
    pub first: u64,
}

/// Begins a frame in an empty buffer; chunks follow, and then [`seal`].
pub(super) fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(OVERHEAD_BYTES, 0);
}

/// Ends a frame of `records`. False where it is too long for one.
pub(super) fn seal(frame: &mut [u8], due: Due, records: u32, bytes_max: usize) -> bool {
    let head = &mut frame[FRAME_HEAD_BYTES..OVERHEAD_BYTES];
    head[..8].copy_from_slice(&due.salt.to_le_bytes());
    head[8..16].copy_from_slice(&due.first.to_le_bytes());
    head[16..].copy_from_slice(&records.to_le_bytes());
    frame::seal(frame, bytes_max)
}

/// A frame that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub records: u32,
    /// All of it, its head included.
    pub bytes: usize,
}

/// What is at the beginning of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Whole(Frame),
    /// Its head says that it goes on for so many bytes.
    Needs(usize),
    Bad(&'static str),
}

/// Looks for the frame that is due. `left`: how many bytes of the segment there are from here on.
pub(super) fn look(bytes: &[u8], left: u64, due: Due) -> Look {
    let Some(head) = bytes.first_chunk() else { return Look::Needs(FRAME_HEAD_BYTES) };
    let (length, crc) = frame::parse_head(head);
    let all = FRAME_HEAD_BYTES + length;
    if length <= PAYLOAD_HEAD_BYTES || all as u64 > left {
        return Look::Bad("the length of a frame is not possible");
    }
    let Some(payload) = bytes.get(FRAME_HEAD_BYTES..all) else { return Look::Needs(all) };
    if crc32c::crc32c(payload) != crc {
        return Look::Bad("a frame does not have its checksum");
    }
    match head_of(payload) {
        Some((found, records)) if found == due && records > 0 => Look::Whole(Frame { records, bytes: all }),
        _ => Look::Bad("another frame stands where this one is due"),
    }
}

fn head_of(payload: &[u8]) -> Option<(Due, u32)> {
    let head: &[u8; PAYLOAD_HEAD_BYTES] = payload.first_chunk()?;
    let salt = u64::from_le_bytes(*head.first_chunk()?);
    let first = u64::from_le_bytes(head[8..16].try_into().ok()?);
    Some((Due { salt, first }, u32::from_le_bytes(*head.last_chunk()?)))
}

/// What a whole segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    pub salt: u64,
    /// Behind the last whole frame.
    pub end: u64,
    /// The number of the record behind the last one.
    pub next: u64,
    pub tail: Tail,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// With zeros that nothing was written over, or none.
    Clean,
    /// With what was being written when there was a crash.
    Torn,
    /// Something is wrong with what was whole before.
    Damaged(&'static str),
}

/// Reads a segment that should begin with record `first`. The error is one of its head.
pub(super) fn scan(bytes: &[u8], first: u64) -> Result<Scanned, HeadError> {
    let [number, salt] = frame::parse_file_head(bytes, MAGIC, VERSION)?;
    if number != first {
        return Err(HeadError::Damaged);
    }
    let (mut at, mut next) = (FILE_HEAD_BYTES, first);
    let why = loop {
        let rest = &bytes[at..];
        match look(rest, rest.len() as u64, Due { salt, first: next }) {
            Look::Whole(frame) => {
                at += frame.bytes;
                next += u64::from(frame.records);
            }
            Look::Needs(_) => break "a frame is cut off",
            Look::Bad(why) => break why,
        }
    };
    let rest = &bytes[at..];
    let tail = if rest.iter().all(|&byte| byte == 0) {
        Tail::Clean
    } else if has_whole_frame(rest, Due { salt, first: next }) {
        Tail::Damaged(why)
    } else {
        Tail::Torn
    };
    Ok(Scanned { salt, end: at as u64, next, tail })
}

/// Whether a frame of this segment is whole anywhere in `bytes`, for the record that is `due` or a later one.
fn has_whole_frame(bytes: &[u8], due: Due) -> bool {
    let salt = due.salt.to_le_bytes();
    let starts = memchr::memmem::find_iter(bytes, &salt).filter_map(|at| at.checked_sub(FRAME_HEAD_BYTES));
    let mut starts = starts.filter_map(|start| frame::payload_of(&bytes[start..]));
    starts.any(|(payload, crc)| {
        let later = head_of(payload).is_some_and(|(found, _)| found.first >= due.first);
        later && crc32c::crc32c(payload) == crc
    })
}
