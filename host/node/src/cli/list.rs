//! `conveyor list`.

use clap::Args;

use super::nodes::{self, Within};
use super::{Output, block_on};
use crate::exit::Result;
use crate::report::plain_table;
use crate::terminal;

/// Lists the pipelines of a node, with how they are
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    within: Within,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl List {
    pub(super) fn execute(self) -> Result {
        let (client, namespace) = (self.within.node.client()?, self.within.named()?);
        let found = block_on(client.pipelines(namespace.as_ref()))?.map_err(nodes::failure)?;
        if self.output == Output::Json {
            return terminal::print_json(&found);
        }
        if found.pipelines.is_empty() {
            let place = namespace.map(|namespace| format!(" in the namespace `{namespace}`"));
            terminal::say(format!("{} has no pipelines{}", client.url(), place.unwrap_or_default()));
            return Ok(());
        }
        let rows = found.pipelines.iter().map(|pipeline| {
            vec![
                pipeline.namespace.clone(),
                pipeline.name.clone(),
                pipeline.revision.to_string(),
                pipeline.version.to_string(),
                pipeline.state.as_str().to_owned(),
                pipeline.detail.clone().unwrap_or_default(),
            ]
        });
        terminal::print(plain_table(
            &["namespace", "name", "revision", "version", "state", ""],
            rows,
            &[2, 3],
        ))
    }
}
