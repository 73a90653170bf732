//! Whether a component is let in: the trust policy of this process, asked about what is about to be loaded.

use std::path::Path;
use std::sync::OnceLock;

use model::lock::Image;
use model::trust::Verify;
use registry::client::Origin;
use registry::image_ref::ImageRef;
use registry::trust::{Trust, TrustError, Verdict};
use tokio::sync::Mutex;

use crate::exit::Failure;
use crate::{terminal, trust};

/// Why a component is not let in.
#[derive(thiserror::Error, Debug)]
pub enum Distrust {
    #[error("it is not trusted: expected {expected}; came {came}")]
    Refused { expected: String, came: String },
    #[error("it is not trusted: expected {expected}; came {came}")]
    Unnamed { expected: String, came: String },
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

    fn policy(&self) -> Result<&Mutex<Trust>, Distrust> {
        let opened =
            self.0.get_or_init(|| trust::open(None).map(Mutex::new).map_err(|failure| failure.line()));
        opened.as_ref().map_err(|why| Distrust::Policy { why: why.clone() })
    }

    /// Judges a component that a bundle brings for a path: it comes from others, and is in no repository that could have
    /// signed it.
    pub async fn judge_unnamed(&self, path: &str) -> Result<(), Distrust> {
        let (expected, came) = ("a signature, as of every component (`*`)", "one that is in no repository");
        match self.policy()?.lock().await.of_unnamed() {
            None => Ok(()),
            Some(Verify::Warn) => {
                terminal::warning(format!("{path} is run as it is: expected {expected}; came {came}"));
                Ok(())
            }
            Some(Verify::Require) => {
                Err(Distrust::Unnamed { expected: expected.to_owned(), came: came.to_owned() })
            }
        }
    }

    /// Judges an image by the signatures of the first of `origins` that lets it in: those that were brought before, and then
    /// those that there are now. An image of an index is signed when one of both is.
    pub async fn judge(
        &self,
        image: &ImageRef,
        found: &Image,
        origins: &[&dyn Origin],
    ) -> Result<(), Distrust> {
        let mut judge = self.policy()?.lock().await;
        if !judge.wants_signatures(image) {
            return Ok(());
        }
        let (mut last, mut warning) = (None, None);
        for origin in origins {
            for digest in [Some(found.resolved()), Some(found.manifest).filter(|_| found.index.is_some())] {
                let Some(digest) = digest else { continue };
                let judged = judge.check(*origin, &image.with_digest(digest), &digest, trust::now()).await;
                let why = match judged {
                    Ok(Verdict::Accepted { .. }) => return Ok(()),
                    // It may have been signed since.
                    Ok(Verdict::Warn { expected, came }) => {
                        warning = Some(format!("{image} is run as it is: expected {expected}; came {came}"));
                        continue;
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
        match warning {
            Some(warning) => terminal::warning(warning),
            None => last.map_or(Ok(()), Err)?,
        }
        Ok(())
    }
}
