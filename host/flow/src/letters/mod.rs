//! Dead letters: records that a stage refused or died on, kept until somebody has sent them in again.
//!
//! A store is a directory of segments (`segment`), files of checksummed frames to which is only ever appended. A
//! frame holds what one stage refused of one batch (`entry`): a thousand refused rows are one encode and one
//! write. `store` is the writing side, `read` the reading side, which needs no lock; the `writer` of a run puts into a store
//! what an earlier run has not kept already. What is damaged is told, and
//! costs the frame that it is in.

mod entry;
mod kept;
mod mark;
mod read;
mod repeats;
mod segment;
mod shown;
mod store;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::error::ArrowError;
use disk::is_full;
use model::batch::Batch;
/// What they and checkpoints say to one another.
pub use model::dead_letters::{Closed, Closing, Outcome, Reached};
use model::ids::RecordId;
use model::outcome::Rejection;

pub use entry::{Form, Identity, KeptAs};
pub use kept::Kept;
pub use read::{Filter, FrameAt, Reading};
use repeats::Repeats;
pub use segment::Damage;
pub use shown::{Blob, Entry, EntryOrigin, RecordShown};
pub use store::{Store, StoreOptions};
pub use writer::{LetterCounts, SharedStore, Writer};

/// The code of a record that a stage did not take because it had failed, with `on-failure: continue`.
pub const BRANCH_CUT: &str = "branch-cut";

/// A row that a stage refused, or died on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of the batch as it came into the stage.
    pub row: u32,
    pub code: String,
    pub message: String,
    /// The guest's frames, where it died on the row.
    pub backtrace: Option<Arc<str>>,
    /// How many calls had the row in them.
    pub attempts: u32,
    /// Whether the row is the beginning of a record alone, which is longer than one may be.
    pub is_cut: bool,
}

impl From<Rejection> for Refusal {
    fn from(Rejection { row, code, message }: Rejection) -> Self {
        Self { row, code, message, backtrace: None, attempts: 1, is_cut: false }
    }
}

/// What one stage refused of one batch.
#[derive(Debug)]
pub struct Group {
    pub stage: Arc<str>,
    pub kept_as: KeptAs,
    /// The refused rows alone.
    pub rows: Batch,
    /// As many, in the order of `rows`; their own `row` says where they were in the batch that came.
    pub refusals: Vec<Refusal>,
}

impl Group {
    /// Some of its rows, with their refusals.
    fn part(&self, rows: Batch, refusals: Vec<Refusal>) -> Self {
        Self { stage: self.stage.clone(), kept_as: self.kept_as.clone(), rows, refusals }
    }

    /// Its first half and the rest; none where it is one row.
    fn halves(&self) -> Option<[Self; 2]> {
        let (all, middle) = (self.refusals.len() as u32, self.refusals.len() as u32 / 2);
        let half = |range: std::ops::Range<u32>| {
            let refusals = self.refusals[range.start as usize..range.end as usize].to_vec();
            self.part(self.rows.pick(&range.collect()), refusals)
        };
        (all > 1).then(|| [half(0..middle), half(middle..all)])
    }
}

