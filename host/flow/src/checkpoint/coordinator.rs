//! The coordinator of one pipeline's checkpoints, as a value: when one begins, when it is to be committed, and when all sinks
//! have committed the last one.

use std::collections::{BTreeMap, BTreeSet};

use model::dead_letters::Closing;
use model::signal::{Barrier, Then};

use super::Checkpoint;
use super::messages::{Ack, LoopId, LoopReport};

/// What the coordinator wants done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell all loops that this checkpoint begins.
    Begin(Barrier),
    /// Make it durable, then say [`Coordinator::committed`].
    Commit(Checkpoint),
    /// Tell all loops that it is committed. `is_new`: whether it was stored, or is as the one before.
    Announce { barrier: Barrier, is_new: bool },
    /// Every loop has said that it is done with the last checkpoint, `number`: nothing follows. `all_sinks`: whether every
    /// sink has committed it, which is not so where one has failed and its branch was cut.
    Finish { number: u64, all_sinks: bool },
}

/// Decides over the checkpoints of one pipeline. One is under way at a time.
#[derive(Debug)]
pub struct Coordinator {
    loops: BTreeSet<LoopId>,
    /// Loops whose records have all been worked off; they still acknowledge.
    ended: BTreeSet<LoopId>,
    /// One of them has ended because it was told to stop, so that nothing says that any input has.
    is_stopped: bool,
    last_committed: Checkpoint,
    /// Something has moved since the last one began, which the next one is for.
    has_moved: bool,
    under_way: Option<UnderWay>,
    /// The highest number that was given away.
    begun: u64,
    /// The last checkpoint of the run is committed.
    is_over: bool,
    /// Loops whose sinks have committed the last one, and whether all of their sinks have.
    sinks_committed: BTreeMap<LoopId, bool>,
    mistake: Option<Mistake>,
}

/// A mistake that a simulation has the coordinator make, to show that it would be caught. Nothing else asks for one.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    StopToldAsEnd,
}

#[derive(Debug)]
struct UnderWay {
    barrier: Barrier,
    acked: BTreeSet<LoopId>,
    /// The one before, with what was acknowledged so far.
    next: Checkpoint,
    /// The lowest that any loop has named.
    letters: Option<u64>,
    is_committing: bool,
}

impl Coordinator {
    /// For these loops, going on from the checkpoint that was committed last. Where sources go on from there, one more begins
    /// in any case: they are told once more what they may release, which the crash before may have kept from them.
    pub fn new(loops: impl IntoIterator<Item = LoopId>, last_committed: Checkpoint) -> Self {
        Self {
            loops: loops.into_iter().collect(),
            ended: BTreeSet::new(),
            is_stopped: false,
            begun: last_committed.number,
            has_moved: last_committed.places.values().any(|places| !places.is_empty()),
            last_committed,
            under_way: None,
            is_over: false,
            sinks_committed: BTreeMap::new(),
            mistake: None,
        }
    }

    #[doc(hidden)]
    pub fn mistaken(self, mistake: Mistake) -> Self {
        Self { mistake: Some(mistake), ..self }
    }

    /// Something has moved that the next checkpoint is to have: a record or a place of a source, what a stage remembers, or
    /// what a sink makes of it by itself after a while.
    pub fn moved(&mut self) {
        self.has_moved = true;
    }

    /// Whether there is something for the next one. Until then nobody need say that one is due.
    pub fn has_moved(&self) -> bool {
        self.has_moved && !self.is_over
    }

    /// Whether it makes a difference that something moves.
    pub fn rests(&self) -> bool {
        !self.has_moved && !self.is_over
    }

    /// The interval has gone by. None where nothing has moved, one is under way, or the last one was.
    pub fn due(&mut self) -> Option<Effect> {
        if self.under_way.is_some() || !(self.has_moved() || self.is_last_due()) {
            return None;
        }
        Some(self.begin())
    }

    /// A loop has something to say.
    pub fn heard(&mut self, from: LoopId, report: LoopReport) -> Option<Effect> {
        match report {
            LoopReport::Acked { number, ack } => self.acked(from, number, ack),
            LoopReport::Ended { is_stopped } => self.ended(from, is_stopped),
            LoopReport::SinksCommitted { number, all_sinks } => self.sinks_committed(from, number, all_sinks),
        }
    }

