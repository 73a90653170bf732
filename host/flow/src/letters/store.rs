//! The writing side of a store: one process at a time, appends, rotation, bounds, and what a crash left.
//!
//! Nothing that was synced is ever written over. A failed sync is never retried: what the kernel did not write it
//! may have forgotten, and a second sync would say that all is well.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::ids::RecordId;
use model::limits;

use super::entry::{self, Head, Identity};
use super::mark::{Marks, Outcome, Range};
use super::read::Reading;
use super::segment::{self, FILE_HEAD_BYTES, Tail};
use super::{Group, LettersError, wall_clock};

/// A segment that is written to.
pub(crate) trait SegmentFile: Send {
    /// Writes behind all that is there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

impl SegmentFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

pub(crate) type Opener = Arc<dyn Fn(&Path) -> io::Result<Box<dyn SegmentFile>> + Send + Sync>;

/// Where a store is, and how much goes into it.
#[derive(Clone)]
pub struct StoreOptions {
    pub dir: PathBuf,
    pub bytes_max: u64,
    /// Older segments are thrown away. Never, where there is none.
    pub age_max: Option<Duration>,
    pub segment_bytes: u64,
    /// Microseconds since the Unix epoch.
    pub clock: fn() -> i64,
    pub(crate) opener: Opener,
}

impl StoreOptions {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            bytes_max: limits::DEAD_LETTER_STORE_BYTES_MAX,
            age_max: None,
            segment_bytes: limits::DEAD_LETTER_SEGMENT_BYTES,
            clock: wall_clock,
            opener: Arc::new(|path| {
                Ok(Box::new(OpenOptions::new().append(true).create(true).open(path)?) as Box<dyn SegmentFile>)
            }),
        }
    }

    /// Locks and recovers the store, where there is one; else it is made with its first letter.
    pub fn open(self) -> Result<Store, LettersError> {
        match std::fs::metadata(&self.dir) {
            Ok(there) if there.is_dir() => {
                let mut opened = Opened::of(&self)?;
                opened.throw_old_away(&self)?;
                Ok(Store { options: self, opened: Some(opened), frame: Vec::new() })
            }
            Ok(_) => Err(LettersError::OldFile { path: self.dir }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Store { options: self, opened: None, frame: Vec::new() })
            }
            Err(error) => Err(LettersError::Io { path: self.dir, error }),
        }
    }
}

/// A store that this process writes to.
pub struct Store {
    options: StoreOptions,
    /// None until the directory is there.
    opened: Option<Opened>,
    frame: Vec<u8>,
}

struct Opened {
    /// Held while the store is open.
    _lock: File,
    /// Ascending; the last one is written to, once `active` is there.
    segments: Vec<Segment>,
    active: Option<Box<dyn SegmentFile>>,
    /// The id of the next entry.
    next: u64,
    /// Whether something was written since the last sync.
    dirty: bool,
    /// Whether a file came or went since the directory was synced.
    dir_dirty: bool,
    broken: bool,
}

struct Segment {
    first: u64,
    path: PathBuf,
    bytes: u64,
    newest_us: i64,
}

impl Store {
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Appends what was refused, and gives the id of the first of these entries. It is durable with the next
    /// [`Store::sync`].
    pub fn put(&mut self, identity: &Identity, group: &Group) -> Result<u64, LettersError> {
        let now = (self.options.clock)();
        let Self { options, opened, frame } = self;
        let opened = Opened::or_made(opened, options)?;
        let first = opened.next;
        entry::encode(group, first, identity, now, frame)?;
        let more = frame.len() as u64;
        let bytes: u64 = opened.bytes();
        if bytes + more > options.bytes_max {
            let max = options.bytes_max;
            return Err(LettersError::Full { path: options.dir.clone(), bytes, more, max });
        }
        opened.append(options, frame, now)?;
        opened.next = first + group.refusals.len() as u64;
        Ok(first)
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.opened.as_ref().map_or(1, |opened| opened.next)
    }

    /// The records of a pipeline that were refused from entry `from` on, each with the stage that refused it.
    pub fn refused_from(
        &self,
        from: u64,
        pipeline: &str,
    ) -> Result<HashSet<(Arc<str>, RecordId)>, LettersError> {
        let mut refused = HashSet::new();
        if self.opened.is_none() || from >= self.next() {
            return Ok(refused);
        }
        let reading = Reading::open(self.dir())?;
        for frame in reading.frames_from(from).filter(|frame| *frame.pipeline == *pipeline) {
            let kept = frame.read()?;
            let rows = (0..kept.len()).filter(|&row| kept.id(row) >= from);
            refused.extend(rows.map(|row| (frame.stage.clone(), kept.record_id(row))));
        }
        Ok(refused)
    }

