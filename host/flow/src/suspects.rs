//! Sinks that die, and the records that they die on.
//!
//! A sink owns its instance, and may hold what it was given since the last checkpoint: a batch on which it died cannot
//! be tried again in parts, as a transform's is. The whole pipeline goes back to its last checkpoint instead, and what
//! has to be known there is in here: the records of that batch are given one by one, so that the next death tells
//! which it was, and in the life after that this one is refused. Records are known by their ids, since batches may be
//! cut in other places when they come again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::batch::Batch;
use model::ids::RecordId;
use model::limits::SINK_KILLERS_MAX;

use crate::belt::{Belt, Station, Way};
use crate::connector::Death;
use crate::error::RunError;
use crate::refuse::Refusal;

/// What is known of the sinks of one pipeline, from one life of it to the next.
#[derive(Clone, Debug, Default)]
pub struct Suspects(Arc<Mutex<BTreeMap<usize, Suspicion>>>);

/// What is known of one sink.
#[derive(Debug, Default, PartialEq, Eq)]
struct Suspicion {
    /// Records of a batch on which it died, that have not gone through since.
    alone: HashSet<RecordId>,
    /// Records on which it died when they were given alone.
    killers: HashMap<RecordId, Killer>,
    /// Whether any record of that batch has gone through, or any record at all in this life: then it is not the sink
    /// that is to blame.
    is_proven: bool,
    has_taken: bool,
    /// Records of which it is known by now whether they kill it.
    told: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Killer {
    death: Arc<Death>,
    /// The last committed checkpoint when it was refused: two later, it does not come again.
    refused_at: Option<u64>,
}

/// What is to be done with some rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They may be given together.
    Together,
    Alone,
    Refused,
}

impl Suspicion {
    /// The rows of a batch, by what is to be done with them.
    fn parts(&self, ids: &[RecordId]) -> Vec<(Fate, Range<u32>)> {
        let mut parts: Vec<(Fate, Range<u32>)> = Vec::new();
        for (row, id) in (0u32..).zip(ids) {
            let fate = match () {
                () if self.killers.contains_key(id) => Fate::Refused,
                () if self.alone.contains(id) => Fate::Alone,
                () => Fate::Together,
            };
            match parts.last_mut() {
                Some((last, rows)) if *last == fate && fate != Fate::Alone => rows.end = row + 1,
                _ => parts.push((fate, row..row + 1)),
            }
        }
        parts
    }

    /// The sink died on these records. Says whether going back may help: not where it has died on too many.
    fn died(&mut self, ids: &[RecordId], death: &Arc<Death>) -> bool {
        match ids {
            [one] if self.alone.remove(one) => {
                self.killers.insert(*one, Killer { death: death.clone(), refused_at: None });
                self.told += u64::from(self.is_proven || self.has_taken);
            }
            // Also a record that came alone by chance: what came before it may have been the reason.
            ids => (self.alone, self.is_proven) = (ids.iter().copied().collect(), false),
        }
        self.killers.len() <= SINK_KILLERS_MAX
    }

    /// The sink took these records; one may have been given alone.
    fn went_through(&mut self, ids: &[RecordId]) {
        self.has_taken = true;
        if let [one] = ids
            && self.alone.remove(one)
        {
            self.is_proven = true;
            self.told += 1;
        }
    }

    /// Whether records may still come that need care.
    fn is_over(&self) -> bool {
        self.alone.is_empty() && self.killers.values().all(|killer| killer.refused_at.is_some())
    }
}

impl Suspects {
    fn all(&self) -> MutexGuard<'_, BTreeMap<usize, Suspicion>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life begins at checkpoint `last_committed`. What was refused before that does not come again.
    pub(crate) fn begin(&self, last_committed: u64) {
        let mut all = self.all();
        for suspicion in all.values_mut() {
            suspicion.has_taken = false;
            suspicion.killers.retain(|_, killer| killer.refused_at.is_none_or(|at| last_committed < at + 2));
        }
        all.retain(|_, suspicion| !(suspicion.alone.is_empty() && suspicion.killers.is_empty()));
    }

    /// Stages whose records need care.
    pub(crate) fn stages(&self) -> Vec<usize> {
        self.all().keys().copied().collect()
    }

    /// Of how many records it is known by now whether they kill their sink. While that grows, the search gets on;
    /// where everything kills it, it does not.
    pub fn told(&self) -> u64 {
        self.all().values().map(|suspicion| suspicion.told).sum()
    }
}

