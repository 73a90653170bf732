//! The writing side of a store: one process at a time, appends, rotation, bounds, and what a crash left.
//!
//! Nothing that was synced is ever written over. A failed sync is never retried: what the kernel did not write it
//! may have forgotten, and a second sync would say that all is well.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use disk::{Disk, DiskFile, Lock, Mode, SystemDisk, is_full, make_dirs};
use model::expand::batch_bytes;
use model::limits;

use super::Outcome;
use super::entry::{self, Head, Identity, Place};
use super::mark::{Marks, Range};
use super::read::Reading;
use super::segment::{self, Damage, FILE_HEAD_BYTES, MAKING, Scanned};
use super::{BRANCH_CUT, Closing, Group, LettersError, Repeats};
use crate::clock::wall_clock;

/// Where a store is, and how much goes into it.
#[derive(Clone)]
pub struct StoreOptions {
    pub dir: PathBuf,
    pub bytes_max: u64,
    /// Older segments are thrown away. Never, where there is none.
    pub age_max: Option<Duration>,
    pub segment_bytes: u64,
    /// Refused records that are more go into several frames.
    pub group_bytes: usize,
    /// Microseconds since the Unix epoch.
    pub clock: fn() -> i64,
    pub disk: Arc<dyn Disk>,
}

impl StoreOptions {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            bytes_max: limits::DEAD_LETTER_STORE_BYTES_MAX,
            age_max: None,
            segment_bytes: limits::DEAD_LETTER_SEGMENT_BYTES,
            group_bytes: limits::DEAD_LETTER_GROUP_BYTES,
            clock: wall_clock,
            disk: Arc::new(SystemDisk),
        }
    }

    /// Locks and recovers the store, where there is one; else it is made with its first letter.
    pub fn open(self) -> Result<Store, LettersError> {
        match self.disk.stat(&self.dir).map_err(LettersError::io(&self.dir))? {
            Some(there) if there.is_dir => {
                let mut opened = Opened::of(&self)?;
                opened.throw_old_away(&self)?;
                Ok(Store { options: self, opened: Some(opened), frame: Vec::new() })
            }
            Some(_) => Err(LettersError::OldFile { path: self.dir }),
            None => Ok(Store { options: self, opened: None, frame: Vec::new() }),
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
    _lock: Box<dyn Lock>,
    /// Ascending; the last one is written to, once `active` is there.
    segments: Vec<Segment>,
    active: Option<Box<dyn DiskFile>>,
    /// Bytes of the segment that is written to.
    durable: u64,
    /// The id of the next entry.
    next: u64,
    /// Whether something was written since the last sync.
    dirty: bool,
    /// Whether something durable says that all that is durable is.
    is_marked: bool,
    /// Whether nothing was written since [`Store::idle`] was called.
    is_quiet: bool,
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

    /// Appends what was refused, and gives the id of the first of these entries; the others follow it, also where they
    /// are too many bytes for one frame. It is durable with the next [`Store::sync`].
    pub fn put(&mut self, identity: &Identity, group: &Group) -> Result<u64, LettersError> {
        let most = self.options.group_bytes;
        // What a selection leaves out is weighed as well, and does not go in.
        if group.rows.weight_bytes() > most
            && batch_bytes(&group.rows) > most as u64
            && let Some([first, rest]) = group.halves()
        {
            let id = self.put(identity, &first)?;
            self.put(identity, &rest)?;
            return Ok(id);
        }
        let id = self.put_frame(identity, group);
        // One large record does not keep its room for ever.
        self.frame.shrink_to(limits::WRITE_BEHIND_BYTES_MAX);
        id
    }

    fn put_frame(&mut self, identity: &Identity, group: &Group) -> Result<u64, LettersError> {
        let now = (self.options.clock)();
        let Self { options, opened, frame } = self;
        let opened = Opened::or_made(opened, options)?;
        opened.make_room(options)?;
        let first = opened.next;
        entry::encode(group, opened.place(), identity, now, frame)?;
        let more = frame.len() as u64;
        let bytes: u64 = opened.bytes();
        if bytes + more > options.bytes_max {
            let max = options.bytes_max;
            return Err(LettersError::Full { path: options.dir.clone(), bytes, more, max });
        }
        opened.append(&options.dir, frame, now)?;
        opened.next = first + group.refusals.len() as u64;
        Ok(first)
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.opened.as_ref().map_or(1, |opened| opened.next)
    }

    /// The records of a pipeline that were refused from entry `from` on.
    pub(super) fn refused_from(&self, from: u64, pipeline: &str) -> Result<Repeats, LettersError> {
        let mut refused = Repeats::default();
        if self.opened.is_none() || from >= self.next() {
            return Ok(refused);
        }
        let reading = Reading::open_on(self.options.disk.clone(), self.dir())?;
        for frame in reading.frames_from(from).filter(|frame| *frame.pipeline == *pipeline) {
            let kept = frame.read()?;
            // What a replay has sent in and was refused again does not come from a source.
            let may_come_again = |row: &usize| kept.id(*row) >= from && !kept.is_of_replay(*row);
            for row in (0..kept.len()).filter(may_come_again) {
                let is_cut = kept.code(row) == BRANCH_CUT;
                refused.insert(&frame.stage, kept.record_id(row), kept.id(row), kept.origin(row), is_cut);
            }
        }
        Ok(refused)
    }

    /// Makes all that was put durable.
    pub fn sync(&mut self) -> Result<(), LettersError> {
        let Self { options, opened, .. } = self;
        opened.as_mut().map_or(Ok(()), |opened| opened.sync(options))
    }

    /// Called again and again: where nothing was written between two calls, says durably that all that was synced is,
    /// so that damage to it is told from then on.
    pub fn idle(&mut self) -> Result<(), LettersError> {
        let is_quiet =
            self.opened.as_mut().is_some_and(|opened| std::mem::replace(&mut opened.is_quiet, true));
        if is_quiet { self.write_mark() } else { Ok(()) }
    }

    /// Nothing more is written: the same, at once. What was not synced stays as it is.
    pub fn close(&mut self) -> Result<(), LettersError> {
        self.write_mark()
    }

    fn write_mark(&mut self) -> Result<(), LettersError> {
        let Self { options, opened: Some(opened), frame } = self else { return Ok(()) };
        if opened.broken || opened.dirty || opened.is_marked || opened.active.is_none() {
            return Ok(());
        }
        let now = (options.clock)();
        entry::encode_marks(Vec::new(), opened.place(), now, frame)?;
        match opened.append(&options.dir, frame, now) {
            // There may be room at another time.
            Err(LettersError::Io { error, .. }) if is_full(error.kind()) => {
                opened.dirty = false;
                return Ok(());
            }
            appended => appended?,
        }
        opened.sync(options)?;
        opened.is_marked = true;
        Ok(())
    }

    /// Says durably what became of entries. A full store takes it: it is what makes room.
    pub fn mark(&mut self, entries: &[(u64, Outcome)]) -> Result<(), LettersError> {
        let mut marks = Marks::default();
        entries.iter().for_each(|(id, outcome)| marks.add((*id, *id, *outcome)));
        self.append_marks(marks.ranges())
    }

    /// Marks what a checkpoint has closed that is open still: whoever had it stored may have died before.
    pub(super) fn apply_closing(&mut self, pipeline: &str, closing: &Closing) -> Result<(), LettersError> {
        if closing.is_empty() || self.opened.is_none() {
            return Ok(());
        }
        let reading = Reading::open_on(self.options.disk.clone(), self.dir())?;
        self.mark(&reading.due(pipeline, closing)?)
    }

    fn append_marks(&mut self, ranges: Vec<Range>) -> Result<(), LettersError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let now = (self.options.clock)();
        let Self { options, opened, frame } = self;
        let opened = Opened::or_made(opened, options)?;
        opened.make_room(options)?;
        entry::encode_marks(ranges, opened.place(), now, frame)?;
        opened.append(&options.dir, frame, now)?;
        opened.sync(options)
    }

    /// Frees the segments whose entries are all closed, and says how many bytes that were. What is marked of the
    /// entries that stay is written again first.
    pub fn reclaim(&mut self) -> Result<u64, LettersError> {
        let Self { options, opened: Some(opened), .. } = self else { return Ok(0) };
        opened.rotate(options)?;
        let dir = options.dir.clone();
        let reading = Reading::open_on(options.disk.clone(), &dir)?;
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
        opened.remove(&*self.options.disk, &dir, &gone)
    }
}

