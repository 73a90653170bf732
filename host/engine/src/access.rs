//! What one stage may reach, ready to be linked: its grants, with directories found and secrets read.
//!
//! Grants are decided in `model::grants` and made ready by whoever runs the pipeline; here they are only
//! held. Each instance of a stage shares one [`Access`]; the code of a component is linked once for all.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use model::grants::{DirMode, Grants};
use rustls::pki_types::CertificateDer;

use crate::tls;

/// What a stage may reach. The default is nothing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    pub(crate) inner: Arc<AccessOptions>,
}

/// What an [`Access`] is made from.
pub struct AccessOptions {
    /// Of these, `dirs` and `secrets` are not looked at: the next two fields say what came of them.
    pub grants: Grants,
    pub dirs: Vec<OpenDir>,
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
    pub network: Network,
    /// What the wall clock shows a stage that is not granted the time.
    pub stands_at: SystemTime,
}

/// A directory that a stage sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDir {
    /// On this machine: absolute, with symbolic links resolved.
    pub host: PathBuf,
    /// As the stage names it.
    pub guest: String,
    pub mode: DirMode,
}

/// The value of a secret. It has no form in which it could be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// For whoever hands it on to where it is granted.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How names are looked up and which certificates are believed.
#[derive(Clone)]
pub struct Network {
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) extra_roots: Arc<[CertificateDer<'static>]>,
    pub(crate) tls: Arc<OnceLock<tls::Connector>>,
}

/// The addresses of a name, once they are known.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Looks up a name. Its answer is checked, and what was checked is dialled.
pub trait Resolver: Send + Sync {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;
}

/// The machine's own resolver.
#[derive(Debug)]
struct System;

impl Resolver for System {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
        })
    }
}

impl Network {
    /// Names are looked up by `resolver`, and certificates in DER are believed beside the public ones.
    pub fn new(resolver: Arc<dyn Resolver>, roots: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let extra_roots = roots.into_iter().map(CertificateDer::from).collect();
        Self { resolver, extra_roots, tls: Arc::default() }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new(Arc::new(System), [])
    }
}

impl Default for AccessOptions {
    fn default() -> Self {
        Self {
            grants: Grants::default(),
            dirs: Vec::new(),
            secrets: BTreeMap::new(),
            network: Network::default(),
            stands_at: SystemTime::now(),
        }
    }
}

impl Access {
    pub fn new(options: AccessOptions) -> Self {
        Self { inner: Arc::new(options) }
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.inner.grants
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::new(AccessOptions::default())
    }
}

impl fmt::Debug for AccessOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { grants, dirs, secrets, .. } = self;
        f.debug_struct("Access")
            .field("grants", grants)
            .field("dirs", dirs)
            .field("secrets", &secrets.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_shows_itself() {
        let secrets = [("KEY".to_owned(), Secret::new("hunter2".to_owned()))].into();
        let access = Access::new(AccessOptions { secrets, ..AccessOptions::default() });
        let shown = format!("{access:?} {:#?} {:?}", access, access.inner.secrets);
        assert!(shown.contains("KEY") && shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    }
}
