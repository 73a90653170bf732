//! `conveyor new NAME`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::exit::{Failure, Result};
use crate::scaffold::{self, Form};
use crate::terminal;
use crate::words::Words;

/// Makes a stage that builds and passes its own test
#[derive(Debug, Args)]
pub(super) struct New {
    /// Its name, and the directory that is made for it here: [a-z0-9-]
    name: String,
    #[arg(long, value_enum, default_value_t)]
    lang: Lang,
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// For typed columns rather than opaque records
    #[arg(long)]
    table: bool,
    /// The directory of the Rust SDK; the one of the clone that this program was built in unless set
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Lang {
    #[default]
    Rust,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Kind {
    Source,
    #[default]
    Transform,
    Sink,
}

impl New {
    pub(super) fn execute(self) -> Result {
        let Lang::Rust = self.lang;
        let form = match (self.kind, self.table) {
            (Kind::Source, false) => Form::Source,
            (Kind::Source, true) => Form::TableSource,
            (Kind::Transform, false) => Form::Transform,
            (Kind::Transform, true) => Form::TableTransform,
            (Kind::Sink, false) => Form::Sink,
            (Kind::Sink, true) => Form::TableSink,
        };
        let here = std::env::current_dir().map_err(Failure::ran)?;
        let made = scaffold::make(&here, &self.name, form, self.sdk.as_deref()).map_err(Failure::Input)?;
        for file in &made {
            terminal::say(format!("made {}", file.display()));
        }
        let mut next = Words::from(format!("next: (cd {} && cargo test)    # its own tests", self.name));
        next.push(format!("      conveyor build {0}          # makes {0}/{0}.wasm", self.name));
        terminal::say(next);
        terminal::print(&self.name)
    }
}
