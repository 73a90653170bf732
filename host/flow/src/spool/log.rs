//! The segments of a spool on their disk: appended to, synced, released and recovered, one call after the other.
//!
//! Segments are preallocated, so that a frame that is written never fails for want of space: where there is none for
//! the next segment, records are refused and nothing else happens. A segment gets its name when it is whole, so that
//! one that could not be made leaves none behind. A failed sync is never tried again: what the kernel did not write it
//! may have forgotten, and a second sync would say that all is well.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use disk::{Disk, DiskFile, Lock, Mode, dir_of, is_full, make_dirs};
use model::limits::SPOOL_FRAME_BYTES_MAX;

use super::reader::Tail;
use super::recover::{Recovered, recover};
use super::segment::{self, Due, FILE_HEAD_BYTES, Hole, MAKING, MARK_BYTES, OVERHEAD_BYTES};
use super::{NotTaken, Records, SpoolError, SpoolOptions};
use crate::fault::{self, Point};

/// Records of any number of appenders, which become durable together.
#[derive(Debug)]
pub struct Group {
    frame: Vec<u8>,
    records: u32,
}

impl Default for Group {
    fn default() -> Self {
        let mut group = Self { frame: Vec::new(), records: 0 };
        group.clear();
        group
    }
}

impl Group {
    pub fn clear(&mut self) {
        segment::begin(&mut self.frame);
        self.records = 0;
    }

    pub fn push(&mut self, records: &Records) {
        if !records.is_empty() {
            records.encode(&mut self.frame);
            self.records += records.count();
        }
    }

    pub fn records(&self) -> u32 {
        self.records
    }

    /// What it takes in a segment.
    pub fn bytes(&self) -> usize {
        self.frame.len()
    }

    /// What one of these records alone would take.
    pub(super) fn bytes_of(records: &Records) -> usize {
        OVERHEAD_BYTES + records.encoded_bytes()
    }
}

/// Where the records of a group are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first: u64,
    pub records: u32,
}

/// A segment, as its reader needs it.
#[derive(Clone)]
pub(super) struct Segment {
    pub first: u64,
    pub salt: u64,
    pub path: Arc<Path>,
    pub file: Arc<dyn DiskFile>,
    /// Of the first frame.
    pub start: u64,
    /// What of it was given up.
    pub holes: Arc<[Hole]>,
    /// Behind the last record that is durable.
    pub end: u64,
    pub next: u64,
    /// On the disk.
    pub bytes: u64,
}

/// What writer and reader both look at; ascending.
pub(super) type Segments = Arc<Mutex<VecDeque<Segment>>>;

/// A log that this process writes to.
pub struct Log {
    options: SpoolOptions,
    _lock: Box<dyn Lock>,
    segments: Segments,
    /// Behind all that was written, synced or not.
    end: u64,
    next: u64,
    /// Whether something durable says that all of it is.
    is_marked: bool,
    /// Records before this one are not wanted any more.
    released: u64,
    /// A segment whose name may not be durable, and that could not be removed. It holds nothing, and may only stand
    /// behind one that does.
    abandoned: Option<PathBuf>,
    /// Once set, nothing is written any more.
    broken: Option<SpoolError>,
}

impl Log {
    pub(super) fn open(options: SpoolOptions, from: Option<u64>) -> Result<Self, SpoolError> {
        let (disk, dir) = (&*options.disk, &options.dir);
        make_dirs(disk, dir).map_err(SpoolError::io(dir, "make"))?;
        let lock_path = dir.join("lock");
        let lock = disk.lock(&lock_path).map_err(SpoolError::io(&lock_path, "lock"))?;
        let lock = lock.ok_or_else(|| SpoolError::Locked { path: dir.clone() })?;
        let Recovered { segments, next, is_marked } = recover(disk, dir, from)?;
        let end = segments.back().map_or(0, |last| last.end);
        if let Some(at) = from.filter(|&at| at > next) {
            return Err(SpoolError::Behind { path: dir.clone(), next, at });
        }
        let first = segments.front().map_or(next, |segment| segment.first);
        if let Some(at) = from.filter(|&at| at < first) {
            return Err(SpoolError::Missing { path: dir.clone(), from: at, until: first });
        }
        let released = from.unwrap_or(first);
        let segments = Arc::new(Mutex::new(segments));
        let (abandoned, broken) = (None, None);
        let mut log =
            Self { options, _lock: lock, segments, end, next, is_marked, released, abandoned, broken };
        log.release(released)?;
        Ok(log)
    }

    /// The number of the oldest record that is there.
    pub fn first(&self) -> u64 {
        self.with(|segments| segments.front().map_or(self.next, |segment| segment.first))
    }

