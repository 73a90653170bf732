//! Registries beside each other: what they are, how they are started, and one client for all of them.

pub mod load;
pub mod server;
pub mod stage;
