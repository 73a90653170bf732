//! Which trust policy holds, as several verbs take it.

use std::path::{Path, PathBuf};

use clap::Args;
use registry::trust::Trust;

use crate::exit::Result;
use crate::trust;

#[derive(Clone, Debug, Args)]
pub(super) struct TrustOptions {
    /// Which keys have to have signed what is pulled (docs/signing.md); `conveyor/trust.yaml` in the configuration
    /// directory unless set
    #[arg(long, value_name = "FILE", env = "CONVEYOR_TRUST")]
    trust: Option<PathBuf>,
}

impl TrustOptions {
    pub(super) fn open(&self) -> Result<Trust> {
        trust::open(self.trust.as_deref())
    }

    /// The file that was named.
    pub(super) fn named(&self) -> Option<PathBuf> {
        self.trust.clone()
    }

    /// The file, where there is one.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.trust.as_deref().map(Path::to_owned).or_else(trust::of_this_user)
    }
}
