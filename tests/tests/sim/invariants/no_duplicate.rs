//! Nothing is there twice: neither in a sink that commits, at any time that a reader may look, nor among the dead
//! letters, nor in what the state of a stage has counted.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Facts, Invariant, Outcome, Seen};
use crate::record::Record;

#[derive(Default)]
pub struct NoDuplicate;

impl Invariant for NoDuplicate {
    fn name(&self) -> &'static str {
        "no duplicate"
    }

    fn see(&mut self, seen: &Seen<'_>, facts: &Facts) -> Result<(), Broken> {
        match seen {
            Seen::SinkOpened { sink } | Seen::Committed { sink, .. } => once(*sink, facts),
            Seen::Over(outcome) => {
                facts.graph.sinks().try_for_each(|(sink, _)| once(sink, facts))?;
                letters_once(outcome)?;
                counted_once(outcome, facts)
            }
            _ => Ok(()),
        }
    }
}

fn once(sink: usize, facts: &Facts) -> Result<(), Broken> {
    let name = &facts.graph.nodes[sink].name;
    let mut there = BTreeSet::new();
    let mut counted = BTreeSet::new();
    for record in facts.visible(sink)? {
        if !there.insert(record.arrival()) {
            return Err(format!("{name} shows a record twice: {:?}", record.arrival()));
        }
        for said in &record.counted {
            // Two arms of a diamond are two records of one count.
            let behind: Vec<u8> = record.way.iter().copied().skip_while(|node| *node != said.node).collect();
            if !counted.insert((behind, said.key, said.number)) {
                return Err(format!(
                    "{name} shows two records with one number: {said:?} at {:?}",
                    record.origin
                ));
            }
        }
    }
    Ok(())
}

fn letters_once(outcome: &Outcome) -> Result<(), Broken> {
    let mut there = BTreeSet::new();
    match outcome.letters.iter().find(|letter| !there.insert(*letter)) {
        Some(twice) => Err(format!("a dead letter is kept twice: {twice}")),
        None => Ok(()),
    }
}

fn counted_once(outcome: &Outcome, facts: &Facts) -> Result<(), Broken> {
    for (counted, &count) in &outcome.state {
        let due = outcome.expected.counts.get(counted).copied().unwrap_or(0);
        if count > due {
            return Err(format!("the state has counted {count} records where {due} came: {counted:?}"));
        }
    }
    // What records were told says the same, where none of them was refused on its way.
    for (sink, _) in facts.graph.sinks() {
        let mut highest: BTreeMap<(u8, u8), u64> = BTreeMap::new();
        let records: Vec<Record> = facts.visible(sink)?;
        for said in records.iter().flat_map(|record| &record.counted) {
            let highest = highest.entry((said.node, said.key)).or_default();
            *highest = (*highest).max(said.number);
        }
        for (counted, highest) in highest {
            let due = outcome.expected.counts.get(&counted).copied().unwrap_or(0);
            if highest > due {
                return Err(format!("a record was the {highest}th of {due}: {counted:?}"));
            }
        }
    }
    Ok(())
}
