//! The spool: a log on disk that makes a source which cannot be read again into one that can.
//!
//! Records are appended, and whoever brought them is answered when they are durable; they are read back by their
//! numbers, which ascend for ever; and what a checkpoint covers is released, a segment at a time. The spool is
//! bounded, and one that is full refuses: it never drops.
//!
//! `segment` decides what bytes mean and `log` does all that touches a disk, one call after the other. `group` puts a
//! thread beside it, so that many appenders share one sync, and `reader` is the other end.

mod chunk;
mod group;
mod log;
mod reader;
mod recover;
mod segment;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, SystemDisk};
use model::limits;

pub use chunk::{Chunk, Records};
pub use group::{Numbers, Spool, SpoolMeter};
pub use log::{Appended, Group, Log};
pub use reader::{Reader, Tail};

/// Where a spool is, and how much goes into it.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    pub dir: PathBuf,
    /// All segments together, as they lie on the disk.
    pub bytes_max: u64,
    /// One segment. A frame that is longer gets one of its own.
    pub segment_bytes: u64,
    /// Salts of segments are drawn from it.
    pub seed: u64,
    pub disk: Arc<dyn Disk>,
}

impl SpoolOptions {
    pub fn new(dir: impl Into<PathBuf>, bytes_max: u64) -> Self {
        let segment_bytes = bytes_max / limits::SPOOL_SEGMENTS;
        let segment_bytes =
            segment_bytes.clamp(limits::SPOOL_SEGMENT_BYTES_MIN, limits::SPOOL_SEGMENT_BYTES_MAX);
        let seed = fastrand::u64(..);
        Self { dir: dir.into(), bytes_max, segment_bytes, seed, disk: Arc::new(SystemDisk) }
    }

    /// Locks and recovers the log, or begins one. `from`: the number of the first record that is still wanted, where
    /// that is known.
    pub fn open_log(self, from: Option<u64>) -> Result<Log, SpoolError> {
        Log::open(self, from)
    }

    /// The same, with a thread beside it that makes records durable, and its other end.
    pub fn open(self, from: Option<u64>) -> Result<(Spool, Reader), SpoolError> {
        let log = self.open_log(from)?;
        let at = from.unwrap_or(log.first());
        Spool::spawn(log, at)
    }
}

/// Why a spool cannot go on, or not be opened. The pipeline ends with it.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum SpoolError {
    #[error("the spool cannot {doing} {}: {why}; look at the disk, and run again", path.display())]
    Io { path: PathBuf, doing: &'static str, kind: io::ErrorKind, why: String },
    #[error("the spool in {} is written to by another process; let it end first", path.display())]
    Locked { path: PathBuf },
    #[error(
        "{} is no segment of a spool of this version: {why}; move it out of the directory, or use the version that \
         wrote it",
        path.display()
    )]
    Foreign { path: PathBuf, why: String },
    #[error(
        "the spool is damaged: {} at byte {offset}: {why}; restore the file from a backup, or, to go on without {lost}, \
         rename it to {}",
        path.display(), segment::given_up(path).display()
    )]
    Damaged { path: PathBuf, offset: u64, lost: Lost, why: String },
    #[error(
        "the spool in {} has no records {from} to {} any more: a file is gone; put it back, or begin anew with \
         `--reset`, which keeps what the spool still has",
        path.display(), until - 1
    )]
    Missing { path: PathBuf, from: u64, until: u64 },
    #[error(
        "the spool in {} ends before record {next}, and the checkpoint is at record {at}: they are not of the same \
         run; put the spool's files back, or begin anew with `run --reset`, which keeps what the spool still has",
        path.display()
    )]
    Behind { path: PathBuf, next: u64, at: u64 },
    #[error(
        "the spool could not make records durable: {} was not synced: {why}; what was not answered for may be gone, \
         nothing more is taken; look at the disk, and run again",
        path.display()
    )]
    NotDurable { path: PathBuf, why: String },
    #[error("the thread of the spool in {} is gone: {why}; this is a defect of Conveyor", path.display())]
    Gone { path: PathBuf, why: String },
}

impl SpoolError {
    fn io<'a>(path: &'a Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |error| {
            let (kind, why) = (error.kind(), error.to_string());
            Self::Io { path: path.to_owned(), doing, kind, why }
        }
    }
}

/// Records that damage has cost: the first of each row of them, and the one behind it where that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost(Vec<(u64, Option<u64>)>);

/// Rows of records that a message lists.
const LISTED_MAX: usize = 5;

impl Lost {
    /// From this record on.
    fn from(first: u64) -> Self {
        Self(vec![(first, None)])
    }

    fn add(&mut self, first: u64, next: u64) {
        if next > first {
            self.0.push((first, Some(next)));
        }
    }

    /// The first of them.
    pub fn first(&self) -> Option<u64> {
        self.0.first().map(|(first, _)| *first)
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, next)) in self.0.iter().take(LISTED_MAX).enumerate() {
            let and = if at > 0 { ", " } else { "" };
            match next {
                None => write!(f, "{and}the records from {first} on that were in it")?,
                Some(next) if *next == first + 1 => write!(f, "{and}record {first}")?,
                Some(next) => write!(f, "{and}records {first} to {}", next - 1)?,
            }
        }
        match self.0.len() {
            0 => f.write_str("what is damaged, which is no record"),
            count if count > LISTED_MAX => write!(f, ", and {} more rows of records", count - LISTED_MAX),
            _ => Ok(()),
        }
    }
}

/// Why records were not taken. Nothing of them is in the spool.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    #[error("the spool is full: {bytes} bytes wait to be delivered, the most is {max}")]
    Full { bytes: u64, max: u64 },
    #[error("there is no space left on the disk of the spool")]
    NoSpace,
    #[error("more is on its way into the spool than it takes at once")]
    Busy,
    #[error("the records have {bytes} bytes, and the spool takes {max} at once")]
    TooLarge { bytes: usize, max: usize },
    #[error("the pipeline stops")]
    Stopping,
    #[error(transparent)]
    Failed(#[from] SpoolError),
}

#[cfg(test)]
mod tests;
