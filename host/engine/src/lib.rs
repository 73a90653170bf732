//! Stages in wasmtime: the only crate that knows it.
//!
//! `Engine` loads a component (`compile`), which is then asked for its plan (`plan`), leased from a pool and
//! called with batches (`pool`, `source`, `sink`). Every call runs within limits (`meter`), sees of the host
//! only what is linked (`link`), and is believed in nothing (`data`).

mod access;
mod compile;
mod contract;
mod data;
mod engine;
mod error;
mod hits;
mod instance;
mod keyed;
mod link;
mod meter;
mod plan;
mod pool;
mod sink;
mod source;
mod state;

pub use access::{Access, AccessOptions, Network, OpenDir, Resolver, Resolving, Secret};
pub use compile::{
    CompileBounds, CompileStageError, Compiler, Component, ConfigProblem, compile_stage, componentize,
};
pub use data::Call;
pub use engine::{Engine, EngineOptions};
pub use error::{
    AnswerError, CallError, EngineError, Failure, Frame, Frames, GuestBacktrace, InputError, LoadError, Trap,
};
pub use hits::Hits;
pub use keyed::{Answering, Entries, KeyedState, Packed, Page, Scan, StateError, Values};
pub use link::tls::tls_client;
pub use meter::StageLimits;
pub use pool::{Lease, Pool, StageSetup};
pub use sink::{SinkContext, SinkDriver, SinkSetup};
pub use source::{Absence, PullBounds, PulledBatch, RefusedRecord, SourceDriver, SourceSetup, SplitStart};