impl Belt {
    /// A batch for a sink that died: suspects go in one by one, and killers are refused when the others went through.
    pub(crate) fn take_apart(&mut self, stage: usize, batch: &Batch) {
        let ids = batch.ids();
        let parts = self.suspects().all().get(&stage).map(|suspicion| suspicion.parts(&ids));
        let parts = parts.unwrap_or_else(|| vec![(Fate::Together, 0..batch.rows() as u32)]);
        let pick = |rows: Range<u32>| batch.pick(&rows.collect());
        let (killers, others): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|(fate, _)| *fate == Fate::Refused);
        let killers: Arc<[u32]> = killers.into_iter().flat_map(|(_, rows)| rows).collect();
        if !killers.is_empty() {
            self.waiting.push((Way::Killers(stage), batch.pick(&killers)));
        }
        self.waiting.extend(others.into_iter().rev().map(|(_, rows)| (Way::Part(stage), pick(rows))));
    }

    /// Rows that a sink died on become dead letters.
    pub(crate) fn refuse_suspects(&mut self, stage: usize, batch: &Batch) -> Result<(), RunError> {
        if let Station::Cut { why } = &self.stations[stage] {
            // It died on all that came: nobody knows whether these were to blame.
            return self.not_taken(stage, batch, why);
        }
        let last_committed = self.context.meters.checkpoints.report().number;
        let mut refusals = Vec::with_capacity(batch.rows());
        let is_over = {
            let mut all = self.suspects().all();
            let suspicion = all.entry(stage).or_default();
            for (row, id) in (0u32..).zip(batch.ids()) {
                let Some(killer) = suspicion.killers.get_mut(&id) else { continue };
                killer.refused_at = Some(last_committed);
                refusals.push(Refusal {
                    row,
                    code: killer.death.code.to_owned(),
                    message: killer.death.message.clone(),
                    backtrace: killer.death.backtrace.clone(),
                    // In its batch, and alone.
                    attempts: 2,
                    is_cut: false,
                });
            }
            suspicion.is_over()
        };
        self.careful[stage] = !is_over;
        self.context.meters.stages[stage].count_refused(refusals.len());
        self.context.refusing.rows(stage, batch, refusals, None)
    }

    /// Part of a batch that was taken apart went into its sink.
    pub(crate) fn went_alone(&mut self, stage: usize, batch: &Batch) {
        let is_over = {
            let mut all = self.suspects().all();
            let suspicion = all.entry(stage).or_default();
            suspicion.went_through(&batch.ids());
            suspicion.is_over()
        };
        self.careful[stage] = !is_over;
    }

    /// A sink died on a batch. Says whether going back to the last checkpoint may help.
    pub(crate) fn suspect(&mut self, stage: usize, batch: &Batch, death: &Arc<Death>) -> bool {
        self.context.meters.stages[stage].count_death();
        self.suspects().all().entry(stage).or_default().died(&batch.ids(), death)
    }

    fn suspects(&self) -> &Suspects {
        &self.context.suspects
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
        let mut suspicion = Suspicion::default();
        assert!(suspicion.died(&ids[1..4], &death()));
        let alone = |row: u32| (Fate::Alone, row..row + 1);
        let together = |rows: Range<u32>| (Fate::Together, rows);
        assert_eq!(
            suspicion.parts(&ids),
            [together(0..1), alone(1), alone(2), alone(3), together(4..5)],
            "each record of the batch is given alone, in order"
        );
        suspicion.went_through(&ids[1..2]);
        assert!(suspicion.died(&ids[2..3], &death()));
        let refused = (Fate::Refused, 2..3);
        assert_eq!(suspicion.parts(&ids), [together(0..2), refused, alone(3), together(4..5)]);
        assert_eq!(suspicion.told, 2);
        suspicion.went_through(&ids[3..4]);
        assert!(!suspicion.is_over(), "the killer is not refused yet");
        suspicion.killers.get_mut(&ids[2]).expect("it is there").refused_at = Some(4);
        assert!(suspicion.is_over());
    }

    #[test]
    fn a_record_on_which_a_sink_dies_by_chance_alone_is_a_suspect_first() {
        let mut suspicion = Suspicion::default();
        suspicion.died(&[record(7)], &death());
        assert!(suspicion.killers.is_empty() && suspicion.alone.contains(&record(7)));
        suspicion.died(&[record(7)], &death());
        assert!(suspicion.killers.contains_key(&record(7)) && suspicion.alone.is_empty());
        assert_eq!(suspicion.told, 0, "nothing ever went through: it may be the sink");
        suspicion.died(&[record(8)], &death());
        suspicion.went_through(&[record(5), record(6)]);
        suspicion.died(&[record(8)], &death());
        assert_eq!(suspicion.told, 1, "it has taken others in this life");
    }

    #[test]
    fn killers_are_forgotten_when_they_cannot_come_again_and_bounded_in_number() {
        let suspects = Suspects::default();
        let killer = |refused_at| Killer { death: death(), refused_at };
        let killers = [(record(1), killer(Some(3))), (record(2), killer(None))].into();
        suspects.all().insert(0, Suspicion { killers, ..Suspicion::default() });
        suspects.begin(4);
        assert_eq!(
            suspects.all()[&0].killers.len(),
            2,
            "the barrier of 4 may have passed before it was refused"
        );
        suspects.begin(5);
        assert_eq!(suspects.all()[&0].killers.len(), 1);
        assert_eq!(suspects.stages(), [0]);
        let mut suspicion = Suspicion::default();
        let goes_on = (0..=SINK_KILLERS_MAX as u64).map(|offset| {
            suspicion.died(&[record(offset)], &death());
            suspicion.died(&[record(offset)], &death())
        });
        assert_eq!(goes_on.filter(|goes_on| !goes_on).count(), 1, "one more than there may be");
    }
}
