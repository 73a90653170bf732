//! Entries in memory: a table of hashes over one stretch of bytes, so that an entry costs no allocation of its own.
//!
//! Writes can be taken back until they are kept: a [`Journal`] knows what they replaced.

use std::collections::BTreeSet;
use std::ops::Bound;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Found;
use model::groups::KeyHash;
use xxhash_rust::xxh3::xxh3_64;

use super::place::{place, write_place};

/// What a row of the table takes up beside its bytes: the row, and its share of a table that is not full.
const ROW_BYTES: usize = 48;
/// Of a value that was deleted.
const DELETED: u32 = u32::MAX;
/// Bytes that nobody refers to any more are given back once they are this many and half of all.
const GARBAGE_BYTES_MIN: usize = 1 << 20;

/// Which entry is meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryRef<'a> {
    pub key: &'a [u8],
    pub name: &'a [u8],
    pub key_hash: KeyHash,
    hash: u64,
}

impl<'a> EntryRef<'a> {
    #[inline]
    pub fn new(key: &'a [u8], name: &'a [u8]) -> Self {
        let key_hash = KeyHash::of(key);
        let hash = if name.is_empty() { key_hash.0 } else { key_hash.0 ^ xxh3_64(name).rotate_left(17) };
        Self { key, name, key_hash, hash }
    }
}

/// What a table knows of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known<'a> {
    Nothing,
    /// It is not there.
    Absent,
    Value(&'a [u8]),
}

/// A row: where the key, the name behind it, and the value are.
#[derive(Clone, Copy, Debug)]
struct Row {
    hash: u64,
    key_at: u32,
    value_at: u32,
    value_len: u32,
    value_room: u32,
    key_len: u16,
    name_len: u16,
}

impl Row {
    fn value_bytes(&self) -> usize {
        if self.value_len == DELETED { 0 } else { self.value_len as usize }
    }
}

/// Entries by key and name, deleted ones among them.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    bytes: Vec<u8>,
    rows: HashTable<Row>,
    /// Places of the entries that have a name, for scans.
    named: BTreeSet<Box<[u8]>>,
    /// Of keys, names and values that are not deleted.
    live_bytes: usize,
    live: usize,
    /// Of `bytes`: what no row refers to.
    garbage: usize,
}

/// What the writes of one call replaced.
#[derive(Debug, Default)]
pub(super) struct Journal {
    undos: Vec<Undo>,
    /// Values that were written over.
    saved: Vec<u8>,
    /// What the table had before the first of them.
    before: (usize, usize, usize, usize),
    /// What was written in all.
    pub written: usize,
}

#[derive(Debug)]
struct Undo {
    hash: u64,
    key_at: u32,
    was: Was,
}

#[derive(Debug)]
enum Was {
    NotThere,
    /// Its bytes are where they were, but for those that were saved.
    There {
        value_at: u32,
        value_len: u32,
        value_room: u32,
        saved_at: usize,
    },
}

impl Memtable {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Entries that are not deleted.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Bytes of keys, names and values that are not deleted.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// The memory that it takes up, nearly.
    pub fn weight(&self) -> usize {
        self.bytes.len() + self.rows.len() * ROW_BYTES
    }

