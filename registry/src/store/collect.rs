//! Garbage collection: by mark and sweep, one repository after the other, each within one transaction of the index. A
//! manifest that is pushed meanwhile comes before it, and then what it names stays, or behind it, and then it is refused
//! where it names what is gone. Files that nothing is left of in the index go after that, while nobody gives any a name.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use disk::Mode;
use model::ids::{Algorithm, Digest};
use model::limits::{REGISTRY_DISCARDED_AT_ONCE, REGISTRY_UPLOAD_AGE};
use serde::{Deserialize, Serialize};

use super::{Change, Done, Result, Store, StoreError, lock};
use crate::name::Repository;

/// What goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// What is younger stays, whatever it is: somebody may be about to name it.
    pub grace: Duration,
    /// Manifests go too to which no tag leads.
    pub untagged: bool,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    pub manifests: u64,
    /// From repositories: others may have them still.
    pub blobs: u64,
    /// Of contents.
    pub files: u64,
    pub uploads: u64,
    /// Of files and uploads.
    pub bytes: u64,
}

impl Store {
    /// Collects what nothing needs. Pushes may go on meanwhile.
    pub fn collect(&self, rules: &Rules) -> Result<Collection> {
        let before =
            self.now().saturating_sub(rules.grace.as_secs()).saturating_add(u64::from(rules.grace.is_zero()));
        let mut collection = Collection::default();
        self.each_repository(|repository| self.sweep(repository, before, rules.untagged, &mut collection))?;
        self.sweep_files(rules, &mut collection)?;
        Ok(collection)
    }

    fn sweep(&self, repository: Repository, before: u64, untagged: bool, to: &mut Collection) -> Result<()> {
        let recent = self.recent(&repository, before);
        let Done::Swept(swept) = self.apply(Change::Sweep { repository, before, untagged, recent })? else {
            return Ok(());
        };
        to.manifests += swept.manifests;
        to.blobs += swept.blobs;
        for some in swept.unheld.chunks(REGISTRY_DISCARDED_AT_ONCE) {
            to.bytes += self.discard(some)?;
            to.files += some.len() as u64;
        }
        Ok(())
    }

    fn recent(&self, repository: &Repository, before: u64) -> HashSet<Digest> {
        let recent = lock(&self.recent);
        let all = recent.newer.iter().chain(&recent.older);
        all.filter(|((of, _), at)| of == repository && **at >= before)
            .map(|((_, digest), _)| *digest)
            .collect()
    }

    /// Files that a crash has left: contents that the index does not have, and uploads that nobody went on with.
    fn sweep_files(&self, rules: &Rules, to: &mut Collection) -> Result<()> {
        let names = self.disk.list(&self.contents).map_err(|error| StoreError::io(&self.contents, error))?;
        let mut unheld = Vec::new();
        for name in names {
            let Some(name) = name.to_str() else { continue };
            if let Some(digest) = content_of(name) {
                if self.index.holders(&digest, 1)?.is_empty() {
                    unheld.push(digest);
                }
            } else if name.starts_with("upload-") {
                self.sweep_upload(&self.contents.join(name), rules, to)?;
            }
        }
        for some in unheld.chunks(REGISTRY_DISCARDED_AT_ONCE) {
            let bytes = self.discard(some)?;
            to.bytes += bytes;
            to.files += some.len() as u64;
        }
        Ok(())
    }

    fn sweep_upload(&self, path: &Path, rules: &Rules, to: &mut Collection) -> Result<()> {
        let age = REGISTRY_UPLOAD_AGE.max(rules.grace).as_nanos() as i128;
        let Ok(file) = self.disk.open(path, Mode::Read) else { return Ok(()) };
        let stamp = file.stamp().map_err(|error| StoreError::io(path, error))?;
        let is_old =
            stamp.is_some_and(|stamp| i128::from(self.now()) * 1_000_000_000 - stamp.changed_ns > age);
        if is_old && !self.uploads.has(path) {
            let bytes = file.bytes().unwrap_or(0);
            self.disk.remove(path).map_err(|error| StoreError::io(path, error))?;
            to.uploads += 1;
            to.bytes += bytes;
        }
        Ok(())
    }
}

/// The digest that a file of a content has as its name.
pub(super) fn content_of(name: &str) -> Option<Digest> {
    let (algorithm, _) = name.split_once('-')?;
    Algorithm::parse(algorithm)?;
    name.replacen('-', ":", 1).parse().ok()
}
