//! Which records of a batch kill a stage: splitting until they are alone.
//!
//! A stage that died on a batch is not told apart from its records by anything that it says; it is tried again
//! with each part of the batch, and after each death in a fresh instance. Parts and not halves, since a death costs
//! as much as a dozen calls that go well, and one that came by a timeout costs seconds. Whoever drives the search does the calls, from left to right, so that what
//! goes through leaves in order. Everything here is a value: counts and times come in, a verdict goes out.

use std::ops::Range;
use std::time::Duration;

use crate::limits;

/// The search through one batch.
#[derive(Clone, Debug)]
pub struct Search {
    rows: usize,
    calls: u32,
    /// Records found to kill the stage.
    killers: u32,
    /// Whether any record went through.
    survived: bool,
    probed: bool,
}

/// What to do about a part of the batch on which the stage died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try its [`parts`], the left one first.
    Split,
    /// It is this record.
    Killer,
    /// Too much was tried: all records of this part are given up together.
    GiveUp,
    /// Nothing has gone through so far. Try these rows of the whole batch one by one, and throw away what comes
    /// of it; then say with [`Search::probed`] whether any went through.
    Probe(Vec<u32>),
}

/// What a batch of `rows`, more than one, is split into.
pub fn parts(rows: u32) -> impl DoubleEndedIterator<Item = Range<u32>> + ExactSizeIterator {
    let parts = rows.min(limits::SEARCH_PARTS);
    let end = move |part: u32| (u64::from(rows) * u64::from(part) / u64::from(parts)) as u32;
    (0..parts).map(move |part| end(part)..end(part + 1))
}

impl Search {
    /// Of a batch of `rows` on which a stage has died.
    pub fn new(rows: usize) -> Self {
        Self { rows, calls: 1, killers: 0, survived: false, probed: false }
    }

    /// A part of the batch went through.
    pub fn went_through(&mut self) {
        self.calls = self.calls.saturating_add(1);
        self.survived = true;
    }

    /// The stage died on a part of `rows` records. `took`: the whole search until now.
    pub fn died(&mut self, rows: usize, took: Duration) -> Verdict {
        self.calls = self.calls.saturating_add(1);
        let hopeless = !self.survived && !self.probed && self.rows > limits::SEARCH_PROBES as usize;
        if hopeless && self.killers >= limits::SEARCH_DEATHS_BEFORE_PROBE {
            return Verdict::Probe(self.probes());
        }
        if rows <= 1 {
            self.killers += 1;
            return Verdict::Killer;
        }
        match self.calls >= limits::SEARCH_CALLS_MAX || took >= limits::SEARCH_TIME {
            true => Verdict::GiveUp,
            false => Verdict::Split,
        }
    }

    /// Rows from all over the batch, the last one among them.
    fn probes(&self) -> Vec<u32> {
        let probes = u64::from(limits::SEARCH_PROBES);
        (1..=probes).map(|i| (i * self.rows as u64 / probes).saturating_sub(1) as u32).collect()
    }

    /// Whether any of the probes went through. If none did, it is the stage that is broken, and no record is to
    /// blame.
    pub fn probed(&mut self, went_through: bool) {
        self.calls = self.calls.saturating_add(limits::SEARCH_PROBES);
        self.probed = true;
        self.survived |= went_through;
    }

    /// Whether any record has gone through.
    pub fn survived(&self) -> bool {
        self.survived
    }

