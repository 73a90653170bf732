//! `conveyor replay FILE --stage S --record ID`.

use std::path::PathBuf;

use clap::Args;
use flow::letters::Filter;

use super::dlq::EntryName;
use super::pulling::Pulling;
use crate::exit::{Code, Failure, Result};
use crate::replaying::{self, Options};

/// Sends one record in again that a stage refused or died on, and shows what becomes of it
///
/// It is `dlq replay` for one record. The exit code is 1 when it is refused again.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Replay {
    /// The manifest
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The stage that refused it
    #[arg(long, value_name = "STAGE")]
    stage: String,
    /// The number of the entry, or the id of the record
    #[arg(long, value_name = "ID", value_parser = EntryName::parse)]
    record: EntryName,
    /// Write nothing, and say what would become of it
    #[arg(long)]
    dry_run: bool,
    /// Where it is kept; PIPELINE.dead-letters in this directory unless set
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
}

impl Replay {
    pub(super) fn execute(self) -> Result {
        let mut filter = Filter { stage: Some(self.stage), ..Filter::default() };
        self.record.ask(&mut filter);
        let options = Options {
            file: self.file,
            filter,
            into: None,
            writes: !self.dry_run,
            dead_letters: self.dead_letters,
            state: self.state,
            sets: self.set,
            builds: self.build,
            pulling: self.pulling.options(),
            data_on_stdout: false,
        };
        let done = replaying::run(options)?;
        done.show()?;
        if done.all_went_through() { Ok(()) } else { Err(Failure::Told(Code::Failed)) }
    }
}
