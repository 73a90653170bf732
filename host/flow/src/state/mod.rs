//! The state of stages: what a transform remembers, as if each record had been processed once.
//!
//! The writes of a call go into a table in memory and are kept when the call has succeeded, or taken back. At a barrier
//! that table is frozen, which costs nothing, and an empty one takes its place; the frozen one becomes part of the
//! checkpoint, in the same write as the places of the sources. Below both lies what the last committed checkpoint has: on
//! disk, with a part of it, or all where it is small, in memory. Without checkpoints there is nothing below, and the
//! state is gone with the run.

mod base;
mod cache;
mod memtable;
mod place;

use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::{Answering, Entries, KeyedState, Packed, Page, Scan, StateError, Values};
use model::groups::GroupRange;
use model::limits::{
    STATE_BYTES, STATE_CALL_BYTES_MAX, STATE_DIRTY_BYTES, STATE_DIRTY_BYTES_MAX, STATE_MEMORY_BYTES_MAX,
    STATE_PAGE_BYTES,
};

use crate::checkpoint_error::CheckpointError;
pub use base::{PlaceValue, StateBase, StateGauge, StateSize};
use cache::Cache;
use memtable::{EntryRef, Journal, Known, Memtable};
pub(crate) use place::read_place;
use place::{end_of, place, write_place};

/// The state of one stage, in one replica of it.
#[derive(Debug)]
pub struct StageState {
    owned: GroupRange,
    bytes_max: u64,
    base: Option<Arc<dyn StateBase>>,
    /// Of one with a base it is that of the base.
    gauge: StateGauge,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    /// Since the last barrier, the call that is under way included.
    live: Memtable,
    /// What that call replaced.
    journal: Journal,
    /// What the checkpoint that is under way has.
    frozen: Option<Arc<Memtable>>,
    /// Of the base.
    cache: Cache,
}

/// What changed in the state of a stage from one checkpoint to the next. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateDelta(Arc<Memtable>);

impl StateDelta {
    /// Each place that changed, in order, with its value; none where it was deleted.
    pub fn each<E>(&self, mut see: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>) -> Result<(), E> {
        self.0.in_order().iter().try_for_each(|(place, value)| see(place, value))
    }
}

/// The same change, and not only one of the same entries.
impl PartialEq for StateDelta {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for StateDelta {}

/// What a stage may have.
#[derive(Clone, Copy, Debug)]
pub struct StateLimits {
    /// The groups of keys that are its own.
    pub owned: GroupRange,
    /// Keys, names and values together.
    pub bytes_max: u64,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self { owned: GroupRange::ALL, bytes_max: STATE_BYTES }
    }
}

impl StageState {
    /// State that lasts as long as the run.
    pub fn in_memory(limits: StateLimits) -> Self {
        let StateLimits { owned, bytes_max } = limits;
        let bytes_max = bytes_max.min(STATE_MEMORY_BYTES_MAX);
        let tables = Tables { cache: Cache::of_nothing(), ..Tables::default() };
        Self { owned, bytes_max, base: None, gauge: StateGauge::default(), tables: Mutex::new(tables) }
    }

    /// State that goes on from what `base` has, of which a small one is read at once.
    pub fn over(base: Arc<dyn StateBase>, limits: StateLimits) -> Result<Self, CheckpointError> {
        let StateLimits { owned, bytes_max } = limits;
        let tables = Tables { cache: Cache::of(&*base)?, ..Tables::default() };
        let (gauge, base) = (base.gauge().clone(), Some(base));
        Ok(Self { owned, bytes_max, base, gauge, tables: Mutex::new(tables) })
    }

