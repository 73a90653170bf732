//! Whether a component is let in: the trust policy of this process, asked about what is about to be loaded.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use model::lock::Image;
use registry::client::Origin;
use registry::image_ref::ImageRef;
use registry::trust::{Memory, MemoryError, Policy, PolicyError, Trust, TrustError, Verdict};
use tokio::sync::Mutex;

use crate::exit::{Failure, Result};
use crate::{places, terminal};

/// Why a component is not let in.
#[derive(thiserror::Error, Debug)]
pub enum Distrust {
    #[error("it is not trusted: expected is {expected}, and there is {came}")]
    Refused { expected: String, came: String },
    #[error(transparent)]
    Unjudged(#[from] TrustError),
}

/// A policy with its memory, for all that a process loads.
pub struct Trusting(Mutex<Trust>);

impl Trusting {
    /// The policy that was named, or the one of this user where there is one.
    pub fn open(named: Option<&Path>) -> Result<Self> {
        let (policy, memory) = (places::trust_policy(), places::trust_memory());
        let policy = named.map(Path::to_owned).or(policy.filter(|path| path.exists()));
        let policy = policy.map(|path: PathBuf| Policy::read(&path)).transpose().map_err(|error| match error {
            PolicyError::Wrong(wrong) => Failure::from(wrong),
            error => Failure::Input(anyhow::anyhow!("{error}; name a trust policy that can be read, or none")),
        })?;
        let memory: Option<Memory> =
            memory.map(Memory::open).transpose().map_err(|error: MemoryError| Failure::ran(error))?;
        Ok(Self(Mutex::new(Trust { policy: policy.unwrap_or_default(), memory })))
    }

    /// Judges an image by the signatures of the first of `origins` that lets it in: what was brought before comes before what
    /// there is now. An image of an index is signed when one of both is.
    pub async fn judge(&self, image: &ImageRef, found: &Image, origins: &[&dyn Origin]) -> Result<(), Distrust> {
        let mut trust = self.0.lock().await;
        if !trust.wants_signatures(image) {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let mut first = None;
        for origin in origins {
            for digest in [Some(found.resolved()), Some(found.manifest).filter(|_| found.index.is_some())] {
                let Some(digest) = digest else { continue };
                let judged = trust.check(*origin, &image.with_digest(digest), &digest, now).await;
                let why = match judged {
                    Ok(Verdict::Accepted { .. }) => return Ok(()),
                    Ok(Verdict::Warn { expected, came }) => {
                        terminal::warning(format!("{image} is not trusted: expected is {expected}, and there is {came}"));
                        return Ok(());
                    }
                    Ok(Verdict::Refused { expected, came }) => Distrust::Refused { expected, came },
                    Err(error) => Distrust::Unjudged(error),
                };
                first = first.or(Some(why));
            }
        }
        first.map_or(Ok(()), Err)
    }
}
