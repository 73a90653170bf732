//! A store that is written, cut off, damaged, filled and read again.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, DictionaryArray, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema, UInt32Type};
use disk::SystemDisk;
use disk::frame;
use model::batch::{Column, Parts, Rows};
use model::lineage::{Lineage, Offsets, SourceRows};
use proptest::prelude::*;
use tempfile::tempdir;

use super::segment::{FILE_HEAD_BYTES, FRAME_HEAD_BYTES};
use super::*;
use crate::failing::Failing;

mod damage;

fn lineage(from: u64) -> Lineage {
    Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: "in".into(),
        split: "a.csv".into(),
        offsets: Offsets::From(from),
    })
}

fn refusals(codes: &[&str]) -> Vec<Refusal> {
    let refusal = |(row, code): (usize, &&str)| Refusal {
        row: row as u32,
        code: (*code).to_owned(),
        message: format!("message {row}"),
        backtrace: (*code == "trap").then(|| "0: f\n1: g".into()),
        attempts: row as u32 + 1,
        is_cut: false,
    };
    codes.iter().enumerate().map(refusal).collect()
}

/// Opaque records, all refused as `code`.
fn opaque(stage: &str, code: &str, values: &[&[u8]]) -> Group {
    let array = BinaryArray::from_iter_values(values);
    Group {
        stage: stage.into(),
        kept_as: Form::Opaque.into(),
        rows: Batch::from_values(array, Parts::default(), lineage(7)).expect("a batch"),
        refusals: refusals(&vec![code; values.len()]),
    }
}

/// Rows 1 and 3 of four, with everything that a record can have.
fn rows() -> Group {
    let names: DictionaryArray<UInt32Type> = ["a", "b", "c", "d"].into_iter().collect();
    let columns: [(&str, ArrayRef); 2] =
        [("n", Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(2), None]))), ("name", Arc::new(names))];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), *name == "n"))
        .collect();
    let parts = Parts {
        times: Some(Column::new(Arc::new(TimestampMicrosecondArray::from(vec![10, 11, 12, 13])))),
        keys: Some(Column::new(Arc::new(BinaryArray::from_iter([
            None,
            Some(&b"k1"[..]),
            None,
            Some(&[0xff][..]),
        ])))),
        headers: None,
    };
    let columns = columns.into_iter().map(|(_, array)| Column::new(array)).collect();
    let batch = Batch::new(Arc::new(Schema::new(fields)), 4, columns, parts, lineage(100)).expect("a batch");
    Group {
        stage: "table".into(),
        kept_as: Form::Rows.into(),
        rows: batch.pick(&[1, 3].into()),
        refusals: refusals(&["trap", "bad"]),
    }
}

fn identity() -> Identity {
    let components = BTreeMap::from([("table".to_owned(), "sha256:1".to_owned())]);
    Identity {
        pipeline: "p".into(),
        manifest: "p.yaml".into(),
        revision: "r1".into(),
        components,
        state: None,
    }
}

fn options(dir: &Path) -> StoreOptions {
    StoreOptions { clock: || 1_000_000, ..StoreOptions::new(dir) }
}

fn all(dir: &Path) -> Vec<Entry> {
    entries(dir, &Filter { closed_too: true, ..Filter::default() })
}

fn entries(dir: &Path, filter: &Filter) -> Vec<Entry> {
    let reading = Reading::open(dir).expect("a store");
    let mut found = Vec::new();
    for frame in reading.frames(filter) {
        if let Some((kept, rows)) = reading.rows(frame, filter).expect("read") {
            found.extend(kept.entries(&rows).expect("entries"));
        }
    }
    found
}

fn values(dir: &Path) -> Vec<(u64, Vec<u8>)> {
    all(dir).iter().map(|entry| (entry.entry, entry.record.bytes().unwrap_or_default())).collect()
}

fn only_segment(dir: &Path) -> PathBuf {
    let segments = segment::list(&SystemDisk, dir).expect("a directory");
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments[0].1.clone()
}

