//! What a stage says of itself: what it is, what it wants of a batch, and what leaves by which port.
//!
//! A plan of pipelines is made from these values alone, whoever asked the stage for them: a component is
//! asked by the engine, a built-in connector answers itself. Whether the answers fit together (a wanted
//! column that comes, a selected name that is there) is decided in the plan.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use crate::fields::FieldSpec;

/// What a component is, seen from the interface that it exports. Where it exports the bytes and the table
/// form of one, it is taken in the table form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StageKind {
    Transform,
    TableTransform,
    Source,
    TableSource,
    Sink,
    TableSink,
}

/// Where a stage stands in a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Source,
    Transform,
    Sink,
}

impl StageKind {
    /// Every kind, the table form of each role first: the order in which a component is matched.
    pub const ALL: [Self; 6] =
        [Self::TableTransform, Self::Transform, Self::TableSource, Self::Source, Self::TableSink, Self::Sink];

    pub fn role(self) -> Role {
        match self {
            Self::Transform | Self::TableTransform => Role::Transform,
            Self::Source | Self::TableSource => Role::Source,
            Self::Sink | Self::TableSink => Role::Sink,
        }
    }

    /// Whether it works on typed columns rather than on records that nobody looks into.
    pub fn is_table(self) -> bool {
        matches!(self, Self::TableTransform | Self::TableSource | Self::TableSink)
    }

    /// The name of the interface in the contract's package.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::TableTransform => "table-transform",
            Self::Source => "source",
            Self::TableSource => "table-source",
            Self::Sink => "sink",
            Self::TableSink => "table-sink",
        }
    }
}

impl fmt::Display for StageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.interface())
    }
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Transform => "transform",
            Self::Sink => "sink",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a component says of itself before anybody configures it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// JSON Schema of `with:`; empty for none.
    pub config_schema: String,
    /// What it cannot do without, as grants are written in the manifest.
    pub needs: Vec<String>,
    pub hints: Vec<(String, String)>,
}

/// What a transform wants and gives, bytes and tables alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformPlan {
    /// For tables: the columns that it gets, in this order, as these kinds. Empty for bytes, which get the
    /// value.
    pub wanted: Vec<FieldSpec>,
    pub times: bool,
    pub keys: bool,
    /// Never for tables.
    pub headers: bool,
    /// At least one; the first is the main one. Names are unique and not empty.
    pub outputs: Vec<PortPlan>,
}

/// What leaves by one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    pub name: String,
    /// For tables: the columns of the input that go on, as (new name, old name). None: all of them, which
    /// is what bytes always say.
    pub select: Option<Vec<(String, String)>>,
    /// For tables: the columns that the stage adds, or puts in place of one of the same name.
    pub set: Vec<FieldSpec>,
}

/// What a source gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePlan {
    /// Every column that it can give. None for a source of bytes.
    pub schema: Option<Vec<FieldSpec>>,
    /// The parts that there are to read now. Names are unique.
    pub splits: Vec<String>,
}

/// What a sink takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkPlan {
    /// For tables: the columns that it gets, in this order, as these kinds. Empty for bytes.
    pub wanted: Vec<FieldSpec>,
    pub times: bool,
    pub keys: bool,
    /// Never for tables.
    pub headers: bool,
    /// Whether `write` gets the ids of the records.
    pub ids: bool,
    /// Whether what is written becomes visible only on `commit`.
    pub commits: bool,
}

/// The answer of any stage to its planning call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StagePlan {
    Source(SourcePlan),
    Transform(TransformPlan),
    Sink(SinkPlan),
}

/// The field of one entry of a headers column, and the fields in it: a name and its bytes.
pub fn header_fields() -> (FieldRef, Fields) {
    let fields = Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Binary, true),
    ]);
    (Arc::new(Field::new("headers", DataType::Struct(fields.clone()), false)), fields)
}

/// The type of a batch's headers: a map from text to binary for each record.
pub fn headers_type() -> DataType {
    DataType::Map(header_fields().0, false)
}
