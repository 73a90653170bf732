//! Why a component is not here, as a problem of the manifest that names it.

use engine::LoadError;
use model::diagnostics::Diagnostic;
use model::ids::Digest;
use model::manifest::Stage;
use registry::artifact::{Differs, FindError};
use registry::client::ClientError;
use registry::store::StoreError;
use registry::trust::TrustError;

use super::trusting::Distrust;
use crate::exit::{NO_ROOM, REGISTRY};

const GONE: &str = "what is pinned is not there any more: `conveyor lock FILE --update` pins what its tag stands for now; a digest \
                    in the manifest has to be written anew";

/// Why a component is not here, or is not let in.
#[derive(thiserror::Error, Debug)]
pub enum PullError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Find(FindError),
    #[error("its {what} is not what the lock has: {expected} is locked, and {came} came")]
    Unlocked { what: &'static str, expected: Box<Digest>, came: Box<Digest> },
    #[error(transparent)]
    Distrust(#[from] Distrust),
    #[error(transparent)]
    Differs(#[from] Differs),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FindError> for PullError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Client(error) => Self::Client(error),
            error => Self::Find(error),
        }
    }
}

impl PullError {
    /// As a problem of the stage that wants it. `is_pinned`: whether the lock, or the manifest, says which it is.
    pub fn diagnostic(&self, stage: &Stage, is_pinned: bool) -> Diagnostic {
        let (code, help) = self.code_and_help(&stage.reference.to_string(), is_pinned);
        let message = match self {
            Self::Load(error) if error.is_of_compiling() => {
                format!("`{}` cannot be compiled: {error}", *stage.reference)
            }
            Self::Load(error) => format!("`{}` is not a stage: {error}", *stage.reference),
            Self::Client(ClientError::NotFound { .. }) => format!("`{}` is not there", *stage.reference),
            error => format!("`{}` cannot be pulled: {error}", *stage.reference),
        };
        let problem = Diagnostic::new(code, message).label(stage.reference.span, "this reference");
        match help {
            Some(help) => problem.help(help),
            None => problem,
        }
    }

    fn code_and_help(&self, reference: &str, is_pinned: bool) -> (&'static str, Option<String>) {
        match self {
            Self::Client(error) => of_client(error, reference, is_pinned),
            Self::Find(_) | Self::Differs(_) => ("stage::artifact", None),
            Self::Unlocked { .. } => {
                let help = "the lock was changed by hand, or its registry gives something else for a digest: `conveyor lock \
                            FILE --update` writes it anew";
                ("lock::differs", Some(help.to_owned()))
            }
            Self::Distrust(Distrust::Refused { .. }) => {
                let help = format!(
                    "`conveyor verify {reference}`, with the same `--trust` where there is one, shows what signed it; nothing of it \
                     was run"
                );
                ("stage::trust", Some(help))
            }
            Self::Distrust(Distrust::Unnamed { .. }) => {
                let help = "nothing of it was run; whoever bundles it pushes and signs it (`conveyor push FILE REF --sign KEY`), and \
                            names it by its reference";
                ("stage::trust", Some(help.to_owned()))
            }
            Self::Distrust(Distrust::Unjudged(TrustError::Client { .. })) => (
                REGISTRY,
                Some("without its signatures nobody knows whether it is trusted: try again".to_owned()),
            ),
            Self::Distrust(Distrust::Policy { .. }) => (
                "stage::trust",
                Some(
                    "mend what is named; `conveyor verify` underlines what is wrong with a policy".to_owned(),
                ),
            ),
            Self::Distrust(Distrust::Unjudged(_)) => ("stage::trust", None),
            Self::Load(error) if error.is_of_compiling() => ("stage::compile", None),
            Self::Store(StoreError::Full { .. }) => (NO_ROOM, None),
            Self::Store(StoreError::Refused(_)) => (
                "stage::pushed",
                Some(
                    "deploy it again: what its paths stood for is not in this node's registry any more"
                        .to_owned(),
                ),
            ),
            Self::Store(_) => (REGISTRY, None),
            Self::Load(_) => {
                ("stage::load", Some("`conveyor inspect REFERENCE` shows what an image is".to_owned()))
            }
        }
    }
}

/// What follows where the registry does not give it.
fn of_client(error: &ClientError, reference: &str, is_pinned: bool) -> (&'static str, Option<String>) {
    let name = reference.split('@').next().unwrap_or(reference);
    let host = reference.split('/').next().unwrap_or(reference);
    match error {
        ClientError::NotFound { .. } if is_pinned => ("stage::pull", Some(GONE.to_owned())),
        ClientError::NotFound { .. } => {
            let repository = match name.rfind(':').filter(|colon| !name[*colon..].contains('/')) {
                Some(colon) => &name[..colon],
                None => name,
            };
            let help = format!(
                "`conveyor registry list {repository}` lists its tags, and `conveyor registry list {host}` what else \
                 there is; it may also be that `{host}` tells nobody what he may not read: `conveyor login {host}`"
            );
            ("stage::pull", Some(help))
        }
        ClientError::Denied { .. } => ("stage::pull", Some(format!("sign in with `conveyor login {host}`"))),
        ClientError::Unreachable { .. } if is_pinned => {
            let help = format!(
                "it is not in the cache of this user either: see that {host} runs and is called so, and run it once while \
                 it can be reached, or take it along with `conveyor bundle`"
            );
            (REGISTRY, Some(help))
        }
        ClientError::Unreachable { .. } => {
            let help = format!(
                "see that {host} runs and is called so: what a tag stands for has to be asked; once it is locked \
                 (`conveyor lock`, while the registry can be reached) nothing is asked of it"
            );
            (REGISTRY, Some(help))
        }
        ClientError::Corrupt { .. } => (
            REGISTRY,
            Some("nothing of it was run; have it pushed or bundled again, where it comes from".to_owned()),
        ),
        ClientError::Refused { status, .. } if *status < 500 => ("stage::pull", None),
        error if error.is_input() => ("stage::pull", None),
        _ => (REGISTRY, Some("look at the registry, and try again".to_owned())),
    }
}
