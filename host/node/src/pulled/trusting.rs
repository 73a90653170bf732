//! Whether a component is let in: the trust policy of this process, asked about what is about to be loaded.

use std::path::Path;
use std::sync::OnceLock;

use model::lock::Image;
use registry::client::Origin;
use registry::image_ref::ImageRef;
use registry::trust::{Trust, TrustError, Verdict};
use tokio::sync::Mutex;

use crate::exit::Failure;
use crate::{terminal, trust};

/// Why a component is not let in.
#[derive(thiserror::Error, Debug)]
pub enum Distrust {
    #[error("it is not trusted: expected is {expected}, and there is {came}")]
    Refused { expected: String, came: String },
    #[error("nobody knows whether it is trusted: {why}")]
    Policy { why: String },
    #[error(transparent)]
    Unjudged(#[from] TrustError),
}

/// A policy with its memory, for all that a process loads. What nobody named is read when something is judged: it is nothing
/// to a pipeline of files.
pub struct Trusting(OnceLock<Result<Mutex<Trust>, String>>);

impl Trusting {
    /// The policy that was named, or the one of this user where there is one.
    pub fn open(named: Option<&Path>) -> Result<Self, Failure> {
        let opened = named.map(|named| trust::open(Some(named))).transpose()?;
        Ok(Self(opened.map_or_else(OnceLock::new, |trust| OnceLock::from(Ok(Mutex::new(trust))))))
    }

    /// Judges an image by the signatures of the first of `origins` that lets it in: those that were brought before, and then
    /// those that there are now. An image of an index is signed when one of both is.
    pub async fn judge(&self, image: &ImageRef, found: &Image, origins: &[&dyn Origin]) -> Result<(), Distrust> {
        let opened = self.0.get_or_init(|| trust::open(None).map(Mutex::new).map_err(|failure| failure.line()));
        let mut judge = match opened {
            Ok(trust) => trust.lock().await,
            Err(why) => return Err(Distrust::Policy { why: why.clone() }),
        };
        if !judge.wants_signatures(image) {
            return Ok(());
        }
        let mut last = None;
        for origin in origins {
            for digest in [Some(found.resolved()), Some(found.manifest).filter(|_| found.index.is_some())] {
                let Some(digest) = digest else { continue };
                let judged = judge.check(*origin, &image.with_digest(digest), &digest, trust::now()).await;
                let why = match judged {
                    Ok(Verdict::Accepted { .. }) => return Ok(()),
                    Ok(Verdict::Warn { expected, came }) => {
                        terminal::warning(format!("{image} is not trusted: expected is {expected}, and there is {came}"));
                        return Ok(());
                    }
                    Ok(Verdict::Refused { expected, came }) => Distrust::Refused { expected, came },
                    Err(error) => Distrust::Unjudged(error),
                };
                // That nobody can be asked now says less than what was found before.
                last = match (last, why) {
                    (Some(found), Distrust::Unjudged(_)) => Some(found),
                    (_, why) => Some(why),
                };
            }
        }
        last.map_or(Ok(()), Err)
    }
}
