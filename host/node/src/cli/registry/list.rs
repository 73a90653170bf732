//! `conveyor registry list`.

use clap::Args;
use registry::client::Origin as _;
use registry::image_ref::Place;
use serde_json::json;

use super::super::remote::{self, RemoteOptions};
use super::super::{Output, block_on};
use crate::exit::Result;
use crate::terminal;

/// Lists the tags of a repository, or the repositories of a registry
///
/// Not every registry lists its repositories.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// REGISTRY/REPOSITORY, or REGISTRY
    #[arg(value_name = "REF")]
    place: Place,
    #[command(flatten)]
    remote: RemoteOptions,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl List {
    pub(super) fn execute(self) -> Result {
        let client = remote::client(&self.remote)?;
        let (kind, place, names): (_, _, Vec<String>) = match &self.place {
            Place::Registry(host) => {
                let found = block_on(client.repositories(host))?.map_err(remote::failure)?;
                ("registry", "repositories", found.iter().map(ToString::to_string).collect())
            }
            Place::Repository(host, name) => {
                let found = block_on(client.repository(host, name).tags())?.map_err(remote::failure)?;
                ("repository", "tags", found.iter().map(ToString::to_string).collect())
            }
        };
        match self.output {
            Output::Text => {
                terminal::print_data(&names.iter().map(|name| format!("{name}\n")).collect::<String>())
            }
            Output::Json => terminal::print_json(&json!({ kind: self.place.to_string(), place: names })),
        }
    }
}
