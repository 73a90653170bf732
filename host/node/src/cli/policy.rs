//! What the machine allows, as several verbs take it.

use std::path::PathBuf;

use clap::Args;

use super::pulling::Pulling;
use crate::exit::Result;
use crate::wiring;

#[derive(Debug, Args)]
pub(super) struct Policy {
    /// Let files and granted directories lie inside DIR alone; may be given several times
    #[arg(long, value_name = "DIR")]
    allow_root: Vec<PathBuf>,
    /// Read secrets from DIR, one file each, rather than from CONVEYOR_SECRET_NAME
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    #[command(flatten)]
    pulling: Pulling,
}

impl Policy {
    pub(super) fn read(&self) -> Result<wiring::Policy> {
        let policy = wiring::Policy::new(&self.allow_root, self.secrets.as_deref())?;
        Ok(policy.pulling(self.pulling.options()))
    }
}
