//! A pipeline with what its stages say of themselves, made into a checked graph that can run.
//!
//! Planning is a conversation: [`Planner::next_ask`] says which stage to ask and what comes into it,
//! [`Planner::answer`] takes what the stage said, and [`Planner::finish`] gives the [`Plan`] or everything
//! that is wrong, over the manifest's text. Whoever drives it does the asking (an instance of a component, a
//! look at the head of a file), so nothing in here waits for anything.
//!
//! The fields of every edge are known before anything runs. Then demand goes the other way: each stage names
//! the columns that it reads or that somebody behind it reads, and only those leave the source.

mod backward;
mod forward;
pub mod places;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

pub use forward::{Answer, Ask, Planner};

use crate::fields::{FieldSpec, Kind, local_times};
use crate::manifest::{ColumnDecl, ColumnType, UnknownFields};
use crate::outcome::OutputShape;
use crate::stage::{Role, SinkPlan, TransformPlan};

/// What flows: records that nobody looks into, or rows of these fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    Opaque,
    Rows(SchemaRef),
}

/// Which of the two a stage takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Bytes,
    Table,
    /// As it comes: sinks that can write both.
    Any,
}

/// A checked graph. Indices of stages are those of the pipeline.
#[derive(Clone, Debug)]
pub struct Plan {
    pub pipeline: Arc<str>,
    pub stages: Vec<PlannedStage>,
    pub edges: Vec<Edge>,
    /// Each stage is in one chain; a chain begins with a source, or where streams meet.
    pub chains: Vec<Chain>,
}

#[derive(Clone, Debug)]
pub struct PlannedStage {
    pub name: Arc<str>,
    pub role: Role,
    /// Edges that come in, in the order of `from`.
    pub inputs: Vec<usize>,
    /// Every column that could come in, after conversion. `Opaque` for a source.
    pub offered: Stream,
    /// What does come in, once the columns that nobody wants are left out.
    pub input: Stream,
    pub ports: Vec<Port>,
    pub work: Work,
}

/// An output of a stage.
#[derive(Clone, Debug)]
pub struct Port {
    pub name: Arc<str>,
    /// Every column that could leave.
    pub offered: Stream,
    /// What does leave.
    pub stream: Stream,
    pub edges: Vec<usize>,
}

#[derive(Clone, Debug)]
pub enum Work {
    Source(SourceWork),
    Transform(TransformWork),
    Sink(SinkWork),
}

#[derive(Clone, Debug)]
pub struct SourceWork {
    /// Indices of the wanted columns into what the source can give. None for opaque records.
    pub wanted: Option<Vec<usize>>,
    /// Whether anybody downstream reads event times.
    pub times: bool,
    pub key: Option<Key>,
}

#[derive(Clone, Debug)]
pub struct TransformWork {
    pub form: Form,
    pub mapping: InputMapping,
    pub plan: TransformPlan,
    /// The columns of `open`: all that were offered. None for bytes.
    pub fields: Option<Vec<FieldSpec>>,
    pub outputs: Vec<OutputShape>,
}

#[derive(Clone, Debug)]
pub struct SinkWork {
    pub form: Form,
    /// None for a built-in sink, which takes its input as it is.
    pub component: Option<ComponentSink>,
}

#[derive(Clone, Debug)]
pub struct ComponentSink {
    pub mapping: InputMapping,
    pub plan: SinkPlan,
    pub fields: Option<Vec<FieldSpec>>,
}

/// What of a batch is handed to a stage, and as what.
#[derive(Clone, Debug)]
pub struct InputMapping {
    pub key: Option<Key>,
    pub columns: Vec<MappedColumn>,
    pub times: bool,
    pub keys: bool,
    pub headers: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedColumn {
    /// Index into the stage's input.
    pub input: usize,
    pub kind: Kind,
    /// Whether the column is of another kind and has to be cast.
    pub cast: bool,
    /// Whether rows without a value are rejected, because the stage wants one in every row.
    pub required: bool,
}

/// What sets the key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Index into the columns.
    Column(usize),
    /// JSON pointer into an opaque record.
    Pointer(String),
}

impl InputMapping {
    /// Whether a column may have values that the stage cannot take.
    pub fn casts(&self) -> bool {
        self.columns.iter().any(|column| column.cast || column.required)
    }

    /// Whether the stage gets a batch as it is, so that none of its rows can be refused.
    pub fn is_plain(&self) -> bool {
        self.key.is_none() && !self.casts()
    }
}

/// A way from a port to a stage.
#[derive(Clone, Debug)]
pub struct Edge {
    pub from: usize,
    pub port: usize,
    pub to: usize,
    /// `stage.port`, as lineage and metrics name it.
    pub name: Arc<str>,
    /// Columns of the port's stream that this way takes, where it does not take all.
    pub project: Option<Vec<usize>>,
    pub conversion: Conversion,
    /// Whether branches of one source meet where this edge ends, so that a record's id takes the edge.
    pub meets: bool,
}

/// What the host does where two neighbours differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conversion {
    None,
    /// Each row becomes one JSON object.
    RowsToJson,
    /// Each record is parsed as a JSON object with these fields; only wanted ones are decoded.
    JsonToRows {
        schema: SchemaRef,
        declared: SchemaRef,
        unknown: UnknownFields,
    },
}

/// Stages that run as one loop of calls, each behind the one that feeds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The source, or the stage at which streams meet, first.
    pub stages: Vec<usize>,
}

impl Stream {
    pub fn schema(&self) -> Option<&SchemaRef> {
        match self {
            Self::Opaque => None,
            Self::Rows(schema) => Some(schema),
        }
    }

    /// The schema of its batches.
    pub fn batch_schema(&self) -> SchemaRef {
        match self {
            Self::Opaque => crate::batch::opaque_schema(),
            Self::Rows(schema) => schema.clone(),
        }
    }
}

/// The Arrow field of a declared column.
pub fn declared_field(name: &str, column_type: ColumnType) -> Field {
    let kind = match column_type {
        ColumnType::LocalTimestamp => return Field::new(name, local_times(), true),
        ColumnType::Bool => Kind::Bools,
        ColumnType::Int => Kind::S64s,
        ColumnType::Float => Kind::F64s,
        ColumnType::Text => Kind::Texts,
        ColumnType::Timestamp => Kind::Times,
        ColumnType::Date => Kind::Days,
        ColumnType::Bytes => Kind::Blobs,
        ColumnType::Json => Kind::Jsons,
    };
    let spec = FieldSpec { name: name.to_owned(), kind, nullable: true, logical: String::new() };
    spec.to_arrow().expect("every declared type has a kind that Arrow holds")
}

/// The schema of a declaration in which every type is named. The first column without one, otherwise.
pub fn declared_schema(columns: &[ColumnDecl]) -> Result<SchemaRef, &ColumnDecl> {
    let field =
        |column: &'_ ColumnDecl| column.column_type.as_ref().map(|t| declared_field(&column.name, t.value));
    let fields = columns.iter().map(|column| field(column).ok_or(column)).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests;
