use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::frame;

use super::segment::{self, FILE_HEAD_BYTES, MARK_BYTES};
use super::*;
use crate::failing::Failing;

fn options(dir: &Path, bytes_max: u64) -> SpoolOptions {
    SpoolOptions { seed: 1, ..SpoolOptions::new(dir, bytes_max) }
}

fn open(dir: &Path) -> Log {
    options(dir, 1 << 20).open_log(None).expect("a log")
}

fn records(values: &[&str]) -> Records {
    let mut records = Records::new(5);
    values.iter().for_each(|value| records.push(value.as_bytes()));
    records
}

fn put(log: &mut Log, values: &[&str]) -> Result<u64, NotTaken> {
    let mut group = Group::default();
    group.push(&records(values));
    let appended = log.append(&mut group)?;
    log.sync()?;
    Ok(appended.first)
}

/// The numbers and values of all records from `at` on.
fn read(log: &Log, at: u64) -> Result<Vec<(u64, String)>, SpoolError> {
    let mut found = Vec::new();
    log.tail(at).each(|chunk| {
        let values = chunk.values().map(|value| String::from_utf8_lossy(value).into_owned());
        found.extend((chunk.first..).zip(values));
    })?;
    Ok(found)
}

fn numbered(from: u64, values: &[&str]) -> Vec<(u64, String)> {
    (from..).zip(values.iter().map(|value| (*value).to_owned())).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "spool"))
        .collect();
    paths.sort();
    paths
}

/// Three frames and a mark with zeros behind them, and where each frame ends, with the number behind it.
fn three_frames(head: impl Fn(u64) -> Vec<u8>) -> (Vec<u8>, Vec<(usize, u64)>) {
    let mut bytes = head(0);
    let mut ends = vec![(bytes.len(), 10)];
    let mut first = 10;
    for values in [&["one", "two"][..], &[""], &["three", "four", "five"]] {
        let mut frame = Vec::new();
        segment::begin(&mut frame);
        records(values).encode(&mut frame);
        let due = segment::Due { salt: 99, first };
        assert!(segment::seal(&mut frame, due, values.len() as u32, 1 << 20));
        bytes.extend(frame);
        first += values.len() as u64;
        ends.push((bytes.len(), first));
    }
    bytes.extend(segment::mark(segment::Due { salt: 99, first }));
    ends.push((bytes.len(), first));
    bytes.extend([0; 64]);
    let head = head(bytes.len() as u64);
    bytes[..head.len()].copy_from_slice(&head);
    (bytes, ends)
}

fn head(bytes: u64) -> Vec<u8> {
    segment::file_head(10, 99, bytes)
}

/// Of version 1.
fn old_head(_bytes: u64) -> Vec<u8> {
    frame::file_head(b"conv-spl", 1, &[10, 99])
}

#[test]
fn a_segment_that_was_cut_anywhere_has_its_whole_frames_and_says_so() {
    for (made, (bytes, ends)) in [(true, three_frames(head)), (false, three_frames(old_head))] {
        for cut in 0..bytes.len() {
            let found = segment::scan(&bytes[..cut], 10);
            if cut < ends[0].0 {
                assert!(found.is_err(), "{cut}");
                continue;
            }
            let (end, next) = *ends.iter().rev().find(|(end, _)| *end <= cut).expect("the head is there");
            let found = found.expect("its head is whole");
            assert_eq!((found.end, found.next), (end as u64, next), "{cut}");
            assert!(found.holes.is_empty(), "{cut}: a cut is no hole");
            let torn = bytes[end..cut].iter().rposition(|&byte| byte != 0).map_or(0, |at| at as u64 + 1);
            let expected = match (made, torn) {
                (true, _) => segment::Tail::Cut { bytes: (bytes.len() - cut) as u64 },
                (false, 0) => segment::Tail::Clean,
                (false, bytes) => segment::Tail::Torn { bytes },
            };
            assert_eq!(found.tail, expected, "{cut}");
        }
    }
}

