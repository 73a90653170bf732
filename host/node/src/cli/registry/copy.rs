//! `conveyor registry copy`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::anyhow;
use clap::Args;
use model::ids::Digest;
use registry::client::{Client, Origin, Target};
use registry::copy::copy;
use registry::image_ref::{ImageRef, ImageRefError};
use registry::layout::Layout;
use registry::name::{Reference, Tag};
use serde_json::json;

use super::super::remote::{self, RemoteOptions};
use super::super::{Output, block_on};
use crate::bars;
use crate::exit::{Failure, Result};
use crate::terminal;

/// Copies an image with its signatures, between registries, and to and from layouts on the disk
///
/// A layout is `oci:PATH`, or a path that begins with `/`, `./` or `../`, with `:TAG` or `@DIGEST` behind it where it has more
/// than one image; a tar where it ends with `.tar`, else a directory. What is there already is not brought again, and within one
/// registry nothing is.
#[derive(Debug, Args)]
pub(in crate::cli) struct Copy {
    /// REGISTRY/REPOSITORY:TAG, REGISTRY/REPOSITORY@DIGEST, or a layout
    from: Side,
    /// The same
    to: Side,
    /// Leave signatures, and what else says something of the image, where they are
    #[arg(long)]
    no_signatures: bool,
    /// Replace a tar that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    remote: RemoteOptions,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Where an image is, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    Image(ImageRef),
    Layout(PathBuf, Option<Reference>),
}

impl FromStr for Side {
    type Err = ImageRefError;

    fn from_str(text: &str) -> std::result::Result<Self, ImageRefError> {
        let is_path = ["/", "./", "../"].iter().any(|begin| text.starts_with(begin));
        let Some(rest) = text.strip_prefix("oci:").or(is_path.then_some(text)) else {
            return Ok(Self::Image(text.parse()?));
        };
        let digest =
            rest.rsplit_once('@').and_then(|(path, digest)| Some((path, digest.parse::<Digest>().ok()?)));
        if let Some((path, digest)) = digest {
            return Ok(Self::Layout(path.into(), Some(Reference::Digest(digest))));
        }
        let tag = rest.rsplit_once(':').and_then(|(path, tag)| Some((path, tag.parse::<Tag>().ok()?)));
        Ok(match tag.filter(|(path, _)| !path.is_empty()) {
            Some((path, tag)) => Self::Layout(path.into(), Some(Reference::Tag(tag))),
            None => Self::Layout(rest.into(), None),
        })
    }
}

impl Copy {
    pub(super) fn execute(self) -> Result {
        let client = remote::client(&self.remote)?;
        let (origin, from) = self.origin(&client)?;
        let to = self.to_reference(&from)?;
        // Before a layout is made for what is not there.
        block_on(origin.resolve(&from))?.map_err(remote::failure)?;
        let (target, layout) = self.target(&client)?;
        let progress = bars::progress();
        let copied = copy(&*origin, &*target, &from, &to, !self.no_signatures, &*progress);
        let digest = block_on(copied)?.map_err(remote::failure)?;
        drop(progress);
        if let Some(layout) = layout {
            layout.finish(self.force).map_err(remote::failure)?;
        }
        let (from, to) = (origin.called(&from), target.called(&to));
        terminal::say(format!("copied {from} to {to}"));
        match self.output {
            Output::Text => terminal::print_data(&format!("{digest}\n")),
            Output::Json => terminal::print_json(&json!({ "from": from, "to": to, "digest": digest })),
        }
    }

    fn origin(&self, client: &Client) -> Result<(Box<dyn Origin>, Reference)> {
        let (path, reference) = match &self.from {
            Side::Image(image) => return Ok((Box::new(client.at(image)), image.reference())),
            Side::Layout(path, reference) => (path, reference),
        };
        let layout = Layout::open(path).map_err(Failure::input)?;
        let reference = match (reference, &*layout.entries()) {
            (Some(reference), _) => reference.clone(),
            (None, [only]) => Reference::Digest(only.descriptor.digest),
            (None, entries) => {
                let names = entries.iter().map(|entry| match entry.name() {
                    Some(name) => format!("{name} ({})", entry.descriptor.digest),
                    None => entry.descriptor.digest.to_string(),
                });
                let names: Vec<String> = names.collect();
                return Err(Failure::Input(anyhow!(
                    "{} has {} images: write PATH:TAG or PATH@DIGEST of one of {}",
                    path.display(),
                    names.len(),
                    names.join(", ")
                )));
            }
        };
        Ok((Box::new(layout), reference))
    }

    fn target(&self, client: &Client) -> Result<(Box<dyn Target>, Option<Layout>)> {
        match &self.to {
            Side::Image(image) => Ok((Box::new(client.at(image)), None)),
            Side::Layout(path, _) => {
                let is_tar = path.extension().is_some_and(|end| end == "tar") && path.is_file();
                if is_tar && !self.force {
                    return Err(Failure::Input(anyhow!(
                        "{} is there: name another file, or replace it with `--force`",
                        path.display()
                    )));
                }
                let layout = Layout::create(path).map_err(Failure::input)?;
                Ok((Box::new(layout.clone()), Some(layout)))
            }
        }
    }

    /// How it is called where it goes: in a layout as it was, unless that says otherwise.
    fn to_reference(&self, from: &Reference) -> Result<Reference> {
        Ok(match &self.to {
            Side::Image(ImageRef { tag: Some(tag), digest: None, .. }) => Reference::Tag(tag.clone()),
            Side::Image(ImageRef { tag: Some(_), digest: Some(_), .. }) => {
                return Err(Failure::Input(anyhow!(
                    "write where it goes with a tag or with a digest, not with both"
                )));
            }
            Side::Image(image) => image.reference(),
            Side::Layout(_, Some(reference)) => reference.clone(),
            Side::Layout(_, None) => match &self.from {
                Side::Image(ImageRef { tag: Some(tag), .. }) => Reference::Tag(tag.clone()),
                _ => from.clone(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_told_from_images() {
        let side = |text: &str| text.parse::<Side>();
        let tag = |text: &str| Some(Reference::Tag(text.parse().expect("a tag")));
        let digest = Digest::of(b"x");
        assert_eq!(side("oci:out"), Ok(Side::Layout("out".into(), None)));
        assert_eq!(side("oci:out:1.0"), Ok(Side::Layout("out".into(), tag("1.0"))));
        assert_eq!(side("./out.tar"), Ok(Side::Layout("./out.tar".into(), None)));
        assert_eq!(side("../a:b/out:1"), Ok(Side::Layout("../a:b/out".into(), tag("1"))));
        assert_eq!(side("/a:b/out"), Ok(Side::Layout("/a:b/out".into(), None)));
        let by_digest = side(&format!("oci:out@{digest}"));
        assert_eq!(by_digest, Ok(Side::Layout("out".into(), Some(Reference::Digest(digest)))));
        assert!(matches!(side("r.example.com/a:1"), Ok(Side::Image(_))));
        assert!(side("out").is_err() && side("r.example.com/a").is_err());
    }
}