    /// The number that the next record gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether a damaged record would be told from one that a crash has left: a mark is behind all of them.
    pub fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Behind the last record that is durable.
    pub fn durable(&self) -> u64 {
        self.with(|segments| segments.back().map_or(self.next, |segment| segment.next))
    }

    /// Records before this one are not wanted any more.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// What all segments take on the disk.
    pub fn bytes(&self) -> u64 {
        self.with(|segments| segments.iter().map(|segment| segment.bytes).sum())
    }

    /// What of that holds records, wanted or not.
    pub fn used_bytes(&self) -> u64 {
        self.with(|segments| segments.iter().map(|segment| segment.end).sum())
    }

    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    pub fn bytes_max(&self) -> u64 {
        self.options.bytes_max
    }

    /// What is read from here on, from record `at`, is what is durable by then.
    pub fn tail(&self, at: u64) -> Tail {
        Tail::new(self.segments.clone(), at)
    }

    /// Writes a group behind all that is there, and gives it its numbers. It is durable with the next [`Log::sync`],
    /// and nothing may be appended before that: frames behind one that was torn would look like damage.
    pub fn append(&mut self, group: &mut Group) -> Result<Appended, NotTaken> {
        if let Some(error) = &self.broken {
            return Err(error.clone().into());
        }
        let bytes = group.frame.len();
        let beside = FILE_HEAD_BYTES + MARK_BYTES;
        if bytes > SPOOL_FRAME_BYTES_MAX || (beside + bytes) as u64 > self.options.bytes_max {
            let max = SPOOL_FRAME_BYTES_MAX.min(self.options.bytes_max as usize - beside);
            return Err(NotTaken::TooLarge { bytes, max });
        }
        let room = self.with(|segments| segments.back().map_or(0, |last| last.bytes));
        // The mark behind it has its place already.
        if self.end + (bytes + MARK_BYTES) as u64 > room {
            self.rotate(bytes as u64)?;
        }
        let (salt, file, path) = self.last();
        let due = Due { salt, first: self.next };
        segment::seal(&mut group.frame, due, group.records, SPOOL_FRAME_BYTES_MAX);
        if let Err(error) = file.write_at(&group.frame, self.end) {
            // What is there of it is written over by the next one.
            if is_no_space(error.kind()) {
                return Err(NotTaken::NoSpace);
            }
            let error = SpoolError::io(&path, "write")(error);
            return Err(self.broken.insert(error).clone().into());
        }
        fault::hit(Point::SpoolWritten);
        self.end += bytes as u64;
        self.next += u64::from(group.records);
        self.is_marked = false;
        Ok(Appended { first: due.first, records: group.records })
    }