#[test]
fn a_byte_that_changed_costs_one_frame_at_most_and_gives_no_wrong_record() {
    for (bytes, ends) in [three_frames(head), three_frames(old_head)] {
        let (start, mark, last) = (ends[0].0, ends[3].0, ends[4].1);
        let whole = segment::scan(&bytes, 10).expect("it is whole");
        assert!(whole.is_marked && whole.holes.is_empty() && whole.tail == segment::Tail::Clean, "{whole:?}");
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let found = segment::scan(&changed, 10).expect("a frame is behind the head");
                assert_eq!(found.next, last, "{at}");
                if at >= mark {
                    let is_torn = matches!(found.tail, segment::Tail::Torn { .. });
                    assert!(is_torn && found.holes.is_empty(), "{at}: {found:?}");
                    continue;
                }
                let [hole] = found.holes[..] else { panic!("{at}: {found:?}") };
                // What is damaged in the head costs no record.
                let (from, until) = match ends.iter().position(|(end, _)| *end > at).unwrap_or(0) {
                    0 => ((0, 10), (start, 10)),
                    frame => (ends[frame - 1], ends[frame]),
                };
                assert_eq!((hole.at as usize, hole.first), from, "{at}");
                assert_eq!((hole.until as usize, hole.next), until, "{at}");
                assert_eq!((found.tail, found.is_marked), (segment::Tail::Clean, true), "{at}");
            }
        }
    }
}

#[test]
fn a_record_that_holds_a_frame_is_not_taken_for_one() {
    let (bytes, ends) = three_frames(head);
    let inner = &bytes[ends[2].0..ends[3].0];
    let mut other = segment::file_head(10, 7, 0);
    let mut frame = Vec::new();
    segment::begin(&mut frame);
    let mut records = Records::new(0);
    records.push(inner);
    records.encode(&mut frame);
    segment::seal(&mut frame, segment::Due { salt: 7, first: 10 }, 1, 1 << 20);
    other.extend(&frame[..frame.len() - 1]);
    let found = segment::scan(&other, 10).expect("a head");
    let torn = segment::Tail::Torn { bytes: frame.len() as u64 - 1 };
    assert_eq!((found.tail, found.holes), (torn, vec![]));
}

#[test]
fn a_later_version_is_not_taken_for_damage() {
    let (mut bytes, _) = three_frames(head);
    let later = frame::file_head(b"conv-spl", 3, &[10, 99, bytes.len() as u64]);
    bytes[..later.len()].copy_from_slice(&later);
    assert_eq!(segment::scan(&bytes, 10), Err(frame::HeadError::Version { found: 3, known: 2 }));
}

#[test]
fn records_keep_their_numbers_over_restarts_and_reading_begins_anywhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let all = ["a", "b", "c", "", "e", "f"];
    let mut log = open(dir.path());
    assert_eq!(put(&mut log, &all[..3]), Ok(0));
    drop(log);
    let mut log = open(dir.path());
    assert_eq!(put(&mut log, &all[3..4]), Ok(3));
    assert_eq!(put(&mut log, &all[4..]), Ok(4));
    for at in 0..=6 {
        assert_eq!(read(&log, at), Ok(numbered(at, &all[at as usize..])), "from {at}");
    }
    assert_eq!((log.first(), log.next(), log.durable()), (0, 6, 6));
    let other = options(dir.path(), 1 << 20).open_log(None).map(|_| ());
    assert!(matches!(other, Err(SpoolError::Locked { .. })), "{other:?}");
}

#[test]
fn what_is_not_synced_is_not_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path());
    let mut group = Group::default();
    group.push(&records(&["a"]));
    log.append(&mut group).expect("appended");
    assert_eq!(read(&log, 0), Ok(vec![]));
    log.sync().expect("synced");
    assert_eq!(read(&log, 0), Ok(numbered(0, &["a"])));
}

#[test]
fn a_torn_frame_is_cut_off_and_written_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path());
    put(&mut log, &["a"]).expect("put");
    put(&mut log, &["long enough to leave something behind"]).expect("put");
    drop(log);
    let path = &segments(dir.path())[0];
    let mut bytes = fs::read(path).expect("a segment");
    let at = bytes.iter().rposition(|&byte| byte != 0).expect("a record");
    bytes[at] ^= 1;
    // Without a mark behind it, nothing says that it was durable.
    fs::write(path, &bytes).expect("written");
    let mut log = open(dir.path());
    assert_eq!((log.next(), read(&log, 0)), (1, Ok(numbered(0, &["a"]))));
    assert!(fs::read(path).expect("a segment")[at - 10..].iter().all(|&byte| byte == 0), "its rest is there");
    assert_eq!(fs::read(path).expect("a segment").len(), bytes.len(), "its space is gone");
    assert_eq!(put(&mut log, &["b"]), Ok(1));
    drop(log);
    assert_eq!(read(&open(dir.path()), 0), Ok(numbered(0, &["a", "b"])));
}

