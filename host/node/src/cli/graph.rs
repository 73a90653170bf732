//! `conveyor graph FILE`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::pulling::Pulling;
use crate::exit::Result;
use crate::graph::{self, Picture};
use crate::terminal;
use crate::wiring::{Policy, Resolver};

/// Shows what a pipeline does: stages, chains, the fields and wanted columns of every edge, conversions
#[derive(Debug, Args)]
pub(super) struct Graph {
    /// A manifest
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Put a value into a stage's config
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    set: Vec<String>,
    /// Build stages that are directories
    #[arg(long)]
    build: bool,
    #[command(flatten)]
    pulling: Pulling,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For Graphviz: conveyor graph FILE --format dot | dot -Tsvg
    Dot,
    /// For Markdown
    Mermaid,
    /// For programs
    Json,
}

impl Graph {
    pub(super) fn execute(self) -> Result {
        let policy = Policy::default().pulling(self.pulling.options());
        let resolver = Resolver::under(policy, self.build)?;
        let resolved = super::resolve(&resolver, &self.file, &self.set)?;
        let picture = Picture::of(&resolved);
        match self.format {
            Format::Text => terminal::print(graph::text(&picture)),
            Format::Dot => terminal::print_data(&graph::dot(&picture)),
            Format::Mermaid => terminal::print_data(&graph::mermaid(&picture)),
            Format::Json => terminal::print_json(&graph::json(&picture)),
        }
    }
}
