//! `index.json` of a layout: which manifests it has, and by what names.
//!
//! OCI image specification 1.1, <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md#indexjson-file>. A
//! name is a tag; where a layout has images of several repositories, it is all of the reference, as in
//! `registry.example.com/acme/large:1.2.0`.

use std::collections::BTreeSet;

use model::ids::Digest;
use serde_json::{Map, Value, json};

use crate::image_ref::ImageRef;
use crate::manifest::{Descriptor, INDEX};
use crate::name::{Reference, Tag};

/// How an entry is called.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// How some writers say all of the reference, where the other one is a tag alone.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// What is in an `index.json`. What others have put there stays.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Index {
    rest: Map<String, Value>,
    entries: Vec<Entry>,
}

/// A manifest of a layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub descriptor: Descriptor,
    raw: Value,
}

impl Entry {
    fn parse(raw: Value) -> Result<Self, String> {
        let mut lenient = raw.clone();
        if let Some(entry) = lenient.as_object_mut() {
            entry.retain(|_, value| !value.is_null());
        }
        let descriptor = serde_json::from_value(lenient).map_err(|error| error.to_string())?;
        Ok(Self { descriptor, raw })
    }

    fn new(descriptor: Descriptor) -> Self {
        Self { raw: json!(descriptor), descriptor }
    }

    /// A tag, or all of a reference. None where it is known by its digest alone.
    pub fn name(&self) -> Option<&str> {
        self.descriptor.annotations.get(REF_NAME).map(String::as_str)
    }

    /// The image that it is, where it says so.
    pub fn image(&self) -> Option<ImageRef> {
        let names = [REF_NAME, IMAGE_NAME].into_iter();
        names.filter_map(|key| self.descriptor.annotations.get(key)).find_map(|name| name.parse().ok())
    }
}

/// The name of an entry, for those of one repository and for a layout that has no more than one.
pub(super) fn name(repository: Option<&str>, reference: &Reference) -> Option<String> {
    match (repository, reference) {
        (Some(repository), Reference::Tag(tag)) => Some(format!("{repository}:{tag}")),
        (Some(repository), Reference::Digest(digest)) => Some(format!("{repository}@{digest}")),
        (None, Reference::Tag(tag)) => Some(tag.to_string()),
        (None, Reference::Digest(_)) => None,
    }
}

impl Index {
    pub fn new() -> Self {
        let head = json!({ "schemaVersion": 2, "mediaType": INDEX });
        let rest = head.as_object().cloned().unwrap_or_default();
        Self { rest, entries: Vec::new() }
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut rest: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if rest.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
            return Err("its schemaVersion is not 2".to_owned());
        }
        let entries = match rest.shift_remove("manifests") {
            Some(Value::Array(entries)) => entries,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err("its manifests are no list".to_owned()),
        };
        let entries = entries.into_iter().map(Entry::parse).collect::<Result<_, _>>()?;
        Ok(Self { rest, entries })
    }

    /// Whatever came in which order, it is the same text.
    pub fn print(&self) -> String {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| (entry.name(), entry.descriptor.digest));
        let mut whole = self.rest.clone();
        whole.insert("manifests".to_owned(), entries.into_iter().map(|entry| entry.raw.clone()).collect());
        Value::Object(whole).to_string()
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn by_tag(&self, repository: Option<&str>, tag: &Tag) -> Option<&Entry> {
        let name = name(repository, &Reference::Tag(tag.clone()));
        self.entries.iter().find(|entry| entry.name() == name.as_deref())
    }

    pub fn by_digest(&self, digest: &Digest) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.descriptor.digest == *digest)
    }

    /// Tags of a repository, sorted; those of a layout that has no more than one where it is none.
    pub fn tags(&self, repository: Option<&str>) -> Vec<Tag> {
        let tag = |entry: &Entry| {
            let name = entry.name()?;
            let tag = match repository {
                Some(repository) => name.strip_prefix(repository)?.strip_prefix(':')?,
                None => name,
            };
            tag.parse().ok()
        };
        let tags: BTreeSet<Tag> = self.entries.iter().filter_map(tag).collect();
        tags.into_iter().collect()
    }

    /// Adds a manifest under a name, which stands for nothing else from now on. What it has below it needs no entry of its own.
    pub fn put(&mut self, mut descriptor: Descriptor, repository: Option<&str>, reference: &Reference, below: &[Digest]) {
        descriptor.annotations.clear();
        let name = name(repository, reference);
        let by_digest = |digest: &Digest| self::name(repository, &Reference::Digest(*digest));
        self.entries.retain(|entry| {
            let (digest, known) = (entry.descriptor.digest, entry.name());
            let is_bare = known.is_none() || known == by_digest(&digest).as_deref();
            let is_replaced = known.is_some() && known == name.as_deref();
            let is_named_now = is_bare && digest == descriptor.digest;
            !(is_replaced || is_named_now || is_bare && below.contains(&digest))
        });
        if matches!(reference, Reference::Digest(_)) && self.is_tagged(repository, &descriptor.digest) {
            return;
        }
        if let Some(name) = name {
            descriptor.annotations.insert(REF_NAME.to_owned(), name);
        }
        self.entries.push(Entry::new(descriptor));
    }

    fn is_tagged(&self, repository: Option<&str>, digest: &Digest) -> bool {
        let is_of = |entry: &Entry| match (repository, entry.name()) {
            (Some(repository), Some(name)) => name.strip_prefix(repository).is_some_and(|rest| rest.starts_with(':')),
            (None, name) => name.is_some(),
            (Some(_), None) => false,
        };
        self.entries.iter().any(|entry| entry.descriptor.digest == *digest && is_of(entry))
    }

    /// Removes a tag, or all entries of a manifest that are of this repository. Says whether there were any.
    pub fn remove(&mut self, repository: Option<&str>, reference: &Reference) -> bool {
        let before = self.entries.len();
        let name = name(repository, reference);
        self.entries.retain(|entry| match (reference, repository) {
            (Reference::Tag(_), _) => entry.name() != name.as_deref(),
            (Reference::Digest(digest), None) => entry.descriptor.digest != *digest,
            (Reference::Digest(digest), Some(repository)) => {
                let is_of = entry
                    .name()
                    .and_then(|name| name.strip_prefix(repository))
                    .is_some_and(|rest| rest.starts_with([':', '@']));
                !(is_of && entry.descriptor.digest == *digest)
            }
        });
        self.entries.len() < before
    }
}
