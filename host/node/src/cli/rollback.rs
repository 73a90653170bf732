//! `conveyor rollback NAME [REV]`.

use anyhow::anyhow;
use clap::Args;
use control::state::{Expects, Version};

use super::act::tell;
use super::nodes::{self, Target};
use super::{Output, block_on};
use crate::exit::{Failure, Result};

/// Lets an earlier revision of a pipeline run, or a later one again
#[derive(Debug, Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    target: Target,
    /// The number of the revision, as `conveyor history` shows it; the one before the current one unless set
    #[arg(value_name = "REV")]
    revision: Option<u64>,
    /// The reason, for the events and the audit log
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Rollback {
    pub(super) fn execute(self) -> Result {
        let (client, pipeline) = (self.target.client()?, self.target.pipeline()?);
        let (revision, expects) = match self.revision {
            Some(revision) => (revision, Expects::Anything),
            None => {
                let now = block_on(client.pipeline(&pipeline))?.map_err(nodes::failure)?;
                let kept = block_on(client.revisions(&pipeline))?.map_err(nodes::failure)?;
                let current = now.revision.revision;
                let before =
                    kept.revisions.iter().map(|kept| kept.revision).filter(|kept| *kept < current).max();
                let before = before.ok_or_else(|| {
                    Failure::Input(anyhow!("`{pipeline}` has no revision before {current}; `conveyor history` shows those that it has"))
                })?;
                // As long as nobody wants something else, it is the one before.
                (before, Expects::Version(Version(now.version)))
            }
        };
        let done = block_on(client.rollback(&pipeline, revision, self.why, expects))?;
        tell(&pipeline, done.map_err(nodes::failure)?, &format!("revision {revision} is to run"), self.output)
    }
}
