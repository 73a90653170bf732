//! `conveyor dlq ...`: what was refused, looked at, sent in again, thrown away.

mod export;
mod list;
mod purge;
mod replay;
mod show;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use flow::letters::{Entry, Filter, Kept, LettersError, Outcome, Reading};
use model::convert::times::write_timestamp;
use model::ids::RecordId;
use serde::Serialize;

use super::amounts;
use crate::exit::{Code, Failure, Result};
use crate::terminal;

/// Dead letters: what stages refused or died on
#[derive(Debug, Subcommand)]
pub(super) enum Dlq {
    List(list::List),
    Show(show::Show),
    Replay(replay::Replay),
    Export(export::Export),
    Purge(purge::Purge),
}

impl Dlq {
    pub(super) fn execute(self) -> Result {
        match self {
            Self::List(verb) => verb.execute(),
            Self::Show(verb) => verb.execute(),
            Self::Replay(verb) => verb.execute(),
            Self::Export(verb) => verb.execute(),
            Self::Purge(verb) => verb.execute(),
        }
    }
}

/// Which store.
#[derive(Debug, Args)]
struct Store {
    /// The store; the only directory here whose name ends with .dead-letters unless set
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

const ENDING: &str = ".dead-letters";

impl Store {
    fn dir(&self) -> Result<PathBuf> {
        if let Some(dir) = &self.dir {
            return Ok(dir.clone());
        }
        let mut found: Vec<PathBuf> = std::fs::read_dir(".")
            .map_err(Failure::ran)?
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|entry| PathBuf::from(entry.file_name()))
            .filter(|name| name.to_string_lossy().ends_with(ENDING))
            .collect();
        found.sort();
        match &*found {
            [dir] => Ok(dir.clone()),
            [] => Err(Failure::Input(anyhow!(
                "no directory here has a name that ends with {ENDING}: nothing was refused, or it is kept elsewhere; \
                 name the directory"
            ))),
            several => {
                let names: Vec<String> = several.iter().map(|dir| dir.display().to_string()).collect();
                Err(Failure::Input(anyhow!(
                    "there is more than one store here: name one of {}",
                    names.join(", ")
                )))
            }
        }
    }

    fn read(&self) -> Result<(PathBuf, Reading)> {
        let dir = self.dir()?;
        let reading = Reading::open(&dir)?;
        Ok((dir, reading))
    }
}

/// Says what of a store cannot be read any more, where there is such a thing, when the rest has been shown.
fn tell_damage(reading: &Reading) -> Result {
    for damage in reading.damage() {
        terminal::error(format!("{damage}; restore the file from a backup, or purge what is left in it"));
    }
    if reading.damage().is_empty() { Ok(()) } else { Err(Failure::Told(Code::Failed)) }
}

/// Which entries.
#[derive(Debug, Args)]
struct Which {
    /// Refused by this stage
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Refused with this code
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Refused at this time or later: 2026-08-01T12:00:00Z, 2026-08-01, or how long ago: 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = amounts::time)]
    since: Option<i64>,
    /// Refused before this time
    #[arg(long, value_name = "TIME", value_parser = amounts::time)]
    until: Option<i64>,
}

impl Which {
    fn filter(self, closed_too: bool) -> Filter {
        let Self { stage, code, since, until } = self;
        Filter { stage, code, since_us: since, until_us: until, closed_too, ..Filter::default() }
    }
}

/// An entry by its number, or by the id of its record.
#[derive(Clone, Copy, Debug)]
pub(super) enum EntryName {
    Entry(u64),
    Record(RecordId),
}

impl EntryName {
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        if let Some(record) = RecordId::parse(text) {
            return Ok(Self::Record(record));
        }
        text.parse().map(Self::Entry).map_err(|_| {
            "it is the number of an entry, as `conveyor dlq list` shows, or a record's id of 32 hexadecimal digits"
                .to_owned()
        })
    }

    /// Puts it into a filter, which then means the entries that were named.
    pub(super) fn ask(self, filter: &mut Filter) {
        match self {
            Self::Entry(entry) => filter.entries.push(entry),
            Self::Record(record) => filter.records.push(record),
        }
    }
}

/// Entries with what became of each.
type Entries = Vec<(Entry, Option<Outcome>)>;

fn entries(reading: &Reading, kept: &Kept, rows: &[u32]) -> Result<Entries> {
    let entries = kept.entries(rows).map_err(|error| LettersError::Encode { error })?;
    let with_outcome = |entry: Entry| {
        let outcome = reading.outcome(entry.entry);
        (entry, outcome)
    };
    Ok(entries.into_iter().map(with_outcome).collect())
}

/// The entries that the filter means, oldest first, those of one frame at a time.
fn for_each(reading: &Reading, filter: &Filter, mut each: impl FnMut(Entries) -> Result) -> Result {
    for frame in reading.frames(filter) {
        if let Some((kept, rows)) = reading.rows(frame, filter)? {
            each(entries(reading, &kept, &rows)?)?;
        }
    }
    Ok(())
}

/// An entry as data: what `export` writes and `--output json` prints. The JSON of its record is written as it stands:
/// numbers keep their digits, and names that are there twice stay.
#[derive(Debug, Serialize)]
struct Data<'e> {
    #[serde(flatten)]
    entry: &'e Entry,
    refused_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<&'static str>,
}

impl<'e> Data<'e> {
    fn of((entry, outcome): &'e (Entry, Option<Outcome>)) -> Self {
        let closed = outcome.map(|outcome| outcome.as_str());
        Self { entry, refused_at: time(entry.refused_at_us), closed }
    }
}

/// RFC 3339.
fn time(us: i64) -> String {
    let mut text = Vec::new();
    write_timestamp(us, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// A store that is not the one that commands take for a pipeline by themselves.
fn not_default<'d>(dir: &'d Path, pipeline: &str) -> Option<&'d Path> {
    (dir != crate::report::default_dir(pipeline)).then_some(dir)
}
