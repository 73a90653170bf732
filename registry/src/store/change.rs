//! What can be done to the index, as values, and what comes of it.

use std::collections::HashSet;

use model::ids::Digest;

use crate::manifest::Manifest;
use crate::name::{Repository, Tag};

/// One thing to do, whole or not at all. Times are seconds since the Unix epoch.
#[derive(Clone, Debug)]
pub enum Change {
    /// The repository has this blob, whose content is there.
    Blob {
        repository: Repository,
        digest: Digest,
        bytes: u64,
        room: Room,
        now: u64,
    },
    /// The repository has a blob that one of the others has.
    Mount {
        repository: Repository,
        from: Vec<Repository>,
        digest: Digest,
        room: Room,
        now: u64,
    },
    /// The repository has this manifest, whose content is there, under these tags.
    Manifest {
        repository: Repository,
        digest: Digest,
        bytes: u64,
        manifest: Box<Manifest>,
        tags: Vec<Tag>,
        room: Room,
        now: u64,
    },
    RemoveTag {
        repository: Repository,
        tag: Tag,
    },
    /// With all tags that it has.
    RemoveManifest {
        repository: Repository,
        digest: Digest,
    },
    RemoveBlob {
        repository: Repository,
        digest: Digest,
    },
    /// Blobs that no manifest of the repository names; manifests too that nothing tagged leads to, where `untagged` are
    /// meant. Nothing that came at `before` or behind it, and none of `recent`.
    Sweep {
        repository: Repository,
        before: u64,
        untagged: bool,
        recent: HashSet<Digest>,
    },
}

impl Change {
    /// Whether there is content that came to its name for this.
    pub(super) fn has_content(&self) -> bool {
        matches!(self, Self::Blob { .. } | Self::Manifest { .. })
    }
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    Done,
    /// Contents that no repository has any more.
    Unheld(Vec<Digest>),
    Swept(Collected),
}

/// What was swept from a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub blobs: u64,
    pub manifests: u64,
    /// Contents that no repository has any more.
    pub unheld: Vec<Digest>,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes of one repository. What several have counts for each.
    pub repository: Option<u64>,
    /// Bytes of all. What several repositories have counts once.
    pub total: Option<u64>,
}

impl Room {
    /// Why there is no room for so many bytes more, where there is none. `is_new`: no repository has them.
    pub fn refuses(&self, has: u64, total: u64, bytes: u64, is_new: bool) -> Option<Refused> {
        let over = |max: Option<u64>, has: u64| max.filter(|&max| has.saturating_add(bytes) > max);
        if let Some(max) = over(self.repository, has) {
            return Some(Refused::RepositoryFull { has, bytes, max });
        }
        over(self.total.filter(|_| is_new), total).map(|max| Refused::RegistryFull { has: total, bytes, max })
    }
}

/// A content that is not what its digest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub found: Digest,
    pub said: Digest,
}

/// Why something is not done, and nothing was changed.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    #[error("there is no repository `{repository}`")]
    RepositoryUnknown { repository: Repository },
    #[error("there is no blob {digest} in the repository")]
    BlobUnknown { digest: Digest },
    #[error("there is no manifest {digest} in the repository")]
    ManifestUnknown { digest: Digest },
    #[error("there is no tag `{tag}` in the repository")]
    TagUnknown { tag: Tag },
    #[error("the manifest names {digest}, which is not in the repository: push it first")]
    Lacks { digest: Digest },
    #[error("the manifest says that {digest} has {said} bytes, and it has {bytes}")]
    OtherSize { digest: Digest, bytes: u64, said: u64 },
    #[error("what was pushed is {}, and was said to be {}; push it again", .0.found, .0.said)]
    OtherDigest(Box<Mismatch>),
    #[error("there is no such upload: it has ended, was not touched for long, or never began; begin it anew")]
    UploadUnknown,
    #[error("there are {max} uploads under way: try again later")]
    Uploads { max: usize },
    #[error("the repository has {has} bytes, {max} are the most, and {bytes} more were pushed; remove some")]
    RepositoryFull { has: u64, bytes: u64, max: u64 },
    #[error("the registry has {has} bytes, {max} are the most, and {bytes} more were pushed; remove some")]
    RegistryFull { has: u64, bytes: u64, max: u64 },
}
