//! `conveyor node`: a node on a server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use registry::server::Tls;

use crate::daemon::{self, Options};
use crate::exit::{Failure, Result};
use crate::terminal;

/// A node on a server: starts it, and prints the unit by which systemd does
#[derive(Debug, Subcommand)]
pub(super) enum Node {
    Start(Box<Start>),
    Unit(Unit),
}

impl Node {
    pub(super) fn execute(self) -> Result {
        match self {
            Self::Start(verb) => verb.execute(),
            Self::Unit(verb) => verb.execute(),
        }
    }
}

/// Runs a node on a server, with its API and a registry on one address
///
/// On an address that others reach it wants a certificate. Every request needs a token: that in the file `token` of the data
/// directory, which its owner alone may read.
///
/// SIGINT and SIGTERM end it: each pipeline stops at a barrier, and goes on there at the next start. Another signal (those
/// within a second are one), or ten seconds, cuts everything off, and a pipeline goes on from its last checkpoint.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Start {
    /// Where everything is kept; it is made where it is missing
    #[arg(long, value_name = "DIR", env = "CONVEYOR_DATA")]
    data: PathBuf,
    /// The address to listen on; a port of 0 is chosen by the system, and told
    #[arg(long, value_name = "ADDR", env = "CONVEYOR_LISTEN")]
    listen: SocketAddr,
    /// The certificate with its chain, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "CONVEYOR_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "CONVEYOR_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// A name by which the node is called beside its address; may be given several times
    #[arg(long, value_name = "HOST", env = "CONVEYOR_HOST", value_delimiter = ',')]
    host: Vec<String>,
    /// The file with the key of secrets, which is made where it is missing; in the data directory unless set
    #[arg(long, value_name = "FILE", env = "CONVEYOR_SECRET_KEY_FILE")]
    secret_key_file: Option<PathBuf>,
    /// Threads that run stages; one for each core unless set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), env = "CONVEYOR_THREADS")]
    threads: Option<u16>,
    #[command(flatten)]
    policy: super::policy::Policy,
}

impl Start {
    fn execute(self) -> Result {
        let tls = self.tls_cert.zip(self.tls_key).map(|(certificate, key)| Tls { certificate, key });
        if tls.is_none() && !self.listen.ip().is_loopback() {
            return Err(Failure::Input(anyhow!(
                "others reach {}: give --tls-cert and --tls-key, or listen on an address of this machine such as 127.0.0.1:4747",
                self.listen
            )));
        }
        daemon::run(Options {
            data: self.data,
            listen: self.listen,
            tls,
            hosts: self.host,
            is_open_to_look: false,
            secret_key: self.secret_key_file,
            threads: self.threads.map(usize::from),
            policy: self.policy.read()?,
            up_file: None,
        })
    }
}

/// Prints a unit for systemd
///
/// The node has a user and a directory of its own, writes nowhere else, and is started again whenever it ends:
///   conveyor node unit > /etc/systemd/system/conveyor.service
///   systemctl enable --now conveyor
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Unit {
    /// The address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4747")]
    listen: SocketAddr,
    /// Directories outside of the node's own that pipelines read and write; may be given several times
    #[arg(long, value_name = "DIR")]
    allow_root: Vec<PathBuf>,
}

impl Unit {
    fn execute(self) -> Result {
        let program = std::env::current_exe().map_err(Failure::ran)?;
        terminal::print_data(&unit(&program, self.listen, &self.allow_root)?)
    }
}

/// Below the directory that systemd makes for the unit.
const DATA: &str = "/var/lib/conveyor";

fn unit(program: &Path, listen: SocketAddr, roots: &[PathBuf]) -> Result<String> {
    let mut options = format!(" --listen {listen}");
    let mut writable = String::new();
    for root in roots {
        if !root.is_absolute() {
            return Err(Failure::Input(anyhow!(
                "`--allow-root {}`: a unit has no current directory: write an absolute path",
                root.display()
            )));
        }
        options.push_str(&format!(" --allow-root {}", word(root)?));
        writable.push_str(&format!("ReadWritePaths={}\n", word(root)?));
    }
    // The node's own directory is one of those that pipelines may use where any are named.
    let program = word(program)?;
    Ok(format!(
        "\
[Unit]
Description=Conveyor node
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program} node start --data {DATA}{options}
Restart=always
RestartSec=2
WatchdogSec=60
TimeoutStartSec=infinity
TimeoutStopSec=30
DynamicUser=yes
StateDirectory=conveyor
StateDirectoryMode=0700
CacheDirectory=conveyor
Environment=XDG_CACHE_HOME=/var/cache
UMask=0077
LimitNOFILE=1048576
LimitCORE=0
{writable}CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"
    ))
}

/// A path as a word of a unit (systemd.syntax(7)): what would end it or stand for something else is refused.
fn word(path: &Path) -> Result<String> {
    let text = path.to_str().unwrap_or_default();
    let is_plain =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '\\' | '%' | '$');
    match !text.is_empty() && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err(Failure::Input(anyhow!(
            "{} cannot stand in a unit: use a path without spaces, quotes, `%` and `$`",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_what_it_starts_and_refuses_paths_that_would_be_something_else() {
        let listen = "127.0.0.1:4747".parse().expect("an address");
        let unit = |program: &str, roots: &[&str]| {
            let roots: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
            super::unit(Path::new(program), listen, &roots)
        };
        let text = unit("/usr/bin/conveyor", &["/srv/in", "/srv/out"]).expect("a unit");
        let start = "ExecStart=/usr/bin/conveyor node start --data /var/lib/conveyor --listen 127.0.0.1:4747 --allow-root /srv/in \
                     --allow-root /srv/out\n";
        assert!(text.contains(start), "{text}");
        assert!(text.contains("ReadWritePaths=/srv/in\nReadWritePaths=/srv/out\n"), "{text}");
        for (program, roots) in
            [("/a b", &[][..]), ("/a", &["srv"]), ("/a", &["/s%h"]), ("/a", &["/s$X"]), ("/a\nb", &[])]
        {
            assert!(matches!(unit(program, roots), Err(Failure::Input(_))), "{program:?} {roots:?}");
        }
    }
}
