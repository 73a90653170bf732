//! The store as Raft needs it.

use std::io::Cursor;
use std::path::Path;

use disk::SystemDisk;
use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _, RaftStateMachine as _};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader as _, RaftSnapshotBuilder as _};
use redb::ReadableTable as _;
use tempfile::TempDir;

use super::*;
use crate::machine::Machine;
use crate::raft::{Batch, Entry, LogId, SnapshotMeta, StorageError, Types, Vote};
use crate::state::{Command, Proposal};

const NODE: NodeId = NodeId(1);

struct Builder;

impl StoreBuilder<Types, Store, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Store, Machine), StorageError> {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, machine) = open(dir.path());
        Ok((dir, store, machine))
    }
}

fn open(dir: &Path) -> (Store, Machine) {
    let opened = Store::open(Arc::new(SystemDisk), dir, NODE, Some(ClusterId(7)));
    let (store, _) = opened.expect("a store");
    let machine = Machine::open(store.clone(), Arc::new(|_| {})).expect("a machine");
    (store, machine)
}

/// What a kill leaves.
fn killed(dir: &TempDir) -> (TempDir, Store, Machine) {
    let copy = tempfile::tempdir().expect("a directory");
    std::fs::copy(dir.path().join(FILE), copy.path().join(FILE)).expect("copied");
    let (store, machine) = open(copy.path());
    (copy, store, machine)
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> Entry {
    let name = format!("n{index}");
    let command = Command::CreateNamespace { name: model::manifest::Name::parse(&name).expect("a name") };
    let proposal = Proposal { at_us: index, by: None, key: None, command };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Batch { proposals: vec![proposal] }) }
}

async fn indexes(store: &Store) -> Vec<u64> {
    let found = store.clone().try_get_log_entries(0..).await.expect("entries");
    found.iter().map(|entry| entry.log_id.index).collect()
}

async fn append(store: &mut Store, indexes: std::ops::RangeInclusive<u64>) {
    let entries: Vec<Entry> = indexes.map(|index| entry(1, index)).collect();
    store.blocking_append(entries).await.expect("appended");
}

#[test]
fn it_passes_the_suite_of_openraft() {
    Suite::test_all(Builder).expect("it passes");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let (dir, mut store, _) = Builder.build().await.expect("built");
    append(&mut store, 0..=5).await;
    store.save_vote(&Vote::new_committed(3, 1)).await.expect("saved");
    store.save_committed(Some(log_id(1, 4))).await.expect("saved");
    let (_copy, mut after, _) = killed(&dir);
    assert_eq!(indexes(&after).await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(after.read_vote().await.expect("read"), Some(Vote::new_committed(3, 1)));
    assert_eq!(after.read_committed().await.expect("read"), None, "it goes with the next entry");
    append(&mut store, 6..=6).await;
    store.truncate(log_id(1, 5)).await.expect("cut");
    let (_copy, mut after, _) = killed(&dir);
    assert_eq!(indexes(&after).await, [0, 1, 2, 3, 4]);
    assert_eq!(after.read_committed().await.expect("read"), Some(log_id(1, 4)));
    assert_eq!(after.get_log_state().await.expect("read").last_log_id, Some(log_id(1, 4)));
    append(&mut after, 5..=7).await;
    assert_eq!(indexes(&after).await, [0, 1, 2, 3, 4, 5, 6, 7], "from the disk and from memory");
}

/// openraft purges what a snapshot is to replace before the snapshot is there.
#[tokio::test]
async fn a_purge_ahead_of_its_snapshot_takes_nothing_from_the_disk() {
    let (dir, mut store, _) = Builder.build().await.expect("built");
    append(&mut store, 0..=5).await;
    store.purge(log_id(2, 20)).await.expect("purged");
    assert_eq!(indexes(&store).await, [0; 0]);
    let state = store.get_log_state().await.expect("read");
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(2, 20)), Some(log_id(2, 20))));
    // Killed now, it is what it was.
    let (_copy, mut after, _) = killed(&dir);
    assert_eq!(indexes(&after).await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(after.get_log_state().await.expect("read").last_purged_log_id, None);

    // What comes behind the gap waits for the snapshot.
    let mut behind = store.clone();
    let appended = tokio::spawn(async move { behind.blocking_append([entry(2, 21)]).await });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!appended.is_finished());
    let (_copy, after, _) = killed(&dir);
    assert_eq!(indexes(&after).await, [0, 1, 2, 3, 4, 5], "no hole");
    let other = tempfile::tempdir().expect("a directory");
    let (_, mut from) = open(other.path());
    let applied = (0..=20).map(|index| entry(if index == 20 { 2 } else { 1 }, index));
    from.apply(applied.collect::<Vec<_>>()).await.expect("applied");
    let snapshot = from.build_snapshot().await.expect("a snapshot");
    let mut machine = Machine::open(store.clone(), Arc::new(|_| {})).expect("a machine");
    machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.expect("installed");
    appended.await.expect("joined").expect("appended");
    let (_copy, mut after, mut machine) = killed(&dir);
    assert_eq!(indexes(&after).await, [21]);
    assert_eq!(after.get_log_state().await.expect("read").last_purged_log_id, Some(log_id(2, 20)));
    assert_eq!(machine.applied_state().await.expect("read").0, Some(log_id(2, 20)));
    assert_eq!(machine.look(|state| state.namespaces().len()), 22);
}

/// Whoever waits for a snapshot that never comes is not left waiting.
#[tokio::test]
async fn what_waits_behind_a_gap_ends_when_the_store_does() {
    let (_dir, mut store, _) = Builder.build().await.expect("built");
    append(&mut store, 0..=5).await;
    store.purge(log_id(2, 20)).await.expect("purged");
    let mut behind = store.clone();
    let appended = tokio::spawn(async move { behind.blocking_append([entry(2, 21)]).await });
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    store.close();
    appended.await.expect("joined").expect_err("it is closed");
}