#[test]
fn a_full_spool_refuses_and_goes_on_where_it_was_when_there_is_space() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = options(dir.path(), 1 << 20).open_log(None).expect("a log");
    let text = "x".repeat(10_000);
    let mut count = 0;
    let full = loop {
        match put(&mut log, &[&text]) {
            Ok(first) => assert_eq!(first, count),
            Err(why) => break why,
        }
        count += 1;
    };
    assert!(matches!(full, NotTaken::Full { max, .. } if max == 1 << 20), "{full:?}");
    assert!(log.bytes() <= 1 << 20 && log.used_bytes() > 900_000, "{} {}", log.bytes(), log.used_bytes());
    let files = segments(dir.path()).len();
    log.release(7).expect("released");
    assert_eq!(segments(dir.path()).len(), files - 1, "a segment has six such records");
    assert_eq!((log.first(), put(&mut log, &[&text])), (6, Ok(count)));
    assert_eq!(read(&log, 7).expect("read").len() as u64, count + 1 - 7);
    // With everything released the last segment may go as well, as soon as there is another one.
    log.release(u64::MAX).expect("released");
    assert_eq!(segments(dir.path()).len(), 1);
    for more in 1..100 {
        assert_eq!(put(&mut log, &[&text]), Ok(count + more));
        log.release(u64::MAX).expect("released");
    }
    assert_eq!(segments(dir.path()).len(), 1);
}

#[test]
fn a_frame_that_is_longer_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path());
    let (long, too_long) = ("y".repeat(500_000), "z".repeat(1 << 20));
    put(&mut log, &["a"]).expect("put");
    assert_eq!(put(&mut log, &[&long]), Ok(1));
    assert_eq!(put(&mut log, &["b"]), Ok(2));
    assert!(matches!(put(&mut log, &[&too_long]), Err(NotTaken::TooLarge { .. })));
    assert_eq!(read(&log, 0), Ok(numbered(0, &["a", &long, "b"])));
    drop(log);
    assert_eq!(read(&open(dir.path()), 1), Ok(numbered(1, &[&long, "b"])));
}

/// A spool of several segments with one record each.
fn several(dir: &Path) -> Vec<PathBuf> {
    let mut log = open(dir);
    for number in 0..4 {
        put(&mut log, &[&number.to_string().repeat(60_000)]).expect("put");
    }
    segments(dir)
}

#[test]
fn damage_names_the_segment_and_giving_it_up_goes_on_without_its_rest() {
    let opened = |dir: &Path, from| options(dir, 1 << 20).open_log(from);
    for damaged in 0..3 {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = several(dir.path());
        let path = &paths[damaged];
        let mut bytes = fs::read(path).expect("a segment");
        bytes[100] ^= 4;
        fs::write(path, bytes).expect("written");
        let error = opened(dir.path(), None).map(|_| ()).expect_err("it was taken");
        let SpoolError::Damaged { path: named, lost, .. } = &error else { panic!("{error}") };
        assert_eq!((named, lost.first()), (path, Some(damaged as u64)));
        assert!(error.to_string().contains("given-up"), "{error}");
        // What a checkpoint covers is not looked at.
        assert!(opened(dir.path(), Some(damaged as u64 + 1)).is_ok());
        if damaged == 0 {
            continue;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let paths = several(dir.path());
        fs::write(&paths[damaged], "nothing").expect("written");
        fs::rename(&paths[damaged], segment::given_up(&paths[damaged])).expect("renamed");
        let log = opened(dir.path(), None).expect("a log");
        let numbers: Vec<u64> = read(&log, 0).expect("read").iter().map(|(number, _)| *number).collect();
        let others: Vec<u64> = (0..4).filter(|&number| number != damaged as u64).collect();
        assert_eq!(numbers, others);
    }
}

#[test]
fn a_last_segment_that_is_given_up_gives_no_number_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = several(dir.path());
    fs::rename(&paths[3], segment::given_up(&paths[3])).expect("renamed");
    let mut log = open(dir.path());
    assert_eq!(read(&log, 3).expect("read").len(), 1, "what is whole in it is read");
    let next = log.next();
    assert!(next > 4, "{next}: nothing says that there were no more");
    assert_eq!(put(&mut log, &["new"]), Ok(next));
    assert_eq!(read(&log, 4), Ok(numbered(next, &["new"])));
}

