//! `conveyor dlq list [DIR]`.

use std::collections::BTreeMap;

use clap::Args;
use flow::letters::{Entry, Outcome};
use model::limits::{DEAD_LETTERS_LISTED, REJECTION_CODES_COUNTED_MAX};
use serde::Serialize;
use serde_json::json;

use super::super::Output;
use super::{Data, Reading, Store, Which, entries, tell_damage, time};
use crate::exit::Result;
use crate::report::{nothing_is_open, number, plain_table};
use crate::terminal;

/// How much of a text one column of the table shows.
const CELL_CHARS_MAX: usize = 90;

/// Lists what was refused and is open still: not sent in again, and not thrown away
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    store: Store,
    #[command(flatten)]
    which: Which,
    /// Show so many at most; 50 unless set
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Show those too that were sent in again or thrown away
    #[arg(long)]
    all: bool,
    /// Count them by stage and code
    #[arg(long, conflicts_with = "limit")]
    counts: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl List {
    pub(super) fn execute(self) -> Result {
        let (_, reading) = self.store.read()?;
        match self.counts {
            true => self.count(&reading),
            false => self.list(&reading),
        }?;
        tell_damage(&reading)
    }

    fn list(self, reading: &Reading) -> Result {
        let filter = self.which.filter(self.all);
        let limit = self.limit.unwrap_or(DEAD_LETTERS_LISTED);
        let (mut listed, mut more) = (Vec::new(), 0);
        for frame in reading.frames(&filter) {
            let Some((kept, rows)) = reading.rows(frame, &filter)? else { continue };
            // Those that are only counted are not made into anything.
            let (shown, others) = rows.split_at(rows.len().min(limit - listed.len()));
            more += others.len() as u64;
            listed.extend(entries(reading, &kept, shown)?);
        }
        if self.output == Output::Json {
            let entries = listed.iter().map(Data::of).collect();
            return terminal::print_json(&Listed { entries, more });
        }
        if listed.is_empty() {
            terminal::say(nothing_is_open(reading, &filter)?);
            return Ok(());
        }
        let header = ["entry", "refused at", "stage", "code", "offset", "message"];
        let rows = listed.iter().map(|(entry, outcome)| row(entry, *outcome));
        terminal::print(plain_table(&header, rows, &[0]))?;
        if more > 0 {
            terminal::say(format!("and {} more; `--limit` shows more, `--counts` counts them", number(more)));
        }
        Ok(())
    }

    fn count(self, reading: &Reading) -> Result {
        let filter = self.which.filter(self.all);
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        for frame in reading.frames(&filter) {
            let Some((kept, rows)) = reading.rows(frame, &filter)? else { continue };
            for row in rows {
                let mut key = (kept.stage().to_owned(), kept.code(row as usize).to_owned());
                if counts.len() >= REJECTION_CODES_COUNTED_MAX && !counts.contains_key(&key) {
                    key.1 = "(others)".to_owned();
                }
                *counts.entry(key).or_default() += 1;
            }
        }
        if self.output == Output::Json {
            let counts = counts.iter();
            let counts: Vec<_> = counts
                .map(|((stage, code), entries)| json!({ "stage": stage, "code": code, "entries": entries }))
                .collect();
            return terminal::print_json(&json!({ "counts": counts }));
        }
        if counts.is_empty() {
            terminal::say(nothing_is_open(reading, &filter)?);
            return Ok(());
        }
        let rows =
            counts.iter().map(|((stage, code), entries)| vec![number(*entries), stage.clone(), cell(code)]);
        terminal::print(plain_table(&["entries", "stage", "code"], rows, &[0]))
    }
}

#[derive(Debug, Serialize)]
struct Listed<'e> {
    entries: Vec<Data<'e>>,
    more: u64,
}

fn row(entry: &Entry, outcome: Option<Outcome>) -> Vec<String> {
    let origin = &entry.origin;
    let code = match outcome {
        Some(outcome) => format!("{} ({})", entry.code, outcome.as_str()),
        None => entry.code.clone(),
    };
    // Whole seconds are enough to find one.
    let at = time(entry.refused_at_us - entry.refused_at_us.rem_euclid(1_000_000));
    let offset = format!("{} of {}", origin.offset, origin.split);
    vec![entry.entry.to_string(), at, entry.stage.clone(), cell(&code), cell(&offset), cell(&entry.message)]
}

/// What a stage or a source made up, as it stands in a line.
fn cell(text: &str) -> String {
    let mut cell: String = text.chars().take(CELL_CHARS_MAX).collect();
    if cell.len() < text.len() {
        cell.push_str("...");
    }
    cell
}
