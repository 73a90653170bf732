//! Checkpoints of one pipeline in one file, written with one synced commit each.
//!
//! Only what changed since the checkpoint before is written, so that a source of ten thousand files costs what it
//! read and not what it has. What is in the file is whole after a crash at any instant: that is redb's promise. What is
//! read of it is what was written: that is `pages`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::dead_letters::{Closed, Closing};
use model::ids::RecordId;
use model::limits::CHECKPOINTS_LISTED_MAX;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    TableError, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use super::file::{look, open_or_make};
use super::kept::{Kept, io};
use super::state_tables::{self, StateTable};
use super::{Checkpoint, CheckpointError, CheckpointStore, StageMark, Stored};
use crate::clock::wall_clock;
use crate::connector::Places;
use crate::state::{StateBase, StateSize};

/// Of the file's layout; a file with another one is not touched.
const FORMAT: u64 = 1;
/// The name of the file in the directory of a pipeline.
const FILE: &str = "checkpoints.redb";

/// `head`: JSON of [`Head`].
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// By stage and split.
const PLACES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("places");
/// By source and split: the offset behind the last record. An earlier version has no such table.
const REACHED: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("reached");
/// By dead letter: the id of its record, and JSON of what became of it. Of the last checkpoint alone; no table where it
/// closed none.
const CLOSING: TableDefinition<'_, u64, (&[u8; 16], &[u8])> = TableDefinition::new("closing");
/// By stage.
const TOKENS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tokens");
/// By number: JSON of [`Summary`].
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const HEAD: &str = "head";
/// `epoch`: the epoch of the last owner, 8 bytes, big end first.
const EPOCH: &str = "epoch";

/// What is known of a checkpoint beside what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub number: u64,
    /// Microseconds since the Unix epoch.
    pub taken_at_us: i64,
    /// From its beginning until it was stored.
    pub took_us: u64,
    /// That were new in it.
    pub bytes: u64,
    /// Names what ran: the manifest with its components.
    pub revision: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u64,
    /// Whether all sinks have committed.
    #[serde(rename = "is_settled")]
    sinks_committed: bool,
    stages: BTreeMap<String, StageMark>,
    letters: u64,
    summary: Summary,
}

/// What every layout of [`Head`] has.
#[derive(Deserialize)]
struct Layout {
    format: u64,
}

/// The last committed checkpoint, with what is needed to tell whether a run may go on from it.
#[derive(Clone, Debug)]
pub struct LastCommitted {
    pub checkpoint: Checkpoint,
    pub summary: Summary,
    /// Whether all sinks have committed it.
    pub sinks_committed: bool,
    /// What ran.
    pub stages: BTreeMap<String, StageMark>,
    /// How much state each stage has.
    pub states: BTreeMap<String, StateSize>,
}

/// The store of one pipeline.
pub struct RedbStore {
    database: Arc<Kept>,
    /// By stage. Whoever reads one is told through it how much there is.
    states: BTreeMap<String, StateTable>,
    stages: BTreeMap<String, StageMark>,
    revision: String,
    last: Checkpoint,
}

/// A store, and the last checkpoint in it.
pub struct Opened {
    pub store: RedbStore,
    pub last_committed: Option<LastCommitted>,
}

impl RedbStore {
    /// Opens the store in `dir`, which is made where it is missing. One process has it at a time.
    pub fn open(dir: &Path) -> Result<Opened, CheckpointError> {
        std::fs::create_dir_all(dir).map_err(|error| io(dir, error))?;
        let database = Arc::new(open_or_make(&dir.join(FILE))?);
        let last_committed = last_committed(&database)?;
        let last = last_committed.as_ref().map(|last| last.checkpoint.clone()).unwrap_or_default();
        sync_directory(dir)?;
        let states = state_tables::of(&database, sizes(&database)?);
        let store = Self { states, database, stages: BTreeMap::new(), revision: String::new(), last };
        Ok(Opened { store, last_committed })
    }

