//! The writer of one pipeline's dead letters. It drops those that an earlier run has kept already, and counts the others by
//! stage and code on their way into the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::batch::Batch;
use model::ids::RecordId;
use model::limits;

use super::{
    Closing, Group, Identity, Letters, LettersError, Outcome, Reached, Refusal, Repeats, Store, StoreOptions,
};
use crate::checkpoint::Checkpoint;

/// One store, shared by the pipelines that write to it. It is closed when the last of them has ended.
#[derive(Clone)]
pub struct SharedStore(Arc<Shared>);

struct Shared(Mutex<Store>);

impl SharedStore {
    pub fn open(options: StoreOptions) -> Result<Self, LettersError> {
        Ok(Self(Arc::new(Shared(Mutex::new(options.open()?)))))
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store()
    }

    /// Lets the store say what is durable when nothing is written to it for a while, as long as somebody has it. On the
    /// runtime of whoever calls it.
    pub fn mark_when_idle(&self) {
        let shared = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(limits::SYNCED_MARK_AFTER / 2);
            loop {
                ticks.tick().await;
                let Some(shared) = shared.upgrade() else { return };
                let idle = tokio::task::spawn_blocking(move || shared.store().idle());
                if let Ok(Err(error)) = idle.await {
                    // Whoever writes next is told that nothing more goes in.
                    tracing::error!(%error, "it cannot be said what of the dead letters is durable");
                    return;
                }
            }
        });
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = self.store().close() {
            tracing::error!(%error, "it cannot be said what of the dead letters is durable");
        }
    }
}

/// What one pipeline put into its store. It can be read while letters are written and after; clones are the same counts.
#[derive(Clone, Debug, Default)]
pub struct LetterCounts(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    by_code: BTreeMap<(String, String), u64>,
    /// The first entry on which a stage died, with the stage.
    death: Option<(u64, String)>,
}

/// Codes beyond the bound are counted as one.
const MORE: &str = "(others)";

impl LetterCounts {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By stage and code.
    pub fn by_code(&self) -> BTreeMap<(String, String), u64> {
        self.counts().by_code.clone()
    }

    /// The first entry on which a stage died, with the stage.
    pub fn death(&self) -> Option<(u64, String)> {
        self.counts().death.clone()
    }

    /// Entries from number `first` on.
    fn count(&self, stage: &str, first: u64, refusals: &[Refusal]) {
        let mut counts = self.counts();
        for (id, refusal) in (first..).zip(refusals) {
            if counts.death.is_none() && refusal.backtrace.is_some() {
                counts.death = Some((id, stage.to_owned()));
            }
        }
        // Neighbours mostly say the same.
        for same in refusals.chunk_by(|a, b| a.code == b.code) {
            let mut key = (stage.to_owned(), same[0].code.clone());
            let is_full = counts.by_code.len() >= limits::REJECTION_CODES_COUNTED_MAX;
            if is_full && !counts.by_code.contains_key(&key) {
                key.1 = MORE.to_owned();
            }
            *counts.by_code.entry(key).or_default() += same.len() as u64;
        }
    }
}

/// Writes the dead letters of one run of a pipeline.
pub struct Writer {
    store: SharedStore,
    identity: Identity,
    counts: LetterCounts,
    /// Of earlier runs.
    repeats: Repeats,
}

impl Writer {
    /// `counts`: with which it goes on.
    pub fn new(store: SharedStore, identity: Identity, counts: LetterCounts) -> Self {
        Self { store, identity, counts, repeats: Repeats::default() }
    }

    /// Goes on from a checkpoint: what it has closed is marked, and letters of records that may come again are not kept
    /// twice. `gives_again`: whether a source of this name does so.
    pub fn going_on_from(
        mut self,
        checkpoint: &Checkpoint,
        gives_again: impl Fn(&str) -> bool,
    ) -> Result<Self, LettersError> {
        let mut store = self.store.store();
        store.apply_closing(&self.identity.pipeline, &checkpoint.closing)?;
        let mut repeats = store.refused_from(checkpoint.letters, &self.identity.pipeline)?;
        drop(store);
        repeats.retain(
            |letter, origin| gives_again(&origin.source) && checkpoint.comes_again(letter, origin),
            |origin| checkpoint.is_vague(origin),
        );
        self.repeats = repeats;
        Ok(self)
    }
}

impl Letters for Writer {
    fn put(&mut self, group: &Group) -> Result<(), LettersError> {
        let fresh;
        let group = match self.repeats.is_empty() {
            true => group,
            false => match self.repeats.unknown(group) {
                Some(unknown) => {
                    fresh = unknown;
                    &fresh
                }
                None => return Ok(()),
            },
        };
        let first = self.store.store().put(&self.identity, group)?;
        self.counts.count(&group.stage, first, &group.refusals);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        self.store.store().sync()
    }

