//! Checkpoints on the simulated disk, with the contract of the real store: what was put is durable, or after a crash it
//! is there or not, whole.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use disk::{Disk, DiskFile, Mode};
use flow::checkpoint::{Checkpoint, CheckpointError, CheckpointStore, Stored};
use flow::connector::Places;
use flow::letters::{Closed, Outcome};
use model::ids::RecordId;
use serde::{Deserialize, Serialize};

use super::disk::SimDisk;

/// How often each key was counted, by stage.
pub type Counts = BTreeMap<(u8, u8), u64>;

/// A checkpoint with the state of stages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastCommitted {
    pub checkpoint: Checkpoint,
    pub state: Counts,
    /// The tokens of the checkpoint before.
    pub tokens_before: BTreeMap<Arc<str>, Vec<u8>>,
}

/// By split or by stage.
type Named = Vec<(String, Vec<u8>)>;

#[derive(Serialize, Deserialize)]
struct Written {
    number: u64,
    letters: u64,
    places: Vec<(String, Named)>,
    reached: Vec<(String, Vec<(String, u64)>)>,
    /// By letter: the id of its record, and what became of it.
    closing: Vec<(u64, [u8; 16], Outcome)>,
    tokens: Named,
    tokens_before: Named,
    state: Vec<(u8, u8, u64)>,
}

type Tokens = BTreeMap<Arc<str>, Vec<u8>>;

fn tokens(tokens: &Tokens) -> Named {
    tokens.iter().map(|(stage, token)| (stage.to_string(), token.clone())).collect()
}

fn tokens_of(written: Named) -> Tokens {
    written.into_iter().map(|(stage, token)| (stage.into(), token)).collect()
}

impl LastCommitted {
    fn encode(&self) -> Vec<u8> {
        let Self { checkpoint, state, tokens_before } = self;
        let places = checkpoint.places.iter().map(|(stage, places)| {
            let places = places.iter().map(|(split, place)| (split.to_string(), place.clone()));
            (stage.to_string(), places.collect())
        });
        let reached = checkpoint.reached.iter().map(|(source, splits)| {
            (source.to_string(), splits.iter().map(|(split, behind)| (split.to_string(), *behind)).collect())
        });
        let closing = checkpoint.closing.iter();
        let closing = closing.map(|(letter, closed)| (*letter, closed.record.to_bytes(), closed.outcome));
        let written = Written {
            number: checkpoint.number,
            letters: checkpoint.letters,
            places: places.collect(),
            reached: reached.collect(),
            closing: closing.collect(),
            tokens: tokens(&checkpoint.tokens),
            tokens_before: tokens(tokens_before),
            state: state.iter().map(|(&(node, key), &count)| (node, key, count)).collect(),
        };
        serde_json::to_vec(&written).expect("numbers and texts")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(bytes).ok()?;
        let places = written.places.into_iter().map(|(stage, places)| {
            let places = places.into_iter().map(|(split, place)| (split.into(), place));
            (stage.into(), places.collect::<Places>())
        });
        let reached = written.reached.into_iter().map(|(source, splits)| {
            let splits = splits.into_iter().map(|(split, behind)| (split.into(), behind));
            (source.into(), splits.collect())
        });
        let closing = written.closing.into_iter().map(|(letter, record, outcome)| {
            (letter, Closed { record: RecordId::from_bytes(record), outcome })
        });
        let checkpoint = Checkpoint {
            number: written.number,
            letters: written.letters,
            places: places.collect(),
            reached: reached.collect(),
            closing: closing.collect(),
            tokens: tokens_of(written.tokens),
            ..Checkpoint::default()
        };
        let state = written.state.into_iter().map(|(node, key, count)| ((node, key), count)).collect();
        Some(Self { checkpoint, state, tokens_before: tokens_of(written.tokens_before) })
    }
}

/// A frame: length, checksum, bytes.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_le_bytes().to_vec();
    frame.extend(crc32c::crc32c(payload).to_le_bytes());
    frame.extend(payload);
    frame
}

