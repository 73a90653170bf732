//! What goes into a stage: views of the host's buffers.

use wasmtime::component::{ComponentType, Lower};

use super::bytes::Bytes;

/// `columns.varlen`.
#[derive(Clone, Copy, Debug, Default, ComponentType, Lower)]
#[component(record)]
pub(crate) struct VarlenIn<'a> {
    pub offsets: &'a [u32],
    pub bytes: Bytes<'a>,
}

/// `columns.dictionary`.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct DictionaryIn<'a> {
    pub indices: &'a [u32],
    pub texts: VarlenIn<'a>,
}

/// `columns.data`.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum DataIn<'a> {
    #[component(name = "bools")]
    Bools(&'a [u8]),
    #[component(name = "s32s")]
    S32s(&'a [i32]),
    #[component(name = "s64s")]
    S64s(&'a [i64]),
    #[component(name = "u64s")]
    U64s(&'a [u64]),
    #[component(name = "f32s")]
    F32s(&'a [f32]),
    #[component(name = "f64s")]
    F64s(&'a [f64]),
    #[component(name = "times")]
    Times(&'a [i64]),
    #[component(name = "days")]
    Days(&'a [i32]),
    #[component(name = "texts")]
    Texts(VarlenIn<'a>),
    #[component(name = "dictionaries")]
    Dictionaries(DictionaryIn<'a>),
    #[component(name = "blobs")]
    Blobs(VarlenIn<'a>),
    #[component(name = "jsons")]
    Jsons(VarlenIn<'a>),
}

/// `columns.column`.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct ColumnIn<'a> {
    pub valid: Option<&'a [u8]>,
    pub data: DataIn<'a>,
}

/// `columns.blob-column`.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct BlobColumnIn<'a> {
    pub valid: Option<&'a [u8]>,
    pub blobs: VarlenIn<'a>,
}

/// `records.headers`.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct HeadersIn<'a> {
    pub names: &'a [String],
    pub of: &'a [u32],
    pub name: &'a [u16],
    pub values: VarlenIn<'a>,
}

/// `records.batch`.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct BatchIn<'a> {
    pub rows: u32,
    pub times: Option<&'a [i64]>,
    pub keys: Option<BlobColumnIn<'a>>,
    pub headers: Option<HeadersIn<'a>>,
    pub values: BlobColumnIn<'a>,
}

/// `tables.table`.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct TableIn<'a> {
    pub rows: u32,
    pub times: Option<&'a [i64]>,
    pub keys: Option<BlobColumnIn<'a>>,
    pub columns: &'a [ColumnIn<'a>],
}
