//! The control state of a cluster, or of a node alone: what there is, and what is wanted of it.
//!
//! [`state`] is a pure state machine, from commands to effects. [`Control`] replicates its commands by Raft (openraft,
//! which nobody else knows), keeps them in one database, and gives out what follows from them. On one node it is a
//! cluster of one voter. [`sealing`] is for secrets, of which the state has ciphertexts alone.
//!
//! Records never come here, and nothing on their way waits for it. Not in it either: sending a command on to the leader (it is
//! named to whoever asks another node), and changes of the voters with which a cluster began.

mod bytes;
mod control;
mod events;
mod machine;
pub mod network;
mod raft;
#[cfg(test)]
mod rough;
mod sealed;
pub mod sealing;
pub mod state;
mod store;
mod writer;

pub use bytes::Opaque;
pub use control::{Control, New, OpenError, Options, ReadError, Tuning};
pub use events::{Watch, WatchError};
pub use store::StoreError;
pub use writer::{Done, ProposeError};
