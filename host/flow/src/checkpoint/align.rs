//! Where streams meet, a barrier passes when it has come on all of them.

use std::collections::{BTreeMap, VecDeque};

use model::signal::{Barrier, Signal};

/// What a loop at which streams meet does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Works off what came by this edge.
    Item(usize, T),
    /// Passes the barrier on: what was before it on every edge has been worked off.
    Barrier(Barrier),
    /// Ends: every edge has.
    End,
}

/// The edges that meet in one place. What comes behind a barrier waits until it has come on all of them; how much can
/// wait is bounded by the edges.
#[derive(Debug)]
pub struct Alignment<T> {
    edges: BTreeMap<usize, State>,
    /// How many of them are open.
    open: usize,
    under_way: Option<Barrier>,
    /// Not looked at yet, in the order in which it came.
    came: VecDeque<(usize, Signal<T>)>,
    /// What came behind the barrier on its edge.
    held: VecDeque<(usize, Signal<T>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The barrier has come.
    Aligned,
    Ended,
}

impl<T> Alignment<T> {
    pub fn new(edges: &[usize]) -> Self {
        let edges: BTreeMap<usize, State> = edges.iter().map(|&edge| (edge, State::Open)).collect();
        Self { open: edges.len(), edges, under_way: None, came: VecDeque::new(), held: VecDeque::new() }
    }

    /// Something came by `edge`.
    pub fn accept(&mut self, edge: usize, signal: Signal<T>) {
        self.came.push_back((edge, signal));
    }

    /// What to do next; none until something more comes.
    pub fn step(&mut self) -> Option<Step<T>> {
        while let Some((edge, signal)) = self.came.pop_front() {
            let Some(state) = self.edges.get_mut(&edge) else { continue };
            let was_open = *state == State::Open;
            match (*state, signal) {
                (State::Aligned, signal) => self.held.push_back((edge, signal)),
                (_, Signal::Item(item)) => return Some(Step::Item(edge, item)),
                (_, Signal::Barrier(barrier)) => {
                    *state = State::Aligned;
                    self.under_way = Some(barrier);
                }
                (_, Signal::End) => *state = State::Ended,
            }
            self.open -= usize::from(was_open);
            if self.open > 0 {
                continue;
            }
            let Some(barrier) = self.under_way.take() else { return Some(Step::End) };
            for state in self.edges.values_mut().filter(|state| **state == State::Aligned) {
                *state = State::Open;
                self.open += 1;
            }
            // What was held comes before what has not been looked at.
            self.held.append(&mut self.came);
            std::mem::swap(&mut self.held, &mut self.came);
            return Some(Step::Barrier(barrier));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use Signal::{End, Item};
    use model::signal::Then;
    use proptest::prelude::*;

    use super::*;

    fn barrier(number: u64) -> Barrier {
        Barrier { number, then: Then::GoOn }
    }

    fn all(alignment: &mut Alignment<u32>) -> Vec<Step<u32>> {
        std::iter::from_fn(|| alignment.step()).collect()
    }

    #[test]
    fn what_comes_behind_a_barrier_waits_for_the_others() {
        let mut meeting = Alignment::new(&[3, 5]);
        meeting.accept(3, Item(1));
        meeting.accept(3, Signal::Barrier(barrier(7)));
        meeting.accept(3, Item(2));
        meeting.accept(5, Item(3));
        assert_eq!(all(&mut meeting), [Step::Item(3, 1), Step::Item(5, 3)]);
        meeting.accept(5, Signal::Barrier(barrier(7)));
        meeting.accept(5, Item(4));
        assert_eq!(all(&mut meeting), [Step::Barrier(barrier(7)), Step::Item(3, 2), Step::Item(5, 4)]);
    }

    #[test]
    fn an_edge_that_has_ended_counts_as_aligned_before_and_during() {
        let mut meeting = Alignment::new(&[0, 1]);
        meeting.accept(1, End);
        meeting.accept(0, Signal::Barrier(barrier(1)));
        assert_eq!(all(&mut meeting), [Step::Barrier(barrier(1))]);
        let mut meeting = Alignment::new(&[0, 1]);
        meeting.accept(0, Signal::Barrier(barrier(1)));
        meeting.accept(0, Item(9));
        meeting.accept(0, End);
        assert_eq!(all(&mut meeting), []);
        meeting.accept(1, End);
        assert_eq!(all(&mut meeting), [Step::Barrier(barrier(1)), Step::Item(0, 9), Step::End]);
    }

    proptest! {
        /// Whatever the order in which edges bring it: on each edge the order is kept, and a barrier passes behind all
        /// that came before it on every edge and before all that came behind it.
        #[test]
        fn a_barrier_cuts_every_edge_at_its_place(
            edges in prop::collection::vec(prop::collection::vec(0..4u32, 1..5), 1..4),
            turns in prop::collection::vec(0..4usize, 60),
        ) {
            // Edge e brings `counts[i]` items between barrier i and i+1.
            let rounds = edges.iter().map(Vec::len).min().unwrap_or(0);
            let mut scripts: Vec<VecDeque<Signal<(usize, usize)>>> = edges.iter().enumerate().map(|(edge, counts)| {
                let mut script = VecDeque::new();
                for (round, count) in counts.iter().take(rounds).enumerate() {
                    script.extend((0..*count).map(|_| Item((edge, round))));
                    script.push_back(Signal::Barrier(barrier(round as u64 + 1)));
                }
                script.push_back(End);
                script
            }).collect();
            let indices: Vec<usize> = (0..scripts.len()).collect();
            let mut meeting = Alignment::new(&indices);
            let mut passed = 0;
            let mut items = 0;
            let mut ended = false;
            let mut turns = turns.into_iter().chain((0..).map(|turn| turn % 4));
            while !ended {
                let edge = turns.next().unwrap_or(0) % scripts.len();
                let Some(signal) = scripts[edge].pop_front() else { continue };
                meeting.accept(edge, signal);
                while let Some(step) = meeting.step() {
                    match step {
                        Step::Item(edge, (of, round)) => {
                            prop_assert_eq!(edge, of);
                            prop_assert_eq!(round, passed, "an item was on the wrong side of a barrier");
                            items += 1;
                        }
                        Step::Barrier(barrier) => {
                            passed += 1;
                            prop_assert_eq!(barrier.number, passed as u64);
                        }
                        Step::End => ended = true,
                    }
                }
            }
            let expected: u32 = edges.iter().flat_map(|counts| counts.iter().take(rounds)).sum();
            prop_assert_eq!(items, expected);
            prop_assert_eq!(passed, rounds);
        }
    }
}