    /// Gives what stages have to those of other names, and throws away the state of others, with one synced write.
    /// `last_committed`: what the last checkpoint is then.
    pub fn adopt(
        &mut self,
        last_committed: &LastCommitted,
        renames: &[(String, String)],
        forgotten: &[String],
    ) -> Result<(), CheckpointError> {
        self.database.with(|database| self.write_adopted(database, last_committed, renames, forgotten))?;
        self.last = last_committed.checkpoint.clone();
        self.states = state_tables::of(&self.database, sizes(&self.database)?);
        Ok(())
    }

    fn write_adopted(
        &self,
        database: &Database,
        last_committed: &LastCommitted,
        renames: &[(String, String)],
        forgotten: &[String],
    ) -> Result<(), redb::Error> {
        let change = begin(database)?;
        {
            self.write_places(&change, &last_committed.checkpoint)?;
            state_tables::adopt(&change, renames, forgotten)?;
            let LastCommitted { checkpoint, summary, sinks_committed, stages, .. } = last_committed.clone();
            let head = Head { format: FORMAT, sinks_committed, stages, letters: checkpoint.letters, summary };
            let mut meta = change.open_table(META)?;
            meta.insert(HEAD, encode(&head).as_slice())?;
        }
        Ok(change.commit()?)
    }

    /// The epoch of a new owner, higher than that of any earlier one: of those who have it from here, and, as far as
    /// the clock goes, of those who had no store and took the time itself, in microseconds since the Unix epoch.
    pub fn next_epoch(&mut self, now_us: u64) -> Result<u64, CheckpointError> {
        self.database.with(|database| Self::write_epoch(database, now_us))
    }

    fn write_epoch(database: &Database, now_us: u64) -> Result<u64, redb::Error> {
        let change = begin(database)?;
        let epoch = {
            let mut meta = change.open_table(META)?;
            let last = match meta.get(EPOCH)?.map(|last| last.value().try_into().map(u64::from_be_bytes)) {
                None => 0,
                Some(Ok(last)) => last,
                Some(Err(_)) => return Err(redb::Error::Corrupted("its epoch is no number".to_owned())),
            };
            let epoch = last.saturating_add(1).max(now_us);
            meta.insert(EPOCH, epoch.to_be_bytes().as_slice())?;
            epoch
        };
        change.commit()?;
        Ok(epoch)
    }

    /// Says what runs from now on.
    pub fn running(mut self, revision: String, stages: BTreeMap<String, StageMark>) -> Self {
        (self.revision, self.stages) = (revision, stages);
        self
    }

    /// The last checkpoint in `dir`, and the last ones that were stored there, oldest first. Nothing is changed.
    pub fn look(dir: &Path) -> Result<(Option<LastCommitted>, Vec<Summary>), CheckpointError> {
        let path = dir.join(FILE);
        let database = look(&path)?.ok_or_else(|| CheckpointError::None { path: dir.to_owned() })?;
        Ok((last_committed(&database)?, database.with(summaries)?))
    }

    fn head(&self, letters: u64, summary: Summary, sinks_committed: bool) -> Vec<u8> {
        let head = Head { format: FORMAT, sinks_committed, stages: self.stages.clone(), letters, summary };
        encode(&head)
    }

    /// Where sources go on and what sinks commit, as far as it changed. Gives the bytes of it.
    fn write_places(&self, change: &WriteTransaction, checkpoint: &Checkpoint) -> Result<u64, redb::Error> {
        let mut bytes = 0;
        write_splits(change, PLACES, &self.last.places, &checkpoint.places, |place: &Vec<u8>| {
            bytes += place.len() as u64;
            place.as_slice()
        })?;
        write_splits(change, REACHED, &self.last.reached, &checkpoint.reached, |behind| *behind)?;
        {
            let mut tokens = change.open_table(TOKENS)?;
            for (stage, token) in &checkpoint.tokens {
                if self.last.tokens.get(stage) != Some(token) {
                    bytes += token.len() as u64;
                    tokens.insert(&**stage, token.as_slice())?;
                }
            }
            for stage in self.last.tokens.keys().filter(|stage| !checkpoint.tokens.contains_key(*stage)) {
                tokens.remove(&**stage)?;
            }
        }
        Ok(bytes)
    }

