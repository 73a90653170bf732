//! What comes by an edge: batches, the barriers that cut them into checkpoints, and the end.

/// A cut through the stream: all records before it are one side of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// Of the checkpoint; ascending over all runs of a pipeline.
    pub number: u64,
    pub then: Then,
}

/// What follows a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// More, now or later.
    GoOn,
    /// Nothing in this run, which was told to stop: what is still to be read comes to the next one.
    Stop,
    /// Nothing any more: the input of every source has ended.
    End,
}

/// One thing that comes by an edge. `T`: how a batch travels there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal<T> {
    Item(T),
    Barrier(Barrier),
    /// Nothing follows in this run. Whether any input has ended, the last barrier says.
    End,
}

impl Barrier {
    /// Whether nothing comes behind it in this run, for whatever reason.
    pub fn is_last(self) -> bool {
        self.then != Then::GoOn
    }
}

impl Then {
    /// What follows the last barrier of a run.
    pub fn of_last(is_stopped: bool) -> Self {
        if is_stopped { Self::Stop } else { Self::End }
    }
}