impl Opened {
    fn of(options: &StoreOptions) -> Result<Self, LettersError> {
        let dir = &options.dir;
        let io = LettersError::io;
        make_dirs(&*options.disk, dir).map_err(io(dir))?;
        let lock_path = dir.join("lock");
        let lock = options.disk.lock(&lock_path).map_err(io(&lock_path))?;
        let lock = lock.ok_or_else(|| LettersError::Locked { path: dir.clone() })?;
        segment::remove_unmade(&*options.disk, dir)?;
        let found = segment::list(&*options.disk, dir)?;
        let mut opened = Self {
            _lock: lock,
            segments: Vec::with_capacity(found.len()),
            active: None,
            durable: 0,
            next: 1,
            dirty: false,
            is_marked: true,
            is_quiet: false,
            dir_dirty: true,
            broken: false,
        };
        let last = found.len().saturating_sub(1);
        let mut damage = Vec::new();
        for (at, (first, path)) in found.into_iter().enumerate() {
            segment::close_open_end(&mut damage, first);
            opened.recover(&*options.disk, first, path, at == last, &mut damage)?;
        }
        for damage in &damage {
            tracing::error!("dead letters are damaged: {damage}; restore the file from a backup");
        }
        opened.make_durable(options)?;
        Ok(opened)
    }

