//! Cursors never go back: each checkpoint is at least where the one before was, a life goes on where the last
//! checkpoint is, and what a source was told to forget it is not asked for again.

use std::collections::BTreeMap;

use flow::checkpoint::Checkpoint;

use super::{Broken, Facts, Invariant, Seen};
use crate::places;

/// By source and split.
type Cursors = BTreeMap<(usize, String), u64>;

#[derive(Default)]
pub struct CursorsNeverGoBack {
    /// The last checkpoint that was stored for sure.
    number: u64,
    stored: Cursors,
    released: Cursors,
    /// Where this life reads next.
    next: Cursors,
}

impl Invariant for CursorsNeverGoBack {
    fn name(&self) -> &'static str {
        "cursors never go back"
    }

    fn see(&mut self, seen: &Seen<'_>, facts: &Facts) -> Result<(), Broken> {
        match seen {
            Seen::Stored(checkpoint) => {
                if checkpoint.number <= self.number {
                    return Err(format!("checkpoint {} comes behind {}", checkpoint.number, self.number));
                }
                self.commit(checkpoint, facts)
            }
            Seen::Recovered(last_committed) => {
                let checkpoint = &last_committed.checkpoint;
                if checkpoint.number < self.number {
                    return Err(format!(
                        "{} was committed last, and now {} is",
                        self.number, checkpoint.number
                    ));
                }
                self.commit(checkpoint, facts)?;
                self.next = self.stored.clone();
                for (cursor, released) in &self.released {
                    let goes_on = self.stored.get(cursor).copied().unwrap_or(0);
                    if goes_on < *released {
                        return Err(format!("{cursor:?} goes on at {goes_on}, {released} was released"));
                    }
                }
                Ok(())
            }
            Seen::Read { source, split, from, to } => {
                let next = self.next.entry((*source, (*split).to_owned())).or_default();
                if *from < *next {
                    return Err(format!("{split} of source {source} reads {from}, and {next} was due"));
                }
                *next = *to;
                Ok(())
            }
            Seen::Released { source, places } => {
                for (split, place) in *places {
                    let released = self.released.entry((*source, split.to_string())).or_default();
                    let told = places::read(place);
                    if told < *released {
                        return Err(format!("source {source} was told {told} after {released}"));
                    }
                    *released = told;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl CursorsNeverGoBack {
    fn commit(&mut self, checkpoint: &Checkpoint, facts: &Facts) -> Result<(), Broken> {
        self.number = checkpoint.number;
        let mut now = Cursors::new();
        for (stage, places) in &checkpoint.places {
            let source = facts.graph.nodes.iter().position(|node| *node.name == **stage);
            let source = source.ok_or_else(|| format!("there is no source {stage}"))?;
            now.extend(
                places.iter().map(|(split, place)| ((source, split.to_string()), places::read(place))),
            );
        }
        for (cursor, before) in &self.stored {
            let place = now.get(cursor).copied().unwrap_or(0);
            if place < *before {
                return Err(format!(
                    "checkpoint {} has {cursor:?} at {place}, it was at {before}",
                    self.number
                ));
            }
        }
        self.stored = now;
        Ok(())
    }
}