#[test]
fn everything_that_is_known_of_a_record_comes_back() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("dead");
    let mut store = options(&path).open().expect("a store");
    assert!(!path.exists(), "a store without letters makes no directory");
    let group = rows();
    assert_eq!(store.put(&identity(), &group).expect("put"), 1);
    assert_eq!(store.put(&identity(), &opaque("bytes", "odd", &[b"x", &[0xff, 0]])).expect("put"), 3);
    store.sync().expect("synced");

    let found = all(&path);
    let expected = serde_json::json!({
        "entry": 1, "pipeline": "p", "stage": "table", "code": "trap", "message": "message 0",
        "backtrace": "0: f\n1: g", "attempts": 1, "origin": { "source": "in", "split": "a.csv", "offset": 101 },
        "id": group.rows.lineage().id(0).to_string(), "time_us": 11, "key": "k1",
        "record": { "n": 1, "name": "b" }, "refused_at_us": 1_000_000, "manifest": "p.yaml", "revision": "r1",
        "component": "sha256:1",
    });
    assert_eq!(serde_json::to_value(&found[0]).expect("JSON"), expected);
    assert_eq!((found[1].code.as_str(), &found[1].backtrace, found[1].attempts), ("bad", &None, 2));
    assert_eq!(found[1].record.bytes().expect("a row"), br#"{"n":null,"name":"d"}"#);
    assert_eq!(found[1].key, Some(Blob::new(&[0xff])));
    assert_eq!((found[2].component.as_deref(), found[3].entry), (None, 4));
    assert_eq!(found[3].record.bytes().expect("bytes"), [0xff, 0]);
}

#[test]
fn a_record_comes_back_as_the_batch_that_it_was() {
    let dir = tempdir().expect("a directory");
    let mut store = options(dir.path()).open().expect("a store");
    let group = rows();
    store.put(&identity(), &group).expect("put");
    let reading = Reading::open(dir.path()).expect("a store");
    let filter = Filter::default();
    let kept = reading.frames(&filter).next().expect("a frame").read().expect("read");
    let batch = kept.batch(&[1, 0]).expect("a batch");
    assert_eq!(batch.lineage().id(0), group.rows.lineage().id(1));
    assert_eq!(batch.lineage().origin(1), group.rows.lineage().origin(0));
    assert_eq!((batch.lineage().letter(0), batch.lineage().letter(1)), (Some(2), Some(1)));
    assert_eq!(*batch.columns()[0].flat().expect("flat"), Int64Array::from(vec![None, Some(1)]));
    assert_eq!(batch.columns()[1].values().data_type(), group.rows.schema().field(1).data_type());
    assert!(batch.parts().times.is_some() && batch.parts().headers.is_none());
    // What goes back to an entry says so.
    store.put(&identity(), &Group { rows: batch, ..rows() }).expect("put");
    assert_eq!(all(dir.path())[2].replay_of, Some(2));
}

#[test]
fn what_a_selection_leaves_out_is_not_kept() {
    let long = "x".repeat(100);
    let names: Vec<String> = (0..1000).map(|n| format!("{long}{n}")).collect();
    let dictionary: DictionaryArray<UInt32Type> = names.iter().map(String::as_str).collect();
    for array in [Arc::new(StringArray::from(names.clone())) as ArrayRef, Arc::new(dictionary)] {
        let schema = Schema::new(vec![Field::new("name", array.data_type().clone(), true)]);
        let column = Column::with_rows(array, Rows::At([3].into()));
        let batch = Batch::new(Arc::new(schema), 1, vec![column], Parts::default(), lineage(0));
        let dir = tempdir().expect("a directory");
        let mut store = options(dir.path()).open().expect("a store");
        let rows = batch.expect("a batch");
        let group =
            Group { stage: "s".into(), kept_as: Form::Rows.into(), rows, refusals: refusals(&["bad"]) };
        store.put(&identity(), &group).expect("put");
        let bytes = fs::metadata(only_segment(dir.path())).expect("a file").len();
        assert!(bytes < 4096, "one record takes {bytes} bytes");
    }
}

#[test]
fn a_store_has_one_writer_and_any_readers() {
    let dir = tempdir().expect("a directory");
    let mut store = options(dir.path()).open().expect("a store");
    store.put(&identity(), &opaque("s", "a", &[b"1"])).expect("put");
    let error = options(dir.path()).open().map(|_| ()).expect_err("it is taken");
    assert!(matches!(error, LettersError::Locked { .. }) && error.is_input(), "{error}");
    assert!(error.to_string().contains("the pipeline may be running already"), "{error}");
    assert_eq!(values(dir.path()).len(), 1);
    drop(store);
    options(dir.path()).open().expect("it is free again");
}

