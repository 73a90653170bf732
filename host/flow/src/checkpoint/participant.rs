//! What one loop does about checkpoints, and when: decided here, done by its barrier handler and by simulations.

use model::signal::Barrier;

/// One of the things that a loop does on a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierStep {
    /// The state of stages is put aside as it is: what comes behind the barrier is not to be in it.
    Freeze,
    /// The barrier goes on its way, behind all that has left this loop.
    Forward,
    /// What sinks were given becomes durable, and what was refused.
    Prepare,
    /// The loop says where its source is and what its sinks commit.
    Ack,
}

/// What a loop does on a barrier, in this order: whoever has acknowledged has nothing left to lose.
pub const ON_BARRIER: [BarrierStep; 4] =
    [BarrierStep::Freeze, BarrierStep::Forward, BarrierStep::Prepare, BarrierStep::Ack];

/// How far one loop is in the checkpoints of its pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participant {
    /// The number of the last checkpoint that this loop has acknowledged.
    acked: u64,
    /// Whether that was the last one of the run.
    acked_last: bool,
    /// The number of the last one that was committed after this loop had acknowledged it: its sinks were told.
    committed: u64,
    /// A checkpoint has begun that this loop could not acknowledge yet.
    is_behind: bool,
}

impl Participant {
    /// The checkpoint whose tokens the sinks are to commit, now that `last` is the one that was committed last: what they
    /// prepared last. Once for each.
    pub fn commits(&mut self, last: Option<Barrier>) -> Option<Barrier> {
        let last = last?;
        if last.number <= self.committed || last.number != self.acked {
            return None;
        }
        self.committed = last.number;
        Some(last)
    }

    /// The barrier that comes, for a loop that sees it first. A loop with a stage that backs off is behind until
    /// it is not: what waits there was before the barrier.
    pub fn begins(&mut self, begun: Option<Barrier>, backs_off: bool) -> Option<Barrier> {
        let barrier = begun.filter(|barrier| barrier.number > self.acked)?;
        self.is_behind = backs_off;
        (!backs_off).then_some(barrier)
    }

    /// The loop has done all of [`ON_BARRIER`].
    pub fn acked(&mut self, barrier: Barrier) {
        (self.acked, self.acked_last) = (barrier.number, barrier.is_last());
    }

    /// Whether this loop has done its part in the checkpoint that began last.
    pub fn has_acked(&self, begun: Option<Barrier>) -> bool {
        begun.is_none_or(|barrier| barrier.number <= self.acked)
    }

    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Whether nothing is left to do: the last checkpoint is committed, and the sinks of this loop have committed it.
    pub fn is_done(&self) -> bool {
        self.acked_last && self.committed == self.acked
    }

    /// Whether this loop has acknowledged the last checkpoint, and its sinks have not committed it.
    pub fn awaits_last(&self) -> bool {
        self.acked_last && self.committed != self.acked
    }
}

#[cfg(test)]
mod tests {
    use model::signal::Then;

    use super::*;

    fn barrier(number: u64) -> Option<Barrier> {
        let then = if number == 9 { Then::End } else { Then::GoOn };
        Some(Barrier { number, then })
    }

    #[test]
    fn sinks_commit_what_their_loop_acknowledged_once_and_when_it_is_committed() {
        let mut participant = Participant::default();
        assert_eq!(participant.commits(None), None);
        assert_eq!(participant.commits(barrier(3)), None, "it has not acknowledged that one");
        assert_eq!(participant.begins(barrier(4), false), barrier(4));
        participant.acked(Barrier { number: 4, then: Then::GoOn });
        assert_eq!(participant.begins(barrier(4), false), None, "it has acknowledged it");
        assert_eq!(participant.commits(barrier(3)), None, "that one was committed before");
        assert_eq!(participant.commits(barrier(4)), barrier(4));
        assert_eq!(participant.commits(barrier(4)), None, "once is enough");
        assert!(!participant.is_done() && !participant.awaits_last(), "others follow");
    }

    #[test]
    fn a_loop_that_backs_off_is_behind_until_it_is_not() {
        let mut participant = Participant::default();
        assert_eq!(participant.begins(barrier(9), true), None);
        assert!(participant.is_behind());
        assert_eq!(participant.begins(barrier(9), false), barrier(9));
        assert!(!participant.is_behind());
        participant.acked(Barrier { number: 9, then: Then::End });
        assert!(!participant.is_done() && participant.awaits_last(), "its sinks have not committed");
        assert_eq!(participant.commits(barrier(9)), barrier(9));
        assert!(participant.is_done() && !participant.awaits_last());
    }
}
