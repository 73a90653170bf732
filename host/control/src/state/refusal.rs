//! Why a command is not done. Each names what it is about and what to do next.

use model::ids::Epoch;
use model::limits::{CONTROL_COMMAND_BYTES_MAX, EPOCH_TAKEN_OVER_MAX};
use model::manifest::Name;
use serde::{Deserialize, Serialize};

use super::ids::{
    IdempotencyKey, NodeId, PipelineId, PipelineName, RevisionNumber, SecretName, TagName, Version,
};

#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    #[error("there is no pipeline `{pipeline}`; `conveyor list` shows those that there are")]
    NoPipeline { pipeline: PipelineName },
    #[error("no pipeline has the number {pipeline} any more; forget what you have of it")]
    NoPipelineNumber { pipeline: PipelineId },
    #[error(
        "there is a pipeline `{pipeline}` already, at version {version}; deploy to it, or choose another name"
    )]
    Taken { pipeline: PipelineName, version: Version },
    #[error(
        "`{pipeline}` is at version {found}, and version {expected} was expected: somebody has changed it meanwhile. Look at it, \
         and try again with version {found}"
    )]
    Stale { pipeline: PipelineName, expected: Version, found: Version },
    #[error("`{pipeline}` is being deleted; wait until it is gone, or choose another name")]
    BeingDeleted { pipeline: PipelineName },
    #[error("`{pipeline}` has no revision {revision}; it has {least} to {most}")]
    NoRevision {
        pipeline: PipelineName,
        revision: RevisionNumber,
        least: RevisionNumber,
        most: RevisionNumber,
    },
    #[error(
        "`{pipeline}` is there already, and goes on from its own checkpoints; delete it first, or deploy under another name to \
         take over others"
    )]
    CannotTakeOver { pipeline: PipelineName },
    #[error(
        "the epoch {epoch} is above {EPOCH_TAKEN_OVER_MAX}, which no store has given; the directory is damaged, or no state of Conveyor's"
    )]
    EpochTooHigh { epoch: Epoch },
    #[error(
        "what runs as pipeline number {pipeline} has epoch {current}, and {epoch} is older: stop what runs under it"
    )]
    OldEpoch { pipeline: PipelineId, epoch: Epoch, current: Epoch },
    #[error("pipeline number {pipeline} is not being deleted, or runs yet; keep what you have of it")]
    NotBeingDeleted { pipeline: PipelineId },
    #[error("there is no node {node}; `conveyor node list` shows those that there are")]
    NoNode { node: NodeId },
    #[error(
        "the number {node} was given to a node before, and none is given twice; begin with an empty data directory"
    )]
    NodeGone { node: NodeId },
    #[error(
        "there is no namespace `{name}`; create it by the API (`POST /v1/namespaces`), or name another with `-n`"
    )]
    NoNamespace { name: Name },
    #[error("there is a namespace `{name}` already")]
    NamespaceTaken { name: Name },
    #[error("the namespace `{name}` has {pipelines} pipelines and {secrets} secrets; delete them first")]
    NamespaceInUse { name: Name, pipelines: usize, secrets: usize },
    #[error("the namespace `default` stays; nothing has to be in it")]
    DefaultNamespace,
    #[error("there is no tag `{tag}`")]
    NoTag { tag: TagName },
    #[error("there is no secret `{secret}`; `conveyor secret list` shows those that there are")]
    NoSecret { secret: SecretName },
    #[error(
        "the key `{key}` was used for something else; take another one for each thing that is to be done"
    )]
    KeyUsed { key: IdempotencyKey },
    #[error("there are {max} {what} already, which is the most; delete some first")]
    TooMany { what: Kind, max: u64 },
    #[error("{what} has {found} bytes, and {max} are the most; make it smaller")]
    TooLarge { what: Kind, found: u64, max: u64 },
    #[error(
        "revisions and secrets take {found} bytes with it, and {max} are the most; delete pipelines that nobody needs, or make \
         manifests smaller"
    )]
    NoRoom { found: u64, max: u64 },
    #[error("the command takes more than {CONTROL_COMMAND_BYTES_MAX} bytes; make the manifest smaller")]
    CommandTooLarge,
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Nodes,
    Namespaces,
    Pipelines,
    Tags,
    Secrets,
    Stages,
    Grants,
    Grant,
    Manifest,
    Lock,
    Variables,
    Answers,
    Secret,
    Text,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nodes => "nodes",
            Self::Namespaces => "namespaces",
            Self::Pipelines => "pipelines",
            Self::Tags => "tags",
            Self::Secrets => "secrets",
            Self::Stages => "stages of the pipeline",
            Self::Grants => "grants of the stage",
            Self::Grant => "a grant",
            Self::Manifest => "the manifest",
            Self::Variables => "variables of the manifest",
            Self::Lock => "the lock of the manifest",
            Self::Answers => "what the stages answered",
            Self::Secret => "the secret",
            Self::Text => "a text",
        })
    }
}