#[test]
fn what_is_no_store_is_told() {
    let dir = tempdir().expect("a directory");
    let file = dir.path().join("old.jsonl");
    fs::write(&file, "{}\n").expect("written");
    for error in [options(&file).open().map(|_| ()), Reading::open(&file).map(|_| ())] {
        let error = error.expect_err("a file");
        assert!(error.is_input() && error.to_string().contains("an earlier version"), "{error}");
    }
    let error = Reading::open(&dir.path().join("none")).map(|_| ()).expect_err("nothing there");
    assert!(error.to_string().contains("there is no dead-letter store"), "{error}");
    let odd = segment::path_of(dir.path(), 1);
    fs::write(&odd, "something that is not a segment at all").expect("written");
    let error = options(dir.path()).open().map(|_| ()).expect_err("no segment");
    assert!(matches!(error, LettersError::Foreign { .. }), "{error}");
    let later = frame::file_head(b"conv-dlq", 9, &[1]);
    fs::write(&odd, [&later[..], b"frame"].concat()).expect("written");
    let error = options(dir.path()).open().map(|_| ()).expect_err("a later version").to_string();
    assert!(error.contains("it is of version 9, known is 1"), "{error}");
}

#[test]
fn a_full_store_keeps_what_it_has_and_marks_still_go_in() {
    let dir = tempdir().expect("a directory");
    let mut store = StoreOptions { bytes_max: 5000, ..options(dir.path()) }.open().expect("a store");
    let mut put = 0;
    let error = loop {
        match store.put(&identity(), &opaque("s", "a", &[&[b'x'; 500]])) {
            Ok(_) => put += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LettersError::Full { max: 5000, .. }), "{error}");
    assert!(put > 0 && error.to_string().contains("--dead-letters-max-bytes"), "{error}");
    store.sync().expect("what is in it can be synced");
    store.mark(&[(1, Outcome::Replayed)]).expect("marked");
    assert_eq!((all(dir.path()).len(), entries(dir.path(), &Filter::default()).len()), (put, put - 1));
}

fn flaky(dir: &Path) -> (Store, Failing) {
    let disk = Failing::nowhere();
    let options = StoreOptions { disk: Arc::new(disk.clone()), ..options(dir) };
    (options.open().expect("a store"), disk)
}

#[test]
fn a_full_disk_leaves_no_half_letter_behind() {
    let dir = tempdir().expect("a directory");
    let (mut store, disk) = flaky(dir.path());
    store.put(&identity(), &opaque("s", "a", &[b"1"])).expect("put");
    disk.fill(true);
    let error = store.put(&identity(), &opaque("s", "a", &[b"2"])).expect_err("the disk is full");
    assert!(error.to_string().contains("free some space"), "{error}");
    disk.fill(false);
    assert_eq!(store.put(&identity(), &opaque("s", "a", &[b"3"])).expect("there is room again"), 2);
    store.sync().expect("synced");
    assert_eq!(values(dir.path()), [(1, b"1".to_vec()), (2, b"3".to_vec())]);
}

#[test]
fn a_sync_that_failed_is_never_tried_again() {
    let dir = tempdir().expect("a directory");
    let (mut store, disk) = flaky(dir.path());
    store.put(&identity(), &opaque("s", "a", &[b"1"])).expect("put");
    disk.syncs(0);
    assert!(matches!(store.sync(), Err(LettersError::Io { .. })));
    disk.syncs(u32::MAX);
    assert!(matches!(store.sync(), Err(LettersError::Broken { .. })), "a second sync said that all is well");
    let put = store.put(&identity(), &opaque("s", "a", &[b"2"]));
    assert!(matches!(put, Err(LettersError::Broken { .. })));
}

#[test]
fn old_segments_go_when_that_is_asked_for() {
    static NOW: AtomicI64 = AtomicI64::new(0);
    let dir = tempdir().expect("a directory");
    let age_max = Some(Duration::from_micros(10));
    let options = |age_max| StoreOptions {
        segment_bytes: 1,
        clock: || NOW.load(Ordering::Relaxed),
        age_max,
        ..StoreOptions::new(dir.path())
    };
    let mut store = options(None).open().expect("a store");
    for now in [0, 5, 20] {
        NOW.store(now, Ordering::Relaxed);
        store.put(&identity(), &opaque("s", "a", &[now.to_string().as_bytes()])).expect("put");
    }
    drop(store);
    NOW.store(12, Ordering::Relaxed);
    drop(options(None).open().expect("a store"));
    assert_eq!(values(dir.path()).len(), 3, "nothing goes by itself");
    let mut store = options(age_max).open().expect("a store");
    assert_eq!(values(dir.path()), [(2, b"5".to_vec()), (3, b"20".to_vec())], "at the start");
    NOW.store(31, Ordering::Relaxed);
    store.put(&identity(), &opaque("s", "a", &[b"31"])).expect("put");
    assert_eq!(values(dir.path()), [(4, b"31".to_vec())], "and when a segment begins");
}

