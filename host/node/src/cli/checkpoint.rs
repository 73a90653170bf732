//! `conveyor checkpoint ...`: where pipelines would go on.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use flow::checkpoint::{CheckpointError, LastCommitted, RedbStore, Summary};
use model::convert::times::write_timestamp;
use model::plain;
use serde_json::{Value, json};

use super::Output;
use crate::exit::{Code, Failure, Result};
use crate::report::{number, plain_table};
use crate::terminal;
use crate::words::Words;

/// Checkpoints: where a pipeline goes on after it stopped or died
#[derive(Debug, Subcommand)]
pub(super) enum Checkpoint {
    List(List),
    Inspect(Inspect),
}

impl Checkpoint {
    pub(super) fn execute(self) -> Result {
        match self {
            Self::List(verb) => verb.execute(),
            Self::Inspect(verb) => verb.execute(),
        }
    }
}

/// Lists the last checkpoints of each pipeline: when they were taken, how long it took, what was new in them
///
/// A pipeline that is running has its store to itself: look at its metrics.
#[derive(Debug, Args)]
pub(super) struct List {
    /// What `run --state` was given
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Shows what the last committed checkpoint holds: where each split of each source goes on, what sinks commit, and how
/// much each stage remembers
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// What `run --state` was given
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Of this pipeline alone
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What is known of one pipeline.
struct Found {
    pipeline: String,
    last_committed: Option<LastCommitted>,
    summaries: Vec<Summary>,
}

/// What there is in a directory, and how it ends when that was shown.
struct Looked {
    all: Vec<Found>,
    ended: Result,
}

/// All pipelines of a directory, by their names, or one of them. What cannot be read of one is said, and the others are
/// looked at.
fn look(dir: &Path, only: Option<&str>) -> Result<Looked> {
    let none = || Failure::from(CheckpointError::None { path: dir.join(only.unwrap_or_default()) });
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .map_err(|_| none())?
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| only.is_none_or(|only| only == name))
        .collect();
    names.sort();
    let mut looked = Looked { all: Vec::with_capacity(names.len()), ended: Ok(()) };
    for pipeline in names {
        match RedbStore::look(&dir.join(&pipeline)) {
            Ok((last_committed, summaries)) => looked.all.push(Found { pipeline, last_committed, summaries }),
            Err(CheckpointError::None { .. }) => {}
            Err(error) => {
                let code = if error.is_input() { Code::Wrong } else { Code::Failed };
                terminal::error(error.to_string());
                looked.ended = looked.ended.and(Err(Failure::Told(code)));
            }
        }
    }
    if looked.all.is_empty() && looked.ended.is_ok() { Err(none()) } else { Ok(looked) }
}

fn when(micros: i64) -> String {
    let mut text = Vec::new();
    write_timestamp(micros, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

impl List {
    fn execute(self) -> Result {
        let Looked { all, ended } = look(&self.dir, None)?;
        if self.output == Output::Json {
            let data = |found: &Found| json!({ "pipeline": found.pipeline, "checkpoints": found.summaries });
            return terminal::print_json(&Value::Array(all.iter().map(data).collect())).and(ended);
        }
        let header = ["pipeline", "checkpoint", "taken at", "took ms", "new bytes", "revision"];
        let rows = all.iter().flat_map(|found| {
            found.summaries.iter().map(|summary| {
                vec![
                    found.pipeline.clone(),
                    number(summary.number),
                    when(summary.taken_at_us),
                    format!("{:.1}", summary.took_us as f64 / 1e3),
                    number(summary.bytes),
                    summary.revision.chars().take(12).collect(),
                ]
            })
        });
        terminal::print(plain_table(&header, rows, &[1, 3, 4])).and(ended)
    }
}

impl Inspect {
    fn execute(self) -> Result {
        let Looked { all, ended } = look(&self.dir, self.pipeline.as_deref())?;
        if self.output == Output::Json {
            return terminal::print_json(&Value::Array(all.iter().map(inspected).collect())).and(ended);
        }
        for found in &all {
            terminal::print(told(found))?;
        }
        ended
    }
}

fn inspected(found: &Found) -> Value {
    let Some(last_committed) = found.last_committed.as_ref().filter(|last| last.checkpoint.number > 0) else {
        return json!({ "pipeline": found.pipeline, "checkpoint": null });
    };
    let places: serde_json::Map<String, Value> = last_committed
        .checkpoint
        .places
        .iter()
        .map(|(stage, splits)| {
            let splits: serde_json::Map<String, Value> =
                splits.iter().map(|(split, place)| (split.to_string(), shown(place).into())).collect();
            (stage.to_string(), splits.into())
        })
        .collect();
    let tokens: serde_json::Map<String, Value> = last_committed
        .checkpoint
        .tokens
        .iter()
        .map(|(stage, token)| (stage.to_string(), shown(token).into()))
        .collect();
    json!({
        "pipeline": found.pipeline,
        "checkpoint": last_committed.summary,
        "is_committed": last_committed.sinks_committed,
        "places": places,
        "tokens": tokens,
        "states": last_committed.states,
    })
}

fn told(found: &Found) -> Words {
    let Some(last_committed) = found.last_committed.as_ref().filter(|last| last.checkpoint.number > 0) else {
        return format!("pipeline {}: no checkpoint was stored yet", found.pipeline).into();
    };
    let state = if last_committed.sinks_committed {
        "committed by all sinks"
    } else {
        "sinks commit it at the next start"
    };
    let mut words = Words::from(format!(
        "pipeline {}: checkpoint {}, taken at {}, {state}",
        found.pipeline,
        last_committed.summary.number,
        when(last_committed.summary.taken_at_us)
    ));
    for (stage, splits) in &last_committed.checkpoint.places {
        for (split, place) in splits {
            words.push(format!("  source {stage}  {split}  {}", shown(place)));
        }
    }
    for (stage, token) in &last_committed.checkpoint.tokens {
        words.push(format!("  sink {stage}  {}", shown(token)));
    }
    for (stage, size) in &last_committed.states {
        words.push(format!("  state of {stage}  {} keys, {} bytes", number(size.keys), number(size.bytes)));
    }
    words
}

/// Text as it is, where people can read all of it; anything else in hexadecimal digits, cut where it gets long.
fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 512;
    let cut = &bytes[..bytes.len().min(SHOWN_MAX)];
    match std::str::from_utf8(cut) {
        Ok(text) if text.chars().all(plain::is_plain) => text.to_owned(),
        _ => cut.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
