//! Dead letters that a run before has kept and whose records may come again: those are not kept twice, and what a branch
//! did not take because it was cut off is not taken by it later, when it is whole again: a replay sends it in. What has come
//! again and was refused by nobody is delivered: its letter is closed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::batch::Batch;
use model::dead_letters::behind;
use model::ids::RecordId;
use model::lineage::Origin;

use super::{Closed, Closing, Group, Outcome, Reached};

/// What may come again, until it has, or until its source has passed it.
#[derive(Debug, Default)]
pub struct Repeats {
    /// By the stage that has refused it, and the record.
    known: HashMap<(Arc<str>, RecordId), Known>,
    /// Numbers of the letters in `known`.
    letters: BTreeSet<u64>,
}

#[derive(Debug)]
struct Known {
    letter: u64,
    origin: Origin,
    /// Its branch was cut off, and did not take it.
    is_cut: bool,
    /// Its source may have passed it long ago: an earlier version did not say how far it was.
    may_be_passed: bool,
}

impl Repeats {
    /// `is_cut`: whether it was not refused, but its branch was cut off.
    pub fn insert(&mut self, stage: &Arc<str>, record: RecordId, letter: u64, origin: Origin, is_cut: bool) {
        self.known.entry((stage.clone(), record)).or_insert_with(|| {
            self.letters.insert(letter);
            Known { letter, origin, is_cut, may_be_passed: false }
        });
    }

    /// Those stay that may come again: the others have been passed by their sources, or those give nothing again. Of
    /// records of which `may_be_passed` says so nobody knows.
    pub fn retain(
        &mut self,
        comes_again: impl Fn(u64, &Origin) -> bool,
        may_be_passed: impl Fn(&Origin) -> bool,
    ) {
        let letters = &mut self.letters;
        self.known.retain(|_, known| {
            known.may_be_passed = may_be_passed(&known.origin);
            let stays = comes_again(known.letter, &known.origin);
            if !stays {
                letters.remove(&known.letter);
            }
            stays
        });
    }

    /// Whether there are letters of this stage because its branch was cut off.
    pub fn has_cut(&self, stage: &str) -> bool {
        self.known.iter().any(|((of, _), known)| known.is_cut && **of == *stage)
    }

    /// The rows of a batch for `stage` that are kept because its branch was cut off. They have come again by that.
    pub fn take_cut(&mut self, stage: &Arc<str>, batch: &Batch) -> Vec<u32> {
        let Self { known, letters } = self;
        let mut is_kept = |row: &u32| {
            let key = (stage.clone(), batch.lineage().id(*row as usize));
            let kept = known.get(&key).filter(|known| known.is_cut).map(|known| known.letter);
            kept.is_some_and(|letter| known.remove(&key).is_some() && letters.remove(&letter))
        };
        (0..batch.rows() as u32).filter(&mut is_kept).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The number of the first letter whose record has not come again. A checkpoint that begins now remembers it: its
    /// record may come only behind the barrier, and then once more after a crash.
    pub fn first(&self) -> Option<u64> {
        self.letters.first().copied()
    }

    /// What of a group is not kept yet; none where all of it is.
    pub fn unknown(&mut self, group: &Group) -> Option<Group> {
        let fresh: Vec<u32> =
            (0..group.refusals.len()).filter(|&row| !self.take(group, row)).map(|row| row as u32).collect();
        if fresh.is_empty() {
            return None;
        }
        let refusals = fresh.iter().map(|&row| group.refusals[row as usize].clone()).collect();
        let rows = group.rows.pick(&fresh.into());
        Some(group.part(rows, refusals))
    }

    /// Whether a row is known, which it is no more then.
    fn take(&mut self, group: &Group, row: usize) -> bool {
        let known = self.known.remove(&(group.stage.clone(), group.rows.lineage().id(row)));
        known.is_some_and(|known| self.letters.remove(&known.letter))
    }

    /// A stage has refused these records again, and nobody keeps them: their letters stay as they are.
    pub fn stay(&mut self, stage: &Arc<str>, records: Vec<RecordId>) {
        for record in records {
            if let Some(known) = self.known.remove(&(stage.clone(), record)) {
                self.letters.remove(&known.letter);
            }
        }
    }

    /// All that is before a checkpoint has been worked off, in which sources have come as far as `reached`. What is still
    /// known of records before that came again and was not refused: those are delivered with the checkpoint.
    pub fn passed(&mut self, reached: &Reached) -> Closing {
        let (mut closing, letters) = (Closing::new(), &mut self.letters);
        self.known.retain(|(_, record), known| {
            let is_passed = behind(reached, &known.origin).is_some_and(|behind| known.origin.offset < behind);
            if is_passed {
                letters.remove(&known.letter);
                if !known.may_be_passed {
                    closing.insert(known.letter, Closed { record: *record, outcome: Outcome::Delivered });
                }
            }
            !is_passed
        });
        closing
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::BinaryArray;
    use model::batch::{Batch, Parts};
    use model::lineage::{Lineage, Offsets, SourceRows};
    use model::outcome::Rejection;

    use super::*;
    use crate::letters::{Form, Refusal};

    fn group(offsets: &[u64]) -> Group {
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "in".into(),
            split: "0".into(),
            offsets: Offsets::These(offsets.into()),
        });
        let values = BinaryArray::from_iter_values(offsets.iter().map(u64::to_string));
        let rows = Batch::from_values(values, Parts::default(), lineage).expect("a batch");
        let refusal = |row| Refusal::from(Rejection { row, code: "bad".into(), message: String::new() });
        let refusals = (0..offsets.len() as u32).map(refusal).collect();
        Group { stage: "s".into(), kept_as: Form::Opaque.into(), rows, refusals }
    }

