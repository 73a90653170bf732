//! The tables of the index, and what a change does to them. All within one transaction, which is there or is not.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::ids::{Algorithm, Digest};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::change::{Change, Collected, Done, Refused, Room};
use crate::manifest::Manifest;
use crate::name::{Repository, Tag};

type Result<T> = std::result::Result<T, redb::Error>;

/// A repository, a subject, and a manifest that has it.
pub(super) type Referrer<'k> = (&'k str, &'k [u8], &'k [u8]);

/// By repository and digest: bytes, and since when, in seconds since the Unix epoch.
pub(super) const BLOBS: TableDefinition<'_, (&str, &[u8]), (u64, u64)> = TableDefinition::new("blobs");
/// By repository and digest: media type, bytes, and since when.
pub(super) const MANIFESTS: TableDefinition<'_, (&str, &[u8]), (&str, u64, u64)> =
    TableDefinition::new("manifests");
/// By repository and digest of a manifest: the digests that it names, one behind the other.
pub(super) const NAMES: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("names");
/// By repository and digest of a manifest that has a subject: the subject.
pub(super) const SUBJECTS: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("subjects");
/// By repository, subject, and the manifest that has it: the descriptor of that, as JSON.
pub(super) const REFERRERS: TableDefinition<'_, Referrer<'_>, &[u8]> = TableDefinition::new("referrers");
/// By repository and tag: a digest.
pub(super) const TAGS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("tags");
/// By repository, digest and tag.
pub(super) const TAGGED: TableDefinition<'_, (&str, &[u8], &str), ()> = TableDefinition::new("tagged");
/// By digest and each repository that has it: bytes.
pub(super) const HOLDERS: TableDefinition<'_, (&[u8], &str), u64> = TableDefinition::new("holders");
/// By repository: bytes and number of what it has.
pub(super) const REPOSITORIES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("repositories");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Of the tables; an index with another number is not touched.
pub(super) const FORMAT: &str = "format";
/// Of all content that anybody has.
pub(super) const BYTES: &str = "bytes";

/// A digest as a key: the algorithm, and what it gave.
pub(super) fn key(digest: &Digest) -> Vec<u8> {
    let algorithm = match digest.algorithm() {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    };
    std::iter::once(algorithm).chain(digest.as_bytes().iter().copied()).collect()
}

/// The digest at the beginning of some keys, and what is behind it.
fn first_digest(keys: &[u8]) -> Option<(Digest, &[u8])> {
    let (algorithm, rest) = keys.split_first()?;
    let algorithm = match algorithm {
        1 => Algorithm::Sha256,
        2 => Algorithm::Sha512,
        _ => return None,
    };
    let (given, rest) = rest.split_at_checked(algorithm.bytes())?;
    Some((Digest::from_bytes(algorithm, given)?, rest))
}

pub(super) fn digest(key: &[u8]) -> Result<Digest> {
    match first_digest(key) {
        Some((digest, [])) => Ok(digest),
        _ => Err(redb::Error::Corrupted("a digest in it is none".to_owned())),
    }
}

/// Digests that stand one behind the other.
pub(super) fn digests(mut keys: &[u8]) -> Result<Vec<Digest>> {
    let mut all = Vec::new();
    while !keys.is_empty() {
        let next =
            first_digest(keys).ok_or_else(|| redb::Error::Corrupted("a digest in it is none".to_owned()))?;
        all.push(next.0);
        keys = next.1;
    }
    Ok(all)
}

/// All tables, to be changed.
pub(super) struct Tables<'t> {
    blobs: Table<'t, (&'static str, &'static [u8]), (u64, u64)>,
    manifests: Table<'t, (&'static str, &'static [u8]), (&'static str, u64, u64)>,
    names: Table<'t, (&'static str, &'static [u8]), &'static [u8]>,
    subjects: Table<'t, (&'static str, &'static [u8]), &'static [u8]>,
    referrers: Table<'t, Referrer<'static>, &'static [u8]>,
    tags: Table<'t, (&'static str, &'static str), &'static [u8]>,
    tagged: Table<'t, (&'static str, &'static [u8], &'static str), ()>,
    holders: Table<'t, (&'static [u8], &'static str), u64>,
    repositories: Table<'t, &'static str, (u64, u64)>,
    meta: Table<'t, &'static str, u64>,
}

/// What a change comes to: done, or refused, and then nothing was changed.
type Answer = Result<std::result::Result<Done, Refused>>;

