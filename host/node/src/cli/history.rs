//! `conveyor history NAME`.

use clap::Args;

use super::nodes::{self, Target};
use super::{Output, block_on};
use crate::exit::Result;
use crate::report::plain_table;
use crate::terminal;

/// Lists the revisions that a node keeps of a pipeline
#[derive(Debug, Args)]
pub(super) struct History {
    #[command(flatten)]
    target: Target,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl History {
    pub(super) fn execute(self) -> Result {
        let (client, pipeline) = (self.target.client()?, self.target.pipeline()?);
        let found = block_on(client.revisions(&pipeline))?.map_err(nodes::failure)?;
        if self.output == Output::Json {
            return terminal::print_json(&found);
        }
        let rows = found.revisions.iter().map(|revision| {
            let state = match (revision.is_current, revision.runs) {
                (true, true) => "current, runs",
                (true, false) => "current",
                (false, true) => "runs yet",
                (false, false) => "",
            };
            let by = revision.by.clone().unwrap_or_default();
            vec![revision.revision.to_string(), revision.made_at.to_string(), by, state.to_owned()]
        });
        terminal::print(plain_table(&["revision", "deployed at", "by", ""], rows, &[0]))
    }
}