    /// A loop has nothing more to work off. When that is so of all of them, the last checkpoint begins.
    fn ended(&mut self, from: LoopId, is_stopped: bool) -> Option<Effect> {
        self.ended.insert(from);
        self.is_stopped |= is_stopped;
        let is_due = self.under_way.is_none() && self.is_last_due();
        is_due.then(|| self.begin())
    }

    /// Whether the last one is still to begin, and nothing but one that is under way comes before it.
    fn is_last_due(&self) -> bool {
        self.have_all_ended() && !self.is_over
    }

    fn have_all_ended(&self) -> bool {
        self.ended.len() == self.loops.len()
    }

    /// Of all that have ended it is known by now how: what the last barrier says is not taken back.
    fn begin(&mut self) -> Effect {
        self.begun += 1;
        self.has_moved = false;
        let is_stopped = self.is_stopped && self.mistake != Some(Mistake::StopToldAsEnd);
        let then = if self.have_all_ended() { Then::of_last(is_stopped) } else { Then::GoOn };
        let barrier = Barrier { number: self.begun, then };
        // What the one before has closed is marked by now.
        let next =
            Checkpoint { number: barrier.number, closing: Closing::new(), ..self.last_committed.clone() };
        let acked = BTreeSet::new();
        self.under_way = Some(UnderWay { barrier, acked, next, letters: None, is_committing: false });
        Effect::Begin(barrier)
    }

    /// A loop has done all that was before the barrier of checkpoint `number`.
    fn acked(&mut self, from: LoopId, number: u64, ack: Ack) -> Option<Effect> {
        let under_way = self.under_way.as_mut().filter(|under_way| under_way.barrier.number == number)?;
        if under_way.is_committing || !under_way.acked.insert(from) {
            return None;
        }
        let UnderWay { next, letters, .. } = under_way;
        // Of a split that its source has forgotten, one more checkpoint says how far it came.
        for (source, places) in &ack.places {
            let Some(reached) = next.reached.get_mut(source) else { continue };
            reached.retain(|split, _| places.contains_key(split));
        }
        // What a stage does not say stays as it was: it has failed, and somebody may mend it.
        next.places.extend(ack.places);
        for (source, splits) in ack.reached {
            next.reached.entry(source).or_default().extend(splits);
        }
        next.tokens.extend(ack.tokens);
        next.states.extend(ack.states);
        // A letter below the number of one loop and not below that of another may come again.
        let least = letters.map_or(ack.letters, |letters| letters.min(ack.letters));
        *letters = Some(least);
        if under_way.acked.len() < self.loops.len() {
            return None;
        }
        under_way.next.letters = least;
        let (next, last) = (&under_way.next, &self.last_committed);
        let has_new_state = !next.states.is_empty();
        // Behind the last one, nothing else says which letters may be of records that come again.
        let has_new_letters = under_way.barrier.is_last() && next.letters != last.letters;
        if next.places == last.places && next.tokens == last.tokens && !has_new_state && !has_new_letters {
            return self.announce(false);
        }
        under_way.is_committing = true;
        Some(Effect::Commit(next.clone()))
    }

    /// What was to be made durable is.
    pub fn committed(&mut self) -> Option<Effect> {
        if !self.under_way.as_ref().is_some_and(|under_way| under_way.is_committing) {
            return None;
        }
        self.announce(true)
    }

    fn announce(&mut self, is_new: bool) -> Option<Effect> {
        let UnderWay { barrier, mut next, .. } = self.under_way.take()?;
        if is_new {
            // It is below the stages' own tables now, which need not be held twice.
            next.states.clear();
            self.last_committed = next;
        }
        self.is_over = barrier.is_last();
        Some(Effect::Announce { barrier, is_new })
    }

    /// What follows an announcement: the last checkpoint, where all loops ended while another was under way.
    pub fn announced(&mut self) -> Option<Effect> {
        let is_due = self.under_way.is_none() && self.is_last_due();
        is_due.then(|| self.begin())
    }

