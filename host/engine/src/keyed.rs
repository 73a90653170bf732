//! What a transform remembers, seen from the engine: what a guest asks for, checked and bounded, and whoever
//! answers it. Where state is kept is not the engine's to know.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use model::groups::{GroupRange, KeyGroup};
use model::limits::{STATE_ANSWER_BYTES_MAX, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX};

/// The state of one stage, on behalf of one replica of it. Calls into the stage come one at a time; those of a call
/// into the stage as well.
pub trait KeyedState: fmt::Debug + Send + Sync {
    fn get<'a>(&'a self, entries: &'a Entries) -> Answering<'a, Values>;
    fn set(&self, entries: &Entries, values: &Values) -> Result<(), StateError>;
    /// A bitmap of the entries that were set.
    fn insert<'a>(&'a self, entries: &'a Entries, values: &'a Packed) -> Answering<'a, Vec<u8>>;
    fn delete(&self, entries: &Entries) -> Result<(), StateError>;
    fn scan<'a>(&'a self, scan: &'a Scan) -> Answering<'a, Page>;
}

/// What is answered once it was read.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, StateError>> + Send + 'a>>;

/// Why state cannot be read or written. The call that asked ends with it.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    #[error(
        "it asks for its state outside of `process`, or is no transform; an instance may be opened any number of times, \
         so that it reads in `process` what it needs"
    )]
    NotHere,
    #[error("it asks for state against the contract: {0}; its author has to mend it")]
    Malformed(String),
    #[error(
        "it asks for the state of a key of group {}, and this replica owns {owned}; send records of one key to one \
         replica: key the stage by what it looks its state up by", group.index()
    )]
    NotOwned { group: KeyGroup, owned: GroupRange },
    #[error("a {what} of its state has {bytes} bytes, at most {limit_bytes} are taken")]
    EntryTooLarge { what: &'static str, bytes: usize, limit_bytes: usize },
    #[error(
        "{what} of its state came to more than {limit_bytes} bytes in one call; hand it fewer records at a time"
    )]
    CallTooLarge { what: &'static str, limit_bytes: usize },
    #[error("its state would have more than {limit_bytes} bytes; {next}")]
    Full { limit_bytes: u64, next: &'static str },
    #[error("its state cannot be read: {0}")]
    Unavailable(String),
}

impl StateError {
    /// The short, stable code under which it is counted.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotHere => "state-not-here",
            Self::Malformed(_) => "state-malformed",
            Self::NotOwned { .. } => "state-key-not-owned",
            Self::EntryTooLarge { .. } => "state-entry-too-large",
            Self::CallTooLarge { .. } => "state-call-too-large",
            Self::Full { .. } => "state-too-large",
            Self::Unavailable(_) => "state-unavailable",
        }
    }

    /// Whether it may be the fault of single records, so that it is worth finding out which.
    pub fn is_of_records(&self) -> bool {
        !matches!(self, Self::Full { .. } | Self::Unavailable(_))
    }
}

/// Values of varying length, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// One more than there are values, ascending from 0 to within `bytes`.
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

impl Default for Packed {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: Vec::new() }
    }
}

impl Packed {
    pub fn with_capacity(values: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(values + 1);
        offsets.push(0);
        Self { offsets, bytes: Vec::with_capacity(bytes) }
    }

    pub(crate) fn checked(offsets: Vec<u32>, bytes: Vec<u8>) -> Result<Self, StateError> {
        let ends_within = offsets.last().is_none_or(|&end| end as usize <= bytes.len());
        if !ends_within || offsets.first().is_some_and(|&first| first != 0) || !offsets.is_sorted() {
            return Err(StateError::Malformed("offsets have to ascend from 0 to within the bytes".into()));
        }
        let offsets = if offsets.is_empty() { vec![0] } else { offsets };
        Ok(Self { offsets, bytes })
    }

    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values together.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// # Panics
    /// Where there is no such value.
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Refused where an answer would have too many bytes.
    #[inline]
    pub fn push(&mut self, value: &[u8]) -> Result<(), StateError> {
        let end = self.bytes.len() + value.len();
        if end > STATE_ANSWER_BYTES_MAX {
            return Err(StateError::CallTooLarge { what: "the values", limit_bytes: STATE_ANSWER_BYTES_MAX });
        }
        self.bytes.extend_from_slice(value);
        self.offsets.push(end as u32);
        Ok(())
    }

    pub(crate) fn into_parts(self) -> (Vec<u32>, Vec<u8>) {
        (self.offsets, self.bytes)
    }

    fn check_each(&self, what: &'static str, limit_bytes: usize) -> Result<(), StateError> {
        let longest = self.offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize).max().unwrap_or(0);
        match longest > limit_bytes {
            true => Err(StateError::EntryTooLarge { what, bytes: longest, limit_bytes }),
            false => Ok(()),
        }
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Packed {
    /// # Panics
    /// Where they have more bytes than an answer may.
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut packed = Self::default();
        for value in values {
            packed.push(value.as_ref()).expect("values of no more bytes than an answer may have");
        }
        packed
    }
}

/// Entries, by key and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    keys: Packed,
    /// One for each key, or one for all, or none.
    names: Packed,
}

