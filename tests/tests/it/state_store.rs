//! The states of stages in the file of the checkpoints.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Entries, KeyedState, Packed, Scan, Values};
use flow::checkpoint::{Checkpoint, CheckpointStore, LastCommitted, Opened, RedbStore};
use flow::state::{StageState, StateLimits, StateSize};

fn open(dir: &Path) -> (RedbStore, Option<LastCommitted>) {
    let Opened { store, last_committed } = RedbStore::open(dir).expect("a store");
    (store, last_committed)
}

fn state(store: &mut RedbStore, stage: &str) -> StageState {
    StageState::over(store.state(stage).expect("a base"), StateLimits::default()).expect("a state")
}

fn entries(keys: &[&str], name: &str) -> Entries {
    let name: Packed = if name.is_empty() { Packed::default() } else { [name].into_iter().collect() };
    Entries::checked(keys.iter().collect(), name).expect("entries")
}

fn write(state: &StageState, writes: &[(&str, Option<&str>)]) {
    let keys: Vec<&str> = writes.iter().map(|(key, _)| *key).collect();
    let values: Packed = writes.iter().map(|(_, value)| value.unwrap_or_default()).collect();
    state.begin();
    let values = Values::of(values, writes.iter().map(|(_, value)| value.is_some()));
    state.set(&entries(&keys, ""), &values).expect("set");
    state.keep();
}

/// Stores what changed in the states as checkpoint `number`.
fn store_all(store: &mut RedbStore, number: u64, states: &[(&str, &StageState)]) -> u64 {
    let deltas = states.iter().filter_map(|(stage, state)| Some((Arc::from(*stage), state.freeze()?)));
    let checkpoint = Checkpoint { number, states: deltas.collect(), ..Checkpoint::default() };
    let stored = store.put(&checkpoint, Duration::ZERO).expect("stored");
    states.iter().for_each(|(_, state)| state.stored());
    stored.bytes
}

async fn read(state: &StageState, keys: &[&str]) -> Vec<Option<String>> {
    let found = state.get(&entries(keys, "")).await.expect("values");
    (0..keys.len()).map(|at| found.get(at).map(|value| String::from_utf8_lossy(value).into_owned())).collect()
}

fn size(keys: u64, bytes: u64) -> StateSize {
    StateSize { keys, bytes }
}

#[tokio::test]
async fn only_what_changed_is_written_and_all_of_it_is_there_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, last_committed) = open(dir.path());
    assert!(last_committed.is_none());
    let (a, b) = (state(&mut store, "a"), state(&mut store, "b"));
    write(&a, &[("k1", Some("one")), ("k2", Some("two")), ("k3", Some("three"))]);
    write(&b, &[("k1", Some("of another stage"))]);
    assert_eq!(store_all(&mut store, 1, &[("a", &a), ("b", &b)]), 3 * 2 + 3 + 3 + 5 + 2 + 16);
    write(&a, &[("k2", None), ("k3", Some("3")), ("k4", None)]);
    assert_eq!(store_all(&mut store, 2, &[("a", &a), ("b", &b)]), 3 * 2 + 1);
    assert_eq!(a.gauge().get(), size(2, 2 + 3 + 2 + 1));
    write(&a, &[("k1", Some("of no checkpoint"))]);
    drop((a, b, store));
    let (mut store, last_committed) = open(dir.path());
    let expected: BTreeMap<String, StateSize> = [("a".into(), size(2, 8)), ("b".into(), size(1, 18))].into();
    assert_eq!(last_committed.expect("a checkpoint").states, expected);
    let a = state(&mut store, "a");
    assert_eq!(read(&a, &["k1", "k2", "k3", "k4"]).await, [Some("one".into()), None, Some("3".into()), None]);
    drop((a, store));
    let (last_committed, _) = RedbStore::look(dir.path()).expect("a look");
    assert_eq!(last_committed.expect("a checkpoint").states, expected);
}

#[tokio::test]
async fn a_state_goes_with_its_stage_to_another_name_or_is_thrown_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _) = open(dir.path());
    for stage in ["a", "b", "c"] {
        let state = state(&mut store, stage);
        write(&state, &[("k", Some(stage))]);
        store_all(&mut store, 1, &[(stage, &state)]);
    }
    drop(store);
    let (mut store, last_committed) = open(dir.path());
    let renames = [("a".to_owned(), "new".to_owned()), ("nobody".to_owned(), "x".to_owned())];
    store
        .adopt(&last_committed.expect("a checkpoint"), &renames, &["b".to_owned(), "nobody".to_owned()])
        .expect("adopted");
    for (stage, value) in [("new", Some("a")), ("a", None), ("b", None), ("c", Some("c"))] {
        let state = state(&mut store, stage);
        assert_eq!(read(&state, &["k"]).await, [value.map(str::to_owned)], "{stage}");
    }
    drop(store);
    let stages: Vec<String> = open(dir.path()).1.expect("a checkpoint").states.into_keys().collect();
    assert_eq!(stages, ["c", "new"]);
}