    /// Calls so far.
    pub fn calls(&self) -> u32 {
        self.calls
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a search came to.
    #[derive(Debug, Default, PartialEq)]
    struct Found {
        through: Vec<u32>,
        killers: Vec<u32>,
        given_up: Vec<u32>,
        hopeless: bool,
        calls: u32,
        deaths: u32,
    }

    /// Drives a search as the belt does, over a stage that dies on the rows for which `kills` says so.
    fn search(rows: u32, kills: impl Fn(u32) -> bool, time_per_call: Duration) -> Found {
        let mut search = Search::new(rows as usize);
        let mut found = Found::default();
        let mut waiting: Vec<Range<u32>> = Vec::new();
        match rows {
            0 | 1 => waiting.push(0..rows),
            _ => waiting.extend(parts(rows).rev()),
        }
        while let Some(part) = waiting.pop() {
            if !part.clone().any(&kills) {
                search.went_through();
                found.through.extend(part);
                continue;
            }
            found.deaths += 1;
            let took = time_per_call * search.calls();
            let mut verdict = search.died(part.len(), took);
            if let Verdict::Probe(probes) = verdict {
                let through = probes.into_iter().any(|row| !kills(row));
                search.probed(through);
                if !through {
                    found.hopeless = true;
                    break;
                }
                verdict = search.died(part.len(), took);
            }
            match verdict {
                Verdict::Killer => found.killers.extend(part),
                Verdict::GiveUp => found.given_up.extend(part),
                Verdict::Split => {
                    let inside = |of: Range<u32>| part.start + of.start..part.start + of.end;
                    waiting.extend(parts(part.end - part.start).map(inside).rev());
                }
                Verdict::Probe(_) => panic!("it probes twice"),
            }
        }
        found.calls = search.calls();
        found
    }

    proptest! {
        /// Where some record lives, exactly the killers are found, and the rest goes through in order.
        #[test]
        fn killers_are_found_and_the_rest_goes_through(
            rows in 2u32..600,
            killers in proptest::collection::btree_set(0u32..600, 1..40),
        ) {
            let killers: Vec<u32> = killers.into_iter().filter(|row| *row < rows).collect();
            prop_assume!(!killers.is_empty());
            let found = search(rows, |row| killers.contains(&row), Duration::ZERO);
            if found.hopeless {
                // Every probe died, as if by chance all of them were killers.
                prop_assert!(killers.len() >= limits::SEARCH_PROBES as usize);
            } else {
                let rest: Vec<u32> = (0..rows).filter(|row| !killers.contains(row)).collect();
                prop_assert_eq!(&found.killers, &killers);
                prop_assert_eq!(&found.through, &rest);
                prop_assert!(found.given_up.is_empty());
            }
        }

        /// Whatever kills, every row is accounted for, and the calls are bounded.
        #[test]
        fn nothing_is_lost_and_calls_are_bounded(
            rows in 1u32..5000, step in 1u32..7, call_ms in 0u64..200,
        ) {
            let found = search(rows, |row| row % step == 0, Duration::from_millis(call_ms));
            if !found.hopeless {
                let mut all = [found.through, found.killers, found.given_up].concat();
                all.sort_unstable();
                prop_assert_eq!(all, (0..rows).collect::<Vec<_>>());
            }
            prop_assert!(found.calls <= 2 * limits::SEARCH_CALLS_MAX, "{} calls", found.calls);
        }
    }

    #[test]
    fn one_killer_in_a_batch_costs_few_deaths_and_some_calls() {
        let found = search(1024, |row| row == 700, Duration::ZERO);
        assert_eq!(found.killers, [700]);
        assert_eq!(found.deaths, 3, "64 rows, 4 rows, and the row itself");
        // Even where each death, that of the whole batch among them, takes all the time that a batch has.
        assert!((found.deaths + 1) * limits::BATCH_TIME < limits::SEARCH_TIME);
        assert!(found.calls <= 1 + 16 + 16 + 4, "{} calls", found.calls);
    }

    #[test]
    fn parts_are_all_of_it_and_about_as_large() {
        for rows in [2, 3, 15, 16, 17, 1000, 65_536, u32::MAX] {
            let parts: Vec<Range<u32>> = parts(rows).collect();
            assert_eq!((parts[0].start, parts[parts.len() - 1].end), (0, rows));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{rows}: {parts:?}");
            let sizes = || parts.iter().map(|part| part.end - part.start);
            assert!(sizes().max() <= sizes().min().map(|least| least + 1), "{rows}: {parts:?}");
        }
    }

    #[test]
    fn a_stage_that_dies_on_everything_is_seen_early() {
        let found = search(1024, |_| true, Duration::ZERO);
        assert!(found.hopeless);
        assert!(found.calls <= 40, "{} calls", found.calls);
    }

    #[test]
    fn a_batch_of_which_only_the_end_is_whole_is_not_taken_for_a_broken_stage() {
        let found = search(1024, |row| row < 1000, Duration::ZERO);
        assert!(!found.hopeless, "the last record goes through, and a probe is there");
        assert_eq!(found.through, (1000..1024).collect::<Vec<_>>());
    }

    #[test]
    fn a_search_that_takes_too_long_gives_up_what_it_has_not_told_apart() {
        let found = search(1024, |row| row % 2 == 0, Duration::from_secs(5));
        assert!(!found.given_up.is_empty());
        assert!(found.calls < 300, "{} calls of five seconds each", found.calls);
    }
}
