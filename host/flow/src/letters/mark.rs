//! What became of entries: marks that are appended behind them, and nothing that is ever written over.

use std::collections::BTreeMap;

use model::dead_letters::Outcome;

/// Entries that are closed, as ranges: most of what is closed is closed in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// First -> last, with why. Ranges do not overlap.
    ranges: BTreeMap<u64, (u64, Outcome)>,
}

/// First, last, and why.
pub(super) type Range = (u64, u64, Outcome);

impl Marks {
    pub fn outcome(&self, id: u64) -> Option<Outcome> {
        let (_, (last, outcome)) = self.ranges.range(..=id).next_back()?;
        (id <= *last).then_some(*outcome)
    }

    /// The first mark of an entry stands.
    pub fn add(&mut self, (first, last, outcome): Range) {
        let mut next = first;
        while next <= last {
            if let Some((_, (end, _))) = self.ranges.range(..=next).next_back()
                && *end >= next
            {
                let Some(behind) = end.checked_add(1) else { return };
                next = behind;
                continue;
            }
            let free = self.ranges.range(next..=last).next().map_or(last, |(start, _)| start - 1);
            self.insert(next, free, outcome);
            let Some(behind) = free.checked_add(1) else { return };
            next = behind;
        }
    }

    /// A range that overlaps none, joined to the one before it where they say the same.
    fn insert(&mut self, first: u64, last: u64, outcome: Outcome) {
        if let Some((_, (end, before))) = self.ranges.range_mut(..first).next_back()
            && *end + 1 == first
            && *before == outcome
        {
            *end = last;
            return;
        }
        self.ranges.insert(first, (last, outcome));
    }

    pub fn ranges(&self) -> Vec<Range> {
        self.ranges.iter().map(|(first, (last, outcome))| (*first, *last, *outcome)).collect()
    }

    /// How many of the entries from `first` on are closed.
    pub fn closed_of(&self, first: u64, count: u64) -> u64 {
        let end = first + count;
        let overlap =
            |(from, (to, _)): (&u64, &(u64, Outcome))| (to + 1).min(end).saturating_sub((*from).max(first));
        self.ranges.range(..end).map(overlap).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_join_and_the_first_stands() {
        use Outcome::{Purged, Replayed};
        let mut marks = Marks::default();
        for range in [(3, 4, Replayed), (5, 5, Replayed), (9, 9, Replayed), (1, 12, Purged)] {
            marks.add(range);
        }
        let expected = [(1, 2, Purged), (3, 5, Replayed), (6, 8, Purged), (9, 9, Replayed), (10, 12, Purged)];
        assert_eq!(marks.ranges(), expected);
        assert_eq!((marks.outcome(0), marks.outcome(5), marks.outcome(13)), (None, Some(Replayed), None));
        assert_eq!((marks.closed_of(0, 4), marks.closed_of(12, 9), marks.closed_of(4, 4)), (3, 1, 4));
    }

    #[test]
    fn the_last_number_there_is_can_be_marked() {
        let mut marks = Marks::default();
        marks.add((u64::MAX - 1, u64::MAX, Outcome::Purged));
        marks.add((u64::MAX, u64::MAX, Outcome::Replayed));
        assert_eq!(marks.outcome(u64::MAX), Some(Outcome::Purged));
    }
}
