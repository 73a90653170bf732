//! What a built-in source or sink is to the belt. Component sources and sinks are driven through the same
//! two traits, so a loop does not know which kind it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::Hits;
/// So that connectors believe the same servers as stages.
pub use engine::tls_client;
use model::batch::{Batch, Parts};
use model::ids::RecordId;
use model::outcome::Rejection;
/// So that whoever writes a sink finds here what its trait takes.
pub use model::signal::{Barrier, Then};

/// How much a source may put into one batch, and how long it may wait for it to fill.
#[derive(Clone, Copy, Debug)]
pub struct PullLimits {
    pub records_max: usize,
    /// Bytes of values; the record that crosses the bound is still in.
    pub bytes_max: usize,
    /// Counted from the first record of the batch: a trickle is not held back for longer.
    pub delay: Duration,
}

/// Why a source or a sink cannot go on. The run ends with it.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("{what}: {why}{}", behind(next))]
pub struct ConnectError {
    pub kind: ConnectErrorKind,
    /// The thing that failed, as the user knows it: a path, `stdin`, an address.
    pub what: String,
    pub why: String,
    /// What to do about it; empty where that is up to whoever tries again.
    pub next: String,
}

fn behind(next: &str) -> String {
    if next.is_empty() { String::new() } else { format!("; {next}") }
}

/// What a [`ConnectError`] means for the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// Another try may help; not before this time has gone by.
    Retry { after: Duration },
    /// Something is wrong: the run ends with a failure.
    Failed,
    /// The instance of a component died. What it held is gone; a fresh one can go on from the last checkpoint.
    Died(Arc<Death>),
    /// A disk is full. Once there is room again, the run can go on from the last checkpoint.
    Full,
    /// Nobody reads what a sink writes any more, as when `head` has seen enough. The branch ends there, and
    /// ends well.
    Closed,
}

/// How an instance died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    pub code: &'static str,
    pub message: String,
    /// The guest's frames, where they are known.
    pub backtrace: Option<Arc<str>>,
}

impl ConnectError {
    pub fn failed(what: impl Into<String>, why: impl ToString, next: impl Into<String>) -> Self {
        let kind = ConnectErrorKind::Failed;
        Self { kind, what: what.into(), why: why.to_string(), next: next.into() }
    }

    /// What may go well at another try.
    pub fn retry(what: impl Into<String>, why: impl ToString, after: Duration) -> Self {
        let kind = ConnectErrorKind::Retry { after };
        Self { kind, what: what.into(), why: why.to_string(), next: String::new() }
    }

    pub fn closed(what: impl Into<String>) -> Self {
        Self {
            kind: ConnectErrorKind::Closed,
            what: what.into(),
            why: "its reader has gone away".to_owned(),
            next: "nothing more can be written to it".to_owned(),
        }
    }

    /// Whether this is a clean end and not a failure.
    pub fn is_closed(&self) -> bool {
        self.kind == ConnectErrorKind::Closed
    }
}

/// A record that a source could not make: the row does not fit its schema, the line is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub split: Arc<str>,
    pub offset: u64,
    pub code: String,
    pub message: String,
    /// The record as it came; of one that is longer than a record may be, its beginning.
    pub raw: Vec<u8>,
    /// Whether that is its beginning alone.
    pub is_cut: bool,
}

/// Rows that a source has found and that do not fit its columns, all of them refused.
#[derive(Debug)]
pub struct Misfits {
    /// In the columns and types in which they were found.
    pub rows: Batch,
    /// One for each row.
    pub rejections: Vec<Rejection>,
}

/// What one pull brought.
#[derive(Debug, Default)]
pub struct Pulled {
    /// All of one split. None where there was nothing but refused records.
    pub batch: Option<Batch>,
    pub refused: Vec<Refused>,
    /// What those have beside their bytes: columns with a value for each.
    pub refused_parts: Parts,
    /// What the input began with, where the bytes of a record do not say all of it: the header of a CSV file.
    pub header: Option<Arc<str>>,
    /// Of a source whose records have columns from the start.
    pub misfits: Option<Misfits>,
    /// Where the split goes on behind these records; none of a source that cannot be read again.
    pub cursor: Option<Cursor>,
    /// Splits that have ended and never go on: checkpoints from here on know nothing of them.
    pub forgotten: Vec<Arc<str>>,
}

impl Pulled {
    /// Whether there is no record in it, whatever it says of places.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.as_ref().is_none_or(Batch::is_empty) && self.refused.is_empty() && self.misfits.is_none()
    }

    /// Of the last record in it.
    pub(crate) fn last_offset(&self) -> Option<u64> {
        let rows = self.batch.as_ref().filter(|batch| !batch.is_empty());
        let last_of = |batch: &Batch| batch.lineage().origin(batch.rows() - 1).offset;
        let misfits = self.misfits.as_ref().map(|misfits| &misfits.rows).filter(|rows| !rows.is_empty());
        let refused = self.refused.last().map(|refused| refused.offset);
        rows.map(last_of).max(misfits.map(last_of)).max(refused)
    }
}

