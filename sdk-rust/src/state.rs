//! What a transform remembers from one batch to the next, whatever becomes of its instances: entries by key, and by
//! a name among those of their key.
//!
//! It is there in `process` alone. What a call writes counts once the call has succeeded; of a call that fails (a
//! failure, a trap, a timeout) nothing stays. Ask for many entries at once: a batch needs one call to read and one to
//! write, or one alone with [`insert`].
//!
//! There are no errors to handle: a call that cannot be answered ends in the host, as a trap does, and the host finds
//! the record that is at fault. A key and a name have at most 4 KiB, a value 1 MiB.
//!
//! ```
//! use conveyor_sdk::{Batch, Emitter, NoConfig, Result, Transform, state::KeyedState, testing};
//!
//! /// Says of each record the how many-th of its kind it is.
//! struct Numbered;
//!
//! const COUNTS: KeyedState<u64> = KeyedState::new("count");
//!
//! impl Transform for Numbered {
//!     type Config = NoConfig;
//!
//!     fn open(_: NoConfig) -> Result<Self> {
//!         Ok(Numbered)
//!     }
//!
//!     fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
//!         let mut counts = COUNTS.read(batch.records().map(|record| record.bytes()))?;
//!         for (nth, record) in batch.records().enumerate() {
//!             let count = counts.change(nth, |count| *count.insert(count.unwrap_or(0) + 1));
//!             out.emit_parts(record, [record.bytes(), b" ", count.to_string().as_bytes()]);
//!         }
//!         counts.write();
//!         Ok(())
//!     }
//! }
//!
//! let mut stage = testing::transform::<Numbered>(testing::json!({})).unwrap();
//! assert_eq!(stage.run(["a", "b", "a"]).unwrap().values("main"), ["a 1", "b 1", "a 2"]);
//! stage.recycle().unwrap();
//! assert_eq!(stage.run(["b", "a"]).unwrap().values("main"), ["b 2", "a 3"]);
//! ```

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::marker::PhantomData;

use crate::batch::Blobs;
use crate::bindings::types::columns::{BlobColumn, Varlen};
use crate::bindings::types::state as wire;
use crate::varlen::{BlobBuilder, VarlenBuilder};
use crate::{Failure, Result};

/// Which entries are meant: keys, each with a name, or all with the same one.
#[derive(Debug, Clone)]
pub struct Entries {
    keys: VarlenBuilder,
    names: VarlenBuilder,
    /// Whether one name is that of all.
    is_shared: bool,
}

impl Entries {
    /// Entries that all have this name; the empty one where one value for each key is enough.
    pub fn named(name: impl AsRef<[u8]>) -> Self {
        let mut names = VarlenBuilder::default();
        if !name.as_ref().is_empty() {
            names.push(name.as_ref());
        }
        Entries { keys: VarlenBuilder::default(), names, is_shared: true }
    }

    /// Entries with names of their own, added with [`Entries::push_named`].
    pub fn with_names() -> Self {
        Entries { keys: VarlenBuilder::default(), names: VarlenBuilder::default(), is_shared: false }
    }

    pub fn reserve(&mut self, entries: usize, bytes: usize) {
        self.keys.reserve(entries, bytes);
    }

    /// # Panics
    /// Where the entries have names of their own.
    #[inline(always)]
    pub fn push(&mut self, key: &[u8]) {
        assert!(self.is_shared, "entries with names of their own are added with their names");
        self.keys.push(key);
    }

    /// # Panics
    /// Where all have the same name.
    #[inline(always)]
    pub fn push_named(&mut self, key: &[u8], name: &[u8]) {
        assert!(!self.is_shared, "all of these entries have the same name");
        self.keys.push(key);
        self.names.push(name);
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn into_wire(self) -> wire::Entries {
        wire::Entries { keys: self.keys.finish(), names: self.names.finish() }
    }
}

/// Values to be set, of which some may be absent: such an entry is deleted.
#[derive(Debug, Clone, Default)]
pub struct Values(BlobBuilder);

impl Values {
    pub fn new() -> Self {
        Values::default()
    }

    #[inline(always)]
    pub fn push(&mut self, value: Option<&[u8]>) {
        self.0.push(value);
    }