    fn write(
        &self,
        database: &Database,
        checkpoint: &Checkpoint,
        took: Duration,
    ) -> Result<Written, redb::Error> {
        let change = begin(database)?;
        let (sizes, state_bytes) = state_tables::write(&change, &checkpoint.states)?;
        let bytes = self.write_places(&change, checkpoint)? + state_bytes;
        write_closing(&change, &checkpoint.closing)?;
        {
            let summary = Summary {
                number: checkpoint.number,
                taken_at_us: wall_clock(),
                took_us: took.as_micros() as u64,
                bytes,
                revision: self.revision.clone(),
            };
            // Number 0 says only that a run has begun.
            if checkpoint.number > 0 {
                let mut history = change.open_table(HISTORY)?;
                let entry = encode(&summary);
                history.insert(checkpoint.number, entry.as_slice())?;
                while history.len()? > CHECKPOINTS_LISTED_MAX {
                    history.pop_first()?;
                }
            }
            let mut meta = change.open_table(META)?;
            let head = self.head(checkpoint.letters, summary, false);
            meta.insert(HEAD, head.as_slice())?;
        }
        change.commit()?;
        Ok(Written { bytes, sizes })
    }

    fn write_sinks_committed(
        &self,
        database: &Database,
        last_committed: LastCommitted,
    ) -> Result<(), redb::Error> {
        let change = begin(database)?;
        {
            let mut meta = change.open_table(META)?;
            let head = self.head(last_committed.checkpoint.letters, last_committed.summary, true);
            meta.insert(HEAD, head.as_slice())?;
        }
        Ok(change.commit()?)
    }
}

/// Writes what is kept of the splits of sources, as far as it changed.
fn write_splits<T: PartialEq, V: redb::Value + 'static>(
    change: &WriteTransaction,
    table: TableDefinition<'_, (&'static str, &'static str), V>,
    before: &BTreeMap<Arc<str>, BTreeMap<Arc<str>, T>>,
    now: &BTreeMap<Arc<str>, BTreeMap<Arc<str>, T>>,
    mut value: impl for<'a> FnMut(&'a T) -> V::SelfType<'a>,
) -> Result<(), redb::Error> {
    let mut table = change.open_table(table)?;
    for (stage, splits) in now {
        let before = before.get(stage);
        for (split, kept) in splits {
            if before.and_then(|before| before.get(split)) != Some(kept) {
                table.insert((&**stage, &**split), value(kept))?;
            }
        }
    }
    for (stage, splits) in before {
        let now = now.get(stage);
        for split in splits.keys().filter(|split| now.is_none_or(|now| !now.contains_key(*split))) {
            table.remove((&**stage, &**split))?;
        }
    }
    Ok(())
}

impl CheckpointStore for RedbStore {
    fn put(&mut self, checkpoint: &Checkpoint, took: Duration) -> Result<Stored, CheckpointError> {
        let written = self.database.with(|database| self.write(database, checkpoint, took))?;
        self.last = Checkpoint { states: BTreeMap::new(), closing: Closing::new(), ..checkpoint.clone() };
        for (stage, size) in written.sizes {
            if let Some(table) = self.states.get(&*stage) {
                table.gauge.set(size);
            }
        }
        Ok(Stored { bytes: written.bytes })
    }

    fn sinks_committed(&mut self) -> Result<(), CheckpointError> {
        match last_committed(&self.database)? {
            Some(last_committed) => {
                self.database.with(|database| self.write_sinks_committed(database, last_committed))
            }
            None => Ok(()),
        }
    }

