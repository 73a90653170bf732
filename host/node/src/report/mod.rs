//! What a run, a stage and a failure look like to people and to programs.

pub mod claims;
pub mod component;
mod excerpt;
pub mod failure;
mod letters;
mod progress;
pub mod reach;
mod table;

pub use excerpt::excerpt;
pub use failure::{explain, explain_cut, failure_json, frames};
pub use letters::{Tally, default_dir, full_path, nothing_is_open, replay_command, run_command};
pub use progress::Progress;
pub use table::{duration, number, plain_table, rate, stage_table};
