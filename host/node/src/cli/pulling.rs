//! How components come from registries, as all verbs take it that load some.

use clap::Args;

use super::remote::RemoteOptions;
use super::trust::TrustOptions;
use crate::pulled::Options;

#[derive(Debug, Args)]
pub(super) struct Pulling {
    #[command(flatten)]
    trust: TrustOptions,
    #[command(flatten)]
    remote: RemoteOptions,
}

impl Pulling {
    pub(super) fn options(&self) -> Options {
        Options { settings: self.remote.settings(), trust: self.trust.named(), is_locking: false }
    }
}
