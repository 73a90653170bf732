//! The control state of a cluster, or of a node alone: what there is, and what is wanted of it.
//!
//! [`state`] is a pure state machine, from commands to effects. [`Control`] replicates its commands by Raft (openraft,
//! which nobody else knows), keeps them in one database, and gives out what follows from them. On one node it is a
//! cluster of one voter. [`sealing`] is for secrets, of which the state has ciphertexts alone.
//!
//! Records never come here, and nothing on their way waits for it.

mod bytes;
pub mod sealing;
pub mod state;

pub use bytes::Opaque;
