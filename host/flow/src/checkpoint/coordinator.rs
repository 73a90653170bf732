//! When a checkpoint begins, when it stands, and when the last one is committed.

use std::collections::{BTreeMap, BTreeSet};

use model::signal::Barrier;

use super::{Checkpoint, Share};
use crate::letters::Closing;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Tell all loops that this checkpoint begins.
    Begin(Barrier),
    /// Make it durable, then say [`Coordinator::stored`].
    Store(Checkpoint),
    /// Tell all loops that it stands. `stored`: whether it is a new one, or as the one before.
    Announce { barrier: Barrier, stored: bool },
    /// Every loop has said that it is done with the last one: nothing follows. `all_sinks`: whether every sink has
    /// committed, which is not so where one has failed and its branch was cut.
    Finish { all_sinks: bool },
}

/// Decides over the checkpoints of one pipeline. One is under way at a time.
#[derive(Debug)]
pub struct Coordinator {
    loops: usize,
    /// Loops whose records have all been worked off; they still answer.
    ended: BTreeSet<usize>,
    /// The one that stands.
    standing: Checkpoint,
    under_way: Option<UnderWay>,
    /// The highest number that was given away.
    begun: u64,
    /// The last checkpoint stands.
    is_over: bool,
    /// Loops whose sinks have committed the last one, and whether all of their sinks have.
    committed: BTreeMap<usize, bool>,
}

#[derive(Debug)]
struct UnderWay {
    barrier: Barrier,
    answered: BTreeSet<usize>,
    /// What stands, with the answers so far.
    next: Checkpoint,
    is_storing: bool,
}

impl Coordinator {
    /// For `loops` loops, going on from what stands.
    pub fn new(loops: usize, standing: Checkpoint) -> Self {
        let begun = standing.number;
        let (ended, committed) = (BTreeSet::new(), BTreeMap::new());
        Self { loops, ended, standing, under_way: None, begun, is_over: false, committed }
    }

    /// The interval has gone by. None where one is under way, or the last one was.
    pub fn due(&mut self) -> Option<Move> {
        if self.under_way.is_some() || self.is_over {
            return None;
        }
        Some(self.begin(self.ended.len() == self.loops))
    }

    /// A loop has nothing more to work off. When that is so of all of them, the last checkpoint begins.
    pub fn ended(&mut self, of: usize) -> Option<Move> {
        self.ended.insert(of);
        if self.ended.len() < self.loops || self.under_way.is_some() || self.is_over {
            return None;
        }
        Some(self.begin(true))
    }

    fn begin(&mut self, last: bool) -> Move {
        self.begun += 1;
        let barrier = Barrier { number: self.begun, last };
        // What the one before has closed is marked by now.
        let next = Checkpoint { number: barrier.number, closing: Closing::new(), ..self.standing.clone() };
        self.under_way = Some(UnderWay { barrier, answered: BTreeSet::new(), next, is_storing: false });
        Move::Begin(barrier)
    }

    /// Dead letters from this number on may come again behind the checkpoint that has just begun.
    pub fn begun_at_letter(&mut self, letters: u64) {
        if let Some(under_way) = &mut self.under_way {
            under_way.next.letters = letters;
        }
    }

    /// A loop has done all that was before the barrier of checkpoint `number`.
    pub fn answered(&mut self, of: usize, number: u64, share: Share) -> Option<Move> {
        let under_way = self.under_way.as_mut().filter(|under_way| under_way.barrier.number == number)?;
        if under_way.is_storing || !under_way.answered.insert(of) {
            return None;
        }
        // Of a split that its source has forgotten, one more checkpoint says how far it came.
        for (source, places) in &share.places {
            let Some(reached) = under_way.next.reached.get_mut(source) else { continue };
            reached.retain(|split, _| places.contains_key(split));
        }
        // What a stage does not say stays as it was: it has failed, and somebody may mend it.
        under_way.next.places.extend(share.places);
        for (source, splits) in share.reached {
            under_way.next.reached.entry(source).or_default().extend(splits);
        }
        under_way.next.tokens.extend(share.tokens);
        under_way.next.states.extend(share.states);
        if under_way.answered.len() < self.loops {
            return None;
        }
        let (next, standing) = (&under_way.next, &self.standing);
        let has_new_state = !next.states.is_empty();
        // Behind the last one, nothing else says which letters may be of records that come again.
        let has_new_letters = under_way.barrier.last && next.letters != standing.letters;
        if next.places == standing.places
            && next.tokens == standing.tokens
            && !has_new_state
            && !has_new_letters
        {
            return self.announce(false);
        }
        under_way.is_storing = true;
        Some(Move::Store(next.clone()))
    }

