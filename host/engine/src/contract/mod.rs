//! The contract's types (`wit/`) as they cross: what goes in borrows the host's buffers, what comes out
//! owns its own. Nothing here decides or checks; `data` turns these into columns and back.
//!
//! They are written by hand rather than generated, so that a list is lowered from wherever it lies with one
//! copy, and lifted into a buffer that Arrow takes as it is.

mod bytes;
mod incoming;
mod outgoing;

pub(crate) use bytes::{Bytes, Gathered};
pub(crate) use incoming::*;
pub(crate) use outgoing::*;

use wasmtime::component::{ComponentType, Lift, Lower};

/// `columns.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Kind {
    #[component(name = "bools")]
    Bools,
    #[component(name = "s32s")]
    S32s,
    #[component(name = "s64s")]
    S64s,
    #[component(name = "u64s")]
    U64s,
    #[component(name = "f32s")]
    F32s,
    #[component(name = "f64s")]
    F64s,
    #[component(name = "times")]
    Times,
    #[component(name = "days")]
    Days,
    #[component(name = "texts")]
    Texts,
    #[component(name = "dictionaries")]
    Dictionaries,
    #[component(name = "blobs")]
    Blobs,
    #[component(name = "jsons")]
    Jsons,
    #[component(name = "opaque")]
    Opaque,
}

/// `columns.field`, as it goes in and as it comes out.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct Field {
    pub name: String,
    pub kind: Kind,
    pub nullable: bool,
    pub logical: String,
}

/// `splits.split`.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Split {
    pub name: String,
    pub cursor: Option<Vec<u8>>,
}

/// `commits.context`.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Context {
    pub replica: u32,
    pub replicas: u32,
    pub epoch: u64,
    pub committed: Vec<Vec<u8>>,
}
