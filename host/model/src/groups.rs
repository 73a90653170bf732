//! Key groups: the parts into which the keys of a stage's state are divided. A replica of a stage owns a range of
//! them, and takes over whole groups when the number of replicas changes.
//!
//! A key's group never changes, since state on disk is ordered by it.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::limits::KEY_GROUPS;

/// One of [`KEY_GROUPS`] parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyGroup(u8);

/// The hash of a key, from which its group comes, and by which tables in memory find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(pub u64);

impl KeyHash {
    #[inline]
    pub fn of(key: &[u8]) -> Self {
        Self(xxh3_64(key))
    }

    /// By bits in the middle: tables in memory use those at both ends, and of one replica all keys may be of few groups.
    #[inline]
    pub fn group(self) -> KeyGroup {
        KeyGroup(((self.0 >> 32) % u64::from(KEY_GROUPS)) as u8)
    }
}

impl KeyGroup {
    pub fn of(key: &[u8]) -> Self {
        KeyHash::of(key).group()
    }

    pub fn index(self) -> u8 {
        self.0
    }
}

/// The groups that a replica owns, which are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRange {
    first: u8,
    last: u8,
}

impl GroupRange {
    /// What a single replica owns.
    pub const ALL: Self = Self { first: 0, last: (KEY_GROUPS - 1) as u8 };

    /// What replica `replica` of `replicas` owns: as even as can be, none left out, none owned twice. None where there is
    /// no such replica, or where there are more replicas than groups.
    pub fn of_replica(replica: u16, replicas: u16) -> Option<Self> {
        if replica >= replicas || replicas > KEY_GROUPS {
            return None;
        }
        let start = |replica: u16| replica * KEY_GROUPS / replicas;
        Some(Self { first: start(replica) as u8, last: (start(replica + 1) - 1) as u8 })
    }

    #[inline]
    pub fn contains(self, group: KeyGroup) -> bool {
        (self.first..=self.last).contains(&group.0)
    }
}

impl Default for GroupRange {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for GroupRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_owned_by_one_replica_whatever_their_number() {
        for replicas in [1, 2, 3, 5, 7, 64, 127, 128] {
            for group in (0..KEY_GROUPS as u8).map(KeyGroup) {
                let owns = |replica: &u16| {
                    GroupRange::of_replica(*replica, replicas).expect("a replica").contains(group)
                };
                assert_eq!((0..replicas).filter(owns).count(), 1, "{group:?} of {replicas}");
            }
        }
        assert_eq!(GroupRange::of_replica(0, 1), Some(GroupRange::ALL));
        assert_eq!(GroupRange::of_replica(3, 3), None);
        assert_eq!(GroupRange::of_replica(0, KEY_GROUPS + 1), None);
    }

    #[test]
    fn keys_are_spread_over_all_groups_and_stay_in_theirs() {
        let mut counts = [0; KEY_GROUPS as usize];
        for n in 0..12_800u32 {
            counts[usize::from(KeyGroup::of(&n.to_le_bytes()).index())] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
        // They are on disk: other numbers here would lose the state of every pipeline.
        let groups = [&b""[..], b"a", b"abc"].map(|key| KeyGroup::of(key).index());
        assert_eq!(groups, [5, 54, 20]);
    }
}