    /// Makes durable all that was appended, and lets it be read.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if self.with(|segments| segments.back().is_none_or(|last| last.end == self.end)) {
            return Ok(());
        }
        let (_, file, path) = self.last();
        if let Err(error) = file.sync() {
            let error = SpoolError::NotDurable { path: path.to_path_buf(), why: error.to_string() };
            return Err(self.broken.insert(error).clone());
        }
        fault::hit(Point::SpoolSynced);
        let (end, next) = (self.end, self.next);
        self.with(|segments| {
            if let Some(last) = segments.back_mut() {
                (last.end, last.next) = (end, next);
            }
        });
        Ok(())
    }

    /// Says durably that all that was synced is, where nothing that was written since says so: damage to it is told
    /// from then on. For whoever has nothing else to write. What was not synced stays as it is.
    pub fn mark(&mut self) -> Result<(), SpoolError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if self.is_marked || self.with(|segments| segments.back().is_none_or(|last| last.end != self.end)) {
            return Ok(());
        }
        let (salt, file, path) = self.last();
        let mark = segment::mark(Due { salt, first: self.next });
        match file.write_at(&mark, self.end) {
            Err(error) if is_no_space(error.kind()) => return Ok(()),
            Err(error) => {
                let error = SpoolError::io(&path, "write")(error);
                return Err(self.broken.insert(error).clone());
            }
            Ok(()) => self.end += mark.len() as u64,
        }
        self.sync()?;
        self.is_marked = true;
        Ok(())
    }

    /// Records before `to` are not wanted any more: segments that hold no others go. The last one stays, because it
    /// knows the next number.
    pub fn release(&mut self, to: u64) -> Result<(), SpoolError> {
        self.released = self.released.max(to);
        if !self.remove_abandoned() {
            return Ok(());
        }
        let released = self.released;
        let goes = |segments: &VecDeque<Segment>| {
            segments.len() > 1 && segments.front().is_some_and(|oldest| oldest.next <= released)
        };
        let mut gone = false;
        loop {
            let oldest = self.with(|segments| if goes(segments) { segments.pop_front() } else { None });
            let Some(oldest) = oldest else { break };
            if_there_is_space(self.options.disk.remove(&oldest.path))
                .map_err(SpoolError::io(&oldest.path, "remove"))?;
            fault::hit(Point::SegmentRemoved);
            gone = true;
        }
        if gone {
            let dir = &self.options.dir;
            if_there_is_space(self.options.disk.sync_dir(dir)).map_err(SpoolError::io(dir, "sync"))?;
        }
        Ok(())
    }

    /// Begins a segment with room for a frame of `frame_bytes`.
    fn rotate(&mut self, frame_bytes: u64) -> Result<(), NotTaken> {
        let least = (FILE_HEAD_BYTES + MARK_BYTES) as u64 + frame_bytes;
        let bytes = self.options.segment_bytes.max(least);
        let stays = self.with(|segments| {
            // The last one goes too, once the new one knows the next number.
            let wanted = segments.iter().filter(|segment| segment.next > self.released);
            wanted.map(|segment| segment.bytes).sum::<u64>()
        });
        if stays + bytes > self.options.bytes_max {
            return Err(NotTaken::Full { bytes: self.bytes(), max: self.options.bytes_max });
        }
        let path = segment::path_of(&self.options.dir, self.next);
        let salt = mix(self.options.seed, self.next);
        let file = match begin(&*self.options.disk, &path, self.next, salt, bytes) {
            Ok(file) => file,
            Err(error) => {
                let has_name = |segments: &mut VecDeque<Segment>| {
                    segments.back().is_some_and(|last| *last.path == *path)
                };
                if !self.with(has_name) {
                    self.abandoned = Some(path.clone());
                    self.remove_abandoned();
                }
                if is_no_space(error.kind()) {
                    return Err(NotTaken::NoSpace);
                }
                let error = SpoolError::io(&path, "make")(error);
                return Err(self.broken.insert(error).clone().into());
            }
        };
        self.end = FILE_HEAD_BYTES as u64;
        let (first, next, end) = (self.next, self.next, self.end);
        let (path, file, start, holes) = (path.into(), file.into(), end, Arc::default());
        let segment = Segment { first, salt, path, file, start, holes, end, next, bytes };
        // It was begun when all before it was durable.
        (self.is_marked, self.abandoned) = (true, None);
        self.with(|segments| {
            // One that holds nothing and has no room had this name: it is this one now.
            if segments.back().is_some_and(|last| last.path == segment.path) {
                segments.pop_back();
            }
            segments.push_back(segment);
        });
        Ok(self.release(self.released)?)
    }

    /// Whether there is none left.
    fn remove_abandoned(&mut self) -> bool {
        self.abandoned.take_if(|path| match self.options.disk.remove(path) {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::NotFound,
        });
        self.abandoned.is_none()
    }

    fn last(&self) -> (u64, Arc<dyn DiskFile>, Arc<Path>) {
        self.with(|segments| {
            let last = segments.back().expect("whoever appends has begun one");
            (last.salt, last.file.clone(), last.path.clone())
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut VecDeque<Segment>) -> T) -> T {
        look(&mut self.segments.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A new segment, durable with its name, which it gets when it is whole: one that could not be made has none. Where
/// only its name is not durable it is there and empty, and is made anew, or found to hold nothing when the log is opened.
fn begin(
    disk: &dyn Disk,
    path: &Path,
    first: u64,
    salt: u64,
    bytes: u64,
) -> std::io::Result<Box<dyn DiskFile>> {
    let making = path.with_extension(MAKING);
    let make = || {
        let file = disk.open(&making, Mode::Create)?;
        file.preallocate(bytes)?;
        file.write_at(&segment::file_head(first, salt, bytes), 0)?;
        file.sync()?;
        disk.rename(&making, path)?;
        Ok(file)
    };
    let file = make().inspect_err(|_: &std::io::Error| {
        // What stays of it takes up space, and nobody takes it for a segment.
        let _ = disk.remove(&making);
    })?;
    fault::hit(Point::SegmentBegun);
    disk.sync_dir(dir_of(path))?;
    Ok(file)
}

/// What frees space is left undone where a disk has none even for that: the next start does it.
fn if_there_is_space(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if is_no_space(error.kind()) => Ok(()),
        done => done,
    }
}

pub(super) fn is_no_space(kind: ErrorKind) -> bool {
    is_full(kind) || kind == ErrorKind::FileTooLarge
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(seed: u64, number: u64) -> u64 {
    let mut state = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}
