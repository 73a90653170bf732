//! `conveyor run FILE...`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::{Output, amounts};
use crate::exit::{Code, Failure, Result};
use crate::running::{DeadLetters, Options, Session, State};
use crate::terminal;

/// Runs pipelines here and now, until their sources end
///
/// SIGINT and SIGTERM end the sources; what is on its way is drained, the sinks commit, and the exit code is
/// 0. Another signal (those within a second are one), or ten seconds without an end, cuts everything off, with
/// exit code 1. When one of several pipelines fails, the others go on to their own end, and the exit code is 1.
///
/// What is found to be wrong before anything flows (a manifest, a file that it names) has exit code 2.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Run {
    /// Manifests, or what `conveyor bundle` wrote
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Put a value into a stage's config; every pipeline that has the stage gets it
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    set: Vec<String>,
    /// Build stages that are directories
    #[arg(long)]
    build: bool,
    /// Keep checkpoints here, and go on from the last one; without it, a run begins at the beginning
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Throw the checkpoints of these pipelines away and begin anew
    #[arg(long, requires = "state")]
    reset: bool,
    /// A source, a sink or a stage with state has another name now than in the checkpoint; ids of records change with a
    /// source's name
    #[arg(long, requires = "state", value_name = "OLD=NEW")]
    rename: Vec<String>,
    /// Throw away what a stage remembers, and go on without it; a source reads from its beginning again
    #[arg(long, requires = "state", value_name = "STAGE")]
    forget: Vec<String>,
    /// Let a sink `file` begin a new file; the one that it has is kept, under a name with a number
    #[arg(long, requires = "state", value_name = "STAGE")]
    new_file: Vec<String>,
    /// Serve /metrics, /livez and /readyz on this address, for example 127.0.0.1:9100
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// Where refused records are kept; PIPELINE.dead-letters in this directory unless set
    #[arg(long, value_name = "DIR")]
    dead_letters: Option<PathBuf>,
    /// How large that may get, for example 512MiB; 1GiB unless set. When it is full, the pipeline stops
    #[arg(long, value_name = "SIZE", value_parser = amounts::bytes)]
    dead_letters_max_bytes: Option<u64>,
    /// Throw dead letters away that are older, for example 30d; none are unless set
    #[arg(long, value_name = "AGE", value_parser = amounts::duration)]
    dead_letters_max_age: Option<Duration>,
    /// Threads that run stages; one for each core unless set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    policy: super::policy::Policy,
    /// How the summary is printed: a table on stderr, or data on stdout
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Run {
    pub(super) fn execute(self) -> Result {
        let mut renames = Vec::with_capacity(self.rename.len());
        for rename in &self.rename {
            let parts = rename.split_once('=').filter(|(old, new)| !old.is_empty() && !new.is_empty());
            let (old, new) = parts.ok_or_else(|| {
                Failure::Input(anyhow!("`--rename {rename}`: write OLD=NEW, such as `--rename in=orders`"))
            })?;
            renames.push((old.to_owned(), new.to_owned()));
        }
        let (reset, forgotten, new_files) = (self.reset, self.forget, self.new_file);
        let options = Options {
            builds: self.build,
            metrics: self.metrics,
            state: self.state.map(|dir| State { dir, reset, renames, forgotten, new_files }),
            dead_letters: DeadLetters {
                dir: self.dead_letters,
                bytes_max: self.dead_letters_max_bytes,
                age_max: self.dead_letters_max_age,
            },
            threads: self.threads.map(usize::from),
            policy: self.policy.read()?.needing_secrets(),
            data_on_stdout: self.output == Output::Json,
        };
        let Some(session) = Session::prepare(&self.files, &self.set, options)? else {
            return match self.output {
                Output::Json => terminal::print_json(&json!({ "pipelines": [] })),
                Output::Text => Ok(()),
            };
        };
        let all_done = session.run()?;
        if all_done { Ok(()) } else { Err(Failure::Told(Code::Failed)) }
    }
}