    /// Makes all that was put durable.
    pub fn sync(&mut self) -> Result<(), LettersError> {
        let Self { options, opened, .. } = self;
        opened.as_mut().map_or(Ok(()), |opened| opened.sync(&options.dir))
    }

    /// Says durably what became of entries. A full store takes it: it is what makes room.
    pub fn mark(&mut self, entries: &[(u64, Outcome)]) -> Result<(), LettersError> {
        let mut marks = Marks::default();
        entries.iter().for_each(|(id, outcome)| marks.add((*id, *id, *outcome)));
        self.append_marks(marks.ranges())
    }

    fn append_marks(&mut self, ranges: Vec<Range>) -> Result<(), LettersError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let now = (self.options.clock)();
        let Self { options, opened, frame } = self;
        let opened = Opened::or_made(opened, options)?;
        entry::encode_marks(ranges, now, frame)?;
        opened.append(options, frame, now)?;
        opened.sync(&options.dir)
    }

    /// Frees the segments whose entries are all closed, and says how many bytes that were. What is marked of the
    /// entries that stay is written again first.
    pub fn reclaim(&mut self) -> Result<u64, LettersError> {
        let Self { options, opened: Some(opened), .. } = self else { return Ok(0) };
        opened.rotate(options)?;
        let dir = options.dir.clone();
        let reading = Reading::open(&dir)?;
        let active = opened.segments.last().map(|segment| segment.path.clone());
        let (mut gone, mut stay) = (Vec::new(), Vec::new());
        for segment in &opened.segments {
            let is_closed = reading.frames_in(&segment.path).all(|frame| reading.is_closed(frame));
            match is_closed && Some(&segment.path) != active.as_ref() {
                true => gone.push(segment.path.clone()),
                false => stay.extend(reading.frames_in(&segment.path).map(|frame| frame.ids())),
            }
        }
        self.append_marks(reading.marks_within(&stay))?;
        let Some(opened) = &mut self.opened else { return Ok(0) };
        opened.remove(&dir, &gone)
    }
}

