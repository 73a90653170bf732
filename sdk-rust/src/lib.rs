#![doc = include_str!("../README.md")]

mod batch;
#[allow(unsafe_code)]
#[doc(hidden)]
pub mod bindings;
mod columns;
pub mod config;
mod emitter;
mod failure;
mod fields;
mod fingerprint;
#[doc(hidden)]
pub mod glue;
pub mod log;
mod made;
mod origins;
mod plan;
mod pull;
mod raw;
mod row;
mod secret;
mod sink;
mod source;
pub mod state;
mod table;
mod table_emitter;
mod table_transform;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod transform;
mod varlen;

pub use batch::{Batch, Blobs, Record, Records, Validity};
pub use columns::{ColumnBuilder, FieldsOf};
pub use config::{Config, NoConfig};
pub use conveyor_sdk_macros::{Row, config};
pub use emitter::Emitter;
pub use failure::{Failure, Result};
pub use fields::{Field, Fields, Kind};
pub use fingerprint::Fingerprint;
pub use made::MakeRecord;
pub use plan::{Output, Parts, Port, RecordPlan, TablePlan};
pub use pull::{Pull, PullRecord, PullRow, Room, Split, TablePull};
pub use row::{Day, Json, ReadRow, RowColumns, Rows, Time, Value, WriteRow};
pub use secret::{SecretError, secret};
pub use sink::{Context, Ids, Rejected, Sink, SinkPlan, TableSink, TableSinkPlan};
pub use source::{Source, TableSource, Wanted};
pub use table::{At, Bools, Column, Dictionaries, Table, Texts};
pub use table_emitter::{MakeRow, TableEmitter};
pub use table_transform::TableTransform;
pub use transform::Transform;
#[doc(hidden)]
pub use {schemars, serde};
