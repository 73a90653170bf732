//! The nouns of Conveyor and the decisions over them, as values: no I/O, no clock, no threads.
//!
//! Text becomes a `Pipeline` (`manifest`), a pipeline with what its stages say of themselves becomes a
//! `Plan` (`plan`), and records move as a `Batch` (`batch`) through what stages answer (`outcome`).

pub mod batch;
pub mod convert;
pub mod dead_letters;
pub mod diagnostics;
pub mod encoding;
pub mod expand;
pub mod fields;
pub mod grants;
pub mod groups;
pub mod ids;
pub mod limits;
pub mod lineage;
pub mod lock;
pub mod manifest;
pub mod outcome;
pub mod plain;
pub mod plan;
mod retry;
mod rows;
pub mod search;
pub mod share;
pub mod signal;
pub mod stage;
pub mod trust;