/// Where a split goes on. What is in it is the source's own; the belt keeps it with each checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub split: Arc<str>,
    pub place: Vec<u8>,
}

/// Where the splits of a source go on, by their names.
pub type Places = BTreeMap<Arc<str>, Vec<u8>>;

/// One number that a connector shows beside what every stage counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// In the field's terms, without a prefix.
    pub name: &'static str,
    pub help: &'static str,
    /// What tells figures of one name apart.
    pub label: Option<(&'static str, String)>,
    pub value: u64,
    /// Whether it only grows.
    pub counts: bool,
}

/// What a connector shows while it runs, asked for by whoever watches.
pub trait Figures: Send + Sync + std::fmt::Debug {
    /// Those of one name stand side by side.
    fn figures(&self) -> Vec<Figure>;
}

/// Where records come from. One loop owns it.
#[async_trait]
pub trait Source: Send {
    /// Waits until there is at least one record (or refused one), then for more until a limit is reached.
    /// `None`: every split has ended. Cancel safe: a pull that is dropped has taken nothing, and is dropped whenever
    /// there is something to release.
    async fn pull(&mut self, limits: PullLimits) -> Result<Option<Pulled>, ConnectError>;

    /// All that was pulled up to these places is durable behind the sinks and may be released. Called behind a checkpoint,
    /// which begins only where something has moved.
    async fn committed(&mut self, places: &Places) -> Result<(), ConnectError> {
        let _ = places;
        Ok(())
    }

    /// How large a record may be, for the host to look after: what is built in does so where it reads.
    fn record_bytes_max(&self) -> u64 {
        u64::MAX
    }

    /// How often it ran into its limits; none for what is built in.
    fn hits(&self) -> Option<Arc<Hits>> {
        None
    }

    fn figures(&self) -> Option<Arc<dyn Figures>> {
        None
    }
}

/// What was kept of records that a source has refused.
#[derive(Clone, Copy, Debug)]
pub struct KeptRefused<'a> {
    /// One column of bytes, or the columns in which they were found.
    pub rows: &'a Batch,
    /// What their input began with, where that was kept.
    pub header: Option<&'a str>,
}

/// Makes records of what a source has refused before, as the source would under the config that it has now.
pub trait Decode: Send {
    fn decode(&mut self, kept: KeptRefused<'_>) -> Result<Decoded, ConnectError>;

    /// Whether it takes rows as they were found, rather than bytes.
    fn takes_rows(&self) -> bool {
        false
    }

    /// Whether bytes alone are not enough: see [`Pulled::header`].
    fn needs_header(&self) -> bool {
        false
    }
}

/// What became of them.
#[derive(Debug)]
pub struct Decoded {
    /// Records of the source's stream, each with the lineage of what it was made of.
    pub batch: Batch,
    /// Rows of what was kept that are refused again.
    pub rejections: Vec<Rejection>,
}

/// What a sink of a run with checkpoints is opened with: its token of the last committed checkpoint, which may be
/// one that was not committed yet. None where there is no checkpoint. What was prepared later is to be undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed(pub Option<Vec<u8>>);

/// What a sink refuses.
pub type Refusals = Vec<Rejection>;

/// Where records go. One loop owns it, calls are never concurrent.
#[async_trait]
pub trait Sink: Send {
    /// Takes all rows of `batch` in order. Typed sinks get exactly the columns of their planned input.
    async fn write(&mut self, batch: &Batch, ids: &[RecordId]) -> Result<Refusals, ConnectError>;

    /// How often it ran into its limits; none for what is built in.
    fn hits(&self) -> Option<Arc<Hits>> {
        None
    }

    fn figures(&self) -> Option<Arc<dyn Figures>> {
        None
    }

    /// Whether `write` needs the ids of the records; they are computed only for sinks that do.
    fn wants_ids(&self) -> bool {
        false
    }

    /// Called when the belt has nothing more for it at once: what is buffered becomes visible.
    async fn flush(&mut self) -> Result<(), ConnectError>;

    /// Makes all that was written so far durable, ready to be committed, and names it. Behind the last barrier
    /// nothing is written any more.
    async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError>;

    /// After how long there will be something to prepare though nothing is written until then, such as a file that is full by
    /// its age. Asked where nothing comes; without it no checkpoint begins there.
    fn due_in(&self) -> Option<Duration> {
        None
    }

    /// The checkpoint is committed. May be asked again with the same token.
    async fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_does_not_say_that_it_is() {
        let error = ConnectError::retry("http://there", "it answers 503", Duration::ZERO);
        assert_eq!(error.to_string(), "http://there: it answers 503");
        assert_eq!(ConnectError::failed("it", "gone", "look").to_string(), "it: gone; look");
    }
}