#[test]
fn a_spool_that_is_not_the_checkpoints_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = several(dir.path());
    let opened = |from| options(dir.path(), 1 << 20).open_log(Some(from)).map(|log| log.next());
    assert_eq!(opened(4), Ok(4));
    assert!(matches!(opened(5), Err(SpoolError::Behind { next: 4, at: 5, .. })));
    // All but the last one were released just now.
    assert_eq!(segments(dir.path()), paths[3..]);
    assert!(matches!(opened(2), Err(SpoolError::Missing { from: 2, until: 3, .. })));
    fs::remove_file(&paths[3]).expect("removed");
    assert!(matches!(opened(4), Err(SpoolError::Behind { next: 0, at: 4, .. })));
}

#[test]
fn a_marked_record_that_is_damaged_is_told_and_the_others_are_read() {
    let all = ["a", "b", "c", "d"];
    for damaged in 0..all.len() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = open(dir.path());
        all.iter().for_each(|value| assert!(put(&mut log, &[value]).is_ok()));
        assert!(!log.is_marked());
        log.mark().expect("marked");
        let used = log.used_bytes();
        log.mark().expect("it is marked already");
        assert_eq!((log.is_marked(), log.used_bytes()), (true, used));
        drop(log);
        let path = &segments(dir.path())[0];
        let mut bytes = fs::read(path).expect("a segment");
        let frame = (used as usize - FILE_HEAD_BYTES - MARK_BYTES) / all.len();
        bytes[FILE_HEAD_BYTES + damaged * frame + 20] ^= 2;
        fs::write(path, &bytes).expect("written");
        let opened = |from| options(dir.path(), 1 << 20).open_log(from);
        let error = opened(None).map(|_| ()).expect_err("it was durable");
        let told = format!("to go on without record {damaged}, rename it to");
        assert!(error.to_string().contains(&told), "{error}");
        assert_eq!(fs::read(path).expect("a segment"), bytes, "a damaged file was changed");
        fs::rename(path, segment::given_up(path)).expect("renamed");
        let mut log = opened(None).expect("a log");
        let mut left = numbered(0, &all);
        left.remove(damaged);
        assert_eq!((read(&log, 0), log.next()), (Ok(left.clone()), 4), "{damaged}");
        assert_eq!(put(&mut log, &["e"]), Ok(4));
        left.push((4, "e".to_owned()));
        assert_eq!(read(&log, 0), Ok(left));
    }
}

#[test]
fn what_the_version_before_has_written_is_read_and_nothing_is_written_to_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (bytes, ends) = three_frames(old_head);
    let path = segment::path_of(dir.path(), 10);
    // As that version leaves it: without a mark, and with an empty file where there was no space for the next segment.
    fs::write(&path, [&bytes[..ends[3].0], &[0; 64]].concat()).expect("written");
    fs::write(segment::path_of(dir.path(), 16), []).expect("written");
    let all = ["one", "two", "", "three", "four", "five"];
    let mut log = options(dir.path(), 1 << 20).open_log(Some(10)).expect("a log");
    assert_eq!((read(&log, 10), log.next()), (Ok(numbered(10, &all)), 16));
    assert_eq!(put(&mut log, &["six"]), Ok(16));
    assert_eq!(read(&log, 15), Ok(numbered(15, &["five", "six"])));
    assert_eq!(fs::read(&path).expect("a segment"), &bytes[..ends[3].0]);
    drop(log);
    let log = options(dir.path(), 1 << 20).open_log(Some(10)).expect("a log");
    assert_eq!(read(&log, 10).expect("read").len(), 7);
}

