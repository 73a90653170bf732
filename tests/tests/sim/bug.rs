//! Mistakes that are made on purpose: by the wiring of the simulation, by a disk that helps to make them, or, where it is the
//! product that decides, by the product itself, which is switched to them by [`flow::checkpoint::Mistake`] and by nothing
//! else.

/// A known mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A client is told that its records are safe before they were synced.
    AckBeforeSync,
    /// A loop acknowledges with its cursors before its sinks have prepared.
    CursorBeforeSink,
    /// A spool is released when a barrier has come, not when its checkpoint is committed.
    SegmentUnlinkedBeforeCommit,
    /// What was prepared is taken for what a crash has left, and removed before its token is committed.
    PartUnlinkedBeforeCommit,
    /// Frames of the spool are believed without their checksum.
    NoChecksum,
    /// A refused record counts as delivered, and nobody writes it down.
    RejectCountedAsDelivered,
    /// A dead letter is written and not synced before the loop acknowledges.
    LetterNotSynced,
    /// The tokens of the last checkpoint are not committed again after a restart.
    TokenNotRepeated,
    /// Sinks commit when they have prepared, before the checkpoint is committed.
    CommitBeforeStored,
    /// Where streams meet, records behind a barrier go on before it has come on all of them.
    BarrierOvertaken,
    /// The state is looked at after the barrier was forwarded, when more has been counted.
    StateAfterBarrier,
    /// A disk says that a file is durable, and it is not.
    SyncDoesNothing,
    /// Whoever goes on from a checkpoint takes all letters behind its mark for those of records that come again, also where
    /// their sources are behind them.
    LettersIgnorePlaces,
    /// The last checkpoint of a pipeline that was told to stop says that the input has ended.
    StopToldAsEnd,
}

impl Bug {
    pub const ALL: [Self; 14] = [
        Self::AckBeforeSync,
        Self::CursorBeforeSink,
        Self::SegmentUnlinkedBeforeCommit,
        Self::PartUnlinkedBeforeCommit,
        Self::NoChecksum,
        Self::RejectCountedAsDelivered,
        Self::LetterNotSynced,
        Self::TokenNotRepeated,
        Self::CommitBeforeStored,
        Self::BarrierOvertaken,
        Self::StateAfterBarrier,
        Self::SyncDoesNothing,
        Self::LettersIgnorePlaces,
        Self::StopToldAsEnd,
    ];

    /// As it is typed.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }
}
