//! `conveyor delete NAME`.

use clap::Args;
use control::state::{Expects, Version};

use super::act::tell;
use super::nodes::{self, Target};
use super::{Output, agree, block_on};
use crate::exit::Result;

/// Deletes a pipeline of a node: it stops at a checkpoint, and what is kept of it is removed, but for its dead letters
#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    target: Target,
    /// Remove its dead letters, too
    #[arg(long)]
    drop_dead_letters: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Delete {
    pub(super) fn execute(self) -> Result {
        let (client, pipeline) = (self.target.client()?, self.target.pipeline()?);
        let mut expects = Expects::Anything;
        if !self.yes {
            let now = block_on(client.pipeline(&pipeline))?.map_err(nodes::failure)?;
            let letters = if self.drop_dead_letters { " and its dead letters" } else { "" };
            let what = format!(
                "`{pipeline}` on {} would be lost with its checkpoints, its state{letters}.",
                client.url()
            );
            agree(&what, "nothing was deleted")?;
            // That is what was agreed to.
            expects = Expects::Version(Version(now.version));
        }
        let done = block_on(client.delete(&pipeline, !self.drop_dead_letters, expects))?;
        tell(&pipeline, done.map_err(nodes::failure)?, "it is being deleted", self.output)
    }
}