#[test]
fn empty_segments_are_passed_over_wherever_they_stand() {
    // As the version before left them, and as one whose name could not be made durable.
    let ways: [fn(u64) -> Vec<u8>; 4] = [
        |_| Vec::new(),
        |_| vec![0; 100],
        |_| vec![7; 12],
        |first| segment::file_head(first, 5, 100).into_iter().chain([0; 60]).collect(),
    ];
    for left in ways {
        let dir = tempfile::tempdir().expect("a directory");
        let empty =
            |first: u64| fs::write(segment::path_of(dir.path(), first), left(first)).expect("written");
        // Of version 1, so that whoever wrote it may have left such files.
        let (bytes, ends) = three_frames(old_head);
        fs::write(segment::path_of(dir.path(), 10), &bytes[..ends[3].0]).expect("written");
        [11, 13, 16].into_iter().for_each(empty);
        let all = ["one", "two", "", "three", "four", "five", "six"];
        for _ in 0..3 {
            let log = options(dir.path(), 1 << 20).open_log(Some(10)).expect("it is passed over");
            assert_eq!((log.next(), read(&log, 10)), (16, Ok(numbered(10, &all[..6]))));
        }
        let mut log = options(dir.path(), 1 << 20).open_log(Some(10)).expect("a log");
        assert_eq!(put(&mut log, &["six"]), Ok(16));
        drop(log);
        empty(14);
        let log = options(dir.path(), 1 << 20).open_log(Some(10)).expect("a log");
        assert_eq!(read(&log, 10), Ok(numbered(10, &all)));
    }
}

#[test]
fn a_segment_that_is_empty_and_was_not_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = several(dir.path());
    for (at, whole) in paths.iter().map(|path| fs::read(path).expect("a segment")).enumerate() {
        let cut = if at == 0 { FILE_HEAD_BYTES } else { 0 };
        for bytes in [vec![0; whole.len()], whole[..cut].to_vec(), whole[..20].to_vec()] {
            fs::write(&paths[at], &bytes).expect("written");
            let opened = options(dir.path(), 1 << 20).open_log(None).map(|_| ());
            assert!(matches!(opened, Err(SpoolError::Damaged { .. })), "{at}: {opened:?}");
            assert_eq!(fs::read(&paths[at]).expect("a segment"), bytes, "a damaged file was changed");
        }
        fs::write(&paths[at], &whole).expect("written");
    }
    assert_eq!(open(dir.path()).next(), 4);
}

#[test]
fn a_segment_that_was_being_made_is_no_segment() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path());
    put(&mut log, &["a"]).expect("put");
    drop(log);
    let making = segment::path_of(dir.path(), 1).with_extension(segment::MAKING);
    fs::write(&making, segment::file_head(1, 5, 100)).expect("written");
    let mut log = open(dir.path());
    assert!(!making.exists());
    assert_eq!(put(&mut log, &["b"]), Ok(1));
    assert_eq!(read(&log, 0), Ok(numbered(0, &["a", "b"])));
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let dir = tempfile::tempdir().expect("a directory");
    // One for the segment, one for the first record.
    let disk = Failing::new(2, u64::MAX);
    let mut log = SpoolOptions { disk: Arc::new(disk.clone()), ..options(dir.path(), 1 << 20) }
        .open_log(None)
        .expect("a log");
    put(&mut log, &["a"]).expect("put");
    let failed = put(&mut log, &["b"]).expect_err("it was not synced");
    assert!(matches!(&failed, NotTaken::Failed(SpoolError::NotDurable { .. })), "{failed}");
    disk.syncs(100);
    let synced = disk.synced();
    assert_eq!(put(&mut log, &["c"]), Err(failed.clone()));
    assert_eq!(log.sync().map_err(NotTaken::from), Err(failed));
    assert_eq!(disk.synced(), synced, "it was synced again");
    assert_eq!(read(&log, 0), Ok(numbered(0, &["a"])), "what was not synced is read");
}

