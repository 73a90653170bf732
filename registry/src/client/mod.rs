//! A client of registries: any that speak the OCI distribution specification, ours among them.
//!
//! [`Origin`] and [`Target`] are what a repository can do, be it one of a registry ([`Remote`]) or a layout on the disk.
//! What is brought from one is looked at as it comes: what is not what its digest says is never kept.
//! Not here: what a stage is as an artifact, signatures, and what is pulled to be run.

mod address;
mod auth;
mod challenge;
mod credentials;
mod download;
mod error;
mod failure;
mod lists;
mod referrers;
mod remote;
mod session;
mod upload;
mod wire;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use model::ids::Digest;

pub use credentials::{Credential, CredentialsError, Kept, Keyring};
pub use error::ClientError;
pub use remote::Remote;

use self::session::Session;
use self::wire::Wire;
use crate::image_ref::{ImageRef, RegistryHost};
use crate::manifest::Descriptor;
use crate::name::{Reference, Repository, Tag};

/// A manifest, and what it is; its bytes are what its digest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub descriptor: Descriptor,
    pub bytes: Bytes,
}

/// Where the bytes are that are to be pushed.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Bytes),
    File(PathBuf),
}

/// How a content came to be where it was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It was brought over.
    Brought,
    /// It was there already.
    There,
    /// The registry took it from another of its repositories.
    Mounted,
}

/// What is told while contents are brought over, several at once.
pub trait Progress: Send + Sync {
    /// A content begins.
    fn begin(&self, _what: &Descriptor) {}
    /// So many bytes of it are there in all: fewer than before, where some have to come once more.
    fn at(&self, _what: &Descriptor, _bytes: u64) {}
    /// It is there.
    fn end(&self, _what: &Descriptor, _how: Moved) {}
}

/// Tells nobody.
impl Progress for () {}

/// A repository of a registry, or a layout: where contents come from.
#[async_trait]
pub trait Origin: Send + Sync {
    /// What a reference stands for, without its bytes where that can be had.
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ClientError>;
    /// A manifest. Its digest is of the algorithm that it was asked for by, and SHA-256 where it was asked for by a tag,
    /// unless the registry says another.
    async fn manifest(&self, reference: &Reference) -> Result<Fetched, ClientError>;
    /// Brings a blob into a file that is replaced: its bytes are looked at as they come, in a file beside it, which gets its
    /// name when they are what they should be.
    async fn blob(&self, what: &Descriptor, into: &Path, progress: &dyn Progress) -> Result<(), ClientError>;
    /// A blob of at most so many bytes, such as a config.
    async fn blob_bytes(&self, what: &Descriptor, most: u64) -> Result<Bytes, ClientError>;
    /// What says something of a manifest (whether or not that is there), all of it or of one artifact type.
    async fn referrers(
        &self,
        of: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, ClientError>;
    /// All tags, sorted.
    async fn tags(&self) -> Result<Vec<Tag>, ClientError>;
    /// The registry and the repository, where it is one of a registry.
    fn at(&self) -> Option<(&RegistryHost, &Repository)> {
        None
    }
    /// How people know a manifest of it.
    fn called(&self, reference: &Reference) -> String;
}

/// A repository of a registry, or a layout: where contents go.
#[async_trait]
pub trait Target: Origin {
    async fn has_blob(&self, what: &Descriptor) -> Result<bool, ClientError>;
    /// Brings a blob there, unless it is there.
    async fn put_blob(
        &self,
        what: &Descriptor,
        from: Content,
        progress: &dyn Progress,
    ) -> Result<(), ClientError>;
    /// Has a registry take a blob from another of its repositories: false where it does not, and the blob has to be brought.
    async fn mount(&self, _what: &Descriptor, _from: &Repository) -> Result<bool, ClientError> {
        Ok(false)
    }
    /// Puts a manifest: what it names has to be there. By a digest it has to be what that says. What is about another
    /// manifest is found by [`Origin::referrers`] afterwards, whether or not the registry knows referrers.
    async fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, ClientError>;
    /// Removes a tag, or by a digest a manifest with all its tags.
    async fn delete(&self, reference: &Reference) -> Result<(), ClientError>;
}

/// What a client is to do with all registries.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Speak http with registries that are not on this machine.
    pub plain_http: bool,
    /// Certificates that are trusted beside those of the system, in PEM.
    pub ca_cert: Option<PathBuf>,
    /// Who one is, where a registry asks.
    pub keyring: Keyring,
}

/// Speaks with registries: connections, and what lets one in, are shared by all that come of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    plain_http: bool,
    wire: Arc<Wire>,
    keyring: Arc<Keyring>,
    sessions: Arc<Mutex<HashMap<RegistryHost, Arc<Session>>>>,
}

impl Client {
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let wire = Arc::new(Wire::new(settings.ca_cert.as_deref())?);
        let (plain_http, keyring) = (settings.plain_http, Arc::new(settings.keyring));
        Ok(Self { plain_http, wire, keyring, sessions: Arc::default() })
    }

    pub fn repository(&self, host: &RegistryHost, name: &Repository) -> Remote {
        Remote { session: self.session(host), repository: name.clone() }
    }

    /// The repository that an image is of.
    pub fn at(&self, image: &ImageRef) -> Remote {
        self.repository(&image.registry, &image.repository)
    }

    /// All repositories of a registry that lists them.
    pub async fn repositories(&self, host: &RegistryHost) -> Result<Vec<Repository>, ClientError> {
        self.session(host).list_repositories().await
    }

    /// Asks a registry whether it lets somebody in, and keeps a name and a password, or what the registry gives for them, once
    /// it does.
    pub async fn login(&self, host: &RegistryHost, user: &str, password: &str) -> Result<Kept, ClientError> {
        let who = Credential::Password { user: user.to_owned(), password: password.to_owned() };
        let session = self.new_session(host);
        session.auth().be(who.clone()).await;
        session.ping().await?;
        let kept = match session.auth().identity().await {
            Some(token) => Credential::Identity { user: user.to_owned(), token },
            None => who,
        };
        let (keyring, host) = (self.keyring.clone(), host.clone());
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&host);
        on_disk(move || keyring.keep(&host, &kept)).await
    }

    /// Forgets a name and a password; whether there was one.
    pub async fn logout(&self, host: &RegistryHost) -> Result<bool, ClientError> {
        let (keyring, host) = (self.keyring.clone(), host.clone());
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&host);
        on_disk(move || keyring.forget(&host)).await
    }

    fn session(&self, host: &RegistryHost) -> Arc<Session> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.entry(host.clone()).or_insert_with(|| Arc::new(self.new_session(host))).clone()
    }

    fn new_session(&self, host: &RegistryHost) -> Session {
        Session::new(host.clone(), self.plain_http, self.wire.clone(), self.keyring.clone())
    }
}

/// Does what waits for a disk, or for a program.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CredentialsError> + Send + 'static,
) -> Result<T, ClientError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(ClientError::Settings { why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests;
