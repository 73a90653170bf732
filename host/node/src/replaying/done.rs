//! What became of entries that were sent in again, for people and for programs.

use std::collections::BTreeMap;

use flow::letters::{Entry, Outcome};
use flow::replay::{Chosen, Fate, RefusedAgain};
use model::limits::{DEAD_LETTER_SHOWN_BYTES, DEAD_LETTERS_LISTED};
use serde_json::{Value, json};

use crate::exit::Result;
use crate::report::{excerpt, number};
use crate::terminal;
use crate::words::Words;

/// The end of a replay.
#[derive(Debug)]
pub struct Done {
    wrote: bool,
    /// Those that were sent in, with what became of each.
    fates: BTreeMap<u64, Fate>,
    /// The one that was sent in, where it was one.
    one: Option<Entry>,
    /// What is said where nothing was sent in.
    nothing: Option<String>,
}

impl Done {
    pub(super) fn nothing(wrote: bool, why: String) -> Self {
        Self { wrote, fates: BTreeMap::new(), one: None, nothing: Some(why) }
    }

    pub(super) fn of(chosen: &Chosen, mut seen: BTreeMap<u64, Fate>, wrote: bool) -> Self {
        let fates = chosen.entries().map(|entry| (entry, seen.remove(&entry).unwrap_or_default()));
        Self { wrote, fates: fates.collect(), one: chosen.only(), nothing: None }
    }

    /// What is written behind the entries.
    pub(super) fn marks(&self) -> Vec<(u64, Outcome)> {
        self.fates.iter().map(|(entry, fate)| (*entry, fate.outcome())).collect()
    }

    pub fn all_went_through(&self) -> bool {
        self.fates.values().all(|fate| fate.outcome() == Outcome::Replayed)
    }

    /// Says how it went: each entry of a dry run, else how many there were.
    pub fn tell(&self, as_data: bool) -> Result {
        if as_data {
            return terminal::print_json(&self.json());
        }
        if self.fates.is_empty() {
            terminal::say(self.nothing.as_deref().unwrap_or("nothing is open"));
            return Ok(());
        }
        let shown = self.fates.iter().filter(|(_, fate)| !self.wrote || !fate.refused.is_empty());
        for (entry, fate) in shown.take(DEAD_LETTERS_LISTED) {
            terminal::say(format!("entry {entry}: {}", text(fate)));
        }
        let again = self.fates.values().filter(|fate| !fate.refused.is_empty()).count();
        let all = self.fates.len();
        let entries = if all == 1 { "1 entry".to_owned() } else { format!("{} entries", number(all as u64)) };
        let (through, again) = (number((all - again) as u64), number(again as u64));
        let sum = match self.wrote {
            true => format!("sent in again: {entries}; went through: {through}; refused again: {again}"),
            false => {
                format!(
                    "would be sent in: {entries}; would go through to the sinks, which are not asked: {through}; would be \
                     refused: {again}"
                )
            }
        };
        terminal::say(sum);
        Ok(())
    }

    /// The one record with what became of it, in full.
    pub fn show(&self) -> Result {
        let Some(entry) = &self.one else { return self.tell(false) };
        let mut words = record(entry);
        let fate = self.fates.get(&entry.entry).cloned().unwrap_or_default();
        if fate.refused.is_empty() {
            words.push(text(&fate));
        }
        for RefusedAgain { stage, code, message, backtrace } in &fate.refused {
            words.push(format!("stage `{stage}` refused it again as {code}: {message}"));
            if let Some(frames) = backtrace {
                words.push("  where the stage was, the innermost first:");
                frames.lines().for_each(|line| words.push(line));
            }
        }
        terminal::say(words);
        Ok(())
    }

    fn json(&self) -> Value {
        let entry = |(entry, fate): (&u64, &Fate)| {
            let refused = fate.refused.iter().map(|again| {
                let RefusedAgain { stage, code, message, backtrace } = again;
                json!({ "stage": stage, "code": code, "message": message, "backtrace": backtrace.as_deref() })
            });
            let refused: Vec<Value> = refused.collect();
            json!({ "entry": entry, "outcome": fate.outcome(), "reached": fate.reached, "refused": refused })
        };
        let entries: Vec<Value> = self.fates.iter().map(entry).collect();
        json!({ "dry_run": !self.wrote, "entries": entries })
    }
}

/// Which record it was, with its beginning.
pub(super) fn record(entry: &Entry) -> Words {
    let origin = &entry.origin;
    let place = format!("{} of {} (source {})", origin.offset, origin.split, origin.source);
    let head = format!("entry {}: record {place}", entry.entry);
    match entry.record.bytes() {
        Some(bytes) => {
            let mut words = Words::from(format!("{head}, {} bytes:", bytes.len()));
            words.push(format!("  {}", excerpt(&bytes, DEAD_LETTER_SHOWN_BYTES)));
            words
        }
        None => format!("{head}, a deletion").into(),
    }
}

fn text(fate: &Fate) -> String {
    let reached = fate.reached.iter().map(|(sink, count)| match count {
        1 => format!("1 record to `{sink}`"),
        count => format!("{} records to `{sink}`", number(*count)),
    });
    let refused = fate.refused.iter().map(|again| {
        let RefusedAgain { stage, code, message, .. } = again;
        format!("refused again by `{stage}` as {code}: {message}")
    });
    let all: Vec<String> = refused.chain(reached).collect();
    match all.is_empty() {
        true => "nothing comes of it: a stage leaves it out".to_owned(),
        false => all.join(", "),
    }
}