    /// The bytes to which a value is written, which [`Values::close`] ends.
    pub fn open_value(&mut self) -> &mut Vec<u8> {
        self.0.open_value()
    }

    pub fn close(&mut self) {
        self.0.close();
    }
}

/// Values that were found.
#[derive(Debug, Clone)]
pub struct Found(BlobColumn);

impl Found {
    /// None where there is no such entry.
    #[inline(always)]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.values().get(index)
    }

    pub fn values(&self) -> Blobs<'_> {
        Blobs::of_column(&self.0)
    }
}

/// Which entries were not there and are now.
#[derive(Debug, Clone)]
pub struct Inserted(Vec<u8>);

impl Inserted {
    #[inline(always)]
    pub fn get(&self, index: usize) -> bool {
        self.0.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// One bit an entry, least significant first.
    pub fn bitmap(&self) -> &[u8] {
        &self.0
    }
}

/// The values of entries, in their order.
pub fn get(entries: Entries) -> Found {
    Found(host::get(&entries.into_wire()))
}

/// Sets entries, one after the other; one without a value is deleted.
pub fn set(entries: Entries, values: Values) {
    host::set(&entries.into_wire(), &values.0.finish());
}

/// Sets the entries that are not there, one after the other, to empty values, and says which those were: what it takes
/// to know what came before, in one call.
pub fn insert(entries: Entries) -> Inserted {
    Inserted(host::insert(&entries.into_wire(), &Varlen { offsets: Vec::new(), bytes: Vec::new() }))
}

/// The same for keys that lie side by side, as those of a batch do. All have this name.
///
/// # Panics
/// Where some are absent.
pub fn insert_all(keys: Blobs<'_>, name: &str) -> Inserted {
    assert!(keys.validity().is_all(), "each entry has a key");
    let keys = Varlen { offsets: keys.offsets().to_vec(), bytes: keys.bytes().to_vec() };
    let entries = wire::Entries { keys, names: Entries::named(name).names.finish() };
    Inserted(host::insert(&entries, &Varlen { offsets: Vec::new(), bytes: Vec::new() }))
}

pub fn delete(entries: Entries) {
    host::delete(&entries.into_wire());
}

/// The names under `key` that begin with `prefix`, ascending, with their values. It asks for a page at a time.
pub fn scan<'a>(key: &'a [u8], prefix: &'a [u8]) -> Scan<'a> {
    Scan { key, prefix, page: None, next: 0, is_over: false }
}

/// See [`scan`].
#[derive(Debug)]
pub struct Scan<'a> {
    key: &'a [u8],
    prefix: &'a [u8],
    page: Option<wire::Page>,
    next: usize,
    is_over: bool,
}

/// Entries that are asked for at once.
const PAGE_ENTRIES: u32 = 1024;

impl Iterator for Scan<'_> {
    /// A name and a value.
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut last = None;
            if let Some(page) = &self.page {
                let (names, values) = (Blobs::of_varlen(&page.names), Blobs::of_varlen(&page.values));
                if let (Some(name), Some(value)) = (names.get(self.next), values.get(self.next)) {
                    self.next += 1;
                    return Some((name.to_vec(), value.to_vec()));
                }
                last = names.get(names.len().wrapping_sub(1)).map(<[u8]>::to_vec);
                self.is_over |= !page.more || last.is_none();
            }
            if self.is_over {
                return None;
            }
            self.page = Some(host::scan(self.key, self.prefix, last.as_deref(), PAGE_ENTRIES));
            self.next = 0;
        }
    }
}

/// What can be the value of an entry. The bytes last longer than a version of a stage: what it wrote once it has to
/// read for ever.
pub trait StateValue: Sized {
    fn write(&self, to: &mut Vec<u8>);

    /// None where the bytes are no such value.
    fn read(bytes: &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(
            /// Little-endian.
            impl StateValue for $number {
                fn write(&self, to: &mut Vec<u8>) {
                    to.extend_from_slice(&self.to_le_bytes());
                }

                fn read(bytes: &[u8]) -> Option<Self> {
                    Some(Self::from_le_bytes(bytes.try_into().ok()?))
                }
            }
        )*
    };
}

