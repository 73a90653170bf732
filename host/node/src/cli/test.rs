//! `conveyor test FILE...`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::exit::{Failure, Result};

/// Runs the tests that a manifest holds
#[derive(Debug, Args)]
pub(super) struct Test {
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Test {
    pub(super) fn execute(self) -> Result {
        Err(Failure::Input(anyhow!("not yet {:?}", self.files)))
    }
}
