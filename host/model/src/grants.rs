//! What a stage may reach of the world outside, as values: grants, needs, and how the two compare.
//!
//! Nothing is inherited. A manifest grants ([`Grants`]), a component says what it cannot do without
//! ([`Need`]), and what is left over is told with the line that grants it. Which addresses may be dialled is
//! decided in [`address`]; nobody here opens, dials or looks anything up.

mod address;
mod host;
mod need;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use address::{is_metadata, is_public};
pub use host::{Authority, Granted, Host, HostError, HostGrant, HostName, IpRange};
pub use need::{Need, NeedError, lines, missing};
pub(crate) use need::{guest_path, is_name};

/// Everything that one stage may reach. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Hosts that it may send HTTP requests to.
    pub http: Vec<HostGrant>,
    /// Environment variables that it sees, with their values.
    pub env: BTreeMap<String, String>,
    pub dirs: Vec<DirGrant>,
    /// Names of the secrets that it may read.
    pub secrets: Vec<String>,
    /// Whether it sees the time as it is.
    pub clock: bool,
    /// Whether it draws true random numbers.
    pub random: bool,
}

/// One directory of the host, as a stage sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirGrant {
    /// As written: relative to the manifest.
    pub host: String,
    /// Absolute, without `.`, `..` or a slash at its end.
    pub guest: String,
    pub mode: DirMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirMode {
    #[default]
    ReadOnly,
    ReadWrite,
}

impl DirMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        }
    }
}

/// What a request or a connection is refused for.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    #[error("`{0}` is not granted")]
    Host(Authority),
    /// Every address that the name has leads somewhere that has to be granted by itself.
    #[error("`{host}` leads to {address}, which is no public address and is not granted by itself")]
    Address { host: Authority, address: std::net::IpAddr },
}

impl Grants {
    /// Whether a request to `to` may go out, before any name is looked up.
    pub fn check_host(&self, to: &Authority) -> Result<(), Refused> {
        let granted = self.http.iter().any(|grant| grant.port == to.port && grant.host.covers(&to.host));
        if granted { Ok(()) } else { Err(Refused::Host(to.clone())) }
    }

    /// Of the addresses that `to` has, those that may be dialled: public ones, and others where they are
    /// granted by themselves, or are this machine's and `localhost` is what was asked for.
    pub fn dialled(
        &self,
        to: &Authority,
        addresses: &[std::net::IpAddr],
    ) -> Result<Vec<std::net::IpAddr>, Refused> {
        self.check_host(to)?;
        let allowed: Vec<_> =
            addresses.iter().copied().filter(|address| self.may_dial(to, *address)).collect();
        match addresses.first() {
            Some(address) if allowed.is_empty() => {
                Err(Refused::Address { host: to.clone(), address: *address })
            }
            _ => Ok(allowed),
        }
    }

    fn may_dial(&self, to: &Authority, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        if is_public(address) {
            return true;
        }
        let local = to.host.is_localhost() && address.is_loopback();
        local || self.http.iter().any(|grant| grant.port == to.port && grant.host.has_address(address))
    }

    /// One text for each grant, for showing and comparing. Values of secrets are not in here.
    pub fn items(&self) -> BTreeSet<String> {
        let http = self.http.iter().map(|grant| format!("http {grant}"));
        let env = self.env.iter().map(|(name, value)| format!("env {name}={value}"));
        let dir = |dir: &DirGrant| format!("dir {} from {} ({})", dir.guest, dir.host, dir.mode.as_str());
        let secrets = self.secrets.iter().map(|name| format!("secret {name}"));
        let rest = [("clock", self.clock), ("random", self.random)].into_iter();
        let rest = rest.filter(|(_, granted)| *granted).map(|(name, _)| name.to_owned());
        http.chain(env).chain(self.dirs.iter().map(dir)).chain(secrets).chain(rest).collect()
    }
}

/// How two lists differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub added: Vec<String>,
    pub removed: Vec<String>,
}

impl Difference {
    pub fn between(old: &BTreeSet<String>, new: &BTreeSet<String>) -> Self {
        let only =
            |of: &BTreeSet<String>, without: &BTreeSet<String>| of.difference(without).cloned().collect();
        Self { added: only(new, old), removed: only(old, new) }
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

#[cfg(test)]
mod tests;
