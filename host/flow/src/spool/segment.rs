//! One file of a spool, as bytes: what is in it, and whether its end was torn by a crash or damaged later.
//!
//! ```text
//! file:    head  frames ...  zeros up to its length
//! head:    number of the first record, salt, length of the file; version 1 has no length
//! payload: salt u64  number of the first record u64  records u32  chunks ...
//! ```
//!
//! A frame is what was made durable at once. The next one is written only when it is, so that a whole frame behind a
//! bad one means that the bad one was whole before: that is damage, and what is behind it can be read. A bad one with
//! no whole one behind it is what a crash left of a write that nobody was told of, or damage that nothing tells from
//! it. So that the last frame is not blind for long, a mark follows it when nothing else does: a frame without records,
//! whose number is that of the next one. The salt is drawn for each file: a record that holds the bytes of a frame
//! cannot be taken for one.
//!
//! A segment gets its name when its head and its length are durable ([`MAKING`] before), and is never made shorter.
//! Nothing is written any more to one of version 1, which had its name from the beginning.

use std::path::{Path, PathBuf};

use disk::frame::{self, FRAME_HEAD_BYTES, HeadError};

const MAGIC: &[u8; 8] = b"conv-spl";
const VERSION: u32 = 2;
/// Magic, version, number of the first record, salt, length of the file, checksum.
pub(super) const FILE_HEAD_BYTES: usize = 40;
/// The same without the length.
const VERSION_1: u32 = 1;
const FILE_HEAD_BYTES_1: usize = 32;
/// Of a payload, before its chunks.
const PAYLOAD_HEAD_BYTES: usize = 20;
/// What of a frame is before its chunks.
pub(super) const OVERHEAD_BYTES: usize = FRAME_HEAD_BYTES + PAYLOAD_HEAD_BYTES;
/// A frame without records.
pub(super) const MARK_BYTES: usize = OVERHEAD_BYTES;
/// A segment.
const EXTENSION: &str = "spool";
/// A segment that somebody has given up: what is whole in it is read, the rest is done without.
const GIVEN_UP: &str = "given-up";
/// A segment that is being made.
pub(super) const MAKING: &str = "making";

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

pub(super) fn file_head(first: u64, salt: u64, bytes: u64) -> Vec<u8> {
    frame::file_head(MAGIC, VERSION, &[first, salt, bytes])
}

/// What the head of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub first: u64,
    pub salt: u64,
    /// Where the first frame is.
    pub start: usize,
    /// How long the file was made; none of version 1, to which nothing more is written.
    pub made: Option<u64>,
}

impl Head {
    pub fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        let newer = match frame::parse_file_head(bytes, MAGIC, VERSION) {
            Ok([first, salt, made]) => {
                return Ok(Self { first, salt, start: FILE_HEAD_BYTES, made: Some(made) });
            }
            Err(error) => error,
        };
        match frame::parse_file_head(bytes, MAGIC, VERSION_1) {
            Ok([first, salt]) => Ok(Self { first, salt, start: FILE_HEAD_BYTES_1, made: None }),
            Err(HeadError::Damaged) => Err(HeadError::Damaged),
            Err(_) => Err(newer),
        }
    }

    /// Out of the frame behind it, where it cannot be read itself.
    fn guess(bytes: &[u8], first: u64) -> Option<Self> {
        let guess = |start: usize, made| {
            let rest = bytes.get(start..)?;
            let salt = rest.get(FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + 8)?;
            let salt = u64::from_le_bytes(salt.try_into().ok()?);
            let found = look(rest, rest.len() as u64, Due { salt, first });
            matches!(found, Look::Whole(_)).then_some(Self { first, salt, start, made })
        };
        guess(FILE_HEAD_BYTES, Some(0)).or_else(|| guess(FILE_HEAD_BYTES_1, None))
    }
}

