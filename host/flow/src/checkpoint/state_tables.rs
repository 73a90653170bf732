//! The states of stages in the file of the checkpoints: a table for each, in the order of places, and how much is in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Packed;
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageError, TableDefinition, TableError, WriteTransaction,
};

use super::CheckpointError;
use super::kept::Kept;
use crate::state::{PlaceValue, StateBase, StateDelta, StateGauge, StateSize, read_place};

type Places<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;
type ReadOnly = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// By stage: entries, and bytes of keys, names and values.
const SIZES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("state sizes");
/// What a place has beside the key and the name.
const PLACE_HEAD_BYTES: usize = 3;

fn name_of(stage: &str) -> String {
    format!("state of {stage}")
}

/// Writes what changed. Gives how much each of these stages has then, and the bytes that were written.
pub(super) fn write(
    change: &WriteTransaction,
    states: &BTreeMap<Arc<str>, StateDelta>,
) -> Result<(BTreeMap<Arc<str>, StateSize>, u64), redb::Error> {
    let mut written = 0;
    let mut sizes = BTreeMap::new();
    if states.is_empty() {
        return Ok((sizes, written));
    }
    let mut known = change.open_table(SIZES)?;
    for (stage, delta) in states {
        let (mut keys, mut bytes) = known.get(&**stage)?.map_or((0, 0), |size| size.value());
        let name = name_of(stage);
        let mut table = change.open_table(Places::new(&name))?;
        delta.each(|place, value| {
            let named = (place.len() - PLACE_HEAD_BYTES) as u64;
            written += named + value.map_or(0, |value| value.len() as u64);
            let before = match value {
                Some(value) => {
                    (keys, bytes) = (keys + 1, bytes + named + value.len() as u64);
                    table.insert(place, value)?
                }
                None => table.remove(place)?,
            };
            if let Some(before) = before {
                let gone = named + before.value().len() as u64;
                let left = keys.checked_sub(1).zip(bytes.checked_sub(gone));
                (keys, bytes) = left.ok_or_else(|| wrong_size(stage))?;
            }
            Ok::<_, redb::StorageError>(())
        })?;
        known.insert(&**stage, (keys, bytes))?;
        sizes.insert(stage.clone(), StateSize { keys, bytes });
    }
    Ok((sizes, written))
}

/// Gives the states of stages to those of another name, and throws away those that nobody wants. What is not there is let
/// be.
pub(super) fn adopt(
    change: &WriteTransaction,
    renames: &[(String, String)],
    forgotten: &[String],
) -> Result<(), redb::Error> {
    let mut known = change.open_table(SIZES)?;
    for stage in forgotten {
        if known.remove(&**stage)?.is_some() {
            change.delete_table(Places::new(&name_of(stage)))?;
        }
    }
    for (old, new) in renames {
        let Some(size) = known.remove(&**old)?.map(|size| size.value()) else { continue };
        if known.insert(&**new, size)?.is_some() {
            change.delete_table(Places::new(&name_of(new)))?;
        }
        change.rename_table(Places::new(&name_of(old)), Places::new(&name_of(new)))?;
    }
    Ok(())
}

/// How much state each stage has, which is as much as is there.
pub(super) fn sizes(read: &ReadTransaction) -> Result<BTreeMap<String, StateSize>, redb::Error> {
    let table = match read.open_table(SIZES) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let mut sizes = BTreeMap::new();
    for entry in table.iter()? {
        let (stage, size) = entry?;
        let (stage, (keys, bytes)) = (stage.value(), size.value());
        let there = match read.open_table(Places::new(&name_of(stage))) {
            Ok(table) => table.len()?,
            Err(TableError::TableDoesNotExist(_)) => 0,
            Err(error) => return Err(error.into()),
        };
        if there != keys {
            return Err(wrong_size(stage).into());
        }
        sizes.insert(stage.to_owned(), StateSize { keys, bytes });
    }
    Ok(sizes)
}

fn wrong_size(stage: &str) -> StorageError {
    StorageError::Corrupted(format!("the state of stage `{stage}` is not as large as it says"))
}

/// An entry as it is on disk, whose place is one.
fn checked<'a>(place: &'a [u8], value: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), redb::Error> {
    let why = || redb::Error::Corrupted("the state of a stage has an entry without a key".to_owned());
    read_place(place).map(|_| (place, value)).ok_or_else(why)
}

/// The states of stages that have any.
pub(super) fn of(database: &Arc<Kept>, sizes: BTreeMap<String, StateSize>) -> BTreeMap<String, StateTable> {
    let table = |(stage, size): (String, StateSize)| {
        let table = StateTable::new(database.clone(), &stage, size);
        (stage, table)
    };
    sizes.into_iter().map(table).collect()
}

/// The state of one stage, read as the last write left it.
#[derive(Clone)]
pub(super) struct StateTable {
    database: Arc<Kept>,
    name: String,
    pub gauge: StateGauge,
}

impl std::fmt::Debug for StateTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateTable")
            .field("path", &self.database.path())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl StateTable {
    pub fn new(database: Arc<Kept>, stage: &str, size: StateSize) -> Self {
        let gauge = StateGauge::default();
        gauge.set(size);
        Self { database, name: name_of(stage), gauge }
    }

    /// None where nothing was ever written.
    fn table(&self, database: &Database) -> Result<Option<ReadOnly>, redb::Error> {
        match database.begin_read()?.open_table(Places::new(&self.name)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read<T>(
        &self,
        none: T,
        read: impl FnOnce(ReadOnly) -> Result<T, redb::Error>,
    ) -> Result<T, CheckpointError> {
        self.database.with(|database| self.table(database)?.map_or(Ok(none), read))
    }
}

impl StateBase for StateTable {
    fn gauge(&self) -> &StateGauge {
        &self.gauge
    }

    fn get(&self, places: &Packed) -> Result<Vec<Option<Vec<u8>>>, CheckpointError> {
        self.read(vec![None; places.len()], |table| {
            // Neighbours are on the same pages.
            let mut order: Vec<usize> = (0..places.len()).collect();
            order.sort_unstable_by_key(|&index| places.get(index));
            let mut found = vec![None; places.len()];
            for index in order {
                found[index] = table.get(places.get(index))?.map(|value| value.value().to_vec());
            }
            Ok(found)
        })
    }

    fn range(
        &self,
        from: &[u8],
        end: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<PlaceValue>, CheckpointError> {
        self.read(Vec::new(), |table| {
            let range = match end {
                Some(end) => table.range(from..end)?,
                None => table.range(from..)?,
            };
            let entries = range.take(most).map(|entry| {
                let (place, value) = entry?;
                let (place, value) = checked(place.value(), value.value())?;
                Ok((place.into(), value.into()))
            });
            entries.collect()
        })
    }

    fn each(&self, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), CheckpointError> {
        self.read((), |table| {
            for entry in table.iter()? {
                let (place, value) = entry?;
                let (place, value) = checked(place.value(), value.value())?;
                see(place, value);
            }
            Ok(())
        })
    }
}
