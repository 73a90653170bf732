//! The types that Raft is instantiated with.

use std::io::Cursor;

use serde::{Deserialize, Serialize};

use crate::state::{Answer, Proposal, Refusal};

openraft::declare_raft_types!(
    /// Entries of many proposals each.
    pub(crate) Types:
        D = Batch,
        R = Answers,
        NodeId = u64,
        Node = Peer,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Peer>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Peer>;
pub(crate) type Raft = openraft::Raft<Types>;

/// At what a voter is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub address: String,
}

/// What is proposed in one entry, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub proposals: Vec<Proposal>,
}

/// What came of each proposal of an entry, with the entry in which it was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answers {
    pub answers: Vec<(Result<Answer, Refusal>, u64)>,
}