    fn state(&mut self, stage: &str) -> Result<Arc<dyn StateBase>, CheckpointError> {
        let table = self
            .states
            .entry(stage.to_owned())
            .or_insert_with(|| StateTable::new(self.database.clone(), stage, StateSize::default()));
        Ok(Arc::new(table.clone()))
    }
}

/// What came of a write.
struct Written {
    bytes: u64,
    /// Of the states that changed.
    sizes: BTreeMap<Arc<str>, StateSize>,
}

/// Begins a change. Every one is committed in two phases, on which the checksums of pages rest, and with what is needed
/// to go on after a crash without reading everything.
fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut change = database.begin_write()?;
    change.set_quick_repair(true);
    Ok(change)
}

fn sizes(database: &Kept) -> Result<BTreeMap<String, StateSize>, CheckpointError> {
    database.with(|database| state_tables::sizes(&database.begin_read()?))
}

fn last_committed(database: &Kept) -> Result<Option<LastCommitted>, CheckpointError> {
    let found = database.with(|database| read_last_committed(&database.begin_read()?))?;
    let foreign = |format| {
        let why = format!("its layout is number {format}, this version writes {FORMAT}");
        CheckpointError::Foreign { path: database.path().to_owned(), why }
    };
    found.map(|found| found.map_err(foreign)).transpose()
}

/// None where there is none; the number of its layout where that is another one.
fn read_last_committed(read: &ReadTransaction) -> Result<Option<Result<LastCommitted, u64>>, redb::Error> {
    let Some(meta) = there(read.open_table(META))? else { return Ok(None) };
    let Some(head) = meta.get(HEAD)? else { return Ok(None) };
    let Layout { format } = decode(head.value())?;
    if format != FORMAT {
        return Ok(Some(Err(format)));
    }
    let Head { sinks_committed, stages, letters, summary, .. } = decode(head.value())?;
    let mut checkpoint = Checkpoint { number: summary.number, letters, ..Checkpoint::default() };
    for entry in read.open_table(PLACES)?.iter()? {
        let (key, place) = entry?;
        let (stage, split) = key.value();
        let splits: &mut Places = checkpoint.places.entry(Arc::from(stage)).or_default();
        splits.insert(Arc::from(split), place.value().to_vec());
    }
    if let Some(reached) = there(read.open_table(REACHED))? {
        for entry in reached.iter()? {
            let (key, behind) = entry?;
            let (stage, split) = key.value();
            let splits = checkpoint.reached.entry(Arc::from(stage)).or_default();
            splits.insert(Arc::from(split), behind.value());
        }
    }
    if let Some(closing) = there(read.open_table(CLOSING))? {
        for entry in closing.iter()? {
            let (letter, closed) = entry?;
            let (record, outcome) = closed.value();
            let closed = Closed { record: RecordId::from_bytes(*record), outcome: decode(outcome)? };
            checkpoint.closing.insert(letter.value(), closed);
        }
    }
    for entry in read.open_table(TOKENS)?.iter()? {
        let (stage, token) = entry?;
        checkpoint.tokens.insert(Arc::from(stage.value()), token.value().to_vec());
    }
    let states = state_tables::sizes(read)?;
    Ok(Some(Ok(LastCommitted { checkpoint, summary, sinks_committed, stages, states })))
}

