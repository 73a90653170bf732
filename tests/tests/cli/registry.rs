//! `conveyor registry`: what it serves, what it keeps through kills, and what looks after it.

mod client;
mod conformance;
mod kills;
mod peers;
mod verbs;