    /// What was to be made durable is.
    pub fn stored(&mut self) -> Option<Move> {
        if !self.under_way.as_ref().is_some_and(|under_way| under_way.is_storing) {
            return None;
        }
        self.announce(true)
    }

    fn announce(&mut self, stored: bool) -> Option<Move> {
        let UnderWay { barrier, mut next, .. } = self.under_way.take()?;
        if stored {
            // It is below the stages' own tables now, which need not be held twice.
            next.states.clear();
            self.standing = next;
        }
        self.is_over = barrier.last;
        Some(Move::Announce { barrier, stored })
    }

    /// What follows an announcement: the last checkpoint, where all loops ended while another was under way.
    pub fn announced(&mut self) -> Option<Move> {
        let all_ended = self.ended.len() == self.loops;
        (all_ended && self.under_way.is_none() && !self.is_over).then(|| self.begin(true))
    }

    /// The sinks of a loop have committed checkpoint `number`; `all_sinks`: whether each of them has. Only of the last
    /// one is it asked: before it, a loop answers no checkpoint before its sinks have committed the one before.
    pub fn committed(&mut self, of: usize, number: u64, all_sinks: bool) -> Option<Move> {
        if !self.is_over || number != self.begun {
            return None;
        }
        self.committed.entry(of).or_insert(all_sinks);
        let is_complete = self.committed.len() == self.loops;
        is_complete.then(|| Move::Finish { all_sinks: self.committed.values().all(|all| *all) })
    }

    /// Loops that have not answered yet, for whoever wonders why it takes so long.
    pub fn missing(&self) -> Vec<usize> {
        let Some(under_way) = &self.under_way else { return Vec::new() };
        (0..self.loops).filter(|of| !under_way.answered.contains(of)).collect()
    }

    /// Loops that have not said that their sinks have committed the last one, which stands.
    pub fn uncommitted(&self) -> Vec<usize> {
        (0..self.loops).filter(|of| self.is_over && !self.committed.contains_key(of)).collect()
    }

