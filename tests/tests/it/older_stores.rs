//! Checkpoints of the version before pages had checksums. `older/` has two files that its binary wrote, of a pipeline
//! that counts 300 customers: one as a kill left it, and one that was closed.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flow::checkpoint::{Checkpoint, CheckpointError, CheckpointStore as _, Opened, RedbStore};
use flow::state::StateSize;
use tempfile::TempDir;

const FILES: [(&[u8], u64); 2] =
    [(include_bytes!("older/crashed.redb.gz"), 2), (include_bytes!("older/closed.redb.gz"), 4)];
const FILE: &str = "checkpoints.redb";
const SIZE: StateSize = StateSize { keys: 300, bytes: 10_090 };

fn unpacked(packed: &[u8]) -> (TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(FILE);
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).expect("unpacked");
    std::fs::write(&path, &bytes).expect("written");
    (dir, path, bytes)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// What the state of the stage that counts adds up to: entries, and rows counted.
fn counted(store: &mut RedbStore) -> (u64, u64) {
    let state = store.state("so-far").expect("a state");
    let (mut entries, mut rows) = (0, 0);
    let see = &mut |_: &[u8], value: &[u8]| {
        let count = value[4..12].try_into().map(u64::from_le_bytes).expect("the number of rows");
        (entries, rows) = (entries + 1, rows + count);
    };
    state.each(see).expect("all of it");
    (entries, rows)
}

#[test]
fn a_directory_of_the_version_before_is_taken_over_with_all_that_is_in_it() {
    for ((packed, number), rows) in FILES.into_iter().zip([3000, 3100]) {
        let (dir, path, bytes) = unpacked(packed);
        let (last_committed, summaries) = RedbStore::look(dir.path()).expect("a look");
        let last_committed = last_committed.expect("a checkpoint");
        assert_eq!((last_committed.checkpoint.number, last_committed.states["so-far"]), (number, SIZE));
        assert_eq!(summaries.last().expect("a checkpoint").number, number);
        assert!(std::fs::read(&path).expect("the file") == bytes, "a look has changed it");
        // What a crash left of an attempt is in nobody's way.
        std::fs::write(dir.path().join("checkpoints.making"), "half").expect("written");
        let Opened { mut store, last_committed: opened } = RedbStore::open(dir.path()).expect("taken over");
        let opened = opened.expect("a checkpoint");
        assert_eq!(
            (opened.checkpoint, opened.stages),
            (last_committed.checkpoint.clone(), last_committed.stages)
        );
        assert_eq!(counted(&mut store), (300, rows));
        assert!(std::fs::read(&path).expect("the file").starts_with(b"cvypages"));
        assert_eq!(names(dir.path()), [FILE]);
        let next = Checkpoint { number: number + 1, ..last_committed.checkpoint };
        store.put(&next, Duration::ZERO).expect("stored");
        drop(store);
        let Opened { mut store, last_committed } = RedbStore::open(dir.path()).expect("opened");
        assert_eq!(last_committed.expect("a checkpoint").checkpoint.number, number + 1);
        assert_eq!(counted(&mut store), (300, rows));
    }
}

/// A checksum that says it is right comes to nothing that was wrong before.
#[test]
fn damage_of_the_version_before_is_not_taken_over() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut refused = 0;
    for (packed, number) in FILES {
        let (dir, path, bytes) = unpacked(packed);
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        for round in 0..40 {
            let mut damaged = bytes.clone();
            let at = used[random.usize(0..used.len())];
            damaged[at] ^= 1 << random.u8(0..8);
            std::fs::write(&path, &damaged).expect("written");
            let said = match RedbStore::open(dir.path()) {
                Ok(Opened { mut store, last_committed }) => {
                    let found = last_committed.map(|last| last.checkpoint.number);
                    assert_eq!(
                        (found, counted(&mut store).0),
                        (Some(number), 300),
                        "round {round}, byte {at}"
                    );
                    continue;
                }
                Err(error) => error,
            };
            refused += 1;
            assert!(said.to_string().contains(FILE), "{said}");
            assert!(!matches!(said, CheckpointError::Io { .. }), "round {round}, byte {at}: {said}");
            assert!(std::fs::read(&path).expect("the file") == damaged, "it was changed");
        }
    }
    assert!(refused > 20, "{refused} were refused");
}
