//! A plan as a picture: what the host will do with a manifest, and what that costs.

mod boxes;
mod plain;

use std::collections::HashMap;

use model::fields::FieldSpec;
use model::manifest::StageRef;
use model::plan::{Conversion, Key, PlannedStage, SourceWork, Stream, Work};
use model::stage::Role;
use serde::{Serialize, Serializer};

use crate::wiring::ResolvedPipeline;

pub use boxes::{dot, mermaid};
pub use plain::text;

/// What a picture shows, whatever it is drawn with.
#[derive(Debug, Serialize)]
pub struct Picture {
    pub pipeline: String,
    pub stages: Vec<StagePicture>,
    pub edges: Vec<EdgePicture>,
    /// Names of stages that run as one loop.
    pub chains: Vec<Vec<String>>,
}

#[derive(Debug, Serialize)]
pub struct StagePicture {
    pub name: String,
    #[serde(serialize_with = "role_name")]
    pub role: Role,
    /// The connector, the file, the directory or the reference that the manifest names.
    pub is: String,
    /// Of a component that is named by a reference: which it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The interface that a component exports; none for a connector.
    pub exports: Option<String>,
    /// For a source: what it could give and what of it is decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gives: Option<StreamPicture>,
    /// The columns that the stage itself reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub ports: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct EdgePicture {
    pub from: String,
    pub port: String,
    pub to: String,
    pub carries: StreamPicture,
    /// What the host does on the way; none where nothing has to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion: Option<&'static str>,
    /// Whether it ends one loop and begins another.
    pub between_loops: bool,
}

/// What flows: opaque records, or columns.
#[derive(Debug, Serialize)]
pub struct StreamPicture {
    /// None for opaque records.
    pub fields: Option<Vec<FieldPicture>>,
    /// How many columns there could be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<usize>,
}

#[derive(Debug, Serialize)]
pub struct FieldPicture {
    pub name: String,
    pub kind: String,
    pub nullable: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub logical: String,
}

fn role_name<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(role.as_str())
}

pub fn json(picture: &Picture) -> serde_json::Value {
    serde_json::to_value(picture).unwrap_or_default()
}

impl Picture {
    /// Where each stage is, by its name.
    fn places(&self) -> HashMap<&str, usize> {
        self.stages.iter().enumerate().map(|(place, stage)| (stage.name.as_str(), place)).collect()
    }

    pub fn of(resolved: &ResolvedPipeline) -> Self {
        let plan = &resolved.plan;
        let name = |stage: usize| plan.stages[stage].name.to_string();
        let stages =
            plan.stages.iter().enumerate().map(|(index, stage)| stage_picture(resolved, index, stage));
        let mut chain_of = vec![0; plan.stages.len()];
        for (nth, chain) in plan.chains.iter().enumerate() {
            chain.stages.iter().for_each(|&stage| chain_of[stage] = nth);
        }
        let edges = plan.edges.iter().map(|edge| {
            let port = &plan.stages[edge.from].ports[edge.port];
            let offered = port.offered.schema().map(|schema| schema.fields().len());
            let stream = match (&edge.project, port.stream.schema()) {
                (Some(columns), Some(schema)) => {
                    let fields = columns.iter().map(|&column| field(schema.field(column))).collect();
                    StreamPicture { fields: Some(fields), of: offered }
                }
                _ => stream(&port.stream, offered),
            };
            EdgePicture {
                from: name(edge.from),
                port: port.name.to_string(),
                to: name(edge.to),
                carries: stream,
                conversion: conversion(&edge.conversion),
                between_loops: chain_of[edge.from] != chain_of[edge.to],
            }
        });
        Self {
            pipeline: plan.pipeline.to_string(),
            stages: stages.collect(),
            edges: edges.collect(),
            chains: plan
                .chains
                .iter()
                .map(|chain| chain.stages.iter().map(|&stage| name(stage)).collect())
                .collect(),
        }
    }
}