    /// How much there is: of a state with checkpoints, at the last one.
    pub fn gauge(&self) -> &StateGauge {
        &self.gauge
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins: what one before it has written and nobody kept never happened.
    pub fn begin(&self) {
        let Tables { live, journal, .. } = &mut *self.tables();
        live.undo(journal);
    }

    /// The call has succeeded: what it wrote counts.
    pub fn keep(&self) {
        let Tables { live, journal, .. } = &mut *self.tables();
        if journal.is_empty() {
            return;
        }
        if self.base.is_none() {
            live.forget_deleted(journal);
            self.gauge.set(StateSize { keys: live.live() as u64, bytes: live.live_bytes() as u64 });
        }
        journal.keep();
        live.tidy();
    }

    /// What changed since the barrier before. It is kept aside until [`StageState::stored`] is told. None where nothing
    /// changed, and in a state that is in memory alone.
    pub fn freeze(&self) -> Option<StateDelta> {
        let Tables { live, journal, frozen, .. } = &mut *self.tables();
        live.undo(journal);
        if live.is_empty() || self.base.is_none() {
            return None;
        }
        debug_assert!(frozen.is_none(), "one checkpoint is under way at a time");
        let delta = Arc::new(std::mem::take(live));
        *frozen = Some(delta.clone());
        Some(StateDelta(delta))
    }

    /// The checkpoint is committed that has what was frozen last.
    pub fn stored(&self) {
        let Tables { frozen, cache, .. } = &mut *self.tables();
        if let Some(frozen) = frozen.take() {
            cache.absorb(frozen);
        }
    }

    /// Whether it is time for a checkpoint.
    pub fn is_heavy(&self) -> bool {
        self.base.is_some() && self.tables().live.weight() > STATE_DIRTY_BYTES
    }

    /// Whether nothing more should come before a checkpoint has what was written.
    pub fn is_full(&self) -> bool {
        self.base.is_some() && self.tables().live.weight() > STATE_DIRTY_BYTES_MAX
    }

    fn entry<'a>(&self, entries: &'a Entries, index: usize) -> Result<EntryRef<'a>, StateError> {
        let entry = EntryRef::new(entries.key(index), entries.name(index));
        let group = entry.key_hash.group();
        match self.owned.contains(group) {
            true => Ok(entry),
            false => Err(StateError::NotOwned { group, owned: self.owned }),
        }
    }

    /// Whether there is room for what the call has written so far.
    fn check_room(&self, tables: &Tables) -> Result<(), StateError> {
        check_call(tables)?;
        let frozen = tables.frozen.as_ref().map_or(0, |frozen| frozen.live_bytes());
        let dirty = (tables.live.live_bytes() + frozen) as u64;
        if self.base.is_none() {
            let next = "run it with `--state DIR`, which keeps state on disk";
            return check_full(dirty, self.bytes_max, next);
        }
        // What takes the place of something counts twice until it is stored.
        let next = "raise `limits.state-bytes`, or let the stage forget what it needs no more";
        check_full(self.gauge.get().bytes + dirty, self.bytes_max, next)?;
        let next = "checkpoints do not keep up with what it writes; look at what they wait for";
        check_full(tables.live.weight() as u64, 4 * STATE_DIRTY_BYTES_MAX as u64, next)
    }

    /// What is at the places of these entries, below the tables in memory.
    async fn below(&self, entries: &Entries, indices: &[u32]) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        let Some(base) = self.base.clone() else { return Ok(vec![None; indices.len()]) };
        let mut places = Packed::with_capacity(indices.len(), 0);
        let mut at = Vec::new();
        for &index in indices {
            let (key, name) = (entries.key(index as usize), entries.name(index as usize));
            at.clear();
            write_place(model::groups::KeyGroup::of(key), key, name, &mut at);
            places.push(&at)?;
        }
        read(move || base.get(&places)).await
    }
}

/// What reads a disk does not hold a thread of the stages.
async fn read<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, CheckpointError> + Send + 'static,
) -> Result<T, StateError> {
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|broke| StateError::Unavailable(broke.to_string()))?;
    read.map_err(|error| StateError::Unavailable(error.to_string()))
}

fn check_call(tables: &Tables) -> Result<(), StateError> {
    let limit_bytes = STATE_CALL_BYTES_MAX;
    match tables.journal.written > limit_bytes {
        true => Err(StateError::CallTooLarge { what: "changes", limit_bytes }),
        false => Ok(()),
    }
}

fn check_full(bytes: u64, limit_bytes: u64, next: &'static str) -> Result<(), StateError> {
    if bytes > limit_bytes { Err(StateError::Full { limit_bytes, next }) } else { Ok(()) }
}

impl Tables {
    /// What is known without a look at the base.
    fn get(&mut self, entry: &EntryRef<'_>) -> Known<'_> {
        // Twice, since a borrow that is returned in one branch lasts in all of them.
        if self.live.get(entry) != Known::Nothing {
            return self.live.get(entry);
        }
        let Self { frozen, cache, .. } = self;
        match frozen.as_ref().map_or(Known::Nothing, |frozen| frozen.get(entry)) {
            Known::Nothing => cache.get(entry),
            known => known,
        }
    }
}

impl KeyedState for StageState {
    fn get<'a>(&'a self, entries: &'a Entries) -> Answering<'a, Values> {
        Box::pin(async move {
            let (found, missing) = self.look_up(entries)?;
            if missing.is_empty() {
                let FoundValues { values, present } = found;
                return Ok(Values::of(values, present.into_iter()));
            }
            let below = self.below(entries, &missing).await?;
            self.remember(entries, &missing, &below)?;
            found.with(&missing, &below)
        })
    }

