//! Why something was not brought from a registry or to one, and what to do next.

use std::path::PathBuf;

use model::ids::Digest;
use model::limits::REGISTRY_MANIFEST_BYTES_MAX;

use crate::manifest::ManifestError;

/// Why something was not brought from a registry, or from a layout, or to one.
#[derive(thiserror::Error, Debug)]
pub enum ClientError {
    /// `what` says where as well: `registry.example.com/acme/large:1.2.0`.
    #[error("{what} is not there")]
    NotFound { what: String },
    /// `why` is what the registry says, and what to do next.
    #[error("{what}: {why}")]
    Denied { what: String, why: String },
    /// It was tried as often as it is worth.
    #[error("{host} cannot be reached: {why}")]
    Unreachable { host: String, why: String },
    /// What came is not what it was named as. Nothing of it was kept.
    #[error(
        "{what} is damaged where it comes from, and was not kept: {expected} was expected, and {came} came"
    )]
    Corrupt { what: String, expected: String, came: String },
    /// The registry does not do it.
    #[error("{what}: the registry refuses it with {status}{}: {message}", .code.as_ref().map(|code| format!(" {code}")).unwrap_or_default())]
    Refused { what: String, status: u16, code: Option<String>, message: String },
    /// The registry answers as none should.
    #[error("{what}: the registry answers what none should: {why}")]
    Protocol { what: String, why: String },
    #[error("{what} has {bytes} bytes; {most} are the most")]
    Large { what: String, bytes: u64, most: u64 },
    #[error("{what}: {error}")]
    Manifest { what: String, error: ManifestError },
    #[error("{what}: its manifest has more than {REGISTRY_MANIFEST_BYTES_MAX} bytes")]
    LargeManifest { what: String },
    /// A layout is not one, or cannot be written.
    #[error("{}: {why}", path.display())]
    Layout { path: PathBuf, why: String },
    /// A file here.
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    /// Names and passwords could not be read, asked for, or kept.
    #[error(transparent)]
    Credentials(#[from] super::credentials::CredentialsError),
    /// What the client is to be set up with is wrong.
    #[error("{why}")]
    Settings { why: String },
}

impl ClientError {
    /// Whether there is no such thing, and nothing else is wrong.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether what was typed, or a file that it names, is wrong, so that nothing was tried.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Settings { .. } | Self::Layout { .. } => true,
            Self::Credentials(error) => error.is_input(),
            _ => false,
        }
    }

    /// That content is not what its digest says.
    pub fn corrupt(what: impl Into<String>, expected: &Digest, came: &Digest) -> Self {
        Self::Corrupt { what: what.into(), expected: expected.to_string(), came: came.to_string() }
    }
}
