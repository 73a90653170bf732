//! What a run, a stage and a failure look like to people and to programs.

pub mod component;
mod failure;
mod letters;
mod progress;
pub mod reach;
mod table;

pub use failure::{explain, failure_json, frames};
pub use letters::{Counted, Tally, Written};
pub use progress::Progress;
pub use table::{number, rate, stage_table};
