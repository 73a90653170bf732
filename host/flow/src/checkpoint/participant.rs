//! What one loop does about checkpoints, and when: decided here, done by [`super::Keeper`] and by simulations.

use model::signal::Barrier;

/// One of the things that a loop does when a barrier passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// The state of stages is put aside as it stands: what comes behind the barrier is not to be in it.
    Freeze,
    /// The barrier goes on its way, behind all that has left this loop.
    SendOn,
    /// What sinks were given becomes durable, and what was refused.
    Prepare,
    /// The loop says where its source is and what its sinks commit.
    Answer,
}

/// What a loop does when a barrier passes, in this order: whoever has answered has nothing left to lose.
pub const PASSING: [Passing; 4] = [Passing::Freeze, Passing::SendOn, Passing::Prepare, Passing::Answer];

/// Where one loop stands in the checkpoints of its pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participant {
    /// The number of the last checkpoint that this loop has answered.
    answered: u64,
    /// Whether that was the last one of the run.
    answered_last: bool,
    /// The number of the last one that stood after this loop had answered it: its sinks were told.
    committed: u64,
    /// A checkpoint has begun that this loop could not answer yet.
    is_behind: bool,
}

impl Participant {
    /// The checkpoint whose tokens the sinks are to commit, now that `stands` stands: what they prepared last. Once for
    /// each.
    pub fn commits(&mut self, stands: Option<Barrier>) -> Option<Barrier> {
        let stands = stands?;
        if stands.number <= self.committed || stands.number != self.answered {
            return None;
        }
        self.committed = stands.number;
        Some(stands)
    }

    /// The barrier that is to pass, for a loop that sees it first. A loop with a stage that is held is behind until
    /// it is not: what waits there was before the barrier.
    pub fn begins(&mut self, begun: Option<Barrier>, is_held: bool) -> Option<Barrier> {
        let barrier = begun.filter(|barrier| barrier.number > self.answered)?;
        self.is_behind = is_held;
        (!is_held).then_some(barrier)
    }

    /// The loop has done all of [`PASSING`].
    pub fn passed(&mut self, barrier: Barrier) {
        (self.answered, self.answered_last) = (barrier.number, barrier.last);
    }

    /// Whether this loop has done its part in the checkpoint that began last.
    pub fn has_answered(&self, begun: Option<Barrier>) -> bool {
        begun.is_none_or(|barrier| barrier.number <= self.answered)
    }

    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Whether nothing is left to do: the last checkpoint stands, and the sinks of this loop have committed it.
    pub fn is_done(&self) -> bool {
        self.answered_last && self.committed == self.answered
    }

    /// Whether this loop has answered the last checkpoint, and its sinks have not committed it.
    pub fn awaits_last(&self) -> bool {
        self.answered_last && self.committed != self.answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier(number: u64) -> Option<Barrier> {
        Some(Barrier { number, last: number == 9 })
    }

    #[test]
    fn a_loop_commits_what_it_answered_once_and_when_it_stands() {
        let mut participant = Participant::default();
        assert_eq!(participant.commits(None), None);
        assert_eq!(participant.commits(barrier(3)), None, "it has not answered that one");
        assert_eq!(participant.begins(barrier(4), false), barrier(4));
        participant.passed(Barrier { number: 4, last: false });
        assert_eq!(participant.begins(barrier(4), false), None, "it has answered it");
        assert_eq!(participant.commits(barrier(3)), None, "that one stood before");
        assert_eq!(participant.commits(barrier(4)), barrier(4));
        assert_eq!(participant.commits(barrier(4)), None, "once is enough");
        assert!(!participant.is_done() && !participant.awaits_last(), "others follow");
    }

    #[test]
    fn a_loop_that_is_held_is_behind_until_it_lets_the_barrier_pass() {
        let mut participant = Participant::default();
        assert_eq!(participant.begins(barrier(9), true), None);
        assert!(participant.is_behind());
        assert_eq!(participant.begins(barrier(9), false), barrier(9));
        assert!(!participant.is_behind());
        participant.passed(Barrier { number: 9, last: true });
        assert!(!participant.is_done() && participant.awaits_last(), "its sinks have not committed");
        assert_eq!(participant.commits(barrier(9)), barrier(9));
        assert!(participant.is_done() && !participant.awaits_last());
    }
}