    /// The store, with its directory made where there is none yet.
    fn or_made<'o>(
        opened: &'o mut Option<Self>,
        options: &StoreOptions,
    ) -> Result<&'o mut Self, LettersError> {
        if opened.is_none() {
            *opened = Some(Self::of(options)?);
        }
        Ok(opened.as_mut().expect("it was opened above"))
    }

    /// Reads a segment that was there; cuts off what a crash left at the end of the last one.
    fn recover(
        &mut self,
        disk: &dyn Disk,
        first: u64,
        path: PathBuf,
        is_last: bool,
        damage: &mut Vec<Damage>,
    ) -> Result<(), LettersError> {
        if first < self.next && !self.segments.is_empty() {
            let why =
                format!("its entries begin at {first}, and the file before it goes to {}", self.next - 1);
            return Err(LettersError::Foreign { path, why });
        }
        let mut newest_us = i64::MIN;
        let segment = segment::Segment { disk, path: &path, first, is_last };
        let Scanned { end, torn, next, is_marked, damage: found } = segment::scan(segment, |_, head| {
            let at_us = match head {
                Head::Refused(head) => head.refused_at_us,
                Head::Closed(head) => head.at_us,
            };
            newest_us = newest_us.max(at_us);
        })?;
        (self.next, self.is_marked) = (next.max(self.next), is_marked && end > 0);
        if let Some(last) = found.last().filter(|last| last.next.is_none() && is_last) {
            // How many entries were in it nobody knows: no more than bytes, and their numbers are not given again.
            self.next += last.bytes;
        }
        damage.extend(found);
        if torn > 0 || end == 0 {
            tracing::warn!(
                file = %path.display(), bytes = torn, at = end,
                "the end of the dead letters is cut off: it is no whole letter, and nothing behind it says that it was \
                 synced. A crash leaves this of letters whose records come again; damage to the last ones before a \
                 crash looks the same"
            );
            cut(disk, &path, end)?;
        }
        if end > 0 {
            self.segments.push(Segment { first, path, bytes: end, newest_us });
        }
        Ok(())
    }

    /// What a run that was killed has written may be in the memory of the kernel alone. Its records are known, and not
    /// kept again, so that it is to be durable before anything goes on.
    fn make_durable(&mut self, options: &StoreOptions) -> Result<(), LettersError> {
        let io = LettersError::io;
        if let Some(last) = self.segments.last() {
            let file = options.disk.open(&last.path, Mode::Change).map_err(io(&last.path))?;
            file.sync().map_err(io(&last.path))?;
            self.durable = last.bytes;
            self.active = Some(file);
        }
        options.disk.sync_dir(&options.dir).map_err(io(&options.dir))?;
        self.dir_dirty = false;
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Where the next frame goes.
    fn place(&self) -> Place {
        let at = self.segments.last().map_or(0, |segment| segment.bytes);
        Place { at, durable: self.durable, next: self.next }
    }

    /// Begins a segment where there is none, or the last one is full.
    fn make_room(&mut self, options: &StoreOptions) -> Result<(), LettersError> {
        if self.broken {
            return Err(LettersError::Broken { path: options.dir.clone() });
        }
        if self.segments.last().is_none_or(|segment| segment.bytes >= options.segment_bytes) {
            self.rotate(options)?;
            self.throw_old_away(options)?;
        }
        Ok(())
    }

    /// Writes a frame; the whole of it, or nothing.
    fn append(&mut self, dir: &Path, frame: &[u8], now_us: i64) -> Result<(), LettersError> {
        let (Some(active), Some(segment)) = (&self.active, self.segments.last_mut()) else {
            return Err(LettersError::Broken { path: dir.to_owned() });
        };
        (self.dirty, self.is_quiet) = (true, false);
        if let Err(error) = active.write_at(frame, segment.bytes) {
            // A frame that is half there would hide those behind it.
            self.broken |= active.set_bytes(segment.bytes).is_err();
            return Err(LettersError::Io { path: segment.path.clone(), error });
        }
        self.is_marked = false;
        segment.bytes += frame.len() as u64;
        segment.newest_us = segment.newest_us.max(now_us);
        Ok(())
    }

    /// Begins the next segment; an empty one stays.
    fn rotate(&mut self, options: &StoreOptions) -> Result<(), LettersError> {
        if self.segments.last().is_some_and(|last| last.first == self.next) {
            return Ok(());
        }
        self.sync(options)?;
        let disk = &*options.disk;
        let path = segment::path_of(&options.dir, self.next);
        let making = path.with_extension(MAKING);
        // It gets its name when its head is durable.
        let make = || {
            let file = disk.open(&making, Mode::Create)?;
            file.write_at(&segment::file_head(self.next), 0)?;
            file.sync()?;
            disk.rename(&making, &path)?;
            Ok(file)
        };
        let active = make().map_err(|error| {
            // What stays of it takes up space, and nobody takes it for a segment.
            let _ = disk.remove(&making);
            LettersError::Io { path: path.clone(), error }
        })?;
        (self.active, self.durable) = (Some(active), FILE_HEAD_BYTES);
        // The letters before were durable when it was begun.
        (self.dirty, self.dir_dirty, self.is_marked) = (true, true, true);
        let (first, bytes) = (self.next, FILE_HEAD_BYTES);
        self.segments.push(Segment { first, path, bytes, newest_us: i64::MIN });
        Ok(())
    }

    fn sync(&mut self, options: &StoreOptions) -> Result<(), LettersError> {
        let dir = &options.dir;
        if self.broken {
            return Err(LettersError::Broken { path: dir.clone() });
        }
        if !self.dirty {
            return Ok(());
        }
        let (Some(active), Some(segment)) = (&self.active, self.segments.last()) else { return Ok(()) };
        let mut synced = active.sync().map_err(LettersError::io(&segment.path));
        if synced.is_ok() && self.dir_dirty {
            synced = options.disk.sync_dir(dir).map_err(LettersError::io(dir));
        }
        self.broken = synced.is_err();
        self.durable = segment.bytes;
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
        self.remove(&*options.disk, &options.dir, &gone).map(|_| ())
    }

    fn remove(&mut self, disk: &dyn Disk, dir: &Path, gone: &[PathBuf]) -> Result<u64, LettersError> {
        let before = self.bytes();
        for path in gone {
            disk.remove(path).map_err(LettersError::io(path))?;
            self.segments.retain(|segment| segment.path != *path);
        }
        if !gone.is_empty() {
            disk.sync_dir(dir).map_err(LettersError::io(dir))?;
        }
        Ok(before - self.bytes())
    }
}

/// Cuts a segment at `end`; one without even a head goes.
fn cut(disk: &dyn Disk, path: &Path, end: u64) -> Result<(), LettersError> {
    let cut = || {
        if end == 0 {
            return disk.remove(path);
        }
        let file = disk.open(path, Mode::Change)?;
        file.set_bytes(end)?;
        file.sync()
    };
    cut().map_err(LettersError::io(path))
}
