//! The node: what stands behind the `conveyor` binary. Command line, wiring and everything that speaks to
//! people live here; what a pipeline is and how it runs is decided below.
//!
//! `api` is what a node answers over HTTP, and `client` speaks with it. `cli` has one file for each verb. `wiring` leads from a manifest to a job that can run. The rest is what
//! verbs need: `build` and `scaffold` for stages, `graph` and `report` for people, `serve` for machines.

pub mod api;
mod bars;
mod build;
pub mod cli;
pub mod client;
mod daemon;
mod exit;
mod graph;
mod logging;
mod manifest_tests;
mod places;
mod pulled;
mod replaying;
mod report;
mod running;
mod scaffold;
mod serve;
mod terminal;
mod trust;
pub mod wiring;
mod words;
