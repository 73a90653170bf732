//! The `conveyor` binary as somebody types it: what it prints, where, and with which exit code.

mod bad_components;
mod bad_data;
mod bad_manifests;
mod compiling;
mod dead_letters;
mod grants;
mod metrics;
mod places;
mod running;
mod scene;
mod stages;
mod stopping;
mod trying;
mod verbs;
