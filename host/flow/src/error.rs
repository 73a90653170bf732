//! Why a run ended before its sources did.

use std::fmt;
use std::time::Duration;

use engine::CallError;
use model::batch::Batch;
use model::limits::CUT_REASON_CHARS_MAX;
use model::lineage::Origin;
use model::outcome::OutcomeError;

use crate::checkpoint::CheckpointError;
use crate::connector::{ConnectError, ConnectErrorKind};
use crate::input_mapping::MappingError;
use crate::letters::LettersError;

#[derive(thiserror::Error, Debug)]
pub enum RunError {
    #[error("stage `{stage}` failed on {records}: {error}")]
    Call { stage: String, records: Records, error: Box<CallError> },
    #[error("stage `{stage}` cannot be started: {error}")]
    Start { stage: String, error: Box<CallError> },
    #[error("stage `{stage}` failed on {records}: {}", error.told())]
    Outcome { stage: String, records: Records, error: Box<OutcomeError> },
    #[error(
        "stage `{stage}` refused {records} as `{code}`: {message}; with `on-error: dead-letter` the run would go on"
    )]
    Refused { stage: String, records: Records, code: String, message: String },
    #[error("stage `{stage}`{}: {error}", on(records))]
    Connect { stage: String, records: Option<Records>, error: ConnectError },
    #[error("{records} cannot be brought into stage `{stage}`: {error}")]
    Mapping { stage: String, records: Records, error: Box<MappingError> },
    #[error(transparent)]
    Letters(#[from] LettersError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the loop of stage `{stage}` broke: {why}; this is a defect of Conveyor")]
    Broke { stage: String, why: String },
}

/// What a sink was to write, where it was that.
fn on(records: &Option<Records>) -> String {
    records.as_ref().map(|records| format!(" failed on {records}")).unwrap_or_default()
}

/// Why a pipeline that failed may get over it where it begins again at its last committed checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartCause<'a> {
    /// The instance of a source or a sink died.
    Died { stage: &'a str },
    /// A stage asks for another try, at a place where nothing but a checkpoint can be gone back to.
    Later { stage: &'a str, after: Duration },
    /// There is no room on a disk.
    Full,
}

impl RunError {
    /// The cause, where beginning again at the last committed checkpoint may help.
    pub fn restart_cause(&self) -> Option<RestartCause<'_>> {
        match self {
            Self::Connect { stage, error, .. } => match &error.kind {
                ConnectErrorKind::Died(_) => Some(RestartCause::Died { stage }),
                ConnectErrorKind::Retry { after } => Some(RestartCause::Later { stage, after: *after }),
                ConnectErrorKind::Full => Some(RestartCause::Full),
                ConnectErrorKind::Failed | ConnectErrorKind::Closed => None,
            },
            Self::Checkpoint(CheckpointError::Full { .. }) => Some(RestartCause::Full),
            Self::Letters(error) if error.is_no_room() => Some(RestartCause::Full),
            _ => None,
        }
    }

    /// The cause without the guest's frames, which stand below it; cut to what stands in each dead letter of a branch.
    pub fn in_one_line(&self) -> String {
        let text = self.to_string();
        let line = text.lines().next().unwrap_or_default();
        match line.char_indices().nth(CUT_REASON_CHARS_MAX) {
            Some((end, _)) => format!("{}...", &line[..end]),
            None => line.to_owned(),
        }
    }

    /// The guest's frames at its death, where there are any.
    pub fn backtrace(&self) -> Option<&engine::GuestBacktrace> {
        match self {
            Self::Call { error, .. } | Self::Start { error, .. } => error.backtrace(),
            _ => None,
        }
    }
}

/// The source records from the first to the last of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// The first and the last.
    ends: Box<(Origin, Origin)>,
}

impl Records {
    /// Of a batch with rows.
    pub fn of(batch: &Batch) -> Self {
        let lineage = batch.lineage();
        let last = lineage.origin(batch.rows().saturating_sub(1));
        Self { ends: Box::new((lineage.origin(0), last)) }
    }

    pub fn one(origin: Origin) -> Self {
        Self { ends: Box::new((origin.clone(), origin)) }
    }

    pub fn first(&self) -> &Origin {
        &self.ends.0
    }

    pub fn last(&self) -> &Origin {
        &self.ends.1
    }
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = &*self.ends;
        let Origin { source, split, offset } = first;
        if first == last {
            write!(f, "record {offset}")?;
        } else {
            write!(f, "records {offset} to {}", last.offset)?;
        }
        write!(f, " of `{split}` (source `{source}`)")
    }
}
