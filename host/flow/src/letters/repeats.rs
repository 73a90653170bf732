//! Dead letters that a run before has kept and whose records may come again: those are not kept twice, and what a branch
//! did not take because it was cut off is not taken by it later, when it is whole again: a replay sends it in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::batch::Batch;
use model::ids::RecordId;
use model::lineage::Origin;

use super::Group;

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
}

impl Repeats {
    /// `is_cut`: whether it was not refused, but its branch was cut off.
    pub fn insert(&mut self, stage: &Arc<str>, record: RecordId, letter: u64, origin: Origin, is_cut: bool) {
        self.known.entry((stage.clone(), record)).or_insert_with(|| {
            self.letters.insert(letter);
            Known { letter, origin, is_cut }
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

    /// A checkpoint stands in which the splits of `source` are behind these offsets: no record up to there comes again.
    pub fn passed(&mut self, source: &str, reached: &BTreeMap<Arc<str>, u64>) {
        let is_passed = |origin: &Origin| {
            *origin.source == *source && reached.get(&origin.split).is_some_and(|&last| origin.offset <= last)
        };
        let letters = &mut self.letters;
        self.known.retain(|_, known| {
            let passed = is_passed(&known.origin);
            if passed {
                letters.remove(&known.letter);
            }
            !passed
        });
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
        Group { stage: "s".into(), form: Form::Opaque, header: None, rows, refusals }
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
        repeats.passed("other", &[("0".into(), 9)].into());
        repeats.passed("in", &[("1".into(), 9)].into());
        assert_eq!(repeats.first(), Some(10));
        repeats.passed("in", &[("0".into(), 5)].into());
        assert_eq!((repeats.first(), repeats.is_empty()), (Some(12), false));
        repeats.passed("in", &[("0".into(), 9)].into());
        assert!(repeats.is_empty() && repeats.first().is_none());
    }
}
