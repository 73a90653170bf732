//! `conveyor registry tag`.

use clap::Args;
use registry::client::{ClientError, Origin as _, Target as _};
use registry::image_ref::ImageRef;
use registry::name::{Reference, Tag as Name};
use serde_json::json;

use super::super::remote::{self, RemoteOptions};
use super::super::{Output, block_on};
use crate::exit::Result;
use crate::terminal;

/// Gives an image of a registry further tags
///
/// A tag that stands for another image comes to stand for this one. What is printed is the reference by its digest.
#[derive(Debug, Args)]
pub(in crate::cli) struct Tag {
    /// REGISTRY/REPOSITORY:TAG, or REGISTRY/REPOSITORY@DIGEST
    #[arg(value_name = "REF")]
    image: ImageRef,
    /// Tags of the same repository
    #[arg(value_name = "TAG", required = true)]
    tags: Vec<Name>,
    #[command(flatten)]
    remote: RemoteOptions,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Tag {
    pub(super) fn execute(self) -> Result {
        let client = remote::client(&self.remote)?;
        let tagged = async {
            let repository = client.at(&self.image);
            let found = repository.manifest(&self.image.reference()).await?;
            for tag in &self.tags {
                let (reference, media_type) = (Reference::Tag(tag.clone()), &found.descriptor.media_type);
                repository.put_manifest(&reference, media_type, found.bytes.clone()).await?;
            }
            Ok::<_, ClientError>(found.descriptor.digest)
        };
        let digest = block_on(tagged)?.map_err(remote::failure)?;
        let by_digest = self.image.with_digest(digest);
        match self.output {
            Output::Text => terminal::print_data(&format!("{by_digest}\n")),
            Output::Json => {
                let tags: Vec<&str> = self.tags.iter().map(Name::as_str).collect();
                terminal::print_json(
                    &json!({ "reference": by_digest.to_string(), "digest": digest, "tags": tags }),
                )
            }
        }
    }
}
