//! No record is lost: a source skips none, what was given arrives at each sink that it has to, or is a dead letter, and is counted by the
//! state of stages; and what a reader has seen stays.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Facts, Invariant, Outcome, Seen};
use crate::graph::Arrival;
use crate::letters;
use crate::places;

#[derive(Default)]
pub struct NoLoss {
    /// By sink: the lines that were seen.
    seen: BTreeMap<usize, Vec<String>>,
    /// By source and split: where this life reads next.
    next: BTreeMap<(usize, String), u64>,
}

impl Invariant for NoLoss {
    fn name(&self) -> &'static str {
        "no loss"
    }

    fn see(&mut self, seen: &Seen<'_>, facts: &Facts) -> Result<(), Broken> {
        match seen {
            // Nobody can say what was in it.
            Seen::Refused { why } => Err(format!("it does not go on: {why}")),
            Seen::SinkOpened { sink } | Seen::Committed { sink, .. } => self.stays(*sink, facts),
            Seen::Recovered(last_committed) => {
                let of = |name: &str| facts.graph.nodes.iter().position(|node| node.name == name);
                let sources = last_committed.checkpoint.places.iter();
                let sources = sources.filter_map(|(name, places)| Some((of(name)?, places)));
                let next = sources.flat_map(|(source, places)| {
                    places
                        .iter()
                        .map(move |(split, place)| ((source, split.to_string()), places::read(place)))
                });
                self.next = next.collect();
                Ok(())
            }
            Seen::Read { source, split, from, to } => {
                let next = self.next.entry((*source, (*split).to_owned())).or_default();
                if *from > *next {
                    return Err(format!("{split} of source {source} reads {from}, and {next} was due"));
                }
                *next = *to;
                Ok(())
            }
            Seen::Over(outcome) => arrived(outcome, facts),
            _ => Ok(()),
        }
    }
}

impl NoLoss {
    fn stays(&mut self, sink: usize, facts: &Facts) -> Result<(), Broken> {
        let (now, before) = (facts.lines(sink), self.seen.entry(sink).or_default());
        if !now.starts_with(before) {
            let name = &facts.graph.nodes[sink].name;
            return Err(format!(
                "{name} had {} lines, and they are not what it begins with now",
                before.len()
            ));
        }
        facts.visible(sink)?;
        *before = now;
        Ok(())
    }
}

fn arrived(outcome: &Outcome, facts: &Facts) -> Result<(), Broken> {
    let Outcome { expected, letters, state } = outcome;
    for (sink, node) in facts.graph.sinks() {
        let there: BTreeSet<Arrival> = match node.kind.commits() {
            true => facts.visible(sink)?.iter().map(|record| record.arrival()).collect(),
            false => facts.remote[sink].iter().map(|record| record.arrival()).collect(),
        };
        let due = expected.sinks.get(&sink).cloned().unwrap_or_default();
        let missing: Vec<&Arrival> = due.difference(&there).collect();
        if let Some(first) = missing.first() {
            return Err(format!(
                "{} of {} records are not in {}: {first:?}",
                missing.len(),
                due.len(),
                node.name
            ));
        }
    }
    let kept: BTreeSet<&String> = letters.iter().collect();
    for due in &expected.letters {
        if !kept.contains(&letters::due(&facts.graph, due)) {
            return Err(format!("a refused record is no dead letter: {due:?}"));
        }
    }
    for (counted, &due) in &expected.counts {
        let count = state.get(counted).copied().unwrap_or(0);
        if count < due {
            return Err(format!("the state has counted {count} of {due} records: {counted:?}"));
        }
    }
    Ok(())
}
