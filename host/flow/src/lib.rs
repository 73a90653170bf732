//! The belt: loops that carry batches from sources through stages to sinks.
//!
//! `run` turns a plan with opened connectors and pools (`job`) into loops, each of which calls one stage after the other
//! (`belt`); `supervise` runs it again where it failed. Between loops stands an `edge`. What connectors are, `connector` says. What stages refuse is kept in
//! `letters`, and `replay` sends it in again.

mod belt;
pub mod checkpoint;
mod checkpoint_error;
pub mod clock;
pub mod component;
pub mod connector;
mod edge;
pub mod error;
#[cfg(test)]
mod failing;
mod fault;
mod input_mapping;
mod job;
pub mod letters;
pub mod meters;
pub mod pacing;
pub mod poison;
mod quota;
mod refuse;
pub mod replay;
mod run;
pub mod scheduler;
pub mod spool;
pub mod state;
pub mod supervise;
pub mod trial;

pub use error::{RestartCause, RunError};
pub use job::{Checkpoints, CutOff, Job, Part, Recovery, Rules, Transform};
pub use run::{Ended, Run};
