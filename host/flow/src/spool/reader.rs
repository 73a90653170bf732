//! The other end of the spool: its durable records by their numbers, in pieces of a segment.

use std::collections::VecDeque;
use std::sync::PoisonError;

use disk::read_exact_at;
use model::limits::READ_BYTES;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::chunk::{Chunk, Layout};
use super::log::{Segment, Segments};
use super::segment::{self, Due, Hole, Look, OVERHEAD_BYTES};
use super::{Lost, Spool, SpoolError};

/// Reads from one record on; asked again, what has become durable since then.
pub struct Tail {
    segments: Segments,
    /// Records before this one were not asked for.
    wanted: u64,
    /// The number of the next frame's first record, or what is wanted where a segment has not been looked for.
    next: u64,
    /// The first number of the segment that is read, and where in it the next frame begins.
    place: Option<(u64, u64)>,
}

/// Chunks of whole frames, checked, each with the number of its first record.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    chunks: VecDeque<(Layout, u64)>,
}

impl Tail {
    pub(super) fn new(segments: Segments, at: u64) -> Self {
        Self { segments, wanted: at, next: at, place: None }
    }

    /// Hands over all that is durable by now and was not handed over before.
    pub fn each(&mut self, mut each: impl FnMut(Chunk<'_>)) -> Result<(), SpoolError> {
        let mut ahead = Ahead::default();
        loop {
            let buffer = ahead.take_buffer();
            ahead.refill(self.read_on(buffer)?);
            if ahead.peek().is_none() {
                return Ok(());
            }
            while let Some(chunk) = ahead.peek() {
                let count = chunk.count();
                each(chunk);
                ahead.advance(count);
            }
        }
    }

    /// The chunks that come next, or none where nothing more is durable. `buffer`: to be read into.
    fn read_on(&mut self, buffer: Vec<u8>) -> ReadOn {
        let mut frames = Frames { bytes: buffer, ..Frames::default() };
        while let Some(segment) = self.segment() {
            let place = match self.place {
                Some((first, at)) if first == segment.first => at,
                // Its beginning, or behind a segment that was given up.
                _ => {
                    self.next = segment.first;
                    segment.start
                }
            };
            let used = match segment.holes.iter().find(|hole| hole.at == place) {
                Some(hole) => self.skip(hole),
                None => self.read(&segment, place, &mut frames)?,
            };
            self.place = Some((segment.first, place + used));
            if !frames.chunks.is_empty() {
                break;
            }
        }
        Ok((frames, self.wanted))
    }

    /// The segment in which the next record is. None where it is not durable yet.
    fn segment(&self) -> Option<Segment> {
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.iter().find(|segment| segment.next > self.next).cloned()
    }

    /// Goes on behind records that were given up, and says how many bytes of the segment they were.
    fn skip(&mut self, hole: &Hole) -> u64 {
        self.next = hole.next;
        hole.until - hole.at
    }

    /// Reads whole frames from `at` on up to the next hole, and says how many bytes of the segment they are.
    fn read(&mut self, segment: &Segment, at: u64, frames: &mut Frames) -> Result<u64, SpoolError> {
        let end = segment.holes.iter().map(|hole| hole.at).find(|&hole| hole > at).unwrap_or(segment.end);
        let left = end.saturating_sub(at);
        let mut wanted = left.min(READ_BYTES as u64) as usize;
        loop {
            frames.bytes.resize(wanted, 0);
            let read = read_exact_at(&*segment.file, &mut frames.bytes, at);
            read.map_err(SpoolError::io(&segment.path, "read"))?;
            let mut used = 0;
            let why = loop {
                let due = Due { salt: segment.salt, first: self.next };
                match segment::look(&frames.bytes[used..], left - used as u64, due) {
                    Look::Whole(frame) => {
                        let end = used + frame.bytes;
                        if !self.take(frames, used + OVERHEAD_BYTES, end, frame.records) {
                            break "a frame is whole, and its records are not as they are written";
                        }
                        used = end;
                    }
                    Look::Needs(_) if used > 0 => return Ok(used as u64),
                    // A frame that is longer than what is read at once.
                    Look::Needs(needs) if needs as u64 <= left => {
                        wanted = needs;
                        break "";
                    }
                    Look::Needs(_) => break "it ends where a record was",
                    Look::Bad(why) => break why,
                }
            };
            if !why.is_empty() {
                let (path, offset) = (segment.path.to_path_buf(), at + used as u64);
                let (why, lost) = (why.to_owned(), Lost::from(self.next));
                return Err(SpoolError::Damaged { path, offset, lost, why });
            }
        }
    }

    /// Takes the chunks of a frame in. False where they are not what its head says.
    fn take(&mut self, frames: &mut Frames, mut at: usize, end: usize, records: u32) -> bool {
        let next = self.next + u64::from(records);
        while at < end {
            let Some(layout) = Layout::parse(&frames.bytes[..end], at) else { return false };
            let first = self.next;
            (at, self.next) = (layout.values.end, first + layout.records() as u64);
            if self.next > self.wanted {
                frames.chunks.push_back((layout, first));
            }
        }
        self.next == next
    }
}

/// Chunks that were read, of which some records were taken.
#[derive(Debug, Default)]
struct Ahead {
    frames: Frames,
    /// Of the first chunk, what was taken: records, and bytes of values.
    taken: (usize, usize),
}

impl Ahead {
    /// `wanted`: records before it are left out.
    fn refill(&mut self, (frames, wanted): (Frames, u64)) {
        (self.frames, self.taken) = (frames, (0, 0));
        if let Some((_, first)) = self.frames.chunks.front() {
            self.advance(wanted.saturating_sub(*first) as usize);
        }
    }

    fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.frames.bytes)
    }

    fn peek(&self) -> Option<Chunk<'_>> {
        let (layout, first) = self.frames.chunks.front()?;
        Some(Chunk::of(&self.frames.bytes, layout, *first, self.taken.0, self.taken.1))
    }

    /// `count`: no more than the chunk at hand has.
    fn advance(&mut self, count: usize) {
        let Some(chunk) = self.peek() else { return };
        let all = chunk.count();
        let bytes: usize = chunk.lengths().take(count).sum();
        self.taken = (self.taken.0 + count, self.taken.1 + bytes);
        if count >= all {
            self.frames.chunks.pop_front();
            self.taken = (0, 0);
        }
    }
}

/// Chunks, and the first record that is wanted of them.
type ReadOn = Result<(Frames, u64), SpoolError>;

/// Durable records as they come.
pub struct Reader {
    spool: Spool,
    durable: watch::Receiver<Durable>,
    /// None while it reads.
    tail: Option<Tail>,
    reading: Option<JoinHandle<(Tail, ReadOn)>>,
    ahead: Ahead,
}

/// What is known of the far end.
#[derive(Clone, Debug, Default)]
pub(super) struct Durable {
    /// Records before this one are durable.
    pub next: u64,
    pub failed: Option<SpoolError>,
}

impl Reader {
    pub(super) fn new(spool: Spool, durable: watch::Receiver<Durable>, tail: Tail) -> Self {
        Self { spool, durable, tail: Some(tail), reading: None, ahead: Ahead::default() }
    }

    /// Waits until there is a record. Cancel safe.
    pub async fn ready(&mut self) -> Result<(), SpoolError> {
        while self.ahead.peek().is_none() {
            if let Some(reading) = &mut self.reading {
                let read = reading.await;
                self.reading = None;
                let (tail, read) = read.map_err(|broke| self.spool.gone(&broke.to_string()))?;
                self.tail = Some(tail);
                self.ahead.refill(read?);
                continue;
            }
            let Durable { next, failed } = self.durable.borrow_and_update().clone();
            match self.tail.take() {
                Some(mut tail) if tail.next < next => {
                    let buffer = self.ahead.take_buffer();
                    self.reading = Some(tokio::task::spawn_blocking(move || {
                        let read = tail.read_on(buffer);
                        (tail, read)
                    }));
                    continue;
                }
                tail => self.tail = tail,
            }
            // All that is durable is delivered first.
            if let Some(error) = failed {
                return Err(error);
            }
            if self.durable.changed().await.is_err() {
                return Err(self.spool.gone("it has ended"));
            }
        }
        Ok(())
    }

    /// The records at hand that came together; none before [`Reader::ready`].
    pub fn peek(&self) -> Option<Chunk<'_>> {
        self.ahead.peek()
    }

    /// Takes `count` of the records at hand.
    pub fn advance(&mut self, count: usize) {
        self.ahead.advance(count);
    }

    /// Whose records these are.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }
}

impl Drop for Reader {
    /// Nobody delivers any more what is appended: nothing more is taken, and the files are free when this is done.
    fn drop(&mut self) {
        self.spool.close();
    }
}
