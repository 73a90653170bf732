//! What a belt does with records that a sink may die on: they are given one by one, and those on which it died are refused.
//! Which they are, `poison` knows.

use std::ops::Range;
use std::sync::Arc;

use model::batch::Batch;

use super::{Belt, Station, Way};
use crate::connector::Death;
use crate::error::RunError;
use crate::poison::{Fate, Poison};
use crate::refuse::Refusal;

impl Belt {
    /// A batch for a sink that died: isolated records go in one by one, and killers are refused when the others went through.
    pub(super) fn take_apart(&mut self, stage: usize, batch: &Batch) {
        let parts = self.poison().parts(stage, &batch.ids());
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
    pub(super) fn refuse_poison(&mut self, stage: usize, batch: &Batch) -> Result<(), RunError> {
        if let Station::Cut { why } = &self.stations[stage] {
            // It died on all that came: nobody knows whether these were to blame.
            return self.not_taken(stage, batch, why);
        }
        let last_committed = self.context.meters.checkpoints.report().number;
        let (deaths, is_over) = self.poison().refused(stage, &batch.ids(), last_committed);
        let refusal = |(row, death): (u32, Arc<Death>)| Refusal {
            row,
            code: death.code.to_owned(),
            message: death.message.clone(),
            backtrace: death.backtrace.clone(),
            // In its batch, and alone.
            attempts: 2,
            is_cut: false,
        };
        let refusals: Vec<Refusal> = deaths.into_iter().map(refusal).collect();
        self.careful[stage] = !is_over;
        self.context.meters.stages[stage].count_refused(refusals.len());
        self.context.refusing.rows(stage, batch, refusals, None)
    }

    /// Part of a batch that was taken apart went into its sink.
    pub(super) fn went_isolated(&mut self, stage: usize, batch: &Batch) {
        self.careful[stage] = !self.poison().went_through(stage, &batch.ids());
    }

    /// A sink died on a batch. Says whether going back to the last checkpoint may help.
    pub(super) fn isolate(&mut self, stage: usize, batch: &Batch, death: &Arc<Death>) -> bool {
        self.context.meters.stages[stage].count_death();
        self.poison().died(stage, &batch.ids(), death)
    }

    fn poison(&self) -> &Poison {
        &self.context.poison
    }
}