#[test]
fn closed_entries_give_their_space_back_and_numbers_are_never_used_twice() {
    let dir = tempdir().expect("a directory");
    let options = || StoreOptions { segment_bytes: 1, ..options(dir.path()) };
    let mut store = options().open().expect("a store");
    for value in [b"1", b"2", b"3"] {
        store.put(&identity(), &opaque("s", "a", &[value, value])).expect("put");
    }
    // The marks of entry 1 stand behind entry 6, whose segment goes.
    store.mark(&[(1, Outcome::Replayed), (3, Outcome::Purged), (4, Outcome::Purged)]).expect("marked");
    store.mark(&[(5, Outcome::RefusedAgain), (6, Outcome::Replayed)]).expect("marked");
    assert!(store.reclaim().expect("reclaimed") > 0);
    let left: Vec<u64> = all(dir.path()).iter().map(|entry| entry.entry).collect();
    assert_eq!(left, [1, 2]);
    let reading = Reading::open(dir.path()).expect("a store");
    assert_eq!((reading.outcome(1), reading.outcome(2)), (Some(Outcome::Replayed), None));
    store.mark(&[(2, Outcome::Purged)]).expect("marked");
    store.reclaim().expect("reclaimed");
    assert_eq!(values(dir.path()), []);
    drop(store);
    let mut store = options().open().expect("a store");
    assert_eq!(store.put(&identity(), &opaque("s", "a", &[b"7"])).expect("put"), 7);
}

#[test]
fn a_filter_means_what_it_says() {
    let dir = tempdir().expect("a directory");
    let mut store = options(dir.path()).open().expect("a store");
    store.put(&identity(), &rows()).expect("put");
    store.put(&identity(), &opaque("bytes", "odd", &[b"x", b"y"])).expect("put");
    store.mark(&[(4, Outcome::Replayed)]).expect("marked");
    let of = |filter: Filter| -> Vec<u64> {
        entries(dir.path(), &filter).iter().map(|entry| entry.entry).collect()
    };
    let none = Filter::default;
    let record = rows().rows.lineage().id(1);
    let cases: [(Filter, &[u64]); 9] = [
        (none(), &[1, 2, 3]),
        (Filter { closed_too: true, ..none() }, &[1, 2, 3, 4]),
        (Filter { stage: Some("bytes".into()), ..none() }, &[3]),
        (Filter { code: Some("bad".into()), ..none() }, &[2]),
        (Filter { since_us: Some(1_000_001), ..none() }, &[]),
        (Filter { since_us: Some(1_000_000), until_us: Some(1_000_001), ..none() }, &[1, 2, 3]),
        (Filter { until_us: Some(1_000_000), ..none() }, &[]),
        (Filter { entries: vec![3, 4], ..none() }, &[3]),
        (Filter { entries: vec![3], records: vec![record], ..none() }, &[2, 3]),
    ];
    for (filter, expected) in cases {
        assert_eq!(of(filter.clone()), expected, "{filter:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Whatever a crash leaves behind what was synced: all that was synced comes back, exactly.
    #[test]
    fn what_was_synced_is_read_back_after_a_crash(
        groups in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5), 1..8),
        synced in any::<prop::sample::Index>(),
        torn in any::<prop::sample::Index>(),
        segment_bytes in prop::sample::select(vec![1_u64, 2500, 1 << 20]),
    ) {
        let dir = tempdir().expect("a directory");
        let options = || StoreOptions { segment_bytes, ..options(dir.path()) };
        let synced = synced.index(groups.len() + 1);
        let mut store = options().open().expect("a store");
        let mut lengths = BTreeMap::new();
        for (at, group) in groups.iter().enumerate() {
            if at == synced {
                store.sync().expect("synced");
                lengths = sizes(dir.path());
            }
            let values: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
            store.put(&identity(), &opaque("s", "a", &values)).expect("put");
        }
        if synced == groups.len() {
            store.sync().expect("synced");
            lengths = sizes(dir.path());
        }
        drop(store);
        // A new segment begins only when the one before it is synced: the crash tears the last one.
        if let Some((path, length)) = sizes(dir.path()).pop_last() {
            let safe = lengths.get(&path).copied().unwrap_or(0);
            let end = safe + torn.index((length - safe) as usize + 1) as u64;
            fs::File::options().write(true).open(&path).expect("a file").set_len(end).expect("cut");
        }
        let before: Vec<Vec<u8>> = groups[..synced].concat();
        let mut store = options().open().expect("it recovers");
        let written: Vec<Vec<u8>> = groups.concat();
        let found = if dir.path().exists() { values(dir.path()) } else { Vec::new() };
        prop_assert!(found.len() >= before.len(), "{} of {} are there", found.len(), before.len());
        for (at, (id, value)) in found.iter().enumerate() {
            prop_assert_eq!((*id, value), (at as u64 + 1, &written[at]));
        }
        let next = store.put(&identity(), &opaque("s", "b", &[b"next"])).expect("put");
        prop_assert_eq!(next, found.len() as u64 + 1);
    }
}

