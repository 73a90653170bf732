//! What a stage under test remembers: the state of a host, in a map.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::Result;

/// By key and name.
type Map = BTreeMap<(Vec<u8>, Vec<u8>), Vec<u8>>;

thread_local! {
    /// Of the call that is under way; none outside of `process`.
    static HERE: RefCell<Option<Map>> = const { RefCell::new(None) };
}

/// What a stage remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestState(Map);

impl TestState {
    /// The value of an entry.
    pub fn get(&self, key: impl AsRef<[u8]>, name: &str) -> Option<&[u8]> {
        let entry = (key.as_ref().to_vec(), name.as_bytes().to_vec());
        self.0.get(&entry).map(Vec::as_slice)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys, names and values, ascending.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
        self.0.iter().map(|((key, name), value)| (key.as_slice(), name.as_slice(), value.as_slice()))
    }

    /// Runs a call of the stage on it. As in a host, what a call writes that fails never happened.
    pub(super) fn during<R>(&mut self, call: impl FnOnce() -> Result<R>) -> Result<R> {
        HERE.set(Some(self.0.clone()));
        let answer = call();
        let after = HERE.take();
        if let (Ok(_), Some(after)) = (&answer, after) {
            self.0 = after;
        }
        answer
    }
}

/// The functions of the interface, as a host has them.
pub(crate) mod host {
    use super::{HERE, Map};
    use crate::batch::Blobs;
    use crate::bindings::types::columns::{BlobColumn, Varlen};
    use crate::bindings::types::state::{Entries, Page};
    use crate::varlen::{BlobBuilder, VarlenBuilder, push_bit};

    const KEY_BYTES_MAX: usize = 4 << 10;
    const VALUE_BYTES_MAX: usize = 1 << 20;

    fn with<R>(visit: impl FnOnce(&mut Map) -> R) -> R {
        HERE.with_borrow_mut(|here| match here {
            Some(map) => visit(map),
            None => {
                panic!("state is there in `process` alone: an instance may be opened any number of times")
            }
        })
    }

    fn each(entries: &Entries) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let (keys, names) = (Blobs::of_varlen(&entries.keys), Blobs::of_varlen(&entries.names));
        assert!([0, 1, keys.len()].contains(&names.len()), "{} names for {} keys", names.len(), keys.len());
        (0..keys.len()).map(move |index| {
            let name = if names.len() == 1 { names.get(0) } else { names.get(index) };
            let entry = (keys.get(index).unwrap_or_default().to_vec(), name.unwrap_or_default().to_vec());
            assert!(
                entry.0.len().max(entry.1.len()) <= KEY_BYTES_MAX,
                "a key or name is too long for a host"
            );
            entry
        })
    }

    pub(crate) fn get(entries: &Entries) -> BlobColumn {
        let mut values = BlobBuilder::default();
        with(|map| each(entries).for_each(|entry| values.push(map.get(&entry).map(Vec::as_slice))));
        values.finish()
    }

    pub(crate) fn set(entries: &Entries, values: &BlobColumn) {
        let values = Blobs::of_column(values);
        for (index, entry) in each(entries).enumerate() {
            put(entry, values.get(index));
        }
    }

    fn put(entry: (Vec<u8>, Vec<u8>), value: Option<&[u8]>) {
        with(|map| match value {
            Some(value) => {
                assert!(value.len() <= VALUE_BYTES_MAX, "a value is too long for a host");
                map.insert(entry, value.to_vec())
            }
            None => map.remove(&entry),
        });
    }

    pub(crate) fn insert(entries: &Entries, values: &Varlen) -> Vec<u8> {
        let values = Blobs::of_varlen(values);
        let mut inserted = Vec::new();
        for (index, entry) in each(entries).enumerate() {
            let is_new = with(|map| !map.contains_key(&entry));
            push_bit(&mut inserted, index, is_new);
            if is_new {
                put(entry, Some(values.get(index).unwrap_or_default()));
            }
        }
        inserted
    }

    pub(crate) fn delete(entries: &Entries) {
        each(entries).for_each(|entry| put(entry, None));
    }

    pub(crate) fn scan(key: &[u8], prefix: &[u8], after: Option<&[u8]>, max: u32) -> Page {
        let (mut names, mut values, mut more) = (VarlenBuilder::default(), VarlenBuilder::default(), false);
        with(|map| {
            let fits = |name: &[u8]| name.starts_with(prefix) && after.is_none_or(|after| name > after);
            for ((_, name), value) in map.iter().filter(|((of, name), _)| of == key && fits(name)) {
                more = names.len() == max.max(1) as usize;
                if more {
                    break;
                }
                names.push(name);
                values.push(value);
            }
        });
        Page { names: names.finish(), values: values.finish(), more }
    }
}