    #[inline]
    pub fn get(&self, entry: &EntryRef<'_>) -> Known<'_> {
        if self.rows.is_empty() {
            return Known::Nothing;
        }
        match self.rows.find(entry.hash, |row| is_of(row, &self.bytes, entry)) {
            None => Known::Nothing,
            Some(row) if row.value_len == DELETED => Known::Absent,
            Some(row) => Known::Value(&self.bytes[row.value_at as usize..][..row.value_len as usize]),
        }
    }

    /// Sets an entry, or marks it as deleted. What it replaces goes to the journal, where there is one.
    pub fn put(&mut self, entry: &EntryRef<'_>, value: Option<&[u8]>, journal: Option<&mut Journal>) {
        let Self { bytes, rows, named, live_bytes, live, garbage } = self;
        let before = (bytes.len(), *live_bytes, *live, *garbage);
        let value_len = value.map_or(DELETED, |value| value.len() as u32);
        let value = value.unwrap_or_default();
        let found = rows.entry(entry.hash, |row| is_of(row, bytes, entry), |row| row.hash);
        let (row, mut was) = match found {
            Found::Occupied(found) => {
                let row = found.into_mut();
                let Row { value_at, value_len, value_room, .. } = *row;
                (row, Was::There { value_at, value_len, value_room, saved_at: 0 })
            }
            Found::Vacant(vacant) => {
                if !entry.name.is_empty() {
                    named.insert(place(entry.key, entry.name));
                }
                let key_at = bytes.len() as u32;
                bytes.extend_from_slice(entry.key);
                bytes.extend_from_slice(entry.name);
                let row = Row {
                    hash: entry.hash,
                    key_at,
                    value_at: bytes.len() as u32,
                    value_len: DELETED,
                    value_room: 0,
                    key_len: entry.key.len() as u16,
                    name_len: entry.name.len() as u16,
                };
                (vacant.insert(row).into_mut(), Was::NotThere)
            }
        };
        let named_bytes = usize::from(row.key_len) + usize::from(row.name_len);
        if row.value_len != DELETED {
            *live -= 1;
            *live_bytes -= named_bytes + row.value_bytes();
        }
        if value_len != DELETED {
            *live += 1;
            *live_bytes += named_bytes + value.len();
        }
        let fits = value.len() <= row.value_room as usize;
        if value_len != DELETED && !fits {
            *garbage += row.value_room as usize;
            row.value_at = bytes.len() as u32;
            row.value_room = value.len() as u32;
            bytes.extend_from_slice(value);
        }
        row.value_len = value_len;
        let (at, key_at) = (row.value_at as usize, row.key_at);
        let written_over = if value_len != DELETED && fits { at..at + value.len() } else { 0..0 };
        if let Some(journal) = journal {
            if journal.undos.is_empty() {
                journal.before = before;
            }
            if let Was::There { saved_at, .. } = &mut was {
                *saved_at = journal.saved.len();
                journal.saved.extend_from_slice(&bytes[written_over.clone()]);
            }
            journal.written += entry.key.len() + entry.name.len() + value.len();
            journal.undos.push(Undo { hash: entry.hash, key_at, was });
        }
        if !written_over.is_empty() {
            bytes[written_over].copy_from_slice(value);
        }
    }

    /// Takes back what the journal knows of, the last write first.
    pub fn undo(&mut self, journal: &mut Journal) {
        let Journal { undos, saved, before, written } = journal;
        if undos.is_empty() {
            return;
        }
        for Undo { hash, key_at, was } in undos.drain(..).rev() {
            let Ok(mut found) = self.rows.find_entry(hash, |row| row.key_at == key_at) else { continue };
            match was {
                Was::There { value_at, value_len, value_room, saved_at } => {
                    let row = found.get_mut();
                    let len = saved.len() - saved_at;
                    self.bytes[value_at as usize..][..len].copy_from_slice(&saved[saved_at..]);
                    saved.truncate(saved_at);
                    (row.value_at, row.value_len, row.value_room) = (value_at, value_len, value_room);
                }
                Was::NotThere => {
                    let (row, _) = found.remove();
                    let (key, name) = key_and_name(&row, &self.bytes);
                    if !name.is_empty() {
                        self.named.remove(&place(key, name));
                    }
                }
            }
        }
        let (bytes, live_bytes, live, garbage) = *before;
        self.bytes.truncate(bytes);
        (self.live_bytes, self.live, self.garbage) = (live_bytes, live, garbage);
        saved.clear();
        *written = 0;
    }

    /// Forgets the entries that the journal's call has deleted: where there is nothing below this table, what is not there
    /// needs no row.
    pub fn forget_deleted(&mut self, journal: &Journal) {
        for Undo { hash, key_at, .. } in &journal.undos {
            let is_deleted = |row: &Row| row.key_at == *key_at && row.value_len == DELETED;
            let Ok(found) = self.rows.find_entry(*hash, is_deleted) else { continue };
            let (row, _) = found.remove();
            let (key, name) = key_and_name(&row, &self.bytes);
            if !name.is_empty() {
                self.named.remove(&place(key, name));
            }
            self.garbage += usize::from(row.key_len) + usize::from(row.name_len) + row.value_room as usize;
        }
    }

    /// Gives back the bytes that no row refers to, where they are many. Not with a journal open.
    pub fn tidy(&mut self) {
        if self.garbage < GARBAGE_BYTES_MIN || self.garbage < self.bytes.len() / 2 {
            return;
        }
        let mut kept = Vec::with_capacity(self.bytes.len() - self.garbage);
        for row in &mut self.rows {
            let named = usize::from(row.key_len) + usize::from(row.name_len);
            let (key_at, value_at, value) = (row.key_at as usize, row.value_at as usize, row.value_bytes());
            row.key_at = kept.len() as u32;
            kept.extend_from_slice(&self.bytes[key_at..key_at + named]);
            row.value_at = kept.len() as u32;
            row.value_room = value as u32;
            kept.extend_from_slice(&self.bytes[value_at..value_at + value]);
        }
        (self.bytes, self.garbage) = (kept, 0);
    }

    /// Puts all entries of `other` over those of this one.
    pub fn absorb(&mut self, other: &Self) {
        for row in &other.rows {
            let (key, name) = key_and_name(row, &other.bytes);
            let value = &other.bytes[row.value_at as usize..][..row.value_bytes()];
            let entry = EntryRef { key, name, key_hash: KeyHash(row.hash), hash: row.hash };
            self.put(&entry, (row.value_len != DELETED).then_some(value), None);
        }
    }

    /// All entries in the order of their places; a deleted one has no value.
    pub fn in_order(&self) -> InOrder<'_> {
        let mut places = Vec::with_capacity(self.bytes.len() + 3 * self.rows.len());
        let mut order = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let (key, name) = key_and_name(row, &self.bytes);
            let at = places.len();
            write_place(KeyHash::of(key).group(), key, name, &mut places);
            let value = (row.value_len != DELETED).then_some((row.value_at, row.value_len));
            order.push((at..places.len(), value));
        }
        order.sort_unstable_by(|(a, _), (b, _)| places[a.clone()].cmp(&places[b.clone()]));
        InOrder { places, order, bytes: &self.bytes }
    }

    /// Places of entries with a name, in a range.
    pub fn named(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> impl Iterator<Item = &[u8]> {
        self.named.range::<[u8], _>((from, to)).map(|place| &**place)
    }
}

