//! An artifact goes to a registry or a layout: what is missing of it, and its manifest last.

use std::sync::atomic::{AtomicU64, Ordering};

use model::ids::Digest;

use super::Built;
use crate::client::{ClientError, Content, Moved, Progress, Target};
use crate::manifest::{Descriptor, IMAGE};
use crate::name::Reference;

/// What came of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    pub digest: Digest,
    /// Bytes of blobs and of the manifest that were not there yet.
    pub sent_bytes: u64,
    /// What the tag stood for before, where that was something else.
    pub was: Option<Digest>,
}

/// Why a push did not come to its end.
#[derive(thiserror::Error, Debug)]
pub enum PushError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("what is pushed is {digest}, and not {wanted}; name a tag, or leave the digest out")]
    OtherDigest { digest: Digest, wanted: Digest },
}

/// Pushes what is not there yet. `layers` are the contents of `built.layers`, in their order.
pub async fn push(
    target: &dyn Target,
    reference: &Reference,
    built: &Built,
    layers: Vec<Content>,
    progress: &dyn Progress,
) -> Result<Pushed, PushError> {
    if let Reference::Digest(wanted) = reference
        && *wanted != built.digest
    {
        return Err(PushError::OtherDigest { digest: built.digest, wanted: *wanted });
    }
    let there = match target.resolve(reference).await {
        Ok(there) if there.digest == built.digest => {
            return Ok(Pushed { digest: built.digest, sent_bytes: 0, was: None });
        }
        Ok(there) => Some(there.digest),
        Err(ClientError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let (config, bytes) = &built.config;
    let contents = layers.into_iter().chain([Content::Bytes(bytes.clone())]);
    let blobs = built.layers.iter().chain([config]).zip(contents);
    let counting = Counting { progress, sent: AtomicU64::new(built.manifest.len() as u64) };
    let sending = blobs.map(|(what, content)| target.put_blob(what, content, &counting));
    futures::future::try_join_all(sending).await?;
    // It names what is there by now.
    target.put_manifest(reference, IMAGE, built.manifest.clone()).await?;
    Ok(Pushed { digest: built.digest, sent_bytes: counting.sent.into_inner(), was: there })
}

/// Adds up what was not there yet.
struct Counting<'a> {
    progress: &'a dyn Progress,
    sent: AtomicU64,
}

impl Progress for Counting<'_> {
    fn begin(&self, what: &Descriptor) {
        self.progress.begin(what);
    }

    fn at(&self, what: &Descriptor, bytes: u64) {
        self.progress.at(what, bytes);
    }

    fn end(&self, what: &Descriptor, how: Moved) {
        if how == Moved::Brought {
            self.sent.fetch_add(what.size, Ordering::Relaxed);
        }
        self.progress.end(what, how);
    }
}
