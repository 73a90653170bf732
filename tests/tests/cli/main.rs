//! The `conveyor` binary as somebody types it: what it prints, where, and with which exit code.

mod bad_components;
mod bad_data;
mod bad_manifests;
mod compiling;
mod dead_letters;
mod failures;
mod fairness;
mod faults;
mod flights;
mod grants;
mod http;
mod keyed;
mod limits;
mod meeting;
mod metrics;
mod places;
mod running;
mod scene;
mod setbacks;
mod sources;
mod stages;
mod state;
mod stopping;
mod trying;
mod verbs;
mod watching;