impl Opened {
    fn of(options: &StoreOptions) -> Result<Self, LettersError> {
        let dir = &options.dir;
        let io = LettersError::io;
        let lock_path = dir.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LettersError::Locked { path: dir.clone() }),
            Err(TryLockError::Error(error)) => return Err(LettersError::Io { path: lock_path, error }),
        }
        let found = segment::list(dir)?;
        let mut opened = Self {
            _lock: lock,
            segments: Vec::with_capacity(found.len()),
            active: None,
            next: 1,
            dirty: false,
            dir_dirty: true,
            broken: false,
        };
        let last = found.len().saturating_sub(1);
        for (at, (first, path)) in found.into_iter().enumerate() {
            opened.recover(first, path, at == last)?;
        }
        Ok(opened)
    }

    /// The store, with its directory made where there is none yet.
    fn or_made<'o>(
        opened: &'o mut Option<Self>,
        options: &StoreOptions,
    ) -> Result<&'o mut Self, LettersError> {
        if opened.is_none() {
            let dir = &options.dir;
            std::fs::create_dir_all(dir).map_err(LettersError::io(dir))?;
            // The directory's own entry has to last as well.
            sync_dir(dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
            *opened = Some(Self::of(options)?);
        }
        Ok(opened.as_mut().expect("it was opened above"))
    }

    /// Reads a segment that was there; cuts off what a crash left at the end of the last one.
    fn recover(&mut self, first: u64, path: PathBuf, is_last: bool) -> Result<(), LettersError> {
        let (mut next, mut newest_us) = (self.next.max(first), i64::MIN);
        if first < self.next && !self.segments.is_empty() {
            let why =
                format!("its entries begin at {first}, and the file before it goes to {}", self.next - 1);
            return Err(LettersError::Foreign { path, why });
        }
        let Tail { end, torn } = segment::scan(&path, first, is_last, |_, payload| {
            match entry::head(payload)?.0 {
                Head::Refused(head) if head.first != next => {
                    return Err(format!("entry {} stands where {next} is due", head.first));
                }
                Head::Refused(head) => {
                    next = head.first + head.count;
                    newest_us = newest_us.max(head.refused_at_us);
                }
                Head::Closed { at_us, .. } => newest_us = newest_us.max(at_us),
            }
            Ok(())
        })?;
        self.next = next;
        if torn > 0 || end == 0 {
            tracing::warn!(
                file = %path.display(), bytes = torn, at = end,
                "a dead letter that was not written to its end is cut off: the run that wrote it was cut off before it had \
                 acknowledged anything"
            );
            cut(&path, end)?;
        }
        if end > 0 {
            self.segments.push(Segment { first, path, bytes: end, newest_us });
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Writes a frame; the whole of it, or nothing.
    fn append(&mut self, options: &StoreOptions, frame: &[u8], now_us: i64) -> Result<(), LettersError> {
        if self.broken {
            return Err(LettersError::Broken { path: options.dir.clone() });
        }
        if self.segments.last().is_none_or(|segment| segment.bytes >= options.segment_bytes) {
            self.rotate(options)?;
            self.throw_old_away(options)?;
        }
        let segment = self.segments.last_mut().expect("rotating makes one");
        let active = match &mut self.active {
            Some(active) => active,
            none => none.insert((options.opener)(&segment.path).map_err(LettersError::io(&segment.path))?),
        };
        self.dirty = true;
        if let Err(error) = active.append(frame) {
            // A frame that is half there would hide those behind it.
            self.broken |= active.truncate(segment.bytes).is_err();
            return Err(LettersError::Io { path: segment.path.clone(), error });
        }
        segment.bytes += frame.len() as u64;
        segment.newest_us = segment.newest_us.max(now_us);
        Ok(())
    }

    /// Begins the next segment; an empty one stays.
    fn rotate(&mut self, options: &StoreOptions) -> Result<(), LettersError> {
        if self.segments.last().is_some_and(|last| last.first == self.next) {
            return Ok(());
        }
        self.sync(&options.dir)?;
        let path = segment::path_of(&options.dir, self.next);
        let io = LettersError::io;
        let mut active = (options.opener)(&path).map_err(io(&path))?;
        if let Err(error) = active.append(&segment::file_head(self.next)) {
            // Nothing is in it yet, so that the next attempt may begin anew.
            let _ = std::fs::remove_file(&path);
            return Err(LettersError::Io { path, error });
        }
        self.active = Some(active);
        (self.dirty, self.dir_dirty) = (true, true);
        let (first, bytes) = (self.next, FILE_HEAD_BYTES);
        self.segments.push(Segment { first, path, bytes, newest_us: i64::MIN });
        Ok(())
    }

    fn sync(&mut self, dir: &Path) -> Result<(), LettersError> {
        if self.broken {
            return Err(LettersError::Broken { path: dir.to_owned() });
        }
        if !self.dirty {
            return Ok(());
        }
        let (Some(active), Some(segment)) = (&mut self.active, self.segments.last()) else { return Ok(()) };
        let synced = active.sync().map_err(LettersError::io(&segment.path));
        let synced = synced.and_then(|()| if self.dir_dirty { sync_dir(dir) } else { Ok(()) });
        self.broken = synced.is_err();
        (self.dirty, self.dir_dirty) = (false, false);
        synced
    }

    /// Throws away the oldest segments in which nothing is young enough. The one that is written to stays.
    fn throw_old_away(&mut self, options: &StoreOptions) -> Result<(), LettersError> {
        let Some(age_max) = options.age_max else { return Ok(()) };
        let age_us = i64::try_from(age_max.as_micros()).unwrap_or(i64::MAX);
        let oldest = (options.clock)().saturating_sub(age_us);
        let but_last = self.segments.len().saturating_sub(1);
        let old = self.segments[..but_last].iter().take_while(|segment| segment.newest_us < oldest);
        let gone: Vec<PathBuf> = old.map(|segment| segment.path.clone()).collect();
        for path in &gone {
            tracing::warn!(file = %path.display(), "dead letters that are older than asked for are thrown away");
        }
        self.remove(&options.dir, &gone).map(|_| ())
    }

    fn remove(&mut self, dir: &Path, gone: &[PathBuf]) -> Result<u64, LettersError> {
        let before = self.bytes();
        for path in gone {
            std::fs::remove_file(path).map_err(LettersError::io(path))?;
            self.segments.retain(|segment| segment.path != *path);
        }
        if !gone.is_empty() {
            sync_dir(dir)?;
        }
        Ok(before - self.bytes())
    }
}

/// Cuts a segment at `end`; one without even a head goes.
fn cut(path: &Path, end: u64) -> Result<(), LettersError> {
    let io = LettersError::io;
    if end == 0 {
        return std::fs::remove_file(path).map_err(io(path));
    }
    let file = OpenOptions::new().write(true).open(path).map_err(io(path))?;
    file.set_len(end).and_then(|()| file.sync_all()).map_err(io(path))
}

fn sync_dir(dir: &Path) -> Result<(), LettersError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(LettersError::io(dir))
}
