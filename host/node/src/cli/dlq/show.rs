//! `conveyor dlq show ID [DIR]`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::anyhow;
use clap::Args;
use flow::letters::{Entry, Filter, Outcome};
use model::limits::DEAD_LETTER_SHOWN_BYTES;

use super::super::Output;
use super::{Data, EntryName, Store, for_each, not_default, tell_damage, time};
use crate::exit::{Failure, Result};
use crate::report::{excerpt, replay_command};
use crate::terminal;
use crate::words::Words;

/// Shows all that is known of an entry, and how to send it in again
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The number of the entry, or the id of its record
    #[arg(value_name = "ID", value_parser = EntryName::parse)]
    id: EntryName,
    #[command(flatten)]
    store: Store,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Show {
    pub(super) fn execute(self) -> Result {
        let (dir, reading) = self.store.read()?;
        let mut filter = Filter { closed_too: true, ..Filter::default() };
        self.id.ask(&mut filter);
        let mut found = Vec::new();
        for_each(&reading, &filter, |entries| {
            found.extend(entries);
            Ok(())
        })?;
        if found.is_empty() {
            tell_damage(&reading)?;
            return Err(Failure::Input(anyhow!(
                "{} has no such entry; `conveyor dlq list --all` shows those that it has",
                dir.display()
            )));
        }
        if self.output == Output::Json {
            let all: Vec<Data<'_>> = found.iter().map(Data::of).collect();
            return terminal::print_json(&BTreeMap::from([("entries", all)]));
        }
        for (entry, outcome) in &found {
            let dir = not_default(&dir, &entry.pipeline);
            let state = entry.state.as_deref().map(Path::new);
            let command = replay_command(&entry.manifest, &entry.stage, entry.entry, dir, state);
            terminal::print(text(entry, *outcome, &command))?;
        }
        Ok(())
    }
}

fn text(entry: &Entry, outcome: Option<Outcome>, command: &str) -> Words {
    let origin = &entry.origin;
    let mut lines = vec![
        ("entry", entry.entry.to_string()),
        ("pipeline", entry.pipeline.clone()),
        ("stage", entry.stage.clone()),
        ("code", entry.code.clone()),
        ("message", entry.message.clone()),
        ("offset", format!("{} of {} (source {})", origin.offset, origin.split, origin.source)),
        ("record id", entry.id.clone()),
        ("refused at", time(entry.refused_at_us)),
        ("attempts", entry.attempts.to_string()),
        ("revision", entry.revision.clone()),
    ];
    let mut also = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    also("component", entry.component.clone());
    also("replay of", entry.replay_of.map(|id| format!("entry {id}")));
    also("closed", outcome.map(|outcome| outcome.as_str().to_owned()));
    also("time", entry.time_us.map(time));
    also("key", entry.key.as_ref().map(|key| excerpt(&key.bytes(), DEAD_LETTER_SHOWN_BYTES)));
    for (name, value) in &entry.headers {
        also("header", Some(format!("{name}: {}", excerpt(&value.bytes(), DEAD_LETTER_SHOWN_BYTES))));
    }
    let mut words: Words = lines.iter().map(|(name, value)| format!("{name:<11} {value}")).collect();
    words.push("");
    match entry.record.bytes() {
        Some(bytes) => {
            let of_more = if entry.cut { ", the beginning of a longer record" } else { "" };
            words.push(format!("{} bytes{of_more}:", bytes.len()));
            words.push(format!("  {}", excerpt(&bytes, DEAD_LETTER_SHOWN_BYTES)));
        }
        None => words.push("it has no value: a deletion"),
    }
    if let Some(backtrace) = &entry.backtrace {
        words.push("");
        words.push("where the stage was, the innermost first:");
        backtrace.lines().for_each(|line| words.push(line));
    }
    let is_component = entry.component.is_some() && entry.stage == origin.source;
    if outcome.is_none() && entry.cut {
        words.push("");
        words.push("it is not whole: raise `record-bytes-max`, and let the source read it again");
    } else if outcome.is_none() && is_component {
        words.push("");
        words.push("a source that is a component refused it: mend the data and run the pipeline again");
    } else if outcome.is_none() {
        words.push("");
        words.push(format!("to send it in again: {command}"));
    }
    words
}
