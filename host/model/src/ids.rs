//! Names and numbers that identify things, as types that cannot be mixed up: records, what ran, under which epoch and up
//! to which checkpoint, and content by its digest.
//!
//! Record ids follow the delivery contract: a source record is named for ever by
//! `(pipeline, source, split, offset)`, a made record by its parent, the stage, the port and its index
//! among the records made from that parent. Nothing here is computed unless somebody asks for an id.

mod digest;

use std::fmt;

pub use digest::{Algorithm, Digest, DigestError, Digester};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// Names one record for ever: 128 bits of xxh3 over what made it.
///
/// Source: xxHash's XXH3 specification, <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(u128);

impl RecordId {
    /// The id of record `offset` of `split` of the source stage `source`.
    pub fn of_source(pipeline: &str, source: &str, split: &str, offset: u64) -> Self {
        let mut hash = Tagged::new(1);
        hash.text(pipeline);
        hash.text(source);
        hash.text(split);
        hash.number(offset);
        hash.finish()
    }

    /// The id of the record that `stage` made from this one: the `nth` of those that left by `port`.
    pub fn made(self, stage: &str, port: u32, nth: u32) -> Self {
        let mut hash = Tagged::new(2);
        hash.id(self);
        hash.text(stage);
        hash.number(u64::from(port));
        hash.number(u64::from(nth));
        hash.finish()
    }

    /// The id of this record where it came by `edge` into a stage at which branches of one origin meet.
    pub fn by_edge(self, edge: &str) -> Self {
        let mut hash = Tagged::new(3);
        hash.id(self);
        hash.text(edge);
        hash.finish()
    }

    /// Big-endian, as ids are handed to sinks.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The id as it is shown: 32 hexadecimal digits. None for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(text, 16).ok())?.map(Self)
    }
}

/// Names what ran: one manifest with these components.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision(u128);

impl Revision {
    /// Of the manifest's text, and of each component by its stage and its digest, in the manifest's order.
    pub fn of<'a>(manifest: &str, components: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut hash = Tagged::new(4);
        hash.text(manifest);
        for (stage, digest) in components {
            hash.text(stage);
            hash.text(digest);
        }
        Self(hash.finish().0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Says who runs a pipeline: the highest counts, and whatever comes under a lower one is refused. Whoever runs it next has
/// a higher one than anybody before, so that one that was taken for dead changes nothing any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Which checkpoint of one pipeline: a later one has a higher number, whatever epoch it was taken under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckpointNumber(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for CheckpointNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Every part is length-prefixed and every kind of id starts with a tag, so that no two different lists of
/// parts hash the same bytes.
struct Tagged(Xxh3);

impl Tagged {
    fn new(tag: u8) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&[tag]);
        Self(hash)
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn id(&mut self, id: RecordId) {
        self.0.update(&id.0.to_le_bytes());
    }

    fn finish(self) -> RecordId {
        RecordId(self.0.digest128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_every_part_apart() {
        let base = RecordId::of_source("p", "s", "a", 1);
        let others = [
            RecordId::of_source("p", "s", "a", 2),
            RecordId::of_source("p", "sa", "", 1),
            RecordId::of_source("ps", "", "a", 1),
            base.made("s", 0, 0),
            base.made("s", 0, 1),
            base.made("s", 1, 0),
            base.by_edge("s"),
        ];
        for (i, id) in others.iter().enumerate() {
            assert_ne!(*id, base, "variant {i} collides with the base");
            for (j, other) in others.iter().enumerate().skip(i + 1) {
                assert_ne!(id, other, "variants {i} and {j} collide");
            }
        }
    }

    #[test]
    fn ids_are_read_back_as_they_are_shown_and_as_they_are_handed_out() {
        let id = RecordId::of_source("p", "s", "a", 1);
        assert_eq!(RecordId::parse(&id.to_string()), Some(id));
        assert_eq!(RecordId::from_bytes(id.to_bytes()), id);
        for wrong in ["", "12", "+1234567890123456789012345678901", "g2345678901234567890123456789012"] {
            assert_eq!(RecordId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_revision_changes_with_the_manifest_and_with_each_component() {
        let base = Revision::of("a", [("s", "1")]);
        assert_eq!(base, Revision::of("a", [("s", "1")]));
        for other in [Revision::of("b", [("s", "1")]), Revision::of("a", [("s", "2")]), Revision::of("a", [])]
        {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn an_id_is_pinned_for_ever() {
        // Ids are written to other systems: a change here breaks deduplication across versions.
        let id = RecordId::of_source("orders", "in", "data/a.csv", 41);
        assert_eq!(id.to_string(), "f9d7d0ce77198134e68f432bc03a3fb8");
    }
}
