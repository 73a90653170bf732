//! The manifest: a text in YAML becomes a [`Pipeline`], or a list of everything that is wrong with it.
//!
//! The text is read once, into a tree in which everything knows its place ([`tree`]), so that a wrong value in
//! one corner does not hide another one elsewhere. What the manifest can say and this version cannot do is an
//! error, never ignored. Nothing here touches a file, a clock or the environment: they are arguments.

mod document;
mod graph;
pub(crate) mod lower;
mod names;
mod overrides;
mod pipeline;
mod reference;
mod scalar;
pub mod suggest;
pub(crate) mod tree;
mod units;
mod variables;

pub use document::json_schema;
pub use lower::{Context, Rejected, parse, parse_bytes};
pub use names::{Name, NameError};
pub use overrides::SetError;
pub use pipeline::{
    BatchDecl, CheckpointDecl, ColumnDecl, ColumnType, Config, Expect, Gate, GrantsDecl, Input, Isolation,
    KeyFrom, Limits, OciRef, OnError, OnFailure, Pipeline, Quota, Retry, Role, SchemaDecl, Stage, StageRef,
    Test, TestInput, TimeFrom, UnknownFields,
};
pub use units::{Bytes, Duration, DurationRange, Fuel, Percent, UnitError};
pub use variables::Environment;

#[cfg(test)]
mod diagnosis;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod reading;
