//! How components come from registries, as all verbs take it that load some.

use std::path::PathBuf;

use clap::Args;
use registry::client::Settings;

use crate::pulled::Options;

#[derive(Debug, Args)]
pub(super) struct Pulling {
    /// Whose components are run: a trust policy; trust.yaml in the configuration directory unless set
    #[arg(long, env = "CONVEYOR_TRUST", value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Speak http with registries that are not on this machine
    #[arg(long)]
    plain_http: bool,
    /// Trust these certificates of registries beside those of the system
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
}

impl Pulling {
    pub(super) fn options(&self) -> Options {
        let settings = Settings { plain_http: self.plain_http, ca_cert: self.ca_cert.clone() };
        Options { settings, trust: self.trust.clone(), is_locking: false }
    }
}
