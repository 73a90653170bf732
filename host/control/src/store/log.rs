//! The log of Raft, its vote, and how far it is committed.
//!
//! openraft purges before the snapshot that makes the entries dispensable is installed: a node that died in between would
//! have neither. So a purge counts at once for whoever reads, and entries go from the disk only once a snapshot at or past
//! them is durable. What is appended behind a gap that such a purge leaves waits for the snapshot too.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use disk::fault::{self, Point};
use model::limits::{CONTROL_MESSAGE_BYTES, CONTROL_TAIL_BYTES};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader, StorageIOError};
use redb::{ReadTransaction, WriteTransaction};

use super::{
    COMMITTED, LOG, PURGED, Room, Store, StoreError, VOTE, decode, encode, lock, read_meta, write_meta,
};
use crate::raft::{Entry, LogId, StorageError, Types, Vote};

/// What is known of the log without looking.
#[derive(Debug, Default)]
pub(super) struct LogView {
    /// Nothing up to here is there any more, for whoever reads.
    purged: Option<LogId>,
    /// Nothing up to here is on the disk any more.
    gone: Option<LogId>,
    /// Of what is on the disk.
    last: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// The last entries, with their bytes.
    tail: VecDeque<(Entry, usize)>,
    tail_bytes: usize,
    /// Of what was appended since the last snapshot.
    bytes: u64,
}

pub(super) fn opened_log(read: &ReadTransaction) -> Result<LogView, redb::Error> {
    let purged = read_meta(read, PURGED)?;
    let table = read.open_table(LOG)?;
    let last = redb::ReadableTable::last(&table)?;
    let last = last.map(|(_, entry)| decode::<Entry>(entry.value())).transpose()?.map(|entry| entry.log_id);
    let (vote, committed) = (read_meta(read, VOTE)?, read_meta(read, COMMITTED)?);
    Ok(LogView { purged, gone: purged, last, vote, committed, ..LogView::default() })
}