impl<'t> Tables<'t> {
    pub fn open(transaction: &'t WriteTransaction) -> Result<Self> {
        Ok(Self {
            blobs: transaction.open_table(BLOBS)?,
            manifests: transaction.open_table(MANIFESTS)?,
            names: transaction.open_table(NAMES)?,
            subjects: transaction.open_table(SUBJECTS)?,
            referrers: transaction.open_table(REFERRERS)?,
            tags: transaction.open_table(TAGS)?,
            tagged: transaction.open_table(TAGGED)?,
            holders: transaction.open_table(HOLDERS)?,
            repositories: transaction.open_table(REPOSITORIES)?,
            meta: transaction.open_table(META)?,
        })
    }

    /// The number of the layout, which is written where there is none.
    pub fn format(&mut self, ours: u64) -> Result<u64> {
        let found = self.meta.get(FORMAT)?.map(|found| found.value());
        if found.is_none() {
            self.meta.insert(FORMAT, ours)?;
        }
        Ok(found.unwrap_or(ours))
    }

    pub fn apply(&mut self, change: &Change) -> Answer {
        match change {
            Change::Blob { repository, digest, bytes, room, now } => {
                if let Err(refused) = self.hold(repository, digest, *bytes, room)? {
                    return Ok(Err(refused));
                }
                self.blobs.insert((repository.as_str(), &*key(digest)), (*bytes, *now))?;
                Ok(Ok(Done::Done))
            }
            Change::Mount { repository, from, digest, room, now } => {
                self.mount(repository, from, digest, room, *now)
            }
            Change::Manifest { repository, digest, bytes, manifest, tags, room, now } => {
                if let Some(refused) = self.lacks(repository, manifest)? {
                    return Ok(Err(refused));
                }
                if let Err(refused) = self.hold(repository, digest, *bytes, room)? {
                    return Ok(Err(refused));
                }
                self.put_manifest(repository, digest, *bytes, manifest, *now)?;
                tags.iter().try_for_each(|tag| self.tag(repository, tag, digest))?;
                Ok(Ok(Done::Done))
            }
            Change::RemoveTag { repository, tag } => {
                let was =
                    self.tags.remove((repository.as_str(), tag.as_str()))?.map(|was| was.value().to_vec());
                let Some(was) = was else { return Ok(Err(Refused::TagUnknown { tag: tag.clone() })) };
                self.tagged.remove((repository.as_str(), &*was, tag.as_str()))?;
                Ok(Ok(Done::Done))
            }
            Change::RemoveManifest { repository, digest } => {
                match self.remove_manifest(repository, digest)? {
                    None => Ok(Err(Refused::ManifestUnknown { digest: *digest })),
                    Some(unheld) => Ok(Ok(Done::Unheld(unheld.then_some(*digest).into_iter().collect()))),
                }
            }
            Change::RemoveBlob { repository, digest } => {
                if self.blobs.remove((repository.as_str(), &*key(digest)))?.is_none() {
                    return Ok(Err(Refused::BlobUnknown { digest: *digest }));
                }
                let unheld = self.release(repository, digest)?;
                Ok(Ok(Done::Unheld(unheld.then_some(*digest).into_iter().collect())))
            }
            Change::Sweep { repository, before, untagged, recent } => {
                Ok(Ok(Done::Swept(self.sweep(repository, *before, *untagged, recent)?)))
            }
        }
    }

    fn mount(
        &mut self,
        repository: &Repository,
        from: &[Repository],
        digest: &Digest,
        room: &Room,
        now: u64,
    ) -> Answer {
        for from in from {
            let bytes = self.blobs.get((from.as_str(), &*key(digest)))?.map(|blob| blob.value().0);
            if let Some(bytes) = bytes {
                if let Err(refused) = self.hold(repository, digest, bytes, room)? {
                    return Ok(Err(refused));
                }
                self.blobs.insert((repository.as_str(), &*key(digest)), (bytes, now))?;
                return Ok(Ok(Done::Done));
            }
        }
        Ok(Err(Refused::BlobUnknown { digest: *digest }))
    }

