//! `conveyor dlq replay FILE`.

use std::path::PathBuf;

use clap::Args;
use flow::letters::Filter;

use super::super::Output;
use super::super::pulling::Pulling;
use super::EntryName;
use crate::exit::Result;
use crate::replaying::{self, Options};

/// Sends entries in again: into the stage that refused them, and through all that is behind it
///
/// The manifest and its components are taken as they are now; sources are not opened, and make records of what they
/// refused as they would now. Sinks keep what they wrote before. What is refused again is a new entry that points at
/// the old one; what went through is closed. When the replay fails, everything that it sent in stays open, and may
/// come to the sinks a second time; with --state, nothing of it has been committed.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Replay {
    /// The manifest
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Entries that this stage refused
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Entries with this code
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// This entry, by its number or the id of its record; can be said more than once
    #[arg(long, value_name = "ID", value_parser = EntryName::parse)]
    record: Vec<EntryName>,
    /// Send them into this stage, not into the one that refused them
    #[arg(long, value_name = "STAGE")]
    into: Option<String>,
    /// Write nothing, and say what would become of each
    #[arg(long)]
    dry_run: bool,
    /// Where they are kept; PIPELINE.dead-letters in this directory unless set
    #[arg(long, value_name = "DIR")]
    dead_letters: Option<PathBuf>,
    /// Go through the checkpoints that `run --state DIR` keeps; needed where a stage keeps state, or a sink commits
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Put a value into a stage's config
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    set: Vec<String>,
    /// Build stages that are directories
    #[arg(long)]
    build: bool,
    #[command(flatten)]
    pulling: Pulling,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Replay {
    pub(super) fn execute(self) -> Result {
        let mut filter = Filter { stage: self.stage, code: self.code, ..Filter::default() };
        self.record.iter().for_each(|record| record.ask(&mut filter));
        let options = Options {
            file: self.file,
            filter,
            into: self.into,
            writes: !self.dry_run,
            dead_letters: self.dead_letters,
            state: self.state,
            sets: self.set,
            builds: self.build,
            pulling: self.pulling.options(),
            data_on_stdout: self.output == Output::Json,
        };
        let done = replaying::run(options)?;
        done.tell(self.output == Output::Json)
    }
}
