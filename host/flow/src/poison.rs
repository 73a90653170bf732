//! Poison: records that sinks die on, and how they are found.
//!
//! A sink owns its instance, and may hold what it was given since the last checkpoint: a batch on which it died cannot
//! be tried again in parts, as a transform's is. The whole pipeline goes back to its last checkpoint instead, and what
//! has to be known there is in here: the records of that batch are given one by one, so that the next death tells
//! which it was, and in the life after that this one is refused. Records are known by their ids, since batches may be
//! cut in other places when they come again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::ids::RecordId;
use model::limits::SINK_KILLERS_MAX;

use crate::connector::Death;

/// What is known of the sinks of one pipeline, from one run of it to the next.
#[derive(Clone, Debug, Default)]
pub struct Poison(Arc<Mutex<BTreeMap<usize, SinkPoison>>>);

/// What is known of one sink.
#[derive(Debug, Default, PartialEq, Eq)]
struct SinkPoison {
    /// Records of a batch on which it died, that have not gone through since.
    isolated: HashSet<RecordId>,
    /// Records on which it died when they were given alone.
    killers: HashMap<RecordId, Killer>,
    /// Whether any record of that batch has gone through, or any record at all in this life: then it is not the sink
    /// that is to blame.
    is_proven: bool,
    has_taken: bool,
    /// Records of which it is known by now whether they kill it.
    decided: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Killer {
    death: Arc<Death>,
    /// The last committed checkpoint when it was refused: two later, it does not come again.
    refused_at: Option<u64>,
}

/// What is to be done with some rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They may be given together.
    Together,
    Isolated,
    Refused,
}

impl SinkPoison {
    /// The rows of a batch, by what is to be done with them.
    fn parts(&self, ids: &[RecordId]) -> Vec<(Fate, Range<u32>)> {
        let mut parts: Vec<(Fate, Range<u32>)> = Vec::new();
        for (row, id) in (0u32..).zip(ids) {
            let fate = match () {
                () if self.killers.contains_key(id) => Fate::Refused,
                () if self.isolated.contains(id) => Fate::Isolated,
                () => Fate::Together,
            };
            match parts.last_mut() {
                Some((last, rows)) if *last == fate && fate != Fate::Isolated => rows.end = row + 1,
                _ => parts.push((fate, row..row + 1)),
            }
        }
        parts
    }

    /// The sink died on these records. Says whether going back may help: not where it has died on too many.
    fn died(&mut self, ids: &[RecordId], death: &Arc<Death>) -> bool {
        match ids {
            [one] if self.isolated.remove(one) => {
                self.killers.insert(*one, Killer { death: death.clone(), refused_at: None });
                self.decided += u64::from(self.is_proven || self.has_taken);
            }
            // Also a record that came alone by chance: what came before it may have been the reason.
            ids => (self.isolated, self.is_proven) = (ids.iter().copied().collect(), false),
        }
        self.killers.len() <= SINK_KILLERS_MAX
    }

    /// The sink took these records; one may have been given alone.
    fn went_through(&mut self, ids: &[RecordId]) {
        self.has_taken = true;
        if let [one] = ids
            && self.isolated.remove(one)
        {
            self.is_proven = true;
            self.decided += 1;
        }
    }

    /// Whether records may still come that need care.
    fn is_over(&self) -> bool {
        self.isolated.is_empty() && self.killers.values().all(|killer| killer.refused_at.is_some())
    }
}

impl Poison {
    fn all(&self) -> MutexGuard<'_, BTreeMap<usize, SinkPoison>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life begins at checkpoint `last_committed`. What was refused before that does not come again.
    pub(crate) fn begin(&self, last_committed: u64) {
        let mut all = self.all();
        for poison in all.values_mut() {
            poison.has_taken = false;
            poison.killers.retain(|_, killer| killer.refused_at.is_none_or(|at| last_committed < at + 2));
        }
        all.retain(|_, poison| !(poison.isolated.is_empty() && poison.killers.is_empty()));
    }

    /// Stages whose records need care.
    pub(crate) fn stages(&self) -> Vec<usize> {
        self.all().keys().copied().collect()
    }

    /// The rows of a batch for a sink, by what is to be done with them.
    pub(crate) fn parts(&self, stage: usize, ids: &[RecordId]) -> Vec<(Fate, Range<u32>)> {
        match self.all().get(&stage) {
            Some(poison) => poison.parts(ids),
            None => vec![(Fate::Together, 0..ids.len() as u32)],
        }
    }