#[test]
fn a_disk_without_space_refuses_and_is_asked_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Failing::new(u32::MAX, 64 << 10);
    let mut log = SpoolOptions { disk: Arc::new(disk.clone()), ..options(dir.path(), 1 << 20) }
        .open_log(None)
        .expect("a log");
    let text = "x".repeat(40_000);
    assert_eq!(put(&mut log, &[&text]), Ok(0));
    for _ in 0..3 {
        assert_eq!(put(&mut log, &[&text]), Err(NotTaken::NoSpace));
        let left = fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(left, 2, "something is there beside the segment and the lock");
    }
    disk.space(64 << 10);
    assert_eq!(put(&mut log, &[&text]), Ok(1));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn appenders_share_syncs_and_each_gets_its_own_numbers() {
    let dir = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let (spool, mut reader) = options(dir.path(), 4 << 20).open(None).expect("a spool");
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let spool = spool.clone();
                tokio::spawn(async move {
                    let mut numbers = Vec::new();
                    for nth in 0..20 {
                        let values: Vec<String> =
                            (0..=nth % 3).map(|part| format!("{task}-{nth}-{part}")).collect();
                        let values: Vec<&str> = values.iter().map(String::as_str).collect();
                        let appended = spool.append(records(&values)).await.expect("appended");
                        numbers.push((appended.first, format!("{task}-{nth}-0")));
                    }
                    numbers
                })
            })
            .collect();
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.extend(task.await.expect("a task"));
        }
        let mut found = Vec::new();
        while (found.len() as u64) < spool.meter().records() {
            reader.ready().await.expect("ready");
            let chunk = reader.peek().expect("a chunk").head(2, 1 << 20);
            let values = chunk.values().map(|value| String::from_utf8_lossy(value).into_owned());
            found.extend((chunk.first..).zip(values));
            let count = chunk.count();
            reader.advance(count);
        }
        assert!(found.iter().map(|(number, _)| *number).eq(0..found.len() as u64));
        for (number, value) in &numbers {
            assert_eq!(&found[*number as usize].1, value);
        }
        assert_eq!(numbers.len(), 64 * 20);
        let syncs = spool.meter().syncs();
        assert!(syncs < 64 * 20, "{syncs} syncs: nobody shared one");
        reader.spool().release(found.len() as u64);
        spool.stop();
        assert_eq!(spool.append(records(&["late"])).await, Err(NotTaken::Stopping));
        drop(reader);
        // The files are free at once.
        let log = options(dir.path(), 4 << 20).open_log(Some(found.len() as u64)).expect("a log");
        assert_eq!(log.next(), found.len() as u64);
    });
}

#[test]
fn an_idle_spool_and_one_that_ends_say_what_is_durable() {
    let dir = tempfile::tempdir().expect("a directory");
    let is_marked = || {
        let bytes = fs::read(&segments(dir.path())[0]).expect("a segment");
        segment::scan(&bytes, 0).expect("a segment").is_marked
    };
    runtime().block_on(async {
        let (spool, reader) = options(dir.path(), 1 << 20).open(None).expect("a spool");
        spool.append(records(&["a"])).await.expect("appended");
        let begun = std::time::Instant::now();
        while !is_marked() {
            assert!(begun.elapsed().as_secs() < 60, "it is never marked");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        spool.append(records(&["b"])).await.expect("appended");
        drop(reader);
        assert!(is_marked(), "it has ended without a mark");
    });
    let log = open(dir.path());
    assert_eq!((log.is_marked(), read(&log, 0)), (true, Ok(numbered(0, &["a", "b"]))));
}

#[test]
fn a_failed_sync_is_told_to_appenders_and_to_the_reader() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(Failing::new(2, u64::MAX));
    runtime().block_on(async {
        let (spool, mut reader) =
            SpoolOptions { disk, ..options(dir.path(), 1 << 20) }.open(None).expect("a spool");
        spool.append(records(&["a"])).await.expect("appended");
        let failed = spool.append(records(&["b"])).await.expect_err("it was not synced");
        assert!(matches!(&failed, NotTaken::Failed(SpoolError::NotDurable { .. })), "{failed}");
        assert_eq!(spool.append(records(&["c"])).await, Err(failed.clone()));
        // What was durable before is delivered.
        reader.ready().await.expect("ready");
        assert_eq!(reader.peek().expect("a chunk").bytes(), b"a");
        reader.advance(1);
        assert_eq!(reader.ready().await.map_err(NotTaken::from), Err(failed));
    });
}
