//! The last snapshot: what the log up to some entry has made of the state.
//!
//! It is written in pieces, between which the log goes on, and counts once the last transaction says so. What a crash
//! leaves of one that does not count is removed by the next one.

use disk::fault::{self, Point};
use model::limits::CONTROL_SNAPSHOT_PIECE_BYTES;
use redb::ReadTransaction;
use serde::{Deserialize, Serialize};

use super::{PIECES, Room, SNAPSHOT, Store, StoreError, lock, log, read_meta, write_meta};
use crate::raft::SnapshotMeta;

/// A snapshot that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub meta: SnapshotMeta,
    /// Each has a number of its own.
    number: u64,
    pieces: u64,
    bytes: u64,
}

impl Kept {
    pub fn index(&self) -> Option<u64> {
        self.meta.last_log_id.map(|last| last.index)
    }
}

pub(super) fn find(read: &ReadTransaction) -> Result<Option<Kept>, redb::Error> {
    read_meta(read, SNAPSHOT)
}

impl Store {
    /// The last snapshot with what is in it. Blocks.
    pub fn snapshot(&self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StoreError> {
        // One transaction for both: another one may be taking its place.
        self.read(|read| {
            let Some(kept) = find(read)? else { return Ok(None) };
            let mut bytes = Vec::with_capacity(kept.bytes as usize);
            for piece in read.open_table(PIECES)?.range((kept.number, 0)..(kept.number + 1, 0))? {
                bytes.extend_from_slice(piece?.1.value());
            }
            if bytes.len() as u64 != kept.bytes {
                let why = format!("its snapshot has {} of {} bytes", bytes.len(), kept.bytes);
                return Err(redb::Error::Corrupted(why));
            }
            Ok(Some((kept.meta, bytes)))
        })
    }

    /// Makes a snapshot the one that counts, unless a later one does; and removes the entries that are dispensable with
    /// it. Blocks.
    pub fn keep_snapshot(&self, meta: &SnapshotMeta, bytes: &[u8]) -> Result<(), StoreError> {
        let number = self.begin_snapshot()?;
        let mut pieces = 0;
        for piece in bytes.chunks(CONTROL_SNAPSHOT_PIECE_BYTES) {
            self.write(Room::Free, |change| {
                change.open_table(PIECES)?.insert((number, pieces), piece)?;
                Ok(())
            })?;
            fault::hit(Point::PieceSynced);
            pieces += 1;
        }
        let kept = Kept { meta: meta.clone(), number, pieces, bytes: bytes.len() as u64 };
        self.swap(kept)
    }

    /// A number for the next one, with nothing under it.
    fn begin_snapshot(&self) -> Result<u64, StoreError> {
        let mut next = lock(&self.0.next_snapshot);
        let counts = lock(&self.0.kept).as_ref().map_or(0, |kept| kept.number);
        let number = next.unwrap_or(counts + 1);
        if next.is_none() {
            // What a crash left, which nothing counts.
            self.write(Room::Free, |change| {
                change.open_table(PIECES)?.retain_in((counts + 1, 0).., |_, _| false)?;
                Ok(())
            })?;
        }
        *next = Some(number + 1);
        Ok(number)
    }

    fn swap(&self, kept: Kept) -> Result<(), StoreError> {
        // Two may come to this at once, and the log may be purged meanwhile.
        let mut current = lock(&self.0.kept);
        let is_later =
            current.as_ref().is_none_or(|current| current.meta.last_log_id <= kept.meta.last_log_id);
        let (counts, goes) = if is_later { (kept.number, current.as_ref()) } else { (0, Some(&kept)) };
        let goes = goes.map(|goes| goes.number);
        let durable = if is_later { kept.meta.last_log_id } else { None };
        let dispensable = log::dispensable(&lock(&self.0.log), durable);
        self.write(Room::Held, |change| {
            if let Some(goes) = goes {
                change.open_table(PIECES)?.retain_in((goes, 0)..(goes + 1, 0), |_, _| false)?;
            }
            if counts > 0 {
                write_meta(change, SNAPSHOT, &kept)?;
            }
            dispensable.map_or(Ok(()), |upto| log::remove(change, upto))
        })?;
        fault::hit(Point::SnapshotSynced);
        if let Some(upto) = dispensable {
            log::removed(&mut lock(&self.0.log), upto);
        }
        if is_later {
            let index = kept.index();
            *current = Some(kept);
            drop(current);
            self.begin_log_anew();
            self.0.durable.send_replace(index);
        }
        Ok(())
    }
}