    /// The sinks of a loop have committed checkpoint `number`; `all_sinks`: whether each of them has. Only of the last
    /// one is it asked: before it, a loop acknowledges no checkpoint before its sinks have committed the one before.
    fn sinks_committed(&mut self, from: LoopId, number: u64, all_sinks: bool) -> Option<Effect> {
        if !self.is_over || number != self.begun {
            return None;
        }
        self.sinks_committed.entry(from).or_insert(all_sinks);
        let is_complete = self.sinks_committed.len() == self.loops.len();
        let all_sinks = self.sinks_committed.values().all(|all| *all);
        is_complete.then_some(Effect::Finish { number, all_sinks })
    }

    /// Loops that have not acknowledged yet, for whoever wonders why it takes so long.
    pub fn missing(&self) -> Vec<LoopId> {
        let Some(under_way) = &self.under_way else { return Vec::new() };
        self.loops.difference(&under_way.acked).copied().collect()
    }

    /// Loops that have not said that their sinks have committed the last one, which is committed.
    pub fn uncommitted(&self) -> Vec<LoopId> {
        let is_missing = |id: &&LoopId| self.is_over && !self.sinks_committed.contains_key(*id);
        self.loops.iter().filter(is_missing).copied().collect()
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

    const A: LoopId = LoopId { stage: 0, replica: 0 };
    const B: LoopId = LoopId { stage: 1, replica: 0 };

    fn ack(stage: &str, place: u8) -> Ack {
        let places: Places = [("s".into(), vec![place])].into();
        Ack {
            places: [(stage.into(), places)].into(),
            tokens: [("out".into(), vec![place])].into(),
            ..Ack::default()
        }
    }

    /// With so many loops.
    fn coordinator(loops: usize, last_committed: Checkpoint) -> Coordinator {
        Coordinator::new((0..loops).map(LoopId::only), last_committed)
    }

    /// Something has moved, and the interval has gone by.
    fn due(coordinator: &mut Coordinator) -> Option<Effect> {
        coordinator.moved();
        coordinator.due()
    }

    fn begin(number: u64, then: Then) -> Option<Effect> {
        Some(Effect::Begin(Barrier { number, then }))
    }

    fn announce(number: u64, then: Then, is_new: bool) -> Option<Effect> {
        Some(Effect::Announce { barrier: Barrier { number, then }, is_new })
    }

    #[test]
    fn a_checkpoint_is_stored_when_all_have_acknowledged_and_announced_when_it_is_durable() {
        let mut coordinator = coordinator(2, Checkpoint { number: 40, ..Checkpoint::default() });
        assert_eq!(due(&mut coordinator), begin(41, Then::GoOn));
        assert_eq!(due(&mut coordinator), None, "one is under way");
        assert_eq!(coordinator.acked(A, 41, ack("a", 1)), None);
        assert_eq!(coordinator.acked(A, 41, ack("a", 9)), None, "it has said so already");
        assert_eq!(coordinator.missing(), [B]);
        assert_eq!(coordinator.acked(B, 40, Ack::default()), None, "of an older one");
        let Some(Effect::Commit(stored)) = coordinator.acked(B, 41, ack("b", 2)) else {
            panic!("nothing is stored")
        };
        assert_eq!((stored.number, stored.places.len(), &stored.tokens["out"]), (41, 2, &vec![2]));
        assert_eq!(stored.places["a"]["s"], [1]);
        assert_eq!(due(&mut coordinator), None, "it is not durable yet");
        assert_eq!(coordinator.committed(), announce(41, Then::GoOn, true));
        assert_eq!((coordinator.announced(), coordinator.committed()), (None, None));
        assert_eq!(due(&mut coordinator), begin(42, Then::GoOn));
    }

    /// Dead letters that were written while its barrier passed are before it by this alone.
    #[test]
    fn how_far_a_forgotten_split_came_is_said_once_more() {
        let mut coordinator = coordinator(1, Checkpoint::default());
        let mut stored = |splits: &[&str], reached: &[&str], number: u64| {
            assert_eq!(due(&mut coordinator), begin(number, Then::GoOn));
            let place = |split: &&str| ((*split).into(), number.to_le_bytes().to_vec());
            let reached = reached.iter().map(|split| ((*split).into(), number)).collect();
            let ack = Ack {
                places: [("in".into(), splits.iter().map(place).collect())].into(),
                reached: [("in".into(), reached)].into(),
                ..Ack::default()
            };
            let Some(Effect::Commit(next)) = coordinator.acked(A, number, ack) else {
                panic!("nothing is stored")
            };
            coordinator.committed();
            next.reached["in"].iter().map(|(split, behind)| format!("{split} {behind}")).collect::<Vec<_>>()
        };
        assert_eq!(stored(&["a", "b"], &["a", "b"], 1), ["a 1", "b 1"]);
        assert_eq!(stored(&["b"], &["a"], 2), ["a 2", "b 1"]);
        assert_eq!(stored(&["b"], &[], 3), ["b 1"]);
    }

    #[test]
    fn a_checkpoint_begins_only_where_something_has_moved_since_the_one_before_began() {
        let mut coordinator = coordinator(1, Checkpoint::default());
        assert_eq!((coordinator.has_moved(), coordinator.rests(), coordinator.due()), (false, true, None));
        coordinator.moved();
        assert_eq!((coordinator.has_moved(), coordinator.due()), (true, begin(1, Then::GoOn)));
        assert!(!coordinator.has_moved(), "it has what moved");
        assert!(matches!(coordinator.acked(A, 1, ack("a", 1)), Some(Effect::Commit(_))));
        // What moves while it is under way is behind its barrier.
        coordinator.moved();
        assert_eq!(coordinator.due(), None);
        assert_eq!(coordinator.committed(), announce(1, Then::GoOn, true));
        assert_eq!(coordinator.due(), begin(2, Then::GoOn));
        assert_eq!(coordinator.acked(A, 2, ack("a", 1)), announce(2, Then::GoOn, false));
        assert_eq!(coordinator.due(), None);
        // The last one says what nobody else does.
        assert_eq!(coordinator.ended(A, false), begin(3, Then::End));
        coordinator.moved();
        assert!(matches!(coordinator.acked(A, 3, ack("a", 2)), Some(Effect::Commit(_))));
        assert_eq!(coordinator.committed(), announce(3, Then::End, true));
        assert_eq!((coordinator.has_moved(), coordinator.rests(), coordinator.due()), (false, false, None));
    }

    #[test]
    fn sources_that_go_on_from_a_checkpoint_are_told_it_again() {
        let places: Places = [("s".into(), vec![1])].into();
        let last = Checkpoint { number: 4, places: [("a".into(), places)].into(), ..Checkpoint::default() };
        assert_eq!(coordinator(1, last).due(), begin(5, Then::GoOn));
    }

    #[test]
    fn what_is_as_before_is_not_stored() {
        let mut coordinator = coordinator(1, Checkpoint::default());
        due(&mut coordinator);
        assert!(matches!(coordinator.acked(A, 1, ack("a", 1)), Some(Effect::Commit(_))));
        coordinator.committed();
        due(&mut coordinator);
        assert_eq!(coordinator.acked(A, 2, ack("a", 1)), announce(2, Then::GoOn, false));
        // What a stage does not tell any more stays.
        due(&mut coordinator);
        assert_eq!(coordinator.acked(A, 3, Ack::default()), announce(3, Then::GoOn, false));
        due(&mut coordinator);
        let Some(Effect::Commit(stored)) = coordinator.acked(A, 4, ack("b", 2)) else { panic!("not stored") };
        assert_eq!(stored.places["a"]["s"], [1]);
    }

    #[test]
    fn the_last_checkpoint_begins_when_all_loops_have_ended_and_nothing_follows_it() {
        let mut coordinator = coordinator(2, Checkpoint::default());
        assert_eq!(due(&mut coordinator), begin(1, Then::GoOn));
        assert_eq!(coordinator.ended(A, false), None);
        assert_eq!(coordinator.acked(A, 1, ack("a", 1)), None);
        assert_eq!(coordinator.ended(B, false), None, "one is under way");
        assert!(matches!(coordinator.acked(B, 1, ack("b", 1)), Some(Effect::Commit(_))));
        assert_eq!(coordinator.committed(), announce(1, Then::GoOn, true));
        assert_eq!(coordinator.announced(), begin(2, Then::End));
        assert_eq!(coordinator.acked(A, 2, Ack::default()), None);
        assert_eq!(coordinator.acked(B, 2, Ack::default()), announce(2, Then::End, false));
        assert_eq!((coordinator.announced(), due(&mut coordinator)), (None, None));
    }

    #[test]
    fn the_last_checkpoint_says_whether_any_loop_was_told_to_stop() {
        for (first, second) in [(false, true), (true, false), (true, true)] {
            let mut coordinator = coordinator(2, Checkpoint::default());
            assert_eq!(coordinator.ended(A, first), None);
            assert_eq!(coordinator.ended(B, second), begin(1, Then::Stop));
            coordinator.acked(A, 1, ack("a", 1));
            coordinator.acked(B, 1, ack("b", 1));
            assert_eq!(coordinator.committed(), announce(1, Then::Stop, true));
        }
        // Also where it begins behind one that was under way.
        let mut coordinator = coordinator(1, Checkpoint::default());
        due(&mut coordinator);
        assert_eq!(coordinator.ended(A, true), None);
        coordinator.acked(A, 1, ack("a", 1));
        assert_eq!(
            (coordinator.committed(), coordinator.announced()),
            (announce(1, Then::GoOn, true), begin(2, Then::Stop))
        );
    }

    #[test]
    fn the_last_checkpoint_says_which_letters_may_come_again_also_where_nothing_else_is_new() {
        let letters = |letters| Ack { letters, ..Ack::default() };
        let mut coordinator = coordinator(1, Checkpoint::default());
        due(&mut coordinator);
        assert_eq!(coordinator.acked(A, 1, letters(3)), announce(1, Then::GoOn, false));
        assert_eq!(coordinator.ended(A, false), begin(2, Then::End));
        let Some(Effect::Commit(stored)) = coordinator.acked(A, 2, letters(5)) else { panic!("not stored") };
        assert_eq!(stored.letters, 5);
    }

    #[test]
    fn a_letter_may_come_again_where_one_loop_says_so() {
        for (first, second) in [(7, 4), (4, 7)] {
            let mut coordinator = coordinator(2, Checkpoint { letters: 9, ..Checkpoint::default() });
            due(&mut coordinator);
            assert_eq!(coordinator.acked(A, 1, Ack { letters: first, ..ack("a", 1) }), None);
            let second = Ack { letters: second, ..ack("b", 1) };
            let Some(Effect::Commit(stored)) = coordinator.acked(B, 1, second) else { panic!("not stored") };
            assert_eq!(stored.letters, 4);
        }
    }

    /// Of two loops, with the last checkpoint committed.
    fn at_the_end() -> Coordinator {
        let mut coordinator = coordinator(2, Checkpoint::default());
        assert_eq!((coordinator.ended(A, false), coordinator.ended(B, false)), (None, begin(1, Then::End)));
        coordinator.acked(A, 1, ack("a", 1));
        assert_eq!(coordinator.sinks_committed(A, 1, true), None, "nothing is committed yet");
        assert!(matches!(coordinator.acked(B, 1, ack("b", 1)), Some(Effect::Commit(_))));
        assert!(coordinator.uncommitted().is_empty());
        assert_eq!(coordinator.committed(), announce(1, Then::End, true));
        coordinator
    }

    #[test]
    fn it_is_finished_when_every_loop_has_said_that_its_sinks_have_committed_the_last_one() {
        let mut coordinator = at_the_end();
        assert_eq!(coordinator.uncommitted(), [A, B], "what was said too early does not count");
        assert_eq!(coordinator.sinks_committed(B, 1, true), None);
        assert_eq!(coordinator.sinks_committed(B, 1, true), None, "it has said so");
        assert_eq!((coordinator.sinks_committed(A, 0, true), coordinator.uncommitted()), (None, vec![A]));
        assert_eq!(
            coordinator.sinks_committed(A, 1, true),
            Some(Effect::Finish { number: 1, all_sinks: true })
        );
        let mut coordinator = at_the_end();
        assert_eq!(coordinator.sinks_committed(A, 1, false), None);
        assert_eq!(
            coordinator.sinks_committed(B, 1, true),
            Some(Effect::Finish { number: 1, all_sinks: false })
        );
    }
}
