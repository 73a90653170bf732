//! `conveyor inspect STAGE`: a file, a directory, a connector, or an artifact of a registry, which is not pulled for it.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use model::grants::{Need, lines};
use registry::artifact;
use registry::image_ref::{ImageRef, ImageRefError};

use super::remote::{self, RemoteOptions};
use super::{Output, block_on};
use crate::exit::{Failure, Result};
use crate::report::{claims, component};
use crate::wiring::{self, Resolver};
use crate::words::Words;
use crate::{build, terminal};

const NO_CONFIG: &str = "{}";

/// Shows what a stage is: its kind, config, needs, imports, size and digest
///
/// STAGE is a `.wasm` file, a directory (with --build), the name of a built-in connector, or a reference into a registry. Of
/// that it is shown what it claims: the component stays where it is.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Inspect {
    /// A file, a directory, a name or a reference
    stage: String,
    /// A config, as JSON, under which it is asked for its ports
    #[arg(long, value_name = "JSON", default_value = NO_CONFIG)]
    with: String,
    /// Print the lines of a manifest that grant what it needs, and nothing else
    #[arg(long, conflicts_with_all = ["output", "with"])]
    grants: bool,
    /// Build the directory first
    #[arg(long)]
    build: bool,
    #[command(flatten)]
    remote: RemoteOptions,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Inspect {
    pub(super) fn execute(self) -> Result {
        if self.grants && wiring::describe_connector(&self.stage).is_some() {
            // A connector reaches what its config names.
            return Ok(());
        }
        if let Some(connector) = wiring::describe_connector(&self.stage) {
            return match self.output {
                Output::Json => terminal::print_json(&connector),
                Output::Text => terminal::print(component::connector_text(&connector)),
            };
        }
        let path = PathBuf::from(&self.stage);
        if let Some(image) = self.image(&path)? {
            return self.claims(&image);
        }
        let bytes = self.bytes(&path)?;
        let size = bytes.len();
        let resolver = Resolver::new(false)?;
        let stage = block_on(resolver.engine.load(bytes))?;
        let stage = stage.map_err(|error| {
            let verdict = if error.is_of_compiling() { "cannot be compiled" } else { "is not a stage" };
            Failure::Input(anyhow!("{} {verdict}: {error}", path.display()))
        })?;
        if self.grants {
            let (needs, unknown) = wiring::needs(&stage);
            for (text, error) in unknown {
                terminal::say(format!("it says that it needs `{text}`, which is no need: {error}"));
            }
            return match needs.is_empty() {
                true => Ok(()),
                false => terminal::print(lines(&needs).lines().collect::<Words>()),
            };
        }
        let config = serde_json::from_str(&self.with).map_err(|error| {
            Failure::Input(anyhow!("`--with` is not JSON: {error}; write it as '{{\"key\": 1}}'"))
        })?;
        let ports = block_on(component::ports(&stage, &config))?;
        match self.output {
            Output::Json => {
                let mut data = component::json(&stage, size);
                data["ports"] = ports.into();
                terminal::print_json(&data)
            }
            Output::Text => terminal::print(component::text(&stage, size, ports)),
        }
    }

    /// The image that is meant, where it is neither a file nor one that is missing.
    fn image(&self, path: &Path) -> Result<Option<ImageRef>> {
        let is_path = ["./", "../", "/"].iter().any(|start| self.stage.starts_with(start));
        if is_path || path.exists() || !self.stage.contains('/') || self.stage.ends_with(".wasm") {
            return Ok(None);
        }
        match self.stage.parse() {
            Ok(image) => Ok(Some(image)),
            Err(ImageRefError::NoRegistry { .. }) => Ok(None),
            Err(error) => Err(Failure::input(error)),
        }
    }

    fn claims(&self, image: &ImageRef) -> Result {
        if self.build || self.with != NO_CONFIG {
            return Err(Failure::Input(anyhow!(
                "{image} is in a registry, and `--build` and `--with` are for what is here: get it with `conveyor pull {image}`"
            )));
        }
        let artifact = block_on(async {
            let origin = remote::client(&self.remote)?.at(image);
            artifact::find(&origin, &image.reference()).await.map_err(remote::not_found)
        })??;
        if self.grants {
            let claimed = artifact.claimed.needs.unwrap_or_default();
            let needs =
                claimed.iter().map(|need| need.parse::<Need>()).collect::<std::result::Result<Vec<_>, _>>();
            let needs = needs.map_err(Failure::input)?;
            terminal::say(format!(
                "{image} claims that it needs this; where it is run, the component is asked"
            ));
            return match needs.is_empty() {
                true => Ok(()),
                false => terminal::print(lines(&needs).lines().collect::<Words>()),
            };
        }
        match self.output {
            Output::Json => terminal::print_json(&claims::json(image, &artifact)),
            Output::Text => terminal::print(claims::text(image, &artifact)),
        }
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        if path.is_dir() {
            if !self.build {
                return Err(Failure::Input(anyhow!(
                    "{} is a directory, and nothing is built unless you say so: add `--build`",
                    path.display()
                )));
            }
            return build::component(path).map_err(Failure::Ran);
        }
        wiring::read_component(path).map_err(|error| {
            Failure::Input(anyhow!(
                "{} cannot be read: {error}; name a `.wasm` file, a reference such as registry.example.com/acme/large:1.0, or \
                 one of the built-in connectors {}",
                path.display(),
                wiring::connectors().join(", ")
            ))
        })
    }
}