    /// What a manifest names and is not there, or is something else.
    fn lacks(&self, repository: &Repository, manifest: &Manifest) -> Result<Option<Refused>> {
        for named in manifest.names.iter().filter(|named| named.is_needed) {
            let key = key(&named.digest);
            let place = (repository.as_str(), &*key);
            let of_blob = self.blobs.get(place)?.map(|blob| blob.value().0);
            let found = match of_blob {
                Some(bytes) => Some(bytes),
                None => self.manifests.get(place)?.map(|manifest| manifest.value().1),
            };
            match found {
                None => return Ok(Some(Refused::Lacks { digest: named.digest })),
                Some(bytes) if bytes != named.bytes => {
                    return Ok(Some(Refused::OtherSize { digest: named.digest, bytes, said: named.bytes }));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    fn put_manifest(
        &mut self,
        repository: &Repository,
        digest: &Digest,
        bytes: u64,
        manifest: &Manifest,
        now: u64,
    ) -> Result<()> {
        let (name, key_of) = (repository.as_str(), key(digest));
        let place = (name, &*key_of);
        self.manifests.insert(place, (manifest.media_type.as_str(), bytes, now))?;
        let names: Vec<u8> = manifest.names.iter().flat_map(|named| key(&named.digest)).collect();
        self.names.insert(place, names.as_slice())?;
        if let Some(subject) = &manifest.subject {
            let subject = key(subject);
            self.subjects.insert(place, subject.as_slice())?;
            let descriptor = serde_json::to_vec(&manifest.descriptor(*digest, bytes));
            let descriptor = descriptor.map_err(|error| redb::Error::Corrupted(error.to_string()))?;
            self.referrers.insert((name, &*subject, &*key_of), descriptor.as_slice())?;
        }
        Ok(())
    }

    fn tag(&mut self, repository: &Repository, tag: &Tag, digest: &Digest) -> Result<()> {
        let (name, key) = (repository.as_str(), key(digest));
        let was = self.tags.insert((name, tag.as_str()), key.as_slice())?.map(|was| was.value().to_vec());
        if let Some(was) = was {
            self.tagged.remove((name, &*was, tag.as_str()))?;
        }
        self.tagged.insert((name, &*key, tag.as_str()), ())?;
        Ok(())
    }

    /// Removes a manifest with its tags. Says whether nobody has its content any more; None where there is no such.
    fn remove_manifest(&mut self, repository: &Repository, digest: &Digest) -> Result<Option<bool>> {
        let (name, key) = (repository.as_str(), key(digest));
        let place = (name, &*key);
        if self.manifests.remove(place)?.is_none() {
            return Ok(None);
        }
        self.names.remove(place)?;
        let subject = self.subjects.remove(place)?.map(|subject| subject.value().to_vec());
        if let Some(subject) = subject {
            self.referrers.remove((name, &*subject, &*key))?;
        }
        let mut tags = Vec::new();
        for entry in self.tagged.range((name, &*key, "")..)? {
            let entry = entry?.0;
            let (of, by, tag) = entry.value();
            if (of, by) != (name, &*key) {
                break;
            }
            tags.push(tag.to_owned());
        }
        for tag in tags {
            self.tagged.remove((name, &*key, &*tag))?;
            self.tags.remove((name, &*tag))?;
        }
        Ok(Some(self.release(repository, digest)?))
    }

    /// Notes that a repository has some content, where there is room for it.
    fn hold(
        &mut self,
        repository: &Repository,
        digest: &Digest,
        bytes: u64,
        room: &Room,
    ) -> Result<std::result::Result<(), Refused>> {
        let (name, key) = (repository.as_str(), key(digest));
        if self.holders.get((&*key, name))?.is_some() {
            return Ok(Ok(()));
        }
        let (has, count) = self.repositories.get(name)?.map(|row| row.value()).unwrap_or_default();
        let is_new = !self.is_held(&key)?;
        let total = self.meta.get(BYTES)?.map_or(0, |bytes| bytes.value());
        if let Some(refused) = room.refuses(has, total, bytes, is_new) {
            return Ok(Err(refused));
        }
        self.holders.insert((&*key, name), bytes)?;
        self.repositories.insert(name, (has + bytes, count + 1))?;
        if is_new {
            self.meta.insert(BYTES, total + bytes)?;
        }
        Ok(Ok(()))
    }

    fn is_held(&self, key: &[u8]) -> Result<bool> {
        let first = self.holders.range((key, "")..)?.next().transpose()?;
        Ok(first.is_some_and(|(holder, _)| holder.value().0 == key))
    }

    /// Notes that a repository has it no more, unless it has it as something else. Says whether nobody has.
    fn release(&mut self, repository: &Repository, digest: &Digest) -> Result<bool> {
        let (name, key) = (repository.as_str(), key(digest));
        if self.blobs.get((name, &*key))?.is_some() || self.manifests.get((name, &*key))?.is_some() {
            return Ok(false);
        }
        let Some(bytes) = self.holders.remove((&*key, name))?.map(|bytes| bytes.value()) else {
            return Ok(false);
        };
        let (has, count) = self.repositories.get(name)?.map(|row| row.value()).unwrap_or_default();
        if count <= 1 {
            self.repositories.remove(name)?;
        } else {
            self.repositories.insert(name, (has.saturating_sub(bytes), count - 1))?;
        }
        if self.is_held(&key)? {
            return Ok(false);
        }
        let total = self.meta.get(BYTES)?.map_or(0, |bytes| bytes.value());
        self.meta.insert(BYTES, total.saturating_sub(bytes))?;
        Ok(true)
    }

    /// Removes what nothing in the repository needs: marks from its manifests on, and sweeps the rest. What came behind
    /// `before`, and what is in `recent`, stays: somebody may be about to name it.
    fn sweep(
        &mut self,
        repository: &Repository,
        before: u64,
        untagged: bool,
        recent: &HashSet<Digest>,
    ) -> Result<Collected> {
        let graph = self.graph(repository)?;
        let mut collected = Collected::default();
        let kept =
            if untagged { graph.reached(before, recent) } else { graph.manifests.keys().copied().collect() };
        for digest in graph.manifests.keys().filter(|digest| !kept.contains(digest)) {
            let unheld = self.remove_manifest(repository, digest)?.unwrap_or(false);
            collected.manifests += 1;
            collected.unheld.extend(unheld.then_some(*digest));
        }
        let marked: HashSet<Digest> = kept
            .iter()
            .filter_map(|digest| graph.manifests.get(digest))
            .flat_map(|found| found.names.iter().copied())
            .collect();
        let mut swept = Vec::new();
        let name = repository.as_str();
        for entry in self.blobs.range((name, &[][..])..)? {
            let (place, blob) = entry?;
            if place.value().0 != name {
                break;
            }
            let digest = digest(place.value().1)?;
            if blob.value().1 < before && !marked.contains(&digest) && !recent.contains(&digest) {
                swept.push(digest);
            }
        }
        for digest in swept {
            self.blobs.remove((name, &*key(&digest)))?;
            let unheld = self.release(repository, &digest)?;
            collected.blobs += 1;
            collected.unheld.extend(unheld.then_some(digest));
        }
        Ok(collected)
    }

    fn graph(&self, repository: &Repository) -> Result<Graph> {
        let name = repository.as_str();
        let mut graph = Graph::default();
        for entry in self.manifests.range((name, &[][..])..)? {
            let (place, manifest) = entry?;
            if place.value().0 != name {
                break;
            }
            let names = self.names.get(place.value())?.map(|names| digests(names.value())).transpose()?;
            let subject =
                self.subjects.get(place.value())?.map(|subject| digest(subject.value())).transpose()?;
            let found = Found { since: manifest.value().2, names: names.unwrap_or_default(), subject };
            graph.manifests.insert(digest(place.value().1)?, found);
        }
        for entry in self.tags.range((name, "")..)? {
            let (place, tagged) = entry?;
            if place.value().0 != name {
                break;
            }
            graph.tagged.insert(digest(tagged.value())?);
        }
        Ok(graph)
    }
}

/// The manifests of a repository, and how they hang together.
#[derive(Default)]
struct Graph {
    manifests: BTreeMap<Digest, Found>,
    tagged: HashSet<Digest>,
}

struct Found {
    since: u64,
    names: Vec<Digest>,
    subject: Option<Digest>,
}

impl Graph {
    /// What is tagged or young, what that names, and what says something of any of these.
    fn reached(&self, before: u64, recent: &HashSet<Digest>) -> HashSet<Digest> {
        let mut referrers: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for (digest, found) in &self.manifests {
            if let Some(subject) = found.subject {
                referrers.entry(subject).or_default().push(*digest);
            }
        }
        let is_root = |(digest, found): &(&Digest, &Found)| {
            self.tagged.contains(*digest) || found.since >= before || recent.contains(*digest)
        };
        let mut next: Vec<Digest> =
            self.manifests.iter().filter(is_root).map(|(digest, _)| *digest).collect();
        let mut reached = HashSet::new();
        while let Some(digest) = next.pop() {
            let Some(found) = self.manifests.get(&digest) else { continue };
            if reached.insert(digest) {
                next.extend(&found.names);
                next.extend(referrers.get(&digest).into_iter().flatten());
            }
        }
        reached
    }
}
