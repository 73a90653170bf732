//! Delivery under a seeded scheduler: pipelines of any shape on a disk that crashes, tears and forgets, over and over,
//! and what must hold of them.
//!
//! What decides is the product: `Alignment`, `Participant`, `ON_BARRIER` and `Coordinator` of the checkpoints, the spool,
//! and the file sink with its tokens. What moves records between them, the clock, the disk and the clients are
//! simulated. A seed names a pipeline, its data, and all that strikes it; the same seed gives the same trace.
//! `cargo xtask sim --seeds 10000` runs more seeds than `cargo test` does, and `--seed N` repeats one.

mod bad_disk;
mod bug;
mod checkpoint_file;
mod control;
mod disk;
mod explore;
mod full_disk;
mod graph;
mod invariants;
mod known_bugs;
mod letters;
mod life;
mod places;
mod record;
mod registry;
mod seeds;
mod spool;
mod store;
mod task;
mod turn;
mod world;