/// The entries of a table, sorted.
pub(crate) struct InOrder<'a> {
    places: Vec<u8>,
    order: Vec<Ordered>,
    bytes: &'a [u8],
}

/// Where a place is, and where its value is and how long.
type Ordered = (std::ops::Range<usize>, Option<(u32, u32)>);

impl InOrder<'_> {
    /// Places with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.order.iter().map(|(at, value)| {
            let value = value.map(|(at, len)| &self.bytes[at as usize..][..len as usize]);
            (&self.places[at.clone()], value)
        })
    }
}

impl Journal {
    pub fn is_empty(&self) -> bool {
        self.undos.is_empty()
    }

    /// What it knows of stays.
    pub fn keep(&mut self) {
        self.undos.clear();
        self.saved.clear();
        self.written = 0;
    }
}

fn key_and_name<'a>(row: &Row, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let key_len = usize::from(row.key_len);
    bytes[row.key_at as usize..][..key_len + usize::from(row.name_len)].split_at(key_len)
}

#[inline]
fn is_of(row: &Row, bytes: &[u8], entry: &EntryRef<'_>) -> bool {
    if row.hash != entry.hash || usize::from(row.key_len) != entry.key.len() {
        return false;
    }
    let (key, name) = key_and_name(row, bytes);
    key == entry.key && name == entry.name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Plain = BTreeMap<(Vec<u8>, Vec<u8>), Option<Vec<u8>>>;

    fn of(table: &Memtable) -> Plain {
        let in_order = table.in_order();
        in_order
            .iter()
            .map(|(place, value)| {
                let (key, name) = super::super::place::read_place(place).expect("a place");
                ((key.to_vec(), name.to_vec()), value.map(<[u8]>::to_vec))
            })
            .collect()
    }

    fn assert_counts(table: &Memtable, plain: &Plain) {
        let live: Vec<_> = plain.iter().filter(|(_, value)| value.is_some()).collect();
        let bytes: usize = live
            .iter()
            .map(|((key, name), value)| key.len() + name.len() + value.as_ref().map_or(0, Vec::len))
            .sum();
        assert_eq!((table.live(), table.live_bytes()), (live.len(), bytes));
        let named = plain.keys().filter(|(_, name)| !name.is_empty()).count();
        assert_eq!(table.named(Bound::Unbounded, Bound::Unbounded).count(), named);
    }

    proptest! {
        /// Calls that write are kept or taken back; the table is always what a plain map is.
        #[test]
        fn writes_that_are_taken_back_never_happened(
            calls in prop::collection::vec(
                (prop::bool::ANY, prop::collection::vec((0..6u8, 0..3u8, prop::option::of(0..40usize)), 0..12)), 0..20
            ),
            forgets in prop::bool::ANY,
        ) {
            let (mut table, mut journal, mut plain) = (Memtable::default(), Journal::default(), Plain::new());
            for (keeps, writes) in calls {
                let before = plain.clone();
                for (count, (key, name, value)) in writes.into_iter().enumerate() {
                    let (key, name) = (vec![b'k'; key.into()], vec![b'n'; name.into()]);
                    let value = value.map(|len| vec![count as u8; len]);
                    table.put(&EntryRef::new(&key, &name), value.as_deref(), Some(&mut journal));
                    plain.insert((key, name), value);
                    prop_assert_eq!(&of(&table), &plain);
                }
                if keeps {
                    if forgets {
                        table.forget_deleted(&journal);
                        plain.retain(|_, value| value.is_some());
                    }
                    journal.keep();
                    table.tidy();
                } else {
                    table.undo(&mut journal);
                    plain = before;
                }
                prop_assert!(journal.is_empty());
                prop_assert_eq!(&of(&table), &plain);
                assert_counts(&table, &plain);
            }
            let mut copy = Memtable::default();
            copy.put(&EntryRef::new(b"k", b""), Some(b"below"), None);
            copy.absorb(&table);
            plain.entry((b"k".to_vec(), Vec::new())).or_insert(Some(b"below".to_vec()));
            prop_assert_eq!(of(&copy), plain);
        }
    }

    #[test]
    fn what_nobody_refers_to_is_given_back() {
        let (mut table, mut journal) = (Memtable::default(), Journal::default());
        let value = vec![7; 1000];
        for round in 0..20_000usize {
            // Longer each time, so that it does not fit where it was.
            let key = (round % 10).to_le_bytes();
            let len = round % 1000;
            table.put(&EntryRef::new(&key, b""), Some(&value[..len]), Some(&mut journal));
            if round % 3 == 0 {
                table.put(&EntryRef::new(&round.to_le_bytes(), b"x"), Some(&value), Some(&mut journal));
                table.put(&EntryRef::new(&round.to_le_bytes(), b"x"), None, Some(&mut journal));
            }
            table.forget_deleted(&journal);
            journal.keep();
            table.tidy();
        }
        assert!(table.weight() < 2 * GARBAGE_BYTES_MIN, "{} bytes for ten entries", table.weight());
        assert_eq!(table.live(), 10);
    }
}