/// The frame at the beginning of `bytes`, if it is whole.
fn unframe(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    let payload = bytes.get(8..)?.get(..length)?;
    (length > 0 && crc32c::crc32c(payload) == crc).then_some(payload)
}

fn read(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.bytes()? as usize];
    disk::read_exact_at(file, &mut bytes, 0)?;
    Ok(bytes)
}

const SLOTS: [&str; 2] = ["/checkpoint.a", "/checkpoint.b"];

/// Two slots, of which the older one is written.
pub struct SimStore {
    slots: [Box<dyn DiskFile>; 2],
    pub last: LastCommitted,
    /// The state that goes with the next checkpoint.
    pub state: Counts,
}

impl SimStore {
    pub fn open(disk: &SimDisk) -> io::Result<Self> {
        let open = |path: &str| -> io::Result<Box<dyn DiskFile>> {
            let path = Path::new(path);
            let mode = if disk.stat(path)?.is_some() { Mode::Change } else { Mode::Create };
            disk.open(path, mode)
        };
        let slots = [open(SLOTS[0])?, open(SLOTS[1])?];
        disk.sync_dir(Path::new("/"))?;
        let last = Self::last_committed(disk);
        // What may be gone with the next power cut is made durable before anybody goes on from it.
        slots.iter().try_for_each(|slot| slot.sync())?;
        Ok(Self { slots, state: last.state.clone(), last })
    }

    /// The last committed checkpoint on a disk.
    pub fn last_committed(disk: &SimDisk) -> LastCommitted {
        let slots = SLOTS.iter().filter_map(|path| disk.contents(Path::new(path)));
        let whole = slots.filter_map(|bytes| unframe(&bytes).and_then(LastCommitted::decode));
        whole.max_by_key(|last| last.checkpoint.number).unwrap_or_default()
    }
}

impl CheckpointStore for SimStore {
    fn put(&mut self, checkpoint: &Checkpoint, _took: Duration) -> Result<Stored, CheckpointError> {
        let next = LastCommitted {
            checkpoint: checkpoint.clone(),
            state: self.state.clone(),
            tokens_before: self.last.checkpoint.tokens.clone(),
        };
        let frame = frame(&next.encode());
        // The slot of the last committed one is not touched.
        let last_committed = unframe(&read(&*self.slots[0]).unwrap_or_default())
            .and_then(LastCommitted::decode)
            .is_some_and(|last| last.checkpoint.number == self.last.checkpoint.number);
        let slot = &self.slots[usize::from(last_committed)];
        let put = slot.write_at(&frame, 0).and_then(|()| slot.sync());
        put.map_err(|error| CheckpointError::Io { path: "checkpoint".into(), why: error.to_string() })?;
        self.last = next;
        Ok(Stored { bytes: frame.len() as u64 })
    }

    fn sinks_committed(&mut self) -> Result<(), CheckpointError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::super::disk::Crash;
    use super::*;

    fn checkpoint(number: u64) -> Checkpoint {
        let places: Places = [("0".into(), number.to_le_bytes().to_vec())].into();
        Checkpoint { number, places: [("in".into(), places)].into(), ..Checkpoint::default() }
    }

    #[test]
    fn a_checkpoint_that_was_put_is_there_and_one_that_was_being_put_may_be() {
        let mut between = [0, 0];
        for seed in 0..100 {
            let disk = SimDisk::new(Rng::with_seed(seed));
            let mut store = SimStore::open(&disk).expect("a store");
            for number in 1..4 {
                store.put(&checkpoint(number), Duration::ZERO).expect("stored");
            }
            assert_eq!(SimStore::last_committed(&disk.worst_case()).checkpoint, checkpoint(3));
            disk.set_fuse(Some(seed % 2));
            assert!(store.put(&checkpoint(4), Duration::ZERO).is_err());
            disk.restart(Crash::PowerCut);
            let found = SimStore::open(&disk).expect("a store").last.checkpoint;
            assert!(found == checkpoint(3) || found == checkpoint(4), "{found:?}");
            between[usize::from(found == checkpoint(4))] += 1;
        }
        assert!(between[0] > 10 && between[1] > 10, "{between:?}");
    }
}
