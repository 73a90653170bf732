//! What can be asked of the control state.
//!
//! A command has all that decides what comes of it, the time included, so that each node that has the same commands has
//! the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::ids::{CheckpointNumber, Digest, Epoch};
use model::manifest::Name;
use serde::{Deserialize, Serialize};

use super::ids::{
    BootId, IdempotencyKey, NodeId, PipelineId, PipelineName, RevisionNumber, SecretName, TagName, Version,
};
use super::pipeline::How;
use crate::bytes::Opaque;
use crate::sealed::Sealed;

/// A command with who wants it, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Of whoever proposes it, in microseconds since the Unix epoch.
    pub at_us: u64,
    /// Who is told in the audit log. None where a node itself wants it, which is not told there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Asked again under the same key, the command is not done again, and the answer is the one that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<IdempotencyKey>,
    pub command: Command,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// A node has started. What it ran before does not run any more.
    Boot(Boot),
    /// A node is not coming back. What it ran has to be assigned anew.
    RemoveNode {
        node: NodeId,
    },
    CreateNamespace {
        name: Name,
    },
    /// Refused while something is in it.
    DeleteNamespace {
        name: Name,
    },
    Deploy(Box<Deploy>),
    /// An earlier revision, or a later one, is to run.
    UseRevision {
        pipeline: PipelineName,
        revision: RevisionNumber,
        expects: Expects,
        why: Option<String>,
    },
    /// Runs, or stops at a checkpoint and stays so.
    Pause {
        pipeline: PipelineName,
        paused: bool,
        expects: Expects,
    },
    /// Stops at a checkpoint and opens there.
    Restart {
        pipeline: PipelineName,
        expects: Expects,
    },
    Delete {
        pipeline: PipelineName,
        keeps_dead_letters: bool,
        expects: Expects,
    },
    /// A node is to run a pipeline.
    Assign {
        pipeline: PipelineName,
        node: NodeId,
    },
    /// A node says that what it ran under this epoch has stopped.
    Stopped {
        pipeline: PipelineId,
        epoch: Epoch,
        how: How,
        checkpoint: Option<CheckpointNumber>,
        why: Option<String>,
    },
    /// A node says that nothing is left of a pipeline on it.
    Removed {
        pipeline: PipelineId,
        node: NodeId,
    },
    SetTag {
        tag: TagName,
        digest: Digest,
    },
    DeleteTag {
        tag: TagName,
    },
    SetSecret {
        secret: SecretName,
        sealed: Sealed,
    },
    DeleteSecret {
        secret: SecretName,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    pub node: NodeId,
    /// Another one at each start.
    pub boot: BootId,
    /// At which others reach it.
    pub address: String,
    /// What it is: a version of Conveyor.
    pub version: String,
}

/// Puts a pipeline there, or a new revision of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    pub pipeline: PipelineName,
    pub content: Content,
    pub expects: Expects,
    /// Which node runs it, where none does yet.
    pub node: Option<NodeId>,
    /// Of a pipeline that ran elsewhere before, such as by `run --state`. Only where there is none of that name.
    pub taken_over: Option<TakenOver>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    /// The highest that its sinks have seen.
    pub epoch: Epoch,
    pub checkpoint: CheckpointNumber,
}

/// What a revision consists of. Nothing of it ever changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// As it was deployed.
    pub manifest: Arc<str>,
    /// The variables of the environment that it names, as they were where it was deployed.
    pub variables: BTreeMap<String, String>,
    /// The text of a [`model::lock::Lock`]: what each reference and each path of the manifest stands for. Empty where there is
    /// none.
    pub lock: Arc<str>,
    /// The absolute directory to which relative paths of the manifest are relative. None where it has absolute ones alone.
    pub dir: Option<Arc<str>>,
    /// What the stages answered when it was planned, so that no node asks them again.
    pub answers: Opaque,
    /// By stage: each thing that it may reach, as a text.
    pub grants: BTreeMap<Name, BTreeSet<String>>,
}

/// What has to be so before a command is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expects {
    #[default]
    Anything,
    /// There is no pipeline of that name.
    Nothing,
    /// There is one, at whatever version.
    Something,
    /// Nobody has wanted something of it since.
    Version(Version),
}

impl Command {
    /// What is done, for the audit log.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Boot(_) => "boot",
            Self::RemoveNode { .. } => "remove-node",
            Self::CreateNamespace { .. } => "create-namespace",
            Self::DeleteNamespace { .. } => "delete-namespace",
            Self::Deploy(_) => "deploy",
            Self::UseRevision { .. } => "use-revision",
            Self::Pause { paused: true, .. } => "pause",
            Self::Pause { .. } => "resume",
            Self::Restart { .. } => "restart",
            Self::Delete { .. } => "delete",
            Self::Assign { .. } => "assign",
            Self::Stopped { .. } => "stopped",
            Self::Removed { .. } => "removed",
            Self::SetTag { .. } => "set-tag",
            Self::DeleteTag { .. } => "delete-tag",
            Self::SetSecret { .. } => "set-secret",
            Self::DeleteSecret { .. } => "delete-secret",
        }
    }

    /// What somebody gave as the reason.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::UseRevision { why, .. } | Self::Stopped { why, .. } => why.as_deref(),
            _ => None,
        }
    }

    /// What it is done to, for the audit log.
    pub fn object(&self) -> String {
        match self {
            Self::Boot(Boot { node, .. }) | Self::RemoveNode { node } => format!("node {node}"),
            Self::CreateNamespace { name } | Self::DeleteNamespace { name } => format!("namespace {name}"),
            Self::Deploy(deploy) => format!("pipeline {}", deploy.pipeline),
            Self::UseRevision { pipeline, revision, .. } => {
                format!("pipeline {pipeline} revision {revision}")
            }
            Self::Pause { pipeline, .. } | Self::Restart { pipeline, .. } | Self::Delete { pipeline, .. } => {
                format!("pipeline {pipeline}")
            }
            Self::Assign { pipeline, node } => format!("pipeline {pipeline} to node {node}"),
            Self::Stopped { pipeline, .. } | Self::Removed { pipeline, .. } => {
                format!("pipeline number {pipeline}")
            }
            Self::SetTag { tag, .. } | Self::DeleteTag { tag } => format!("tag {tag}"),
            Self::SetSecret { secret, .. } | Self::DeleteSecret { secret } => format!("secret {secret}"),
        }
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Done,
    /// `is_new`: false where it is what was to run already.
    Deployed {
        revision: RevisionNumber,
        version: Version,
        is_new: bool,
    },
    /// Of a pipeline, where something else is wanted of it now, or was before.
    Wanted {
        version: Version,
    },
    /// Of a secret: counts how often it was set.
    SecretSet {
        version: u64,
    },
}
