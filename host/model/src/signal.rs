//! What comes by an edge: batches, the barriers that cut them into checkpoints, and the end.

/// A cut through the stream: all records before it are one side of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// Of the checkpoint; ascending over all runs of a pipeline.
    pub number: u64,
    /// Nothing comes behind it in this run.
    pub last: bool,
}

/// One thing that comes by an edge. `T`: how a batch travels there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal<T> {
    Item(T),
    Barrier(Barrier),
    /// Nothing follows.
    End,
}
