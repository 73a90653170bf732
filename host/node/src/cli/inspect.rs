//! `conveyor inspect STAGE`.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use model::grants::lines;

use super::Output;
use crate::exit::{Failure, Result};
use crate::report::component;
use crate::wiring::{self, Workshop};
use crate::words::Words;
use crate::{build, terminal};

/// Shows what a stage is: its kind, config, needs, imports, size and digest
///
/// STAGE is a `.wasm` file, a directory (with --build), or the name of a built-in connector.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Inspect {
    /// A file, a directory or a name
    stage: String,
    /// A config, as JSON, under which it is asked for its ports
    #[arg(long, value_name = "JSON", default_value = "{}")]
    with: String,
    /// Print the lines of a manifest that grant what it needs, and nothing else
    #[arg(long, conflicts_with_all = ["output", "with"])]
    grants: bool,
    /// Build the directory first
    #[arg(long)]
    build: bool,
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
        let bytes = self.bytes(&path)?;
        let size = bytes.len();
        let workshop = Workshop::new(false)?;
        let stage = super::block_on(workshop.engine.load(bytes))?;
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
        let ports = super::block_on(component::ports(&stage, &config))?;
        match self.output {
            Output::Json => {
                let mut data = component::json(&stage, size);
                data["ports"] = ports.into();
                terminal::print_json(&data)
            }
            Output::Text => terminal::print(component::text(&stage, size, ports)),
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
                "{} cannot be read: {error}; name a `.wasm` file, or one of the built-in connectors {}",
                path.display(),
                wiring::connectors().join(", ")
            ))
        })
    }
}