/// Whether there is nothing but zeros where the frames of a segment are, whatever its head is.
pub(super) fn is_blank(bytes: &[u8], head: Option<&Head>) -> bool {
    let start = head.map_or(FILE_HEAD_BYTES, |head| head.start);
    bytes.iter().skip(start).all(|&byte| byte == 0)
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

/// Makes a frame without records: all that is before it is durable, and `due` is the next record.
pub(super) fn mark(due: Due) -> Vec<u8> {
    let mut frame = Vec::with_capacity(MARK_BYTES);
    begin(&mut frame);
    seal(&mut frame, due, 0, PAYLOAD_HEAD_BYTES);
    frame
}

/// Whether the beginning of a file, as far as it is there, is that of a head which was whole before the file got its
/// name.
pub(super) fn is_named_when_whole(bytes: &[u8]) -> bool {
    let begins = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    bytes.starts_with(&begins)
}

/// A frame that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// None in a mark.
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
    if length < PAYLOAD_HEAD_BYTES || all as u64 > left {
        return Look::Bad("the length of a frame is not possible");
    }
    let Some(payload) = bytes.get(FRAME_HEAD_BYTES..all) else { return Look::Needs(all) };
    if crc32c::crc32c(payload) != crc {
        return Look::Bad("a frame does not have its checksum");
    }
    match head_of(payload) {
        Some((found, records)) if found == due && (records > 0) == (length > PAYLOAD_HEAD_BYTES) => {
            Look::Whole(Frame { records, bytes: all })
        }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    pub head: Head,
    /// Behind the last whole frame.
    pub end: u64,
    /// The number of the record behind the last one.
    pub next: u64,
    /// Whether nothing is behind the last mark.
    pub is_marked: bool,
    /// What is damaged before the end, ascending.
    pub holes: Vec<Hole>,
    pub tail: Tail,
}

impl Scanned {
    /// Of a segment without anything that can be read.
    pub fn nothing(first: u64, bytes: u64) -> Self {
        let head = Head { first, salt: 0, start: 0, made: None };
        let tail = Tail::Torn { bytes };
        Self { head, end: 0, next: first, is_marked: true, holes: Vec::new(), tail }
    }
}

/// Bytes that were whole before, and are not any more. A whole frame is behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub at: u64,
    /// The next whole frame.
    pub until: u64,
    /// The records that were in it: from this one up to, and without, the next one.
    pub first: u64,
    pub next: u64,
    pub why: &'static str,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// With zeros that nothing was written over, or none.
    Clean,
    /// With so many bytes that are no whole frame: what was being written when there was a crash, unless it is known
    /// that more was durable.
    Torn { bytes: u64 },
    /// So many bytes before what it was made as.
    Cut { bytes: u64 },
}

/// Reads a segment that should begin with record `first`. The error is one of its head.
pub(super) fn scan(bytes: &[u8], first: u64) -> Result<Scanned, HeadError> {
    let mut holes = Vec::new();
    let head = match Head::parse(bytes) {
        Ok(head) if head.first == first => head,
        Ok(_) => return Err(HeadError::Damaged),
        Err(error @ HeadError::Version { .. }) => return Err(error),
        Err(error) => {
            let head = Head::guess(bytes, first).ok_or(error)?;
            let why = "its head is not what it was written as";
            holes.push(Hole { at: 0, until: head.start as u64, first, next: first, why });
            head
        }
    };
    let (mut at, mut next, mut is_marked) = (head.start, first, true);
    loop {
        let rest = &bytes[at..];
        let due = Due { salt: head.salt, first: next };
        let why = match look(rest, rest.len() as u64, due) {
            Look::Whole(frame) => {
                at += frame.bytes;
                next += u64::from(frame.records);
                is_marked = frame.records == 0;
                continue;
            }
            Look::Needs(_) => "a frame is cut off",
            Look::Bad(why) => why,
        };
        let Some((ahead, found)) = next_whole(rest, due) else { break };
        let until = at + ahead;
        holes.push(Hole { at: at as u64, until: until as u64, first: next, next: found, why });
        (at, next) = (until, found);
    }
    let torn = bytes[at..].iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
    let missing = head.made.unwrap_or(0).saturating_sub(bytes.len() as u64);
    let tail = match (missing, torn) {
        (1.., _) => Tail::Cut { bytes: missing },
        (0, 1..) => Tail::Torn { bytes: torn },
        (0, 0) => Tail::Clean,
    };
    Ok(Scanned { head, end: at as u64, next, is_marked, holes, tail })
}

/// The first whole frame of this segment in `bytes`, for the record that is `due` or a later one: where it is, and the
/// number of its first record.
fn next_whole(bytes: &[u8], due: Due) -> Option<(usize, u64)> {
    let salt = due.salt.to_le_bytes();
    let starts = memchr::memmem::find_iter(bytes, &salt).filter_map(|at| at.checked_sub(FRAME_HEAD_BYTES));
    let mut whole = starts.filter_map(|start| {
        let rest = &bytes[start..];
        let (payload, _) = frame::payload_of(rest)?;
        let (Due { first, .. }, _) = head_of(payload)?;
        let is_whole = matches!(look(rest, rest.len() as u64, Due { first, ..due }), Look::Whole(_));
        (first >= due.first && is_whole).then_some((start, first))
    });
    whole.next()
}