/// Takes dead letters; one for all loops of a pipeline.
pub trait Letters: Send {
    fn put(&mut self, group: &Group) -> Result<(), LettersError>;
    /// Makes all letters durable. Called before a sink commits.
    fn sync(&mut self) -> Result<(), LettersError>;
    /// Letters from this number on may be of records that come again, should a run go on from a checkpoint whose barrier
    /// comes now: those are not kept twice.
    fn next(&self) -> u64 {
        0
    }
    /// Records that `stage` has refused again and that are not kept, as `on-error` says: letters that are kept of them
    /// stay as they are.
    fn dropped(&mut self, stage: &Arc<str>, records: &dyn Fn() -> Vec<RecordId>) {
        let _ = (stage, records);
    }
    /// A replay has sent these letters in, each with its record, and all that comes of them has been worked off by the
    /// loop that they went into, before it answers the barrier that has come.
    fn sent_in(&mut self, letters: Vec<(u64, RecordId)>) {
        let _ = letters;
    }
    /// All loops have answered a barrier before which sources have come as far as `reached`: what becomes of letters with
    /// that checkpoint. Each is told once.
    fn closing(&mut self, reached: &Reached) -> Closing {
        let _ = reached;
        Closing::new()
    }
    /// Says durably what became of letters, now that a checkpoint is committed which says so.
    fn close(&mut self, closing: &Closing) -> Result<(), LettersError> {
        let _ = closing;
        Ok(())
    }
    /// Whether records may come again that are kept as [`BRANCH_CUT`] of this stage.
    fn keeps_cut(&self, stage: &str) -> bool {
        let _ = stage;
        false
    }
    /// The rows of a batch that comes for `stage` that are kept as [`BRANCH_CUT`]: a replay sends them in, so that the
    /// stage is not to take them now.
    fn kept_as_cut(&mut self, stage: &Arc<str>, batch: &Batch) -> Vec<u32> {
        let _ = (stage, batch);
        Vec::new()
    }
}

/// Why a refused record could not be kept, or a store not be opened. A pipeline stops with it: a record would be
/// lost otherwise.
#[derive(thiserror::Error, Debug)]
pub enum LettersError {
    #[error("dead letters cannot be kept in {}: {error}; {}", path.display(), io_help(error))]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "the dead-letter store {} has {bytes} bytes, {more} more do not go in, the most is {max}; mend the stage and \
         `conveyor dlq replay`, or `conveyor dlq purge`, or raise `--dead-letters-max-bytes`",
        path.display()
    )]
    Full { path: PathBuf, bytes: u64, more: u64, max: u64 },
    #[error(
        "{} was not made durable before, and nothing more goes into it: what was written since may be gone; look at \
         the disk, and run again",
        path.display()
    )]
    Broken { path: PathBuf },
    #[error(
        "{} is written to by another process: the pipeline may be running already; let it end, or, where another \
         pipeline has this directory, name another with `--dead-letters`",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error(
        "{} is a file, and dead letters are kept in a directory, which `conveyor run` names where it has some; a file of \
         JSON lines is of an earlier version: move it away before a run keeps others there",
        path.display()
    )]
    OldFile { path: PathBuf },
    #[error(
        "{} is no dead-letter segment of this version: {why}; move it out of the directory, or use the version that \
         wrote it",
        path.display()
    )]
    Foreign { path: PathBuf, why: String },
    #[error(
        "{} is damaged at byte {offset}: {why}; restore the file from a backup, or move it out of the directory: what \
         the other files hold is whole",
        path.display()
    )]
    Damaged { path: PathBuf, offset: u64, why: String },
    #[error("there is no dead-letter store in {}; nothing was refused yet, or it is elsewhere", path.display())]
    None { path: PathBuf },
    #[error("refused records cannot be encoded: {error}; this is a defect of Conveyor")]
    Encode { error: ArrowError },
    #[error(
        "a refused record has {bytes} bytes with all that is kept of it, a dead letter takes {max}; lower \
         `record-bytes-max` or `limits.record-bytes`, so that it is refused for its length"
    )]
    TooLarge { bytes: usize, max: usize },
}

fn io_help(error: &io::Error) -> &'static str {
    match error.kind() {
        kind if is_full(kind) => "free some space, or name a directory on another disk with `--dead-letters`",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let this user write there, or name another directory with `--dead-letters`"
        }
        io::ErrorKind::NotADirectory => "a part of the path is a file: name another with `--dead-letters`",
        _ => "look at the disk, or name another directory with `--dead-letters`",
    }
}

impl LettersError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self::Io { path: path.to_owned(), error }
    }

    /// Whether a disk has no room for it.
    pub fn is_no_room(&self) -> bool {
        matches!(self, Self::Io { error, .. } if is_full(error.kind()))
    }

    /// Whether somebody has to change what they typed, rather than the disk or the data.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::OldFile { .. } | Self::None { .. } | Self::Foreign { .. } | Self::Locked { .. })
    }
}

#[cfg(test)]
mod tests;
