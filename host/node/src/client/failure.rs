//! Why a node did not do what it was asked for. Each says what to do next.

use std::error::Error;
use std::path::PathBuf;

use crate::api::types::ProblemBody;

#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The node has said why.
    #[error("{}", .0.detail)]
    Problem(Box<ProblemBody>),
    #[error("no node answers at {url} ({found}): {why}; start it, or name another with `--node`")]
    Unreachable { url: String, found: String, why: String },
    /// It may have been done.
    #[error("the connection to {url} broke off: {why}; see that the node runs, and try again")]
    Broken { url: String, why: String },
    /// No node was named, and none is known to run here.
    #[error(
        "no node is named, and `conveyor up` does not run here; start it, or name a node with `--node` or `conveyor context add`"
    )]
    NoNode,
    #[error("{url} is no node of this version: {why}; name another with `--node`")]
    Strange { url: String, why: String },
    #[error(
        "{url} would be told the token in the clear; name it with https://, or speak to it from its own machine"
    )]
    InTheClear { url: String },
    #[error(
        "the token ({found}) cannot be one: it has characters that none has; write the token alone into its file"
    )]
    NoToken { found: String },
    #[error(
        "connections by TLS cannot be set up: {why}; install the certificates of the system (ca-certificates), or name some by --ca-cert"
    )]
    Tls { why: String },
    #[error("{}: {why}; name a file of PEM", path.display())]
    Certificates { path: PathBuf, why: String },
    #[error("this cannot be sent: {why}")]
    Body { why: String },
}

impl ClientError {
    /// Whether the request, or what it names, is wrong, so that it is refused again as long as nothing changes.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.status < 500 && problem.status != 429 && problem.status != 408,
            Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::NoNode
            | Self::Strange { .. }
            | Self::Tls { .. } => false,
            Self::InTheClear { .. }
            | Self::NoToken { .. }
            | Self::Certificates { .. }
            | Self::Body { .. } => true,
        }
    }

    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Broken { .. } | Self::NoNode)
    }

    /// Whether another try may go well.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Problem(problem) => matches!(problem.status, 408 | 429 | 503 | 504),
            // It may have been done: the same key says so.
            Self::Broken { .. } => true,
            _ => false,
        }
    }

    /// Whether the node has said this kind of problem: `stale`, `unknown`, ...
    pub fn is_kind(&self, name: &str) -> bool {
        matches!(self, Self::Problem(problem) if problem.kind.rsplit(':').next() == Some(name))
    }
}

/// An error with what is behind it, each thing once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        behind = error.source();
    }
    text
}