impl Entries {
    pub fn checked(keys: Packed, names: Packed) -> Result<Self, StateError> {
        if names.len() > 1 && names.len() != keys.len() {
            let (names, keys) = (names.len(), keys.len());
            return Err(StateError::Malformed(format!("there are {names} names for {keys} keys")));
        }
        keys.check_each("key", STATE_KEY_BYTES_MAX)?;
        names.check_each("name", STATE_KEY_BYTES_MAX)?;
        Ok(Self { keys, names })
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// # Panics
    /// This and the next, where there is no such entry.
    #[inline]
    pub fn key(&self, index: usize) -> &[u8] {
        self.keys.get(index)
    }

    #[inline]
    pub fn name(&self, index: usize) -> &[u8] {
        match self.names.len() {
            0 => &[],
            1 => self.names.get(0),
            _ => self.names.get(index),
        }
    }
}

/// Values of which some may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// A bitmap; none where all are there.
    valid: Option<Vec<u8>>,
    values: Packed,
}

impl Values {
    /// Values for so many entries.
    pub fn checked(valid: Option<Vec<u8>>, values: Packed, entries: usize) -> Result<Self, StateError> {
        if values.len() != entries {
            let found = values.len();
            return Err(StateError::Malformed(format!("there are {found} values for {entries} entries")));
        }
        if valid.as_ref().is_some_and(|bits| bits.len() != entries.div_ceil(8)) {
            return Err(StateError::Malformed(
                "the bitmap of its values has another length than they".into(),
            ));
        }
        check_values(&values)?;
        Ok(Self { valid, values })
    }

    /// Those of which `present` says so; the others are empty in `values`.
    pub fn of(values: Packed, present: impl ExactSizeIterator<Item = bool>) -> Self {
        let mut bits = vec![0; present.len().div_ceil(8)];
        let mut all = true;
        for (index, is_there) in present.enumerate() {
            bits[index / 8] |= u8::from(is_there) << (index % 8);
            all &= is_there;
        }
        Self { valid: (!all).then_some(bits), values }
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    #[inline]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let is_there = self.valid.as_ref().is_none_or(|bits| bits[index / 8] >> (index % 8) & 1 == 1);
        is_there.then(|| self.values.get(index))
    }

    pub(crate) fn into_parts(self) -> (Option<Vec<u8>>, Packed) {
        (self.valid, self.values)
    }
}

/// Whether each may be a value.
pub(crate) fn check_values(values: &Packed) -> Result<(), StateError> {
    values.check_each("value", STATE_VALUE_BYTES_MAX)
}

/// Which names under a key are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub key: Vec<u8>,
    pub prefix: Vec<u8>,
    pub after: Option<Vec<u8>>,
    /// At least one.
    pub entries_max: usize,
}

/// Names under a key, ascending, with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub names: Packed,
    pub values: Packed,
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_hands_over_is_checked_before_anybody_looks_into_it() {
        for (offsets, bytes, is_good) in [
            (vec![], "", true),
            (vec![0], "", true),
            (vec![0, 1, 1, 3], "abc", true),
            (vec![0, 2], "abc", true),
            (vec![1, 2], "abc", false),
            (vec![0, 4], "abc", false),
            (vec![0, 2, 1], "abc", false),
        ] {
            let packed = Packed::checked(offsets.clone(), bytes.into());
            assert_eq!(packed.is_ok(), is_good, "{offsets:?} of {bytes}");
        }
        let keys = |count: usize| (0..count).map(|n| n.to_string()).collect::<Packed>();
        for (named, is_good) in [(0, true), (1, true), (2, false), (3, true), (4, false)] {
            assert_eq!(Entries::checked(keys(3), keys(named)).is_ok(), is_good, "{named} names for 3 keys");
        }
        let long = Packed::from_iter([vec![0; STATE_KEY_BYTES_MAX + 1]]);
        let error = Entries::checked(long.clone(), Packed::default()).expect_err("a key that is too long");
        assert_eq!(error.code(), "state-entry-too-large");
        assert!(error.to_string().starts_with("a key of its state has 4097 bytes, at most 4096"), "{error}");
        assert!(Entries::checked(keys(1), long).is_err());
        assert!(Values::checked(None, keys(2), 3).is_err());
        assert!(Values::checked(Some(vec![1, 1]), keys(3), 3).is_err());
        let huge = Packed::from_iter([vec![0; STATE_VALUE_BYTES_MAX + 1]]);
        assert!(matches!(
            Values::checked(None, huge, 1),
            Err(StateError::EntryTooLarge { what: "value", .. })
        ));
    }

    #[test]
    fn values_that_are_absent_are_not_empty_ones() {
        let packed: Packed = ["a", "", "", "d"].into_iter().collect();
        let values = Values::of(packed.clone(), [true, true, false, true].into_iter());
        let found: Vec<_> = (0..4).map(|index| values.get(index)).collect();
        assert_eq!(found, [Some(&b"a"[..]), Some(b""), None, Some(b"d")]);
        assert_eq!(Values::of(packed, [true; 4].into_iter()).into_parts().0, None);
    }

    #[test]
    fn an_answer_is_bounded() {
        let mut packed = Packed::default();
        let piece = vec![0; STATE_ANSWER_BYTES_MAX / 4];
        (0..4).for_each(|_| packed.push(&piece).expect("within the bound"));
        assert_eq!(packed.push(b"x").expect_err("too much").code(), "state-call-too-large");
    }
}
