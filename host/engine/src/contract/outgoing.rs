//! What comes out of a stage: lists of its own, copied out of its memory once.

use wasmtime::component::{ComponentType, Lift};

use super::Field;

/// `columns.varlen`.
#[derive(Debug, Default, ComponentType, Lift)]
#[component(record)]
pub(crate) struct VarlenOut {
    pub offsets: Vec<u32>,
    pub bytes: Vec<u8>,
}

/// `columns.dictionary`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct DictionaryOut {
    pub indices: Vec<u32>,
    pub texts: VarlenOut,
}

/// `columns.data`.
#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum DataOut {
    #[component(name = "bools")]
    Bools(Vec<u8>),
    #[component(name = "s32s")]
    S32s(Vec<i32>),
    #[component(name = "s64s")]
    S64s(Vec<i64>),
    #[component(name = "u64s")]
    U64s(Vec<u64>),
    #[component(name = "f32s")]
    F32s(Vec<f32>),
    #[component(name = "f64s")]
    F64s(Vec<f64>),
    #[component(name = "times")]
    Times(Vec<i64>),
    #[component(name = "days")]
    Days(Vec<i32>),
    #[component(name = "texts")]
    Texts(VarlenOut),
    #[component(name = "dictionaries")]
    Dictionaries(DictionaryOut),
    #[component(name = "blobs")]
    Blobs(VarlenOut),
    #[component(name = "jsons")]
    Jsons(VarlenOut),
}

/// `columns.column`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct ColumnOut {
    pub valid: Option<Vec<u8>>,
    pub data: DataOut,
}

/// `columns.blob-column`.
#[derive(Debug, Default, ComponentType, Lift)]
#[component(record)]
pub(crate) struct BlobColumnOut {
    pub valid: Option<Vec<u8>>,
    pub blobs: VarlenOut,
}

/// `records.headers`.
#[derive(Debug, Default, ComponentType, Lift)]
#[component(record)]
pub(crate) struct HeadersOut {
    pub names: Vec<String>,
    pub of: Vec<u32>,
    pub name: Vec<u16>,
    pub values: VarlenOut,
}

/// `records.batch`, from a source.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct BatchOut {
    pub rows: u32,
    pub times: Option<Vec<i64>>,
    pub keys: Option<BlobColumnOut>,
    pub headers: Option<HeadersOut>,
    pub values: BlobColumnOut,
}

/// `tables.table`, from a source.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct TableOut {
    pub rows: u32,
    pub times: Option<Vec<i64>>,
    pub keys: Option<BlobColumnOut>,
    pub columns: Vec<ColumnOut>,
}

/// `outcomes.forwarded`.
#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum ForwardedOut {
    #[component(name = "nothing")]
    Nothing,
    #[component(name = "all")]
    All,
    #[component(name = "these")]
    These(Vec<u32>),
}

/// `outcomes.origins`.
#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum OriginsOut {
    #[component(name = "these")]
    These(Vec<u32>),
    #[component(name = "each")]
    Each,
}

/// `outcomes.made-records`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct MadeRecordsOut {
    pub origins: OriginsOut,
    pub times: Option<Vec<i64>>,
    pub keys: Option<BlobColumnOut>,
    pub headers: Option<HeadersOut>,
    pub values: BlobColumnOut,
}

/// `outcomes.emission`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct EmissionOut {
    pub port: u32,
    pub forwarded: ForwardedOut,
    pub made: Option<MadeRecordsOut>,
}

/// `outcomes.made-rows`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct MadeRowsOut {
    pub origins: OriginsOut,
    pub times: Option<Vec<i64>>,
    pub keys: Option<BlobColumnOut>,
    pub set: Vec<ColumnOut>,
}

/// `outcomes.table-emission`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct TableEmissionOut {
    pub port: u32,
    pub forwarded: ForwardedOut,
    pub set: Vec<ColumnOut>,
    pub made: Option<MadeRowsOut>,
}

/// `outcomes.rejection`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RejectionOut {
    pub of: u32,
    pub code: String,
    pub message: String,
}

/// `outcomes.outcome`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct OutcomeOut {
    pub emissions: Vec<EmissionOut>,
    pub rejections: Vec<RejectionOut>,
    pub held: u32,
}

/// `outcomes.table-outcome`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct TableOutcomeOut {
    pub emissions: Vec<TableEmissionOut>,
    pub rejections: Vec<RejectionOut>,
    pub held: u32,
}

/// `outcomes.retry`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RetryOut {
    #[component(name = "after-ms")]
    pub after_ms: u32,
    pub message: String,
}

/// `outcomes.failure`.
#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum FailureOut {
    #[component(name = "fatal")]
    Fatal(String),
    #[component(name = "invalid")]
    Invalid(String),
    #[component(name = "retry")]
    Retry(RetryOut),
}

/// `about.about`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct AboutOut {
    pub name: String,
    pub version: String,
    pub summary: String,
    #[component(name = "config-schema")]
    pub config_schema: String,
    pub needs: Vec<String>,
    pub hints: Vec<(String, String)>,
}

/// `fingerprint.part`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct PartOut {
    pub name: String,
    pub value: String,
}

/// `transform.record-plan`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RecordPlanOut {
    pub times: bool,
    pub keys: bool,
    pub headers: bool,
    pub outputs: Vec<String>,
}

/// `table-transform.selection`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct SelectionOut {
    pub name: String,
    pub column: String,
}

/// `table-transform.output`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct OutputOut {
    pub name: String,
    pub select: Option<Vec<SelectionOut>>,
    pub set: Vec<Field>,
}

/// `table-transform.table-plan`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct TablePlanOut {
    pub wanted: Vec<Field>,
    pub times: bool,
    pub keys: bool,
    pub outputs: Vec<OutputOut>,
}

/// `sink.sink-plan`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct SinkPlanOut {
    pub times: bool,
    pub keys: bool,
    pub headers: bool,
    pub ids: bool,
    pub commits: bool,
}

/// `table-sink.table-sink-plan`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct TableSinkPlanOut {
    pub wanted: Vec<Field>,
    pub times: bool,
    pub keys: bool,
    pub ids: bool,
    pub commits: bool,
}

/// `splits.refused`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RefusedOut {
    pub offset: u64,
    pub code: String,
    pub message: String,
    pub raw: Vec<u8>,
}

/// `splits.place`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct PlaceOut {
    pub split: u32,
    pub offsets: Vec<u64>,
    pub refused: Vec<RefusedOut>,
    pub cursor: Vec<u8>,
    pub ended: bool,
}
