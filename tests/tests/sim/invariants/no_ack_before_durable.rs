//! Nobody is told that something is safe before it is durable: not a client of its records, not a sink of the
//! checkpoint that it commits, not a source of what it may forget. Each time the power is cut from a copy of the disk,
//! and what is left is looked at by the code that recovers it.

use std::collections::BTreeSet;

use super::{Broken, Facts, Invariant, Seen};
use crate::graph::Origin;
use crate::places;
use crate::spool;
use crate::store::SimStore;

#[derive(Default)]
pub struct NoAckBeforeDurable;

impl Invariant for NoAckBeforeDurable {
    fn name(&self) -> &'static str {
        "no ack before durable"
    }

    fn see(&mut self, seen: &Seen<'_>, facts: &Facts) -> Result<(), Broken> {
        match seen {
            Seen::Acked { source, records } => {
                let name = &facts.graph.nodes[*source].name;
                let left = spool::left(&facts.disk.worst_case(), name, *source as u8)?;
                let left: BTreeSet<Origin> = left.into_iter().collect();
                match records.iter().find(|record| !left.contains(record)) {
                    Some(lost) => {
                        Err(format!("a client of {name} was told that {lost:?} is safe, and it is not"))
                    }
                    None => Ok(()),
                }
            }
            Seen::Committed { sink, token } => {
                let last_committed = SimStore::last_committed(&facts.disk.worst_case()).checkpoint;
                let name = &facts.graph.nodes[*sink].name;
                match last_committed.tokens.get(name.as_str()).is_some_and(|last| last == token) {
                    true => Ok(()),
                    false => {
                        Err(format!("{name} commits what checkpoint {} does not have", last_committed.number))
                    }
                }
            }
            Seen::Released { source, places } => {
                let name = &facts.graph.nodes[*source].name;
                let last_committed = SimStore::last_committed(&facts.disk.worst_case()).checkpoint;
                for (split, place) in *places {
                    let told = places::read(place);
                    let place = last_committed.places.get(name.as_str()).and_then(|places| places.get(split));
                    let place = place.map_or(0, |place| places::read(place));
                    if told > place {
                        return Err(format!(
                            "{name} may forget what is before {told}, and goes on at {place}"
                        ));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
