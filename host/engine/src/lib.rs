//! Stages in wasmtime: the only crate that knows it.
//!
//! `Engine` loads a component (`compile`, `loading`), which is then asked for its plan (`plan`), leased from a pool and
//! called with batches (`pool`, `source`, `sink`). Every call runs within limits (`meter`), sees of the host
//! only what is linked (`link`), and is believed in nothing (`data`).

mod access;
mod backtrace;
mod compile;
mod config;
mod contract;
mod data;
mod engine;
mod error;
mod hits;
mod instance;
mod keyed;
mod link;
mod loading;
mod meter;
mod plan;
mod pool;
mod signatures;
mod sink;
mod source;
mod symbols;
mod texts;
mod tls;

pub use access::{Access, AccessOptions, Network, OpenDir, Resolver, Resolving, Secret};
pub use backtrace::{Frame, Frames, GuestBacktrace};
pub use compile::{CompileBounds, CompileStageError, Compiler, ConfigProblem, compile_stage, componentize};
pub use data::Call;
pub use engine::{Component, Engine, EngineOptions};
pub use error::{AnswerError, CallError, EngineError, Failure, InputError, LoadError, Trap};
pub use hits::Hits;
pub use keyed::{Answering, Entries, KeyedState, Packed, Page, Scan, StateError, Values};
pub use meter::StageLimits;
pub use pool::{Lease, Pool, StageSetup};
pub use sink::{SinkContext, SinkDriver, SinkSetup};
pub use source::{Absence, PullBounds, PulledBatch, RefusedRecord, SourceDriver, SourceSetup, SplitStart};
pub use tls::tls_client;