    fn set(&self, entries: &Entries, values: &Values) -> Result<(), StateError> {
        let tables = &mut *self.tables();
        for index in 0..entries.len() {
            let entry = self.entry(entries, index)?;
            tables.live.put(&entry, values.get(index), Some(&mut tables.journal));
        }
        self.check_room(tables)
    }

    fn insert<'a>(&'a self, entries: &'a Entries, values: &'a Packed) -> Answering<'a, Vec<u8>> {
        let value = |index: usize| if values.is_empty() { &[][..] } else { values.get(index) };
        Box::pin(async move {
            let mut inserted = vec![0; entries.len().div_ceil(8)];
            let mut missing = Vec::new();
            {
                let tables = &mut *self.tables();
                for index in 0..entries.len() {
                    let entry = self.entry(entries, index)?;
                    match tables.get(&entry) {
                        Known::Value(_) => {}
                        Known::Nothing => missing.push(index as u32),
                        Known::Absent => {
                            tables.live.put(&entry, Some(value(index)), Some(&mut tables.journal));
                            inserted[index / 8] |= 1 << (index % 8);
                        }
                    }
                }
                self.check_room(tables)?;
            }
            if missing.is_empty() {
                return Ok(inserted);
            }
            let below = self.below(entries, &missing).await?;
            self.remember(entries, &missing, &below)?;
            let tables = &mut *self.tables();
            for (&index, below) in missing.iter().zip(&below) {
                let index = index as usize;
                let entry = self.entry(entries, index)?;
                // It may be there by now: the same entry can stand in the list twice.
                let is_there = match tables.live.get(&entry) {
                    Known::Value(_) => true,
                    Known::Absent => false,
                    Known::Nothing => below.is_some(),
                };
                if !is_there {
                    tables.live.put(&entry, Some(value(index)), Some(&mut tables.journal));
                    inserted[index / 8] |= 1 << (index % 8);
                }
            }
            self.check_room(tables)?;
            Ok(inserted)
        })
    }

    fn delete(&self, entries: &Entries) -> Result<(), StateError> {
        let tables = &mut *self.tables();
        for index in 0..entries.len() {
            let entry = self.entry(entries, index)?;
            tables.live.put(&entry, None, Some(&mut tables.journal));
        }
        // Whoever has too much has to be able to let go of it.
        check_call(tables)
    }

    fn scan<'a>(&'a self, scan: &'a Scan) -> Answering<'a, Page> {
        Box::pin(self.page(scan))
    }
}

/// Values that were found, for all entries; those that were not are empty.
struct FoundValues {
    values: Packed,
    present: Vec<bool>,
}

impl FoundValues {
    /// The same with what was found below for the entries of these indices, which ascend.
    fn with(self, indices: &[u32], below: &[Option<Vec<u8>>]) -> Result<Values, StateError> {
        let Self { values, mut present } = self;
        let mut all = Packed::with_capacity(values.len(), values.bytes_len());
        let mut below = indices.iter().zip(below).peekable();
        for (index, present) in present.iter_mut().enumerate() {
            match below.next_if(|(at, _)| **at as usize == index) {
                Some((_, found)) => {
                    *present = found.is_some();
                    all.push(found.as_deref().unwrap_or_default())?;
                }
                None => all.push(values.get(index))?,
            }
        }
        Ok(Values::of(all, present.into_iter()))
    }
}

impl StageState {
    /// What the tables in memory know, and the indices of the entries of which they know nothing.
    fn look_up(&self, entries: &Entries) -> Result<(FoundValues, Vec<u32>), StateError> {
        let tables = &mut *self.tables();
        let mut values = Packed::with_capacity(entries.len(), 16 * entries.len());
        let (mut present, mut missing) = (Vec::with_capacity(entries.len()), Vec::new());
        for index in 0..entries.len() {
            let known = tables.get(&self.entry(entries, index)?);
            present.push(matches!(known, Known::Value(_)));
            if known == Known::Nothing {
                missing.push(index as u32);
            }
            values.push(if let Known::Value(value) = known { value } else { &[] })?;
        }
        Ok((FoundValues { values, present }, missing))
    }

