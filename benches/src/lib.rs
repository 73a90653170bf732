//! What Conveyor is measured against, and how. The rows of the tables are printed by `benches/belt.rs`,
//! `benches/csv.rs`, `benches/control.rs`, `benches/limits.rs` and `benches/state.rs`; `docs/performance.md` holds what they printed.
//! `benches/once.rs` does the work of one row, for pairs of builds (`cargo xtask pairs`).

pub mod belt;
pub mod flights;
pub mod grpc;
pub mod guests;
pub mod keyed;
pub mod life;
pub mod limited;
pub mod list_record;
pub mod lone;
pub mod measure;
pub mod native;
pub mod pipeline;
pub mod posting;
pub mod prepared;
pub mod registry;
pub mod report;
pub mod sidecars;
pub mod slow_disk;
pub mod stages;
pub mod workload;
