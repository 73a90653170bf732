//! `conveyor registry ...`: a registry of one's own, and what is in any.

mod copy;
mod delete;
mod keep;
mod list;
mod load;
mod serve;
mod tag;

use clap::Subcommand;

use crate::exit::Result;

/// An OCI registry of one's own, and what is in any, for stages and anything else
#[derive(Debug, Subcommand)]
pub(super) enum Registry {
    List(list::List),
    Tag(tag::Tag),
    Copy(copy::Copy),
    Delete(delete::Delete),
    Serve(Box<serve::Serve>),
    Gc(keep::Gc),
    Fsck(keep::Fsck),
    Load(load::Load),
}

impl Registry {
    pub(super) fn execute(self) -> Result {
        match self {
            Self::List(verb) => verb.execute(),
            Self::Tag(verb) => verb.execute(),
            Self::Copy(verb) => verb.execute(),
            Self::Delete(verb) => verb.execute(),
            Self::Serve(verb) => verb.execute(),
            Self::Gc(verb) => verb.execute(),
            Self::Fsck(verb) => verb.execute(),
            Self::Load(verb) => verb.execute(),
        }
    }
}