    /// These records are refused after checkpoint `last_committed`, those of them on which the sink died. Gives their rows,
    /// each with the death, and says whether no more may come that need care.
    pub(crate) fn refused(
        &self,
        stage: usize,
        ids: &[RecordId],
        last_committed: u64,
    ) -> (Vec<(u32, Arc<Death>)>, bool) {
        let mut all = self.all();
        let poison = all.entry(stage).or_default();
        let mut deaths = Vec::with_capacity(ids.len());
        for (row, id) in (0u32..).zip(ids) {
            let Some(killer) = poison.killers.get_mut(id) else { continue };
            killer.refused_at = Some(last_committed);
            deaths.push((row, killer.death.clone()));
        }
        (deaths, poison.is_over())
    }

    /// A sink took these records. Says whether no more may come that need care.
    pub(crate) fn went_through(&self, stage: usize, ids: &[RecordId]) -> bool {
        let mut all = self.all();
        let poison = all.entry(stage).or_default();
        poison.went_through(ids);
        poison.is_over()
    }

    /// A sink died on these records. Says whether going back to the last checkpoint may help.
    pub(crate) fn died(&self, stage: usize, ids: &[RecordId], death: &Arc<Death>) -> bool {
        self.all().entry(stage).or_default().died(ids, death)
    }

    /// Of how many records it is known by now whether they kill their sink. While that grows, the search gets on;
    /// where everything kills it, it does not.
    pub fn decided(&self) -> u64 {
        self.all().values().map(|poison| poison.decided).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64) -> RecordId {
        RecordId::of_source("p", "in", "0", offset)
    }

    fn death() -> Arc<Death> {
        Arc::new(Death { code: "trap", message: "it trapped".to_owned(), backtrace: None })
    }

    #[test]
    fn a_record_is_a_killer_when_the_sink_died_on_it_alone_after_it_died_on_its_batch() {
        let ids: Vec<RecordId> = (0..5).map(record).collect();
        let mut poison = SinkPoison::default();
        assert!(poison.died(&ids[1..4], &death()));
        let alone = |row: u32| (Fate::Isolated, row..row + 1);
        let together = |rows: Range<u32>| (Fate::Together, rows);
        assert_eq!(
            poison.parts(&ids),
            [together(0..1), alone(1), alone(2), alone(3), together(4..5)],
            "each record of the batch is given alone, in order"
        );
        poison.went_through(&ids[1..2]);
        assert!(poison.died(&ids[2..3], &death()));
        let refused = (Fate::Refused, 2..3);
        assert_eq!(poison.parts(&ids), [together(0..2), refused, alone(3), together(4..5)]);
        assert_eq!(poison.decided, 2);
        poison.went_through(&ids[3..4]);
        assert!(!poison.is_over(), "the killer is not refused yet");
        poison.killers.get_mut(&ids[2]).expect("it is there").refused_at = Some(4);
        assert!(poison.is_over());
    }

    #[test]
    fn a_record_on_which_a_sink_dies_by_chance_alone_is_isolated_first() {
        let mut poison = SinkPoison::default();
        poison.died(&[record(7)], &death());
        assert!(poison.killers.is_empty() && poison.isolated.contains(&record(7)));
        poison.died(&[record(7)], &death());
        assert!(poison.killers.contains_key(&record(7)) && poison.isolated.is_empty());
        assert_eq!(poison.decided, 0, "nothing ever went through: it may be the sink");
        poison.died(&[record(8)], &death());
        poison.went_through(&[record(5), record(6)]);
        poison.died(&[record(8)], &death());
        assert_eq!(poison.decided, 1, "it has taken others in this life");
    }

    #[test]
    fn killers_are_forgotten_when_they_cannot_come_again_and_bounded_in_number() {
        let poison = Poison::default();
        let killer = |refused_at| Killer { death: death(), refused_at };
        let killers = [(record(1), killer(Some(3))), (record(2), killer(None))].into();
        poison.all().insert(0, SinkPoison { killers, ..SinkPoison::default() });
        poison.begin(4);
        assert_eq!(poison.all()[&0].killers.len(), 2, "the barrier of 4 may have come before it was refused");
        poison.begin(5);
        assert_eq!(poison.all()[&0].killers.len(), 1);
        assert_eq!(poison.stages(), [0]);
        let mut poison = SinkPoison::default();
        let goes_on = (0..=SINK_KILLERS_MAX as u64).map(|offset| {
            poison.died(&[record(offset)], &death());
            poison.died(&[record(offset)], &death())
        });
        assert_eq!(goes_on.filter(|goes_on| !goes_on).count(), 1, "one more than there may be");
    }
}
