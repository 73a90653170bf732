//! `conveyor registry ...`: a registry of one's own.

mod keep;
mod load;
mod serve;

use clap::Subcommand;

use crate::exit::Result;

/// An OCI registry of one's own, for stages and anything else
#[derive(Debug, Subcommand)]
pub(super) enum Registry {
    Serve(Box<serve::Serve>),
    Gc(keep::Gc),
    Fsck(keep::Fsck),
    Load(load::Load),
}

impl Registry {
    pub(super) fn execute(self) -> Result {
        match self {
            Self::Serve(verb) => verb.execute(),
            Self::Gc(verb) => verb.execute(),
            Self::Fsck(verb) => verb.execute(),
            Self::Load(verb) => verb.execute(),
        }
    }
}