    /// The number of the one that is under way.
    pub fn under_way(&self) -> Option<u64> {
        self.under_way.as_ref().map(|under_way| under_way.barrier.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Places;

    fn share(stage: &str, place: u8) -> Share {
        let places: Places = [("s".into(), vec![place])].into();
        Share {
            places: [(stage.into(), places)].into(),
            tokens: [("out".into(), vec![place])].into(),
            ..Share::default()
        }
    }

    fn begin(number: u64, last: bool) -> Option<Move> {
        Some(Move::Begin(Barrier { number, last }))
    }

    fn announce(number: u64, last: bool, stored: bool) -> Option<Move> {
        Some(Move::Announce { barrier: Barrier { number, last }, stored })
    }

    #[test]
    fn a_checkpoint_is_stored_when_all_have_answered_and_announced_when_it_is_durable() {
        let mut coordinator = Coordinator::new(2, Checkpoint { number: 40, ..Checkpoint::default() });
        assert_eq!(coordinator.due(), begin(41, false));
        assert_eq!(coordinator.due(), None, "one is under way");
        assert_eq!(coordinator.answered(0, 41, share("a", 1)), None);
        assert_eq!(coordinator.answered(0, 41, share("a", 9)), None, "it has answered already");
        assert_eq!(coordinator.missing(), [1]);
        assert_eq!(coordinator.answered(1, 40, Share::default()), None, "an old answer");
        let Some(Move::Store(stored)) = coordinator.answered(1, 41, share("b", 2)) else {
            panic!("nothing is stored")
        };
        assert_eq!((stored.number, stored.places.len(), &stored.tokens["out"]), (41, 2, &vec![2]));
        assert_eq!(stored.places["a"]["s"], [1]);
        assert_eq!(coordinator.due(), None, "it is not durable yet");
        assert_eq!(coordinator.stored(), announce(41, false, true));
        assert_eq!((coordinator.announced(), coordinator.stored()), (None, None));
        assert_eq!(coordinator.due(), begin(42, false));
    }

    /// Dead letters that were written while its barrier passed are before it by this alone.
    #[test]
    fn how_far_a_forgotten_split_came_is_said_once_more() {
        let mut coordinator = Coordinator::new(1, Checkpoint::default());
        let mut stored = |splits: &[&str], reached: &[&str], number: u64| {
            assert_eq!(coordinator.due(), begin(number, false));
            let place = |split: &&str| ((*split).into(), number.to_le_bytes().to_vec());
            let reached = reached.iter().map(|split| ((*split).into(), number)).collect();
            let share = Share {
                places: [("in".into(), splits.iter().map(place).collect())].into(),
                reached: [("in".into(), reached)].into(),
                ..Share::default()
            };
            let Some(Move::Store(next)) = coordinator.answered(0, number, share) else {
                panic!("nothing is stored")
            };
            coordinator.stored();
            next.reached["in"].iter().map(|(split, behind)| format!("{split} {behind}")).collect::<Vec<_>>()
        };
        assert_eq!(stored(&["a", "b"], &["a", "b"], 1), ["a 1", "b 1"]);
        assert_eq!(stored(&["b"], &["a"], 2), ["a 2", "b 1"]);
        assert_eq!(stored(&["b"], &[], 3), ["b 1"]);
    }

    #[test]
    fn an_idle_pipeline_stores_nothing() {
        let mut coordinator = Coordinator::new(1, Checkpoint::default());
        coordinator.due();
        assert!(matches!(coordinator.answered(0, 1, share("a", 1)), Some(Move::Store(_))));
        coordinator.stored();
        coordinator.due();
        assert_eq!(coordinator.answered(0, 2, share("a", 1)), announce(2, false, false));
        // What a stage does not tell any more stays.
        coordinator.due();
        assert_eq!(coordinator.answered(0, 3, Share::default()), announce(3, false, false));
        coordinator.due();
        let Some(Move::Store(stored)) = coordinator.answered(0, 4, share("b", 2)) else {
            panic!("not stored")
        };
        assert_eq!(stored.places["a"]["s"], [1]);
    }

    #[test]
    fn the_last_checkpoint_begins_when_all_loops_have_ended_and_nothing_follows_it() {
        let mut coordinator = Coordinator::new(2, Checkpoint::default());
        assert_eq!(coordinator.due(), begin(1, false));
        assert_eq!(coordinator.ended(0), None);
        assert_eq!(coordinator.answered(0, 1, share("a", 1)), None);
        assert_eq!(coordinator.ended(1), None, "one is under way");
        assert!(matches!(coordinator.answered(1, 1, share("b", 1)), Some(Move::Store(_))));
        assert_eq!(coordinator.stored(), announce(1, false, true));
        assert_eq!(coordinator.announced(), begin(2, true));
        assert_eq!(coordinator.answered(0, 2, Share::default()), None);
        assert_eq!(coordinator.answered(1, 2, Share::default()), announce(2, true, false));
        assert_eq!((coordinator.announced(), coordinator.due()), (None, None));
    }

    #[test]
    fn the_last_checkpoint_says_which_letters_may_come_again_also_where_nothing_else_is_new() {
        let mut coordinator = Coordinator::new(1, Checkpoint::default());
        coordinator.due();
        coordinator.begun_at_letter(3);
        assert_eq!(coordinator.answered(0, 1, Share::default()), announce(1, false, false));
        assert_eq!(coordinator.ended(0), begin(2, true));
        coordinator.begun_at_letter(5);
        let Some(Move::Store(stored)) = coordinator.answered(0, 2, Share::default()) else {
            panic!("not stored")
        };
        assert_eq!(stored.letters, 5);
    }

    /// One of two loops, with the last checkpoint standing.
    fn at_the_end() -> Coordinator {
        let mut coordinator = Coordinator::new(2, Checkpoint::default());
        assert_eq!((coordinator.ended(0), coordinator.ended(1)), (None, begin(1, true)));
        coordinator.answered(0, 1, share("a", 1));
        assert_eq!(coordinator.committed(0, 1, true), None, "nothing stands yet");
        assert!(matches!(coordinator.answered(1, 1, share("b", 1)), Some(Move::Store(_))));
        assert!(coordinator.uncommitted().is_empty());
        assert_eq!(coordinator.stored(), announce(1, true, true));
        coordinator
    }

    #[test]
    fn it_is_finished_when_every_loop_has_said_that_its_sinks_have_committed_the_last_one() {
        let mut coordinator = at_the_end();
        assert_eq!(coordinator.uncommitted(), [0, 1], "what was said too early does not count");
        assert_eq!(coordinator.committed(1, 1, true), None);
        assert_eq!(coordinator.committed(1, 1, true), None, "it has said so");
        assert_eq!((coordinator.committed(0, 0, true), coordinator.uncommitted()), (None, vec![0]));
        assert_eq!(coordinator.committed(0, 1, true), Some(Move::Finish { all_sinks: true }));
        let mut coordinator = at_the_end();
        assert_eq!(coordinator.committed(0, 1, false), None);
        assert_eq!(coordinator.committed(1, 1, true), Some(Move::Finish { all_sinks: false }));
    }
}