fn stage_picture(resolved: &ResolvedPipeline, index: usize, stage: &PlannedStage) -> StagePicture {
    let mut reads = Vec::new();
    let mut key = None;
    let mut gives = None;
    match &stage.work {
        Work::Source(SourceWork { key: source_key, .. }) => {
            if let Some(port) = stage.ports.first() {
                gives = Some(stream(&port.stream, port.offered.schema().map(|schema| schema.fields().len())));
                key = source_key.as_ref().map(|key| key_text(key, &port.stream));
            }
        }
        Work::Transform(work) => {
            reads = work.plan.wanted.iter().map(|field| field.name.clone()).collect();
            key = work.mapping.key.as_ref().map(|key| key_text(key, &stage.input));
        }
        Work::Sink(work) => {
            if let Some(component) = &work.component {
                reads = component.plan.wanted.iter().map(|field| field.name.clone()).collect();
            }
        }
    }
    let reference = &resolved.pipeline.stages[index].reference.value;
    StagePicture {
        name: stage.name.to_string(),
        role: stage.role,
        is: reference.to_string(),
        digest: resolved
            .component(index)
            .filter(|_| matches!(reference, StageRef::Oci(_)))
            .map(|component| component.digest().to_string()),
        exports: resolved.component(index).map(|component| component.kind().to_string()),
        gives,
        reads,
        key,
        ports: stage.ports.iter().map(|port| port.name.to_string()).collect(),
    }
}

fn key_text(key: &Key, stream: &Stream) -> String {
    match (key, stream.schema()) {
        (Key::Column(column), Some(schema)) => schema.field(*column).name().clone(),
        (Key::Column(column), None) => column.to_string(),
        (Key::Pointer(pointer), _) => pointer.clone(),
    }
}

fn stream(stream: &Stream, of: Option<usize>) -> StreamPicture {
    let fields = stream.schema().map(|schema| schema.fields().iter().map(|column| field(column)).collect());
    StreamPicture { fields, of }
}

fn field(column: &arrow::datatypes::Field) -> FieldPicture {
    let FieldSpec { name, kind, nullable, logical } = FieldSpec::of(column);
    FieldPicture { name, kind: kind.to_string(), nullable, logical }
}

fn conversion(conversion: &Conversion) -> Option<&'static str> {
    match conversion {
        Conversion::None => None,
        Conversion::RowsToJson => Some("rows to JSON"),
        Conversion::JsonToRows { .. } => Some("JSON to rows"),
    }
}

impl StreamPicture {
    /// `3 of 19 columns`, or `opaque records`.
    fn short(&self) -> String {
        match (&self.fields, self.of) {
            (None, _) => "opaque records".to_owned(),
            (Some(fields), Some(of)) if of != fields.len() => format!("{} of {of} columns", fields.len()),
            (Some(fields), _) if fields.len() == 1 => "1 column".to_owned(),
            (Some(fields), _) => format!("{} columns", fields.len()),
        }
    }

    /// The columns with their kinds; a `?` for those that may be without a value.
    fn columns(&self) -> Vec<String> {
        let fields = self.fields.iter().flatten();
        let text = |field: &FieldPicture| {
            format!("{}: {}{}", field.name, field.kind, if field.nullable { "?" } else { "" })
        };
        fields.map(text).collect()
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Picture {
    let amount = || FieldPicture {
        name: "amount".into(),
        kind: "f64s".into(),
        nullable: true,
        logical: String::new(),
    };
    let stage = |name: &str, role: Role, is: &str| StagePicture {
        name: name.into(),
        role,
        is: is.into(),
        digest: (role == Role::Transform).then(|| "sha256:0a1b".to_owned()),
        exports: (role == Role::Transform).then(|| "table-transform".to_owned()),
        gives: (role == Role::Source).then(|| StreamPicture { fields: Some(vec![amount()]), of: Some(19) }),
        reads: if role == Role::Transform { vec!["amount".into()] } else { vec![] },
        key: (role == Role::Source).then(|| "amount".to_owned()),
        ports: if role == Role::Sink { vec![] } else { vec!["main".into()] },
    };
    Picture {
        pipeline: "orders".into(),
        stages: vec![
            stage("in", Role::Source, "file"),
            stage("large", Role::Transform, "large.wasm"),
            stage("out", Role::Sink, "stdout"),
        ],
        edges: vec![
            EdgePicture {
                from: "in".into(),
                port: "main".into(),
                to: "large".into(),
                carries: StreamPicture { fields: Some(vec![amount()]), of: Some(19) },
                conversion: None,
                between_loops: false,
            },
            EdgePicture {
                from: "large".into(),
                port: "main".into(),
                to: "out".into(),
                carries: StreamPicture { fields: None, of: None },
                conversion: Some("rows to JSON"),
                between_loops: true,
            },
        ],
        chains: vec![vec!["in".into(), "large".into()], vec!["out".into()]],
    }
}