impl LogView {
    fn keep(&mut self, entry: Entry, bytes: usize) {
        self.last = Some(entry.log_id);
        self.bytes += bytes as u64;
        self.tail_bytes += bytes;
        self.tail.push_back((entry, bytes));
        // The last one is about to be applied, however large it is.
        while self.tail_bytes > CONTROL_TAIL_BYTES && self.tail.len() > 1 {
            self.tail_bytes -= self.tail.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    fn cut(&mut self, from: u64) {
        while self.tail.back().is_some_and(|(entry, _)| entry.log_id.index >= from) {
            self.tail_bytes -= self.tail.pop_back().map_or(0, |(_, bytes)| bytes);
        }
    }

    fn is_empty(&self) -> bool {
        self.last.is_none_or(|last| Some(last.index) <= self.gone.map(|gone| gone.index))
    }

    /// Whether there would be a gap between what is on the disk and what begins at `index`.
    fn leaves_gap(&self, index: u64) -> bool {
        match self.last {
            Some(last) if !self.is_empty() => last.index + 1 < index && self.purged > self.last,
            _ => self.purged > self.gone,
        }
    }

    /// What is wanted, from the end that is in memory. None where some of it is not there.
    fn in_tail(&self, from: u64, to: u64) -> Option<Vec<(Entry, usize)>> {
        if self.tail.front()?.0.log_id.index > from {
            return None;
        }
        let skip = self.tail.partition_point(|(entry, _)| entry.log_id.index < from);
        let wanted = self.tail.iter().skip(skip).take_while(|(entry, _)| entry.log_id.index < to);
        Some(wanted.cloned().collect())
    }
}

/// Which entries to remove once a snapshot up to `durable` is on the disk: all up to the one that is given.
pub(super) fn dispensable(view: &LogView, durable: Option<LogId>) -> Option<LogId> {
    let upto = view.purged.min(durable);
    (upto > view.gone).then_some(upto).flatten()
}

pub(super) fn remove(change: &WriteTransaction, upto: LogId) -> Result<(), redb::Error> {
    change.open_table(LOG)?.retain_in(..=upto.index, |_, _| false)?;
    write_meta(change, PURGED, &upto)
}

pub(super) fn removed(view: &mut LogView, upto: LogId) {
    view.gone = view.gone.max(Some(upto));
}

impl Store {
    /// Bytes that were appended since the last snapshot, or since it was opened.
    pub fn log_bytes(&self) -> u64 {
        lock(&self.0.log).bytes
    }

    pub(super) fn begin_log_anew(&self) {
        lock(&self.0.log).bytes = 0;
    }

    async fn entries(
        &self,
        range: impl RangeBounds<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(from) => from + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(to) => to + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        let (from, found) = {
            let view = lock(&self.0.log);
            let from = view.purged.map_or(from, |purged| from.max(purged.index + 1));
            (from, view.in_tail(from, to))
        };
        if from >= to {
            return Ok(Vec::new());
        }
        let found = match found {
            Some(found) => found,
            None => self.blocking(move |store| store.read(|read| stored(read, from, to, bytes_max))).await?,
        };
        let mut bytes = 0;
        let fits = found.into_iter().enumerate().take_while(|(nth, (_, more))| {
            bytes += more;
            *nth == 0 || bytes <= bytes_max
        });
        Ok(fits.map(|(_, (entry, _))| entry).collect())
    }

    async fn append_entries(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let Some(first) = entries.first().map(|entry| entry.log_id.index) else { return Ok(()) };
        self.wait_for_snapshot(first).await?;
        self.blocking(move |store| {
            let encoded = entries.iter().map(|entry| Ok((entry.log_id.index, encode(entry)?)));
            let encoded: Result<Vec<_>, redb::Error> = encoded.collect();
            let encoded = encoded.map_err(|error| {
                store.end(StoreError::Broke { path: store.0.path.clone(), why: error.to_string() })
            })?;
            let committed = lock(&store.0.log).committed;
            store.write(Room::Held, |change| {
                let mut log = change.open_table(LOG)?;
                for (index, entry) in &encoded {
                    log.insert(index, entry.as_slice())?;
                }
                drop(log);
                committed.map_or(Ok(()), |committed| write_meta(change, COMMITTED, &committed))
            })?;
            fault::hit(Point::EntriesSynced);
            let mut view = lock(&store.0.log);
            for (entry, (_, bytes)) in entries.into_iter().zip(&encoded) {
                view.keep(entry, bytes.len());
            }
            Ok(())
        })
        .await
    }

    async fn wait_for_snapshot(&self, first: u64) -> Result<(), StoreError> {
        let mut durable = self.0.durable.subscribe();
        loop {
            if let Some(error) = self.broke() {
                return Err(error.clone());
            }
            if self.0.is_closing.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(self.closed());
            }
            if !lock(&self.0.log).leaves_gap(first) {
                return Ok(());
            }
            // The store has the other end, and is there as long as this is.
            let _ = durable.changed().await;
        }
    }

    fn cut_log(&self, from: u64) -> Result<(), StoreError> {
        let last = self.write(Room::Held, |change| {
            let mut log = change.open_table(LOG)?;
            log.retain_in(from.., |_, _| false)?;
            let last = redb::ReadableTable::last(&log)?;
            last.map(|(_, entry)| Ok(decode::<Entry>(entry.value())?.log_id)).transpose()
        })?;
        let mut view = lock(&self.0.log);
        view.last = last;
        view.cut(from);
        Ok(())
    }

    fn purge_log(&self, upto: LogId) -> Result<(), StoreError> {
        // Held, so that no snapshot takes its place unseen: what is dispensable with it goes here or there.
        let kept = lock(&self.0.kept);
        let durable = kept.as_ref().and_then(|kept| kept.meta.last_log_id);
        let dispensable = {
            let mut view = lock(&self.0.log);
            view.purged = view.purged.max(Some(upto));
            while view.tail.front().is_some_and(|(entry, _)| entry.log_id.index <= upto.index) {
                let gone = view.tail.pop_front();
                view.tail_bytes -= gone.map_or(0, |(_, bytes)| bytes);
            }
            dispensable(&view, durable)
        };
        fault::hit(Point::EntriesPurged);
        let Some(upto) = dispensable else { return Ok(()) };
        self.write(Room::Held, |change| remove(change, upto))?;
        fault::hit(Point::EntriesRemoved);
        removed(&mut lock(&self.0.log), upto);
        Ok(())
    }

    /// Writes how far the log is committed, which otherwise waits for the next entry.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.blocking(|store| {
            let Some(committed) = lock(&store.0.log).committed else { return Ok(()) };
            store.write(Room::Held, |change| write_meta(change, COMMITTED, &committed))
        })
        .await
    }
}

/// Entries as they are on the disk, with their bytes, until they are more than so many.
fn stored(
    read: &ReadTransaction,
    from: u64,
    to: u64,
    bytes_max: usize,
) -> Result<Vec<(Entry, usize)>, redb::Error> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for stored in read.open_table(LOG)?.range(from..to)? {
        let (_, entry) = stored?;
        found.push((decode(entry.value())?, entry.value().len()));
        bytes += entry.value().len();
        if bytes > bytes_max {
            break;
        }
    }
    Ok(found)
}

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let found = self.entries(range, usize::MAX).await;
        found.map_err(|error| StorageIOError::read_logs(AnyError::new(&error)).into())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let found = self.entries(start..end, CONTROL_MESSAGE_BYTES).await;
        found.map_err(|error| StorageIOError::read_logs(AnyError::new(&error)).into())
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let view = lock(&self.0.log);
        let last_log_id = view.last.max(view.purged);
        Ok(LogState { last_purged_log_id: view.purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        let saved = self.blocking(move |store| {
            store.write(Room::Held, |change| write_meta(change, VOTE, &vote))?;
            fault::hit(Point::VoteSynced);
            lock(&store.0.log).vote = Some(vote);
            Ok(())
        });
        saved.await.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(lock(&self.0.log).vote)
    }

    /// Durable with the next entry: what is not known to be committed then is committed again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        lock(&self.0.log).committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(lock(&self.0.log).committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().collect();
        match self.append_entries(entries).await {
            Ok(()) => callback.log_io_completed(Ok(())),
            Err(error) => {
                callback.log_io_completed(Err(io::Error::other(error.clone())));
                return Err(StorageIOError::write_logs(AnyError::new(&error)).into());
            }
        }
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let cut = self.blocking(move |store| store.cut_log(log_id.index));
        cut.await.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let purged = self.blocking(move |store| store.purge_log(log_id));
        purged.await.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }
}