    /// What was read is kept in memory.
    fn remember(
        &self,
        entries: &Entries,
        indices: &[u32],
        below: &[Option<Vec<u8>>],
    ) -> Result<(), StateError> {
        let tables = &mut *self.tables();
        for (&index, value) in indices.iter().zip(below) {
            if let Some(value) = value {
                tables.cache.keep(&self.entry(entries, index as usize)?, value);
            }
        }
        Ok(())
    }

    /// One page of names under a key, of what lies in memory over what lies below.
    async fn page(&self, scan: &Scan) -> Result<Page, StateError> {
        let group = model::groups::KeyGroup::of(&scan.key);
        if !self.owned.contains(group) {
            return Err(StateError::NotOwned { group, owned: self.owned });
        }
        let prefix = place(&scan.key, &scan.prefix);
        let end = end_of(&prefix);
        // The first place that is behind `after`.
        let mut from = match &scan.after {
            Some(after) => [&place(&scan.key, after)[..], &[0]].concat().max(prefix.to_vec()),
            None => prefix.to_vec(),
        };
        let mut page = Page::default();
        // Nothing is left where `after` is behind all that the prefix allows.
        while end.as_ref().is_none_or(|end| from[..] < **end) {
            let most = scan.entries_max + 1;
            let below = match self.base.clone() {
                Some(base) => {
                    let (from, end) = (from.clone(), end.clone());
                    read(move || base.range(&from, end.as_deref(), most)).await?
                }
                None => Vec::new(),
            };
            // Beyond the last of a full range there is more below, which comes with the next round.
            let until = if below.len() < most { None } else { below.last().map(|(place, _)| place.clone()) };
            let is_done = self.merge(scan, (&from, end.as_deref()), &below, until.as_deref(), &mut page)?;
            match until {
                Some(until) if !is_done => from = [&until[..], &[0]].concat(),
                _ => break,
            }
        }
        Ok(page)
    }

    /// Adds to a page what there is in a range, up to and with `until`. Says whether the page is full.
    fn merge(
        &self,
        scan: &Scan,
        (from, end): (&[u8], Option<&[u8]>),
        below: &[PlaceValue],
        until: Option<&[u8]>,
        page: &mut Page,
    ) -> Result<bool, StateError> {
        let tables = self.tables();
        let to = match (until, end) {
            (Some(until), _) => Bound::Included(until),
            (None, Some(end)) => Bound::Excluded(end),
            (None, None) => Bound::Unbounded,
        };
        let frozen = tables.frozen.as_deref();
        let mut live = tables.live.named(Bound::Included(from), to).peekable();
        let mut frozen_named = frozen.map(|frozen| frozen.named(Bound::Included(from), to).peekable());
        let mut below = below.iter().peekable();
        // The entry without a name is in no list of names: it is the first, where it is in the range.
        let unnamed = place(&scan.key, &[]);
        let mut unnamed = (scan.prefix.is_empty() && *from <= *unnamed).then_some(&*unnamed);
        loop {
            let mut firsts = [
                unnamed,
                live.peek().copied(),
                frozen_named.as_mut().and_then(|named| named.peek().copied()),
                below.peek().map(|(place, _)| &**place),
            ]
            .into_iter()
            .flatten();
            let Some(first) = firsts.next().map(|first| firsts.fold(first, Ord::min)) else {
                return Ok(false);
            };
            unnamed = unnamed.filter(|place| *place != first);
            live.next_if(|place| *place == first);
            if let Some(named) = &mut frozen_named {
                named.next_if(|place| *place == first);
            }
            let stored = below.next_if(|(place, _)| **place == *first).map(|(_, value)| &**value);
            let (_, name) =
                read_place(first).ok_or_else(|| StateError::Unavailable("a place is broken".into()))?;
            let entry = EntryRef::new(&scan.key, name);
            let known = match tables.live.get(&entry) {
                Known::Nothing => frozen.map_or(Known::Nothing, |frozen| frozen.get(&entry)),
                known => known,
            };
            let value = match known {
                Known::Nothing => stored,
                Known::Absent => None,
                Known::Value(value) => Some(value),
            };
            let Some(value) = value else { continue };
            if page.names.len() == scan.entries_max || page.values.bytes_len() >= STATE_PAGE_BYTES {
                page.more = true;
                return Ok(true);
            }
            page.names.push(name)?;
            page.values.push(value)?;
        }
    }
}

#[cfg(test)]
mod tests;
