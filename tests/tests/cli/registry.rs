//! `conveyor registry`: what it serves, what it keeps through kills, and what looks after it.

pub mod client;
mod conformance;
mod kills;
mod peers;
mod remote;
mod signing;
mod verbs;
