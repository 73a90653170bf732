//! From pieces of input to records, whatever the format: what a decoder is to the source that drives it.
//!
//! A decoder looks at a window of the input, says how many records are whole in it, and takes them in
//! portions. Nothing in here waits or reads.

mod cri;
mod lines;
mod whole;
mod window;

use std::sync::Arc;

use arrow::array::ArrayRef;
use flow::connector::{ConnectError, PullLimits, Refused};
use model::lineage::Offsets;

pub(crate) use cri::{CRI_COLUMNS, CriColumn, CriDecoder};
pub(crate) use lines::{JsonLines, LineDecoder, LineRows, PlainLines};
pub(crate) use whole::WholeDecoder;
pub(crate) use window::{Chunk, HEADROOM, Window};

use crate::csv::State;

/// A record is longer than the source takes.
pub(crate) const RECORD_TOO_LARGE: &str = "record-too-large";

/// Takes records out of the input of one split.
pub(crate) trait Decoder: Send {
    /// Looks at the input again, which has grown, or ended. An error is one of the whole split.
    fn scan(&mut self, input: &mut Window, ended: bool) -> Result<(), ConnectError>;

    /// Records that can be taken, good or refused.
    fn ready(&self) -> usize;

    /// Takes the next portion off the input. Nothing may have been added to it since the last scan.
    fn take(&mut self, input: &mut Window, limits: &PullLimits) -> Taken;

    /// The bytes of good records of the portion that was taken last, by their offsets, ascending. Nothing was scanned
    /// since.
    fn raws(&self, input: &Window, offsets: &[u64]) -> Vec<Vec<u8>>;

    /// What the input began with, where records cannot be read without it.
    fn header(&self) -> Option<Arc<str>> {
        None
    }

    /// What another decoder has to know to go on behind what was taken.
    fn progress(&self) -> Progress;

    /// Goes on from there, before anything else; the input comes from there on. `header`: the beginning of the input,
    /// as long as the progress said.
    fn resume(&mut self, from: &Progress, header: Vec<u8>) -> Result<(), ConnectError>;
}

/// How far a decoder is. Where in the input that is, its window says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Of the next record.
    pub(crate) offset: u64,
    /// Lines behind us.
    pub(crate) lines: u64,
    /// Bytes up to the end of the header.
    pub(crate) header: u64,
    /// In the middle of a record that is too long.
    pub(crate) skipping: bool,
    /// Where in it, of CSV.
    pub(crate) within: State,
    /// Bytes before the window that belong to records which are not whole: who goes on has to read them again.
    pub(crate) held: u64,
    /// Records that were taken and stand behind where those bytes begin.
    pub(crate) ahead: u64,
    /// No record follows, whatever comes.
    pub(crate) done: bool,
}

/// A portion of records.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) offsets: Offsets,
    pub(crate) refused: Vec<Refusal>,
}

impl Default for Taken {
    fn default() -> Self {
        Self { rows: 0, columns: Vec::new(), offsets: Offsets::From(0), refused: Vec::new() }
    }
}

/// A record that does not become one.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) offset: u64,
    code: &'static str,
    message: String,
    raw: Vec<u8>,
    is_cut: bool,
}

impl Refusal {
    /// `raw`: all of it.
    pub(crate) fn new(offset: u64, code: &'static str, message: String, raw: &[u8]) -> Self {
        Self { offset, code, message, raw: raw.to_vec(), is_cut: false }
    }

    /// Of a record that is too long, with its first `max` bytes. The cut is where the bound is, so that it is the same
    /// wherever pieces of input end.
    pub(crate) fn too_long(offset: u64, message: String, record: &[u8], max: usize) -> Self {
        let raw = record[..record.len().min(max)].to_vec();
        Self { offset, code: RECORD_TOO_LARGE, message, raw, is_cut: true }
    }

    pub(crate) fn of_split(self, split: &Arc<str>) -> Refused {
        let Self { offset, code, message, raw, is_cut } = self;
        Refused { split: split.clone(), offset, code: code.to_owned(), message, raw, is_cut }
    }
}

/// What is said of a record that is too long.
pub(crate) fn oversize(max: usize) -> String {
    let max = model::manifest::Bytes(max as u64);
    format!("the record is longer than {max}; raise `record-bytes-max` if it is meant to be")
}
