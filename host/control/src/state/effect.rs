//! What follows from commands, for those who do it and for those who look on.

use std::sync::Arc;

use model::ids::{CheckpointNumber, Digest, Epoch};
use model::manifest::Name;
use serde::{Deserialize, Serialize};

use super::ids::{BootId, NodeId, PipelineId, PipelineName, RevisionNumber, SecretName, TagName, Version};
use super::pipeline::Desired;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    NodeStarted {
        node: NodeId,
        boot: BootId,
    },
    NodeRemoved {
        node: NodeId,
    },
    NamespaceMade {
        name: Name,
    },
    NamespaceGone {
        name: Name,
    },
    /// Something else is wanted of a pipeline.
    Wanted {
        pipeline: Arc<PipelineName>,
        version: Version,
        desired: Desired,
        revision: RevisionNumber,
        why: Option<String>,
    },
    /// A node opens a revision, under this epoch and at this checkpoint. None: at the last one that is in the pipeline's
    /// directory, if any.
    Start {
        pipeline: Arc<PipelineName>,
        id: PipelineId,
        node: NodeId,
        revision: RevisionNumber,
        epoch: Epoch,
        checkpoint: Option<CheckpointNumber>,
    },
    /// A node lets what it runs under this epoch stop at a barrier, and says that it did.
    Stop {
        pipeline: Arc<PipelineName>,
        id: PipelineId,
        node: NodeId,
        epoch: Epoch,
    },
    /// What a pipeline ran under this epoch has stopped.
    Stopped {
        pipeline: Arc<PipelineName>,
        id: PipelineId,
        epoch: Epoch,
        checkpoint: Option<CheckpointNumber>,
    },
    /// A node removes what it has of a pipeline, and says that it did.
    Remove {
        pipeline: Arc<PipelineName>,
        id: PipelineId,
        node: NodeId,
        keeps_dead_letters: bool,
    },
    /// The name is free.
    Gone {
        pipeline: Arc<PipelineName>,
        id: PipelineId,
    },
    TagSet {
        tag: TagName,
        digest: Digest,
    },
    TagGone {
        tag: TagName,
    },
    /// Whatever reads it is to be started anew.
    SecretSet {
        secret: SecretName,
        version: u64,
    },
    SecretGone {
        secret: SecretName,
    },
}

/// An effect with its place among all: whoever has seen one asks for those behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counted from 1, without gaps, the same on every node.
    pub number: u64,
    /// Of the entry of the log.
    pub index: u64,
    pub at_us: u64,
    pub effect: Effect,
}