    fn next(&self) -> u64 {
        self.repeats.first().unwrap_or_else(|| self.store.store().next())
    }

    fn dropped(&mut self, stage: &Arc<str>, records: &dyn Fn() -> Vec<RecordId>) {
        if !self.repeats.is_empty() {
            self.repeats.stay(stage, records());
        }
    }

    fn closing(&mut self, reached: &Reached) -> Closing {
        self.repeats.passed(reached)
    }

    fn close(&mut self, closing: &Closing) -> Result<(), LettersError> {
        let entries: Vec<(u64, Outcome)> =
            closing.iter().map(|(entry, closed)| (*entry, closed.outcome)).collect();
        self.store.store().mark(&entries)
    }

    fn keeps_cut(&self, stage: &str) -> bool {
        self.repeats.has_cut(stage)
    }

    fn kept_as_cut(&mut self, stage: &Arc<str>, batch: &Batch) -> Vec<u32> {
        match self.repeats.is_empty() {
            true => Vec::new(),
            false => self.repeats.take_cut(stage, batch),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::array::BinaryArray;
    use model::batch::Parts;
    use model::lineage::{Lineage, Offsets, SourceRows};

    use super::*;
    use crate::letters::{Form, Reading};

    fn group(codes: &[&str]) -> Group {
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "in".into(),
            split: "a".into(),
            offsets: Offsets::From(0),
        });
        let values = BinaryArray::from_iter_values(codes);
        let refusal = |(row, code): (usize, &&str)| Refusal {
            row: row as u32,
            code: (*code).to_owned(),
            message: "no".into(),
            backtrace: None,
            attempts: 1,
            is_cut: false,
        };
        Group {
            stage: "s".into(),
            kept_as: Form::Opaque.into(),
            rows: Batch::from_values(values, Parts::default(), lineage).expect("a batch"),
            refusals: codes.iter().enumerate().map(refusal).collect(),
        }
    }

    fn writer(dir: &Path) -> Writer {
        let identity = Identity { pipeline: "p".into(), ..Identity::default() };
        let store = SharedStore::open(StoreOptions::new(dir)).expect("a store");
        Writer::new(store, identity, LetterCounts::default())
    }

    fn from(letters: u64) -> Checkpoint {
        Checkpoint { letters, ..Checkpoint::default() }
    }

    #[test]
    fn a_record_that_comes_again_is_not_kept_twice() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut letters = writer(&dir.path().join("dead"));
        letters.put(&group(&["early"])).expect("written");
        let mark = letters.next();
        letters.put(&group(&["a", "b"])).expect("written");
        drop(letters);
        let letters = writer(&dir.path().join("dead"));
        let mut letters = letters.going_on_from(&from(mark), |_| true).expect("read");
        letters.put(&group(&["a", "b", "c"])).expect("written");
        let counts = letters.counts.by_code();
        assert_eq!(counts, [(("s".to_owned(), "c".to_owned()), 1)].into());
        letters.put(&group(&["a"])).expect("written");
        assert_eq!(letters.next(), 6, "the same record once more is another letter");
    }

    #[test]
    fn a_record_that_comes_again_after_two_crashes_with_a_checkpoint_between_is_not_kept_twice() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut letters = writer(&dir.path().join("dead"));
        let mark = letters.next();
        letters.put(&group(&["a", "b"])).expect("written");
        drop(letters);
        // The next run crashes before the record comes again, and behind a checkpoint that is before it.
        let again =
            |mark| writer(&dir.path().join("dead")).going_on_from(&from(mark), |_| true).expect("read");
        let letters = again(mark);
        let mark = letters.next();
        drop(letters);
        let mut letters = again(mark);
        letters.put(&group(&["a", "b"])).expect("known");
        assert_eq!(letters.next(), 3);
        drop(letters);
        // What nobody has refused by the time that its source has passed it is delivered, and closed by the checkpoint.
        let mut letters = again(mark);
        assert_eq!(letters.next(), 1);
        letters.put(&group(&["a"])).expect("known");
        let reached = [("in".into(), [("a".into(), 2)].into())].into();
        let closing = letters.closing(&reached);
        assert_eq!(closing.keys().copied().collect::<Vec<u64>>(), [2]);
        assert_eq!(letters.next(), 3);
        drop(letters);
        // It is marked by whoever goes on from that one, as long as it is the same record.
        let reading = || Reading::open(&dir.path().join("dead")).expect("a store");
        let other = closing.iter().map(|(entry, closed)| (*entry - 1, *closed)).collect();
        for closing in [other, closing] {
            assert_eq!(reading().outcome(2), None);
            let checkpoint = Checkpoint { letters: 3, closing, ..Checkpoint::default() };
            drop(writer(&dir.path().join("dead")).going_on_from(&checkpoint, |_| true).expect("marked"));
        }
        assert_eq!((reading().outcome(1), reading().outcome(2)), (None, Some(Outcome::Delivered)));
    }
}
