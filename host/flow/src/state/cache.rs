//! What is kept in memory of a state that is on disk. Two generations: what is asked for moves into the young one, and
//! when that has half of the room, the old one goes and the young one takes its place.

use std::sync::Arc;

use model::limits::STATE_CACHE_BYTES;

use super::base::StateBase;
use super::memtable::{EntryRef, Known, Memtable};
use super::place::read_place;
use crate::checkpoint_error::CheckpointError;

#[derive(Debug, Default)]
pub(super) struct Cache {
    young: Memtable,
    old: Memtable,
    /// What is not here is nowhere: nothing was let go of yet.
    is_complete: bool,
}

impl Cache {
    /// Of a state that has nothing.
    pub fn of_nothing() -> Self {
        Self { is_complete: true, ..Self::default() }
    }

    /// Of what is on disk: all of it, where there is room.
    pub fn of(base: &dyn StateBase) -> Result<Self, CheckpointError> {
        let mut cache = Self::of_nothing();
        if base.gauge().get().bytes as usize > STATE_CACHE_BYTES / 4 {
            cache.is_complete = false;
            return Ok(cache);
        }
        base.each(&mut |place, value| {
            if let Some((key, name)) = read_place(place) {
                cache.keep(&EntryRef::new(key, name), value);
            }
        })?;
        Ok(cache)
    }

    #[inline]
    pub fn get(&mut self, entry: &EntryRef<'_>) -> Known<'_> {
        let Self { young, old, is_complete } = self;
        if young.get(entry) == Known::Nothing {
            let value = match old.get(entry) {
                Known::Nothing if *is_complete => return Known::Absent,
                Known::Nothing => return Known::Nothing,
                Known::Absent => None,
                Known::Value(value) => Some(value),
            };
            young.put(entry, value, None);
        }
        young.get(entry)
    }

    /// What was read of the disk.
    pub fn keep(&mut self, entry: &EntryRef<'_>, value: &[u8]) {
        self.young.put(entry, Some(value), None);
        self.age();
    }

    /// What was written to it.
    pub fn absorb(&mut self, written: Arc<Memtable>) {
        if written.weight() <= STATE_CACHE_BYTES / 2 {
            self.young.absorb(&written);
            return self.age();
        }
        // As much as there is room for: nothing is copied, and all that was here before goes.
        *self = Self::default();
        if let Ok(written) = Arc::try_unwrap(written) {
            self.old = written;
        }
    }

    #[cfg(test)]
    pub fn weight(&self) -> usize {
        self.young.weight() + self.old.weight()
    }

    fn age(&mut self) {
        self.young.tidy();
        if self.young.weight() > STATE_CACHE_BYTES / 2 {
            self.is_complete &= self.old.is_empty();
            self.old = std::mem::take(&mut self.young);
        }
    }
}
