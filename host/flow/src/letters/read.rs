//! The reading side of a store. It takes no lock: frames are only ever appended, and one that is being written just
//! now is not there yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, SystemDisk};
use model::ids::RecordId;

use super::Outcome;
use super::entry::Head;
use super::kept::Kept;
use super::mark::{Marks, Range};
use super::segment::{self, Damage, Segment};
use super::{Closed, Closing, LettersError};

/// What a store holds, frame by frame, and what became of it.
#[derive(Debug)]
pub struct Reading {
    frames: Vec<FrameAt>,
    marks: Marks,
    damage: Vec<Damage>,
}

/// Where entries are that were refused together.
#[derive(Clone, Debug)]
pub struct FrameAt {
    disk: Arc<dyn Disk>,
    path: Arc<Path>,
    offset: u64,
    first: u64,
    count: u64,
    pub stage: Arc<str>,
    pub pipeline: Arc<str>,
    pub refused_at_us: i64,
    state: Option<String>,
    codes: Vec<String>,
}

/// Which entries are meant. What is not said is not asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub stage: Option<String>,
    pub code: Option<String>,
    /// Refused at this time or later, in microseconds since the Unix epoch.
    pub since_us: Option<i64>,
    /// Refused before this time.
    pub until_us: Option<i64>,
    /// Entries by their numbers.
    pub entries: Vec<u64>,
    /// Entries by the ids of their records.
    pub records: Vec<RecordId>,
    /// Those too that a replay or a purge has closed.
    pub closed_too: bool,
}

impl Reading {
    /// The store in a directory of this machine.
    pub fn open(dir: &Path) -> Result<Self, LettersError> {
        Self::open_on(Arc::new(SystemDisk), dir)
    }

    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, LettersError> {
        match disk.stat(dir).map_err(LettersError::io(dir))? {
            Some(there) if there.is_dir => {}
            Some(_) => return Err(LettersError::OldFile { path: dir.to_owned() }),
            None => return Err(LettersError::None { path: dir.to_owned() }),
        }
        let segments = segment::list(&*disk, dir)?;
        let last = segments.len().saturating_sub(1);
        let mut reading = Self { frames: Vec::new(), marks: Marks::default(), damage: Vec::new() };
        for (at, (first, path)) in segments.into_iter().enumerate() {
            reading.segment(&disk, first, path, at == last)?;
        }
        Ok(reading)
    }

    fn segment(
        &mut self,
        disk: &Arc<dyn Disk>,
        first: u64,
        path: PathBuf,
        is_last: bool,
    ) -> Result<(), LettersError> {
        let path: Arc<Path> = path.into();
        let Self { frames, marks, damage } = self;
        segment::close_open_end(damage, first);
        let segment = Segment { disk: &**disk, path: &path, first, is_last };
        let found = segment::scan(segment, |offset, head| match head {
            Head::Closed(head) => head.ranges.into_iter().for_each(|range| marks.add(range)),
            Head::Refused(head) => frames.push(FrameAt {
                disk: disk.clone(),
                path: path.clone(),
                offset,
                first: head.first,
                count: head.count,
                stage: head.stage.into(),
                pipeline: head.pipeline.into(),
                refused_at_us: head.refused_at_us,
                state: head.state,
                codes: head.codes,
            }),
        })?;
        damage.extend(found.damage);
        Ok(())
    }

    /// Where the last run of a pipeline that refused something has its checkpoints. None where it had none.
    pub fn state_of(&self, pipeline: &str) -> Option<&Path> {
        let last = self.frames.iter().rfind(|frame| *frame.pipeline == *pipeline)?;
        last.state.as_deref().map(Path::new)
    }

    /// What cannot be read any more; all the rest can.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// What became of an entry; none while it is open.
    pub fn outcome(&self, id: u64) -> Option<Outcome> {
        self.marks.outcome(id)
    }

    /// The frames in which something may be that the filter means, oldest first.
    pub fn frames<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a FrameAt> {
        self.frames
            .iter()
            .filter(|frame| filter.may_mean(frame) && (filter.closed_too || !self.is_closed(frame)))
    }

    /// How many entries are open of each stage.
    pub fn open_of_stages(&self) -> Result<BTreeMap<String, u64>, LettersError> {
        let all = Filter::default();
        let mut open = BTreeMap::new();
        for frame in self.frames(&all) {
            if let Some((kept, rows)) = self.rows(frame, &all)? {
                *open.entry(kept.stage().to_owned()).or_default() += rows.len() as u64;
            }
        }
        Ok(open)
    }