/// A crash leaves the file as it is while it is open.
#[tokio::test]
async fn after_a_crash_the_state_is_that_of_the_last_checkpoint() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _) = open(dir.path());
    let state_here = state(&mut store, "a");
    let keys: Vec<String> = (0..20_000).map(|n| format!("key {n}")).collect();
    for (number, chunk) in keys.chunks(5_000).enumerate() {
        let writes: Vec<_> = chunk.iter().map(|key| (key.as_str(), Some("value"))).collect();
        write(&state_here, &writes);
        store_all(&mut store, number as u64 + 1, &[("a", &state_here)]);
        let copy = tempfile::tempdir().expect("a directory");
        std::fs::copy(dir.path().join("checkpoints.redb"), copy.path().join("checkpoints.redb"))
            .expect("a copy");
        let (mut crashed, last_committed) = open(copy.path());
        let last_committed = last_committed.expect("a checkpoint");
        let seen = 5_000 * (number as u64 + 1);
        assert_eq!(
            (last_committed.checkpoint.number, last_committed.states["a"].keys),
            (number as u64 + 1, seen)
        );
        let state = state(&mut crashed, "a");
        let last = keys[seen as usize - 1].as_str();
        let next = keys.get(seen as usize).map_or("none", String::as_str);
        assert_eq!(
            read(&state, &["key 0", last, next]).await,
            [Some("value".into()), Some("value".into()), None]
        );
    }
}

#[tokio::test]
async fn names_are_scanned_over_what_is_on_disk_and_what_is_not_yet() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _) = open(dir.path());
    let state = state(&mut store, "a");
    let put = |names: std::ops::Range<u32>, value: Option<&str>| {
        state.begin();
        for name in names {
            let values: Packed = [value.unwrap_or_default()].into_iter().collect();
            let values = Values::of(values, [value.is_some()].into_iter());
            state.set(&entries(&["k"], &format!("{name:04}")), &values).expect("set");
        }
        state.keep();
    };
    put(0..1000, Some("old"));
    store_all(&mut store, 1, &[("a", &state)]);
    // Most of what is on disk is deleted or changed above it, so that a page takes several reads.
    put(0..900, None);
    put(950..1100, Some("new"));
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let scan = Scan { key: b"k".to_vec(), prefix: b"".to_vec(), after: after.take(), entries_max: 7 };
        let page = state.scan(&scan).await.expect("a page");
        assert!(page.names.len() == 7 || !page.more, "{} of a page", page.names.len());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        found
            .extend(page.names.iter().zip(page.values.iter()).map(|(name, value)| (text(name), text(value))));
        if !page.more {
            break;
        }
        after = found.last().map(|(name, _)| name.as_bytes().to_vec());
    }
    let value = |name: u32| if name < 950 { "old" } else { "new" };
    let expected: Vec<_> = (900..1100).map(|name| (format!("{name:04}"), value(name).to_owned())).collect();
    assert_eq!(found, expected);
}

/// A page is looked at when it is read, which may be long after the store was opened.
#[tokio::test]
async fn a_state_that_is_damaged_while_it_is_used_is_told_by_name_and_nothing_more_is_stored() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _) = open(dir.path());
    let state_here = state(&mut store, "a");
    let keys: Vec<String> = (0..20_000).map(|n| format!("key {n}")).collect();
    let value = "v".repeat(1000);
    for (number, chunk) in keys.chunks(5_000).enumerate() {
        let writes: Vec<_> = chunk.iter().map(|key| (key.as_str(), Some(value.as_str()))).collect();
        write(&state_here, &writes);
        store_all(&mut store, number as u64 + 1, &[("a", &state_here)]);
    }
    drop((state_here, store));
    let (mut store, last_committed) = open(dir.path());
    let state = state(&mut store, "a");
    assert_eq!(read(&state, &["key 7"]).await, [Some(value.clone())]);
    let path = dir.path().join("checkpoints.redb");
    let mut bytes = std::fs::read(&path).expect("the file");
    bytes[33 * 4096..].iter_mut().step_by(512).for_each(|byte| *byte ^= 4);
    // In place: the store has the file open.
    std::io::Write::write_all(&mut std::fs::File::options().write(true).open(&path).expect("open"), &bytes)
        .expect("written");
    let asked: Vec<&str> = keys.iter().map(String::as_str).step_by(997).collect();
    let error = state.get(&entries(&asked, "")).await.map(|_| ()).expect_err("it is damaged").to_string();
    for part in ["checkpoints.redb is damaged", "page", "--reset"] {
        assert!(error.contains(part), "{error}");
    }
    let next = Checkpoint { number: 9, ..last_committed.expect("a checkpoint").checkpoint };
    let stored =
        store.put(&next, Duration::ZERO).map(|_| ()).expect_err("nothing more is stored").to_string();
    assert!(stored.contains("checkpoints.redb is damaged"), "{stored}");
}