    /// Letters 10, 11, ... of these records.
    fn known(offsets: &[u64]) -> Repeats {
        let mut repeats = Repeats::default();
        let rows = group(offsets).rows;
        for row in 0..offsets.len() {
            let lineage = rows.lineage();
            // Every other one was not refused, but cut off.
            let is_cut = row % 2 == 1;
            repeats.insert(&"s".into(), lineage.id(row), 10 + row as u64, lineage.origin(row), is_cut);
        }
        repeats
    }

    fn ids(offsets: &[u64]) -> Vec<RecordId> {
        group(offsets).rows.ids()
    }

    fn reached(source: &str, split: &str, behind: u64) -> Reached {
        [(source.into(), [(split.into(), behind)].into())].into()
    }

    fn closed(closing: &Closing) -> Vec<u64> {
        assert!(closing.values().all(|closed| closed.outcome == Outcome::Delivered));
        closing.keys().copied().collect()
    }

    fn offsets(group: Option<Group>) -> Vec<u64> {
        let Some(group) = group else { return Vec::new() };
        (0..group.refusals.len()).map(|row| group.rows.lineage().origin(row).offset).collect()
    }

    #[test]
    fn what_is_known_is_not_kept_again_and_is_then_no_longer_known() {
        let mut repeats = known(&[3, 5, 9]);
        assert_eq!(offsets(repeats.unknown(&group(&[3, 4, 9]))), [4]);
        assert_eq!(repeats.first(), Some(11), "the record at 5 may still come");
        assert!(repeats.unknown(&group(&[5])).is_none());
        assert!(repeats.is_empty() && repeats.first().is_none());
        assert_eq!(offsets(repeats.unknown(&group(&[5]))), [5], "once more is another letter");
    }

    #[test]
    fn what_a_branch_did_not_take_when_it_was_cut_is_not_taken_when_it_comes_again() {
        let mut repeats = known(&[3, 5, 9]);
        assert!(repeats.has_cut("s") && !repeats.has_cut("other"));
        let batch = group(&[3, 4, 5]).rows;
        assert!(repeats.take_cut(&"other".into(), &batch).is_empty());
        assert_eq!(
            repeats.take_cut(&"s".into(), &batch),
            [2],
            "the record at 3 was refused, and may be taken now"
        );
        assert!(!repeats.has_cut("s"), "it came once");
        assert_eq!((repeats.take_cut(&"s".into(), &batch), repeats.first()), (vec![], Some(10)));
    }

    #[test]
    fn what_a_source_has_passed_does_not_come_again() {
        let mut repeats = known(&[3, 5, 9]);
        assert!(repeats.passed(&reached("other", "0", 10)).is_empty());
        assert!(repeats.passed(&reached("in", "1", 10)).is_empty());
        assert_eq!(repeats.first(), Some(10));
        assert_eq!(closed(&repeats.passed(&reached("in", "0", 9))), [10, 11], "the next is the one at 9");
        assert_eq!((repeats.first(), repeats.is_empty()), (Some(12), false));
        assert_eq!(closed(&repeats.passed(&reached("in", "0", 10))), [12]);
        assert!(repeats.is_empty() && repeats.first().is_none());
    }

    #[test]
    fn only_what_is_sure_to_have_come_again_and_was_not_refused_is_delivered() {
        let mut repeats = known(&[3, 5, 9, 11]);
        repeats.unknown(&group(&[5]));
        repeats.stay(&"other".into(), ids(&[3]));
        repeats.stay(&"s".into(), ids(&[9]));
        assert_eq!(closed(&repeats.passed(&reached("in", "0", 20))), [10, 13], "10 came and was taken");

        let mut repeats = known(&[3, 5, 9]);
        repeats.retain(|_, origin| origin.offset > 3, |origin| origin.offset == 5);
        assert_eq!(repeats.first(), Some(11), "the one at 3 was passed before");
        assert_eq!(closed(&repeats.passed(&reached("in", "0", 20))), [12]);
        assert!(repeats.is_empty(), "nobody knows of the one at 5, and its source is behind it by now");
    }
}