fn sizes(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let segments = segment::list(&SystemDisk, dir).unwrap_or_default();
    segments.into_iter().map(|(_, path)| (path.clone(), fs::metadata(path).expect("a file").len())).collect()
}

#[test]
fn a_group_that_is_too_large_for_one_frame_goes_into_several_with_numbers_that_follow_one_another() {
    let dir = tempdir().expect("a directory");
    let mut store = StoreOptions { group_bytes: 100, ..options(dir.path()) }.open().expect("a store");
    let records: Vec<Vec<u8>> = (0..9u8).map(|n| vec![n; 10 + usize::from(n == 4) * 500]).collect();
    let values: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    assert_eq!(store.put(&identity(), &opaque("s", "bad", &values)).expect("put"), 1);
    assert_eq!(store.put(&identity(), &opaque("s", "bad", &[b"next"])).expect("put"), 10);
    store.sync().expect("synced");
    let reading = Reading::open(dir.path()).expect("a store");
    let filter = Filter::default();
    let mut found = Vec::new();
    for frame in reading.frames(&filter) {
        let (kept, rows) = reading.rows(frame, &filter).expect("read").expect("rows");
        assert!(rows.len() == 1 || rows.len() * 10 <= 100, "{} rows in one frame", rows.len());
        let entries = kept.entries(&rows).expect("entries").into_iter();
        found.extend(
            entries.map(|entry| (entry.entry, entry.origin.offset, entry.record.bytes().unwrap_or_default())),
        );
    }
    let expected: Vec<_> = (0..).zip(&records).map(|(n, record)| (n + 1, n + 7, record.clone())).collect();
    assert_eq!(found[..9], expected);
    assert_eq!(found[9].0, 10);
}

#[test]
fn what_a_source_could_not_read_is_kept_with_its_header_and_whether_it_is_whole() {
    let dir = tempdir().expect("a directory");
    let mut store = options(dir.path()).open().expect("a store");
    let identity = Identity { state: Some("/state".into()), ..identity() };
    let mut group = Group {
        kept_as: KeptAs { header: Some("a,b".into()), ..Form::Raw.into() },
        ..opaque("in", "bad-row", &[b"whole", b"begin"])
    };
    group.refusals[1].is_cut = true;
    store.put(&identity, &group).expect("put");
    store.put(&Identity { pipeline: "other".into(), ..Identity::default() }, &group).expect("put");
    let reading = Reading::open(dir.path()).expect("a store");
    assert_eq!(reading.state_of("p"), Some(Path::new("/state")));
    assert_eq!((reading.state_of("other"), reading.state_of("none")), (None, None));
    let filter = Filter::default();
    let frame = reading.frames(&filter).next().expect("a frame");
    let (kept, rows) = reading.rows(frame, &filter).expect("read").expect("rows");
    assert_eq!((kept.form(), kept.header(), kept.is_older()), (Form::Raw, Some("a,b"), false));
    assert_eq!((kept.is_cut(0), kept.is_cut(1)), (false, true));
    let shown: Vec<_> = kept.entries(&rows).expect("entries").into_iter().map(|entry| entry.cut).collect();
    assert_eq!(shown, [false, true]);
}
