//! The manifest: a text in YAML becomes a [`Pipeline`], or a list of everything that is wrong with it.

mod names;
mod pipeline;
mod units;

pub use names::{Name, NameError};
pub use pipeline::{
    BatchDecl, ColumnDecl, ColumnType, Config, Expect, Feed, Input, KeyFrom, Limits, OciRef, OnError,
    OnFailure, Pipeline, Role, SchemaDecl, Stage, StageRef, Test, TimeFrom, UnknownFields,
};
pub use units::{Bytes, Duration, DurationRange, Fuel, UnitError};
