//! `conveyor registry delete`.

use clap::Args;
use registry::client::{Origin as _, Target as _};
use registry::image_ref::ImageRef;
use serde_json::json;

use super::super::remote::{self, RemoteOptions};
use super::super::{Output, agree, block_on};
use crate::exit::Result;
use crate::terminal;

/// Deletes a tag of a registry, or by its digest an image with all its tags
///
/// The blobs stay until the registry collects what nothing needs. Not every registry deletes, and not all that do delete tags.
#[derive(Debug, Args)]
pub(in crate::cli) struct Delete {
    /// REGISTRY/REPOSITORY:TAG, or REGISTRY/REPOSITORY@DIGEST
    #[arg(value_name = "REF")]
    image: ImageRef,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    remote: RemoteOptions,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Delete {
    pub(super) fn execute(self) -> Result {
        let client = remote::client(&self.remote)?;
        let (repository, reference) = (client.at(&self.image), self.image.reference());
        // What is asked about is there, and what it is is said.
        let found = block_on(repository.resolve(&reference))?.map_err(remote::failure)?;
        let what = match self.image.digest {
            Some(_) => format!("{} would be deleted, with all its tags.", self.image),
            None => format!("the tag {} would be deleted, which stands for {}.", self.image, found.digest),
        };
        if !self.yes {
            agree(&what, "nothing was deleted")?;
        }
        block_on(repository.delete(&reference))?.map_err(remote::failure)?;
        terminal::say(format!("deleted {}", self.image));
        match self.output {
            Output::Text => Ok(()),
            Output::Json => {
                terminal::print_json(&json!({ "deleted": self.image.to_string(), "digest": found.digest }))
            }
        }
    }
}