#[tokio::test]
async fn entries_go_once_a_snapshot_has_them_and_the_last_snapshot_counts() {
    let (dir, mut store, mut machine) = Builder.build().await.expect("built");
    append(&mut store, 0..=9).await;
    machine.apply((0..=9).map(|index| entry(1, index)).collect::<Vec<_>>()).await.expect("applied");
    let first = machine.build_snapshot().await.expect("a snapshot").meta;
    assert_eq!(first.last_log_id, Some(log_id(1, 9)));
    store.purge(log_id(1, 6)).await.expect("purged");
    let (_copy, after, _) = killed(&dir);
    assert_eq!(indexes(&after).await, [7, 8, 9]);
    // Of several pieces; an earlier one that comes late does not count.
    let large = vec![b' '; 2 * model::limits::CONTROL_SNAPSHOT_PIECE_BYTES + 5];
    let meta = |index| SnapshotMeta { last_log_id: Some(log_id(1, index)), ..SnapshotMeta::default() };
    store.keep_snapshot(&meta(12), &large).expect("kept");
    store.keep_snapshot(&meta(11), b"late").expect("nothing is wrong");
    assert_eq!(store.snapshot().expect("read"), Some((meta(12), large.clone())));
    let pieces = |store: &Store| {
        let count = |read: &ReadTransaction| Ok(read.open_table(PIECES)?.iter()?.count());
        store.read(count).expect("read")
    };
    assert_eq!(pieces(&store), 3);
    // What a crash leaves of one is gone with the next.
    let half = |change: &WriteTransaction| {
        change.open_table(PIECES)?.insert((77, 0), &b"half"[..])?;
        Ok(())
    };
    store.write(Room::Free, half).expect("written");
    drop((store, machine));
    let (store, _) = Store::open(Arc::new(SystemDisk), dir.path(), NODE, None).expect("opened");
    assert_eq!(pieces(&store), 4);
    store.keep_snapshot(&meta(13), b"new").expect("kept");
    assert_eq!((pieces(&store), store.snapshot().expect("read")), (1, Some((meta(13), b"new".to_vec()))));
}

#[tokio::test]
async fn what_is_sent_at_once_is_bounded_in_bytes() {
    let (_dir, mut store, _) = Builder.build().await.expect("built");
    let large = |index| {
        let by = Some("x".repeat(1 << 20));
        let mut made = entry(1, index);
        if let EntryPayload::Normal(batch) = &mut made.payload {
            batch.proposals[0].by = by;
        }
        made
    };
    store.blocking_append((0..10).map(large)).await.expect("appended");
    // The first are on the disk alone, the last in memory.
    for from in [0, 7] {
        let sent = store.limited_get_log_entries(from, 10).await.expect("some");
        assert_eq!((sent.len(), sent[0].log_id.index), (3, from));
    }
    assert_eq!(indexes(&store).await.len(), 10);
}

#[tokio::test]
async fn a_directory_of_another_node_process_or_version_is_refused_and_stays() {
    let (dir, store, machine) = Builder.build().await.expect("built");
    let open = |node, id| Store::open(Arc::new(SystemDisk), dir.path(), node, id).map(|(_, head)| head);
    assert!(matches!(open(NODE, None), Err(StoreError::Locked { .. })));
    store.close();
    assert_eq!(store.snapshot(), Err(store.closed()));
    drop((store, machine));
    assert_eq!(open(NODE, Some(ClusterId(8))).expect("opened").cluster, ClusterId(7), "it has one");
    let error = open(NodeId(2), None).expect_err("another node's").to_string();
    assert!(error.contains("belongs to node 1, and this is node 2"), "{error}");
    let (store, _) = Store::open(Arc::new(SystemDisk), dir.path(), NODE, None).expect("opened");
    let newer = |change: &WriteTransaction| {
        change.open_table(META)?.insert(HEAD, &br#"{"format":2,"what":"ever"}"#[..])?;
        Ok(())
    };
    store.write(Room::Free, newer).expect("written");
    drop(store);
    let error = open(NODE, None).expect_err("a newer one").to_string();
    assert!(error.contains("layout is number 2") && error.contains("version that wrote it"), "{error}");
    let empty = tempfile::tempdir().expect("a directory");
    let error = Store::open(Arc::new(SystemDisk), empty.path(), NODE, None).map(|_| ()).expect_err("empty");
    assert!(matches!(error, StoreError::Empty { .. }), "{error}");
    let path = empty.path().join(FILE);
    std::fs::write(&path, b"something else entirely").expect("written");
    let error = Store::open(Arc::new(SystemDisk), empty.path(), NODE, None).map(|_| ()).expect_err("foreign");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(&path).expect("there"), b"something else entirely");
}

#[tokio::test]
async fn a_snapshot_that_is_none_is_refused_before_anything_is_touched() {
    let (_dir, store, mut machine) = Builder.build().await.expect("built");
    let meta = SnapshotMeta { last_log_id: Some(log_id(1, 3)), ..SnapshotMeta::default() };
    for bytes in [&b"{}"[..], b"not JSON", br#"{"format":2,"state":{}}"#, br#"{"format":1,"state":{}}"#] {
        let snapshot = Box::new(Cursor::new(bytes.to_vec()));
        machine.install_snapshot(&meta, snapshot).await.expect_err("it is none");
        assert_eq!(machine.applied_state().await.expect("read").0, None);
        assert_eq!(store.snapshot().expect("read"), None);
    }
}
