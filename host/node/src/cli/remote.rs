//! How registries are reached, as several verbs take it: options, and how failures end.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use registry::artifact::FindError;
use registry::client::{Client, ClientError, Keyring, Settings};

use crate::exit::{Failure, Result};

#[derive(Clone, Debug, Args)]
pub(super) struct RemoteOptions {
    /// Speak http with registries that are not on this machine
    #[arg(long)]
    plain_http: bool,
    /// Trust these certificates beside those of the system
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
}

impl RemoteOptions {
    pub(super) fn settings(&self) -> Settings {
        let keyring = Keyring::of(|name| std::env::var_os(name));
        Settings { plain_http: self.plain_http, ca_cert: self.ca_cert.clone(), keyring }
    }
}

pub(super) fn client(options: &RemoteOptions) -> Result<Client> {
    Client::new(options.settings()).map_err(failure)
}

pub(super) fn failure(error: ClientError) -> Failure {
    // Some say by themselves which option helps.
    if let ClientError::Unreachable { why, .. } = &error
        && !why.contains("--")
    {
        return Failure::Ran(anyhow!("{error}; see that it runs, and that it is called so"));
    }
    if error.is_input() { Failure::input(error) } else { Failure::ran(error) }
}

/// Of what is there and is no stage, the reference is wrong.
pub(super) fn not_found(error: FindError) -> Failure {
    match error {
        FindError::Client(error) => failure(error),
        error => Failure::input(error),
    }
}
