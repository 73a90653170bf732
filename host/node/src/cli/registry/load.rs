//! `conveyor registry load`: by this process, or by the one that serves the directory.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use registry::layout::Layout;
use registry::load::Loaded;
use registry::name::Repository;
use registry::server::{AdminAsked, AdminTold};
use registry::store::StoreOptions;

use super::super::Output;
use super::keep;
use crate::exit::{Failure, Result};
use crate::report::number;
use crate::terminal;
use crate::words::Words;

/// Puts the images of a bundle, or of any OCI image layout, into a registry of one's own
///
/// Each goes to the repository that it names, whatever its registry was, with its signatures. What is there already is not
/// written again. Where the directory is served, the process that serves it is asked to do it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Load {
    /// A layout: a tar, such as `bundle` writes, or a directory
    #[arg(value_name = "LAYOUT")]
    layout: PathBuf,
    /// What `registry serve --data` was given, or is going to be
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where images go that name no repository, as those of other tools
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<Repository>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Load {
    pub(super) fn execute(self) -> Result {
        // What is no layout is told before a registry is made for it.
        let layout = Layout::open(&self.layout).map_err(Failure::input)?;
        let path = self
            .layout
            .canonicalize()
            .map_err(|error| Failure::Input(anyhow!("{} cannot be found: {error}", self.layout.display())))?;
        // Nor is one made for a layout of which nothing would come into it.
        if self.repository.is_none() && !layout.entries().iter().any(|entry| entry.image().is_some()) {
            return Err(Failure::Input(anyhow!(
                "no image in {} names a repository: add `--repository NAME`, which says where they go",
                self.layout.display()
            )));
        }
        drop(layout);
        if !self.data.join("index").is_file() {
            StoreOptions::new(&self.data).open().map_err(keep::failure)?;
        }
        let asked = AdminAsked::Load { path, unnamed: self.repository.as_ref().map(Repository::to_string) };
        let AdminTold::Loaded(loaded) = keep::execute(&self.data, &asked)? else {
            return Err(Failure::Ran(anyhow!(
                "the registry that runs in {} answers something else",
                self.data.display()
            )));
        };
        let Loaded { images, bytes, names, moved, skipped } = &loaded;
        if !moved.is_empty() {
            terminal::warning(format!("tags that stood for something else: {}", moved.join(", ")));
        }
        if !skipped.is_empty() {
            terminal::say(format!(
                "left out, because they name no repository (`--repository` gives them one): {}",
                skipped.join(", ")
            ));
        }
        match self.output {
            Output::Json => terminal::print_json(&serde_json::to_value(&loaded).map_err(Failure::ran)?),
            Output::Text => {
                terminal::say(format!(
                    "loaded {} images: {} bytes were not there",
                    number(*images),
                    number(*bytes)
                ));
                match names.is_empty() {
                    true => Ok(()),
                    false => terminal::print(names.iter().collect::<Words>()),
                }
            }
        }
    }
}