/// A table that may not be there.
fn there<T>(opened: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write_closing(change: &WriteTransaction, closing: &Closing) -> Result<(), redb::Error> {
    change.delete_table(CLOSING)?;
    if closing.is_empty() {
        return Ok(());
    }
    let mut table = change.open_table(CLOSING)?;
    for (letter, Closed { record, outcome }) in closing {
        table.insert(letter, (&record.to_bytes(), encode(outcome).as_slice()))?;
    }
    Ok(())
}

/// The last checkpoints, oldest first.
fn summaries(database: &Database) -> Result<Vec<Summary>, redb::Error> {
    let Some(table) = there(database.begin_read()?.open_table(HISTORY))? else { return Ok(Vec::new()) };
    table.iter()?.map(|entry| decode(entry?.1.value())).collect()
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(bytes).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts, numbers and maps with texts as keys")
}

/// So that the name of the file is durable, too.
fn sync_directory(dir: &Path) -> Result<(), CheckpointError> {
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io(dir, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(number: u64, places: &[(&str, &str, u8)], token: u8) -> Checkpoint {
        let mut made = Checkpoint { number, ..Checkpoint::default() };
        for (stage, split, place) in places {
            let splits: &mut Places = made.places.entry(Arc::from(*stage)).or_default();
            splits.insert(Arc::from(*split), vec![*place]);
        }
        made.tokens.insert("out".into(), vec![token]);
        made
    }

    #[test]
    fn an_epoch_is_higher_than_all_before_it_even_when_the_clock_is_set_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let epoch = |now_us| RedbStore::open(dir.path()).expect("a store").store.next_epoch(now_us);
        for (now_us, expected) in [(0, 1), (1, 2), (1000, 1000), (999, 1001), (u64::MAX, u64::MAX)] {
            assert_eq!(epoch(now_us).expect("an epoch"), expected, "at {now_us}");
        }
        assert!(
            RedbStore::open(dir.path()).expect("a store").last_committed.is_none(),
            "an epoch is no checkpoint"
        );
    }

    #[test]
    fn the_last_checkpoint_stands_after_the_store_was_opened_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let Opened { store, last_committed } = RedbStore::open(dir.path()).expect("a store");
        assert!(last_committed.is_none());
        let mark = StageMark { uses: "file".into(), ..StageMark::default() };
        let mut store = store.running("r1".into(), [("in".to_owned(), mark)].into());
        let first = checkpoint(1, &[("in", "a", 1), ("in", "b", 1), ("x", "a", 1)], 1);
        let second = checkpoint(2, &[("in", "a", 2), ("in", "b", 1)], 2);
        assert_eq!(store.put(&first, Duration::from_millis(3)).expect("stored").bytes, 4);
        assert_eq!(store.put(&second, Duration::ZERO).expect("stored").bytes, 2, "only what changed is new");
        assert!(matches!(RedbStore::open(dir.path()), Err(CheckpointError::Locked { .. })));
        drop(store);
        let Opened { mut store, last_committed } = RedbStore::open(dir.path()).expect("a store");
        let last_committed = last_committed.expect("a checkpoint");
        assert_eq!(last_committed.checkpoint, second);
        assert_eq!((last_committed.sinks_committed, &*last_committed.stages["in"].uses), (false, "file"));
        store.sinks_committed().expect("written");
        drop(store);
        let (last_committed, summaries) = RedbStore::look(dir.path()).expect("a look");
        assert!(last_committed.expect("a checkpoint").sinks_committed);
        let told: Vec<_> = summaries.iter().map(|summary| (summary.number, summary.took_us)).collect();
        assert_eq!(told, [(1, 3000), (2, 0)]);
    }

    #[test]
    fn what_is_no_store_of_ours_is_told_and_not_touched() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(matches!(RedbStore::look(dir.path()), Err(CheckpointError::None { .. })));
        let path = dir.path().join(FILE);
        std::fs::write(&path, b"something else entirely").expect("written");
        let error = RedbStore::open(dir.path()).map(|_| ()).expect_err("it is no store");
        assert!(matches!(error, CheckpointError::Foreign { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).expect("there"), b"something else entirely");
    }

    #[test]
    fn the_list_of_checkpoints_is_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let Opened { mut store, .. } = RedbStore::open(dir.path()).expect("a store");
        for number in 1..=CHECKPOINTS_LISTED_MAX + 3 {
            store.put(&checkpoint(number, &[], number as u8), Duration::ZERO).expect("stored");
        }
        drop(store);
        let (_, summaries) = RedbStore::look(dir.path()).expect("a look");
        assert_eq!((summaries.len() as u64, summaries[0].number), (CHECKPOINTS_LISTED_MAX, 4));
    }
}
