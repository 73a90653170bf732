//! What is trusted: which keys may sign for which repositories, and whether an image is what it has to be.
//!
//! [`judge`] decides over values. [`Trust`] has a policy and the memory of what was required, and asks a repository for
//! signatures where they are wanted.

mod judge;
mod memory;
mod pattern;
mod policy;
#[cfg(test)]
mod tests;

use model::ids::Digest;
use model::trust::Verify;

pub use judge::{By, Verdict, judge};
pub use memory::{Memory, MemoryError, Seen};
pub use pattern::{Pattern, PatternError};
pub use policy::{Policy, PolicyError, Rule, TrustedKey};

use crate::client::{ClientError, Origin};
use crate::image_ref::ImageRef;
use crate::sign::{Signature, signatures};

/// A policy, and what was required under it and others.
#[derive(Debug, Default)]
pub struct Trust {
    pub policy: Policy,
    /// None where nothing can be kept between runs.
    pub memory: Option<Memory>,
}

/// Why an image was not judged.
#[derive(thiserror::Error, Debug)]
pub enum TrustError {
    #[error("signatures are wanted of {image}: {error}")]
    Client { image: String, error: ClientError },
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl Trust {
    /// Whether signatures make a difference to an image, so that they have to be brought.
    pub fn wants_signatures(&self, image: &ImageRef) -> bool {
        self.policy.rule(image).is_some() || !self.seen().keys(image).is_empty()
    }

    /// What is asked of a component that has no repository, and so no signature: what is asked of everything.
    pub fn of_unnamed(&self) -> Option<Verify> {
        self.policy.of_all()
    }

    /// What was required before.
    pub fn seen(&self) -> &Seen {
        self.memory.as_ref().map_or(&memory::NONE, Memory::seen)
    }

    /// Brings what is wanted of signatures, and judges. See [`judge`].
    pub async fn check(
        &mut self,
        origin: &dyn Origin,
        image: &ImageRef,
        digest: &Digest,
        now: i64,
    ) -> Result<Verdict, TrustError> {
        let signatures = match self.wants_signatures(image) {
            true => signatures(origin, digest)
                .await
                .map_err(|error| TrustError::Client { image: image.to_string(), error })?,
            false => Vec::new(),
        };
        self.judge(image, digest, &signatures, now)
    }

    /// Judges over signatures that were brought before, such as those that are kept beside a component. What was signed as
    /// it had to be is remembered.
    pub fn judge(
        &mut self,
        image: &ImageRef,
        digest: &Digest,
        signatures: &[Signature],
        now: i64,
    ) -> Result<Verdict, TrustError> {
        let verdict = judge(&self.policy, self.seen(), image, digest, signatures, now);
        if let Verdict::Accepted { by: By::Key { key, is_required: true, .. } } = &verdict
            && let Some(memory) = &mut self.memory
        {
            match memory.remember(image, key) {
                // It is as it has to be, and there are places in which nothing can be kept.
                Err(error @ MemoryError::Io { .. }) => {
                    tracing::warn!(%image, %error, "that it is signed as required is not remembered");
                }
                remembered => remembered?,
            }
        }
        Ok(verdict)
    }
}
