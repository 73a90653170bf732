//! `conveyor up`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::daemon::{self, Options};
use crate::exit::{Failure, Result};
use crate::places;

/// Where `up` listens unless it is said.
const LISTEN: &str = "127.0.0.1:4747";

/// Runs a node with its API and a registry, for this machine alone
///
/// Pipelines that are deployed to it (`conveyor deploy`) run until they are deleted, also after it was stopped and started
/// again. Verbs of this user find it by themselves, with the token that writes need.
///
/// SIGINT and SIGTERM end it: each pipeline stops at a barrier, and goes on there at the next start. Another signal (those
/// within a second are one), or ten seconds, cuts everything off, and a pipeline goes on from its last checkpoint.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Up {
    /// Where everything is kept; it is made where it is missing. `conveyor/node` in the data directory of this user unless set
    #[arg(long, value_name = "DIR", env = "CONVEYOR_DATA")]
    data: Option<PathBuf>,
    /// The address of this machine to listen on; a port of 0 is chosen by the system, and told
    #[arg(long, value_name = "ADDR", default_value = LISTEN, env = "CONVEYOR_LISTEN")]
    listen: SocketAddr,
    /// The file with the key of secrets, which is made where it is missing; in the data directory unless set
    #[arg(long, value_name = "FILE", env = "CONVEYOR_SECRET_KEY_FILE")]
    secret_key_file: Option<PathBuf>,
    /// Threads that run stages; one for each core unless set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), env = "CONVEYOR_THREADS")]
    threads: Option<u16>,
    #[command(flatten)]
    policy: super::policy::Policy,
}

impl Up {
    pub(super) fn execute(self) -> Result {
        if !self.listen.ip().is_loopback() {
            return Err(Failure::Input(anyhow!(
                "others reach {}, and `up` is for this machine alone: name an address such as {LISTEN}, or run \
                 `conveyor node start` with a certificate and tokens",
                self.listen
            )));
        }
        let data = self.data.or_else(places::node).ok_or_else(|| {
            Failure::Input(anyhow!(
                "neither XDG_DATA_HOME nor HOME says where data is kept: name a directory with `--data`"
            ))
        })?;
        daemon::run(Options {
            data,
            listen: self.listen,
            tls: None,
            hosts: Vec::new(),
            is_open_to_look: true,
            secret_key: self.secret_key_file,
            threads: self.threads.map(usize::from),
            policy: self.policy.read()?,
            up_file: places::up_file(),
        })
    }
}