numbers!(i32, i64, u32, u64, i128, u128, f32, f64);

impl StateValue for Vec<u8> {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

impl StateValue for String {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

/// One value for each key, under a name. A stage may have several.
#[derive(Debug, Clone, Copy)]
pub struct KeyedState<V> {
    name: &'static str,
    value: PhantomData<fn() -> V>,
}

impl<V: StateValue> KeyedState<V> {
    pub const fn new(name: &'static str) -> Self {
        KeyedState { name, value: PhantomData }
    }

    /// The values of all these keys, read with one call. A key may come many times; its value is there once.
    pub fn read<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) -> Result<Working<V>> {
        let mut known: HashMap<&[u8], u32, BuildHasherDefault<Folded>> = HashMap::default();
        let mut entries = Entries::named(self.name);
        let keys = keys.into_iter();
        let mut slots = Vec::with_capacity(keys.size_hint().0);
        for key in keys {
            let slot = *known.entry(key).or_insert_with(|| {
                entries.push(key);
                entries.len() as u32 - 1
            });
            slots.push(slot);
        }
        let keys = entries.keys.clone();
        let count = entries.len();
        let found = get(entries);
        let values = (0..count).map(|at| found.get(at).map(|value| self.value_of(value)).transpose());
        let values = values.collect::<Result<Vec<Option<V>>>>()?;
        Ok(Working { name: self.name, keys, slots, changed: vec![false; values.len()], values })
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<V>> {
        let mut entries = Entries::named(self.name);
        entries.push(key);
        get(entries).get(0).map(|value| self.value_of(value)).transpose()
    }

    /// None deletes it.
    pub fn set(&self, key: &[u8], value: Option<&V>) {
        let (mut entries, mut values) = (Entries::named(self.name), Values::new());
        entries.push(key);
        push(&mut values, value);
        set(entries, values);
    }

    fn value_of(&self, value: &[u8]) -> Result<V> {
        V::read(value).ok_or_else(|| {
            let (name, bytes) = (self.name, value.len());
            Failure::fatal(format!(
                "state `{name}` has a value of {bytes} bytes that this version cannot read"
            ))
        })
    }
}

fn push<V: StateValue>(values: &mut Values, value: Option<&V>) {
    match value {
        Some(value) => {
            value.write(values.open_value());
            values.close();
        }
        None => values.push(None),
    }
}

/// Values that were read for a batch, to be changed and written back.
#[derive(Debug)]
pub struct Working<V> {
    name: &'static str,
    keys: VarlenBuilder,
    /// Of each key that was given, which value is its own.
    slots: Vec<u32>,
    values: Vec<Option<V>>,
    changed: Vec<bool>,
}

impl<V: StateValue> Working<V> {
    /// The value of the `nth` key that was given.
    ///
    /// # Panics
    /// This and the next, where fewer were given.
    pub fn get(&self, nth: usize) -> Option<&V> {
        self.values[self.slots[nth] as usize].as_ref()
    }

    /// Changes the value of the `nth` key that was given; none deletes it.
    #[inline(always)]
    pub fn change<R>(&mut self, nth: usize, change: impl FnOnce(&mut Option<V>) -> R) -> R {
        let slot = self.slots[nth] as usize;
        self.changed[slot] = true;
        change(&mut self.values[slot])
    }

    /// Writes what was changed, with one call.
    pub fn write(self) {
        let (mut entries, mut values) = (Entries::named(self.name), Values::new());
        for (slot, value) in self.values.iter().enumerate() {
            if self.changed[slot] {
                entries.push(self.keys.get(slot));
                push(&mut values, value.as_ref());
            }
        }
        if !entries.is_empty() {
            set(entries, values);
        }
    }
}

/// A quick hash for keys of one batch.
#[derive(Debug, Default)]
struct Folded(u64);

impl Hasher for Folded {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(last));
        }
    }

    #[inline(always)]
    fn write_u64(&mut self, value: u64) {
        // What fits into a multiplication of 64 bits: one of 128 is a call in WebAssembly.
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(26)
    }
}

#[cfg(target_arch = "wasm32")]
use wire as host;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host_state as host;
