//! The file of the checkpoints, closed and as a kill leaves it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Entries, KeyedState, Packed, Values};
use flow::checkpoint::{Checkpoint, CheckpointStore, LastCommitted, Opened, RedbStore, StageMark};
use flow::state::{StageState, StateLimits};

use super::{Kind, MayLose, Read};

const FILE: &str = "checkpoints.redb";
/// With values that fill one page and with such that fill several.
const STAGES: [(&str, usize, usize); 3] = [("small", 40, 60), ("many", 3000, 25), ("large", 4, 30_000)];
const CHECKPOINTS: u64 = 5;

fn write(state: &StageState, number: u64, keys: usize, value_bytes: usize) {
    state.begin();
    let changed = (0..keys).filter(|key| number == 1 || key % 7 == number as usize);
    let keys: Packed = changed.map(|key| format!("key {key}")).collect();
    let values: Packed = keys.iter().map(|key| [key, &vec![number as u8; value_bytes]].concat()).collect();
    let written = vec![true; values.len()];
    let entries = Entries::checked(keys, Packed::default()).expect("entries");
    state.set(&entries, &Values::of(values, written.into_iter())).expect("set");
    state.keep();
}

fn checkpoint(number: u64) -> Checkpoint {
    let mut made = Checkpoint { number, letters: number, ..Checkpoint::default() };
    let place = |split: u64| (Arc::from(format!("{split}.csv")), format!("line {}", number * split).into());
    made.places.insert("in".into(), (0..200).map(place).collect());
    made.tokens.insert("out".into(), format!("token {number}").into());
    made
}

/// Writes checkpoints into `dir`, and what is there while the store is open into `killed`.
fn make(dir: &Path, killed: &Path) {
    let Opened { store, .. } = RedbStore::open(dir).expect("a store");
    let mark = StageMark { uses: "file".into(), ..StageMark::default() };
    let mut store = store.running("r1".into(), [("in".to_owned(), mark)].into());
    store.next_epoch(7).expect("an epoch");
    let states = STAGES.map(|(stage, keys, value_bytes)| {
        let base = store.state(stage).expect("a base");
        let state = StageState::over(base, StateLimits::default()).expect("a state");
        (stage, keys, value_bytes, state)
    });
    for number in 1..=CHECKPOINTS {
        let mut checkpoint = checkpoint(number);
        for (stage, keys, value_bytes, state) in &states {
            write(state, number, *keys, *value_bytes);
            checkpoint.states.extend(state.freeze().map(|delta| (Arc::from(*stage), delta)));
        }
        store.put(&checkpoint, Duration::ZERO).expect("stored");
        states.iter().for_each(|(.., state)| state.stored());
        store.sinks_committed().expect("written");
    }
    std::fs::create_dir_all(killed).expect("a directory");
    std::fs::copy(dir.join(FILE), killed.join(FILE)).expect("a copy");
}

fn last_committed(last_committed: Option<LastCommitted>) -> String {
    let mut last_committed = last_committed;
    // When it was, which is no part of what it is.
    if let Some(last_committed) = &mut last_committed {
        (last_committed.summary.taken_at_us, last_committed.summary.took_us) = (0, 0);
    }
    format!("{last_committed:?}")
}

/// All that is in it, twice: as it was found, and after one more checkpoint.
fn read(dir: &Path) -> Read {
    let looked = RedbStore::look(dir).map(|(last_committed, _)| last_committed);
    let mut found = vec![last_committed(looked.map_err(|error| error.to_string())?)];
    for round in 0..2 {
        let opened = RedbStore::open(dir).map_err(|error| error.to_string())?;
        let Opened { mut store, last_committed: last } = opened;
        found.push(last_committed(last));
        for (stage, ..) in STAGES {
            let state = store.state(stage).map_err(|error| error.to_string())?;
            let see = &mut |place: &[u8], value: &[u8]| found.push(format!("{stage} {place:?} {value:?}"));
            state.each(see).map_err(|error| error.to_string())?;
        }
        if round == 0 {
            let next = checkpoint(CHECKPOINTS + 1);
            store.put(&next, Duration::ZERO).map_err(|error| error.to_string())?;
            store.sinks_committed().map_err(|error| error.to_string())?;
        }
    }
    Ok(found.into())
}

#[test]
fn a_store_that_was_closed() {
    let make = |dir: &Path| {
        let killed = tempfile::tempdir().expect("a directory");
        make(dir, killed.path());
        // Of a store that was being made when there was a crash.
        std::fs::write(dir.join("checkpoints.making"), [7; 10_000]).expect("written");
    };
    let kind = Kind {
        name: "checkpoints of a store that was closed",
        make,
        is_struck: |_| true,
        read,
        may_lose: MayLose::Nothing,
    };
    kind.strike_all();
}

#[test]
fn a_store_as_a_kill_leaves_it() {
    let make = |dir: &Path| {
        let closed = tempfile::tempdir().expect("a directory");
        make(closed.path(), dir);
    };
    let name = "checkpoints of a store as a kill leaves it";
    Kind { name, make, is_struck: |_| true, read, may_lose: MayLose::Nothing }.strike_all();
}