    /// The rows of a frame that the filter means, with the frame read; none where it means none of them.
    pub fn rows(&self, frame: &FrameAt, filter: &Filter) -> Result<Option<(Kept, Vec<u32>)>, LettersError> {
        let kept = frame.read()?;
        let meant = |row: &u32| {
            let (row, id) = (*row as usize, kept.id(*row as usize));
            (filter.closed_too || self.outcome(id).is_none()) && filter.means(&kept, row)
        };
        let rows: Vec<u32> = (0..kept.len() as u32).filter(meant).collect();
        Ok((!rows.is_empty()).then_some((kept, rows)))
    }

    /// What of `closing` is to be marked here: entries of a pipeline that are open, and of the records that it says. Those
    /// of another store may have the same numbers.
    pub fn due(&self, pipeline: &str, closing: &Closing) -> Result<Vec<(u64, Outcome)>, LettersError> {
        let open = closing.iter().filter(|(id, _)| self.outcome(**id).is_none());
        let open: Closing = open.map(|(id, closed)| (*id, *closed)).collect();
        let mut due = Vec::new();
        for frame in self.frames.iter().filter(|frame| *frame.pipeline == *pipeline) {
            let (first, end) = (frame.first, frame.first + frame.count);
            if open.range(first..end).next().is_none() {
                continue;
            }
            let kept = frame.read()?;
            let is_it =
                |(id, closed): &(&u64, &Closed)| kept.record_id((*id - first) as usize) == closed.record;
            due.extend(open.range(first..end).filter(is_it).map(|(id, closed)| (*id, closed.outcome)));
        }
        Ok(due)
    }

    /// As if these had been marked.
    pub fn close(&mut self, entries: &[(u64, Outcome)]) {
        entries.iter().for_each(|&(id, outcome)| self.marks.add((id, id, outcome)));
    }

    /// How many entries of a pipeline are open that have this code.
    pub fn open_entries(&self, pipeline: &str, code: &str) -> Result<u64, LettersError> {
        let filter = Filter { code: Some(code.to_owned()), ..Filter::default() };
        let mut open = 0;
        for frame in self.frames(&filter).filter(|frame| *frame.pipeline == *pipeline) {
            open += match frame.codes.len() {
                // Nothing has to be read where all of it has this code.
                1 => frame.count - self.marks.closed_of(frame.first, frame.count),
                _ => self.rows(frame, &filter)?.map_or(0, |(_, rows)| rows.len() as u64),
            };
        }
        Ok(open)
    }

    /// Frames with an entry of this number or a later one.
    pub(super) fn frames_from(&self, from: u64) -> impl Iterator<Item = &FrameAt> {
        self.frames.iter().filter(move |frame| frame.first + frame.count > from)
    }

    pub(super) fn frames_in<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a FrameAt> {
        self.frames.iter().filter(move |frame| *frame.path == *path)
    }

    pub(super) fn is_closed(&self, frame: &FrameAt) -> bool {
        self.marks.closed_of(frame.first, frame.count) == frame.count
    }

    /// What is marked of these entries, each first and count.
    pub(super) fn marks_within(&self, entries: &[(u64, u64)]) -> Vec<Range> {
        let mut within = Marks::default();
        for (first, count) in entries {
            let end = first + count;
            for (from, to, outcome) in self.marks.ranges() {
                let (from, to) = (from.max(*first), to.min(end - 1));
                if from <= to {
                    within.add((from, to, outcome));
                }
            }
        }
        within.ranges()
    }
}

impl FrameAt {
    /// Reads the entries.
    pub fn read(&self) -> Result<Kept, LettersError> {
        let payload = segment::read_frame(&*self.disk, &self.path, self.offset)?;
        Kept::decode(&payload).map_err(|why| LettersError::Damaged {
            path: self.path.to_path_buf(),
            offset: self.offset,
            why,
        })
    }

    /// The first entry, and how many there are.
    pub(super) fn ids(&self) -> (u64, u64) {
        (self.first, self.count)
    }
}

impl Filter {
    fn may_mean(&self, frame: &FrameAt) -> bool {
        let ids = frame.first..frame.first + frame.count;
        self.stage.as_ref().is_none_or(|stage| **stage == *frame.stage)
            && self.code.as_ref().is_none_or(|code| frame.codes.contains(code))
            && self.since_us.is_none_or(|since| frame.refused_at_us >= since)
            && self.until_us.is_none_or(|until| frame.refused_at_us < until)
            && (self.entries.is_empty()
                || !self.records.is_empty()
                || self.entries.iter().any(|id| ids.contains(id)))
    }

    fn means(&self, kept: &Kept, row: usize) -> bool {
        let is_open = self.entries.is_empty() && self.records.is_empty();
        self.code.as_ref().is_none_or(|code| code == kept.code(row)) && (is_open || self.names(kept, row))
    }

    /// Whether an entry is meant by its number or the id of its record.
    pub fn names(&self, kept: &Kept, row: usize) -> bool {
        self.entries.contains(&kept.id(row))
            || (!self.records.is_empty() && self.records.contains(&kept.record_id(row)))
    }
}
