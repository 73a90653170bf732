//! Torn ends, flipped bits, and what earlier versions have written.

use super::*;

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
    let dir = tempdir().expect("a directory");
    let mut store = options(dir.path()).open().expect("a store");
    store.put(&identity(), &opaque("s", "a", &[b"first"])).expect("put");
    store.sync().expect("synced");
    let path = only_segment(dir.path());
    let whole = fs::metadata(&path).expect("a file").len() as usize;
    store.put(&identity(), &opaque("s", "b", &[b"second"])).expect("put");
    drop(store);
    let bytes = fs::read(&path).expect("a file");
    let ends = (whole..bytes.len()).chain([bytes.len()]);
    for end in ends {
        fs::write(&path, &bytes[..end]).expect("written");
        assert_eq!(values(dir.path()).len(), if end == bytes.len() { 2 } else { 1 }, "read at {end}");
        let mut store = options(dir.path()).open().expect("a store");
        let next = store.put(&identity(), &opaque("s", "c", &[b"third"])).expect("put");
        let expected: &[(u64, &[u8])] = match end == bytes.len() {
            true => &[(1, b"first"), (2, b"second"), (3, b"third")],
            false => &[(1, b"first"), (2, b"third")],
        };
        let expected: Vec<_> = expected.iter().map(|(id, value)| (*id, value.to_vec())).collect();
        assert_eq!((next, values(dir.path())), (expected.len() as u64, expected), "torn at {end}");
    }
    // A head that was not written to its end, and one that the disk has as zeros.
    for head in [&bytes[..10], &[0; 24]] {
        fs::write(&path, head).expect("written");
        let mut store = options(dir.path()).open().expect("a store");
        assert_eq!(store.put(&identity(), &opaque("s", "c", &[b"x"])).expect("put"), 1);
    }
}

/// Entries 1, 2 and 3, and 4, each group synced, and the offset at which each frame begins; the last is that of the mark.
fn three_groups(dir: &Path) -> (PathBuf, Vec<usize>) {
    let mut store = options(dir).open().expect("a store");
    let mut starts = vec![FILE_HEAD_BYTES as usize];
    let mut end = |dir| starts.push(fs::metadata(only_segment(dir)).expect("a file").len() as usize);
    for group in [&[&b"1"[..]][..], &[b"2", b"3"], &[b"4"]] {
        store.put(&identity(), &opaque("s", "a", group)).expect("put");
        store.sync().expect("synced");
        end(dir);
    }
    store.close().expect("closed");
    (only_segment(dir), starts)
}

#[test]
fn a_flipped_bit_costs_the_letters_of_one_frame_and_is_told() {
    let dir = tempdir().expect("a directory");
    let (path, starts) = three_groups(dir.path());
    let good = fs::read(&path).expect("a file");
    let ids = [&[][..], &[1], &[2, 3], &[4], &[]];
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).expect("written");
        let frame = starts.iter().take_while(|&&start| start <= at).count();
        let reading = Reading::open(dir.path()).expect("the rest can be read");
        let left: Vec<u64> = all(dir.path()).iter().map(|entry| entry.entry).collect();
        let expected: Vec<u64> = (1..=4).filter(|id| !ids[frame].contains(id)).collect();
        assert_eq!(left, expected, "byte {at}");
        // Of a damaged mark nothing is known, and nothing is lost with it.
        let told: Vec<(u64, u64, Option<u64>)> =
            reading.damage().iter().map(|damage| (damage.offset, damage.first, damage.next)).collect();
        let start = if frame == 0 { 0 } else { starts[frame - 1] as u64 };
        let first = ids[frame].first().copied().unwrap_or(1);
        let due = (start, first, Some(first + ids[frame].len() as u64));
        assert_eq!(told, if frame == 4 { vec![] } else { vec![due] }, "byte {at}");
        if at % 16 > 0 {
            continue;
        }
        let mut store = options(dir.path()).open().expect("the rest can be used");
        let left = fs::read(&path).expect("a file");
        assert_eq!(left, bytes[..if frame == 4 { starts[3] } else { bytes.len() }], "byte {at}");
        assert_eq!(store.put(&identity(), &opaque("s", "a", &[b"5"])).expect("put"), 5, "byte {at}");
        assert_eq!(values(dir.path()).last(), Some(&(5, b"5".to_vec())), "byte {at}");
    }
}

#[test]
fn what_nothing_says_was_durable_is_cut_off_and_a_mark_says_it_once() {
    let dir = tempdir().expect("a directory");
    let mut store = options(dir.path()).open().expect("a store");
    store.put(&identity(), &opaque("s", "a", &[b"1"])).expect("put");
    let bytes = || fs::read(only_segment(dir.path())).expect("a file");
    let unsynced = bytes();
    for _ in 0..3 {
        store.idle().expect("it is not synced");
    }
    assert_eq!(bytes(), unsynced);
    store.sync().expect("synced");
    let unmarked = bytes();
    store.put(&identity(), &opaque("s", "a", &[b"2"])).expect("put");
    store.idle().expect("something was written since");
    store.sync().expect("synced");
    store.idle().expect("marked");
    let marked = bytes();
    for _ in 0..3 {
        store.idle().expect("it is marked");
    }
    store.close().expect("it is marked");
    assert_eq!(bytes(), marked);
    drop(store);
    let mut store = options(dir.path()).open().expect("a store");
    store.close().expect("it is marked");
    assert_eq!(bytes(), marked, "a start that writes nothing marks nothing");
    // Up to there nothing says that the letter was durable; then its end does.
    for (good, damage) in [(&unmarked, 0), (&marked, 1)] {
        let mut bytes = good.clone();
        bytes[FILE_HEAD_BYTES as usize + 20] ^= 1;
        fs::write(only_segment(dir.path()), bytes).expect("written");
        let reading = Reading::open(dir.path()).expect("a store");
        assert_eq!((reading.damage().len(), values(dir.path()).len()), (damage, damage));
    }
}

#[test]
fn a_frame_within_a_record_is_not_taken_for_one() {
    let dir = tempdir().expect("a directory");
    let (path, starts) = three_groups(dir.path());
    let inner = fs::read(&path).expect("a file")[starts[0]..].to_vec();
    fs::remove_dir_all(dir.path()).expect("removed");
    let mut store = options(dir.path()).open().expect("a store");
    for value in [&inner[..], b"2"] {
        store.put(&identity(), &opaque("s", "a", &[value])).expect("put");
        store.sync().expect("synced");
    }
    drop(store);
    let mut bytes = fs::read(&path).expect("a file");
    // Its length, so that the next frame has to be looked for.
    bytes[FILE_HEAD_BYTES as usize] ^= 1;
    fs::write(&path, bytes).expect("written");
    assert_eq!(values(dir.path()), [(2, b"2".to_vec())]);
}

#[test]
fn a_whole_frame_that_does_not_belong_there_is_told_and_not_cut_off() {
    let dir = tempdir().expect("a directory");
    let (path, starts) = three_groups(dir.path());
    let bytes = fs::read(&path).expect("a file");
    // The second group once more, behind all others.
    let bytes = [&bytes[..], &bytes[starts[1]..starts[2]]].concat();
    fs::write(&path, &bytes).expect("written");
    let mut store = options(dir.path()).open().expect("a store");
    assert_eq!(fs::read(&path).expect("a file"), bytes);
    assert_eq!(values(dir.path()).len(), 4);
    let reading = Reading::open(dir.path()).expect("a store");
    assert!(reading.damage()[0].why.contains("entry 2 stands where 5 is due"), "{:?}", reading.damage());
    let next = store.put(&identity(), &opaque("s", "a", &[b"x"])).expect("put");
    assert!(next >= 5, "{next}");
}

/// A frame as the version before wrote it at `at`: it says neither where it is nor which entry is next.
fn as_before(frame: &[u8], at: usize) -> Vec<u8> {
    let payload = &frame[FRAME_HEAD_BYTES..];
    let length = u32::from_le_bytes(payload[..4].try_into().expect("four bytes")) as usize;
    let mut head: serde_json::Value = serde_json::from_slice(&payload[4..4 + length]).expect("a head");
    let head = head.as_object_mut().expect("an object");
    assert!(head.remove("at").is_some());
    head.insert("durable".to_owned(), at.into());
    if head.contains_key("ranges") {
        assert!(head.remove("next").is_some());
    }
    let head = serde_json::to_vec(head).expect("a head");
    let mut frame = vec![0; FRAME_HEAD_BYTES];
    frame.extend((head.len() as u32).to_le_bytes());
    frame.extend(head);
    frame.extend(&payload[4 + length..]);
    segment::seal(&mut frame).expect("sealed");
    frame
}

#[test]
fn what_the_version_before_has_written_is_read_and_gone_on_with() {
    let dir = tempdir().expect("a directory");
    let (path, starts) = three_groups(dir.path());
    let bytes = fs::read(&path).expect("a file");
    let mut before = bytes[..starts[0]].to_vec();
    for range in starts.windows(2) {
        before.extend(as_before(&bytes[range[0]..range[1]], before.len()));
    }
    fs::write(&path, &before).expect("written");
    let mut store = options(dir.path()).open().expect("a store");
    assert_eq!(values(dir.path()).len(), 4);
    assert_eq!(store.put(&identity(), &opaque("s", "a", &[b"5"])).expect("put"), 5);
    drop(store);
    before[starts[0] + 20] ^= 1;
    fs::write(&path, &before).expect("written");
    let reading = Reading::open(dir.path()).expect("a store");
    let told = reading.damage()[0].to_string();
    assert!(told.contains("from byte 24 on") && told.ends_with("entry 1 is lost"), "{told}");
    assert_eq!(values(dir.path()).len(), 3);
}

#[test]
fn entries_that_are_lost_at_the_end_give_no_number_twice() {
    let dir = tempdir().expect("a directory");
    let (path, starts) = three_groups(dir.path());
    let mut bytes = fs::read(&path).expect("a file");
    // Nothing behind them says how many there were: marks of the version before do not.
    let mark = as_before(&bytes[starts[3]..], starts[3]);
    bytes.truncate(starts[3]);
    bytes.extend(mark);
    bytes[starts[2] + 20] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let mut store = options(dir.path()).open().expect("a store");
    let next = store.put(&identity(), &opaque("s", "a", &[b"x"])).expect("put");
    assert!(next > 4, "{next}");
    let told: Vec<String> =
        Reading::open(dir.path()).expect("a store").damage().iter().map(ToString::to_string).collect();
    assert!(told[0].ends_with(&format!("entries 4 to {} are lost", next - 1)), "{told:?}");
}

#[test]
fn a_segment_that_is_not_the_last_is_never_cut() {
    let dir = tempdir().expect("a directory");
    let mut store = StoreOptions { segment_bytes: 1, ..options(dir.path()) }.open().expect("a store");
    for value in [b"1", b"2"] {
        store.put(&identity(), &opaque("s", "a", &[value])).expect("put");
    }
    drop(store);
    let segments = segment::list(&SystemDisk, dir.path()).expect("a directory");
    assert_eq!(segments.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [1, 2]);
    let path = &segments[0].1;
    let bytes = fs::read(path).expect("a file");
    let cut = &bytes[..bytes.len() - 1];
    fs::write(path, cut).expect("written");
    let mut store = options(dir.path()).open().expect("the other one can be used");
    assert_eq!(fs::read(path).expect("a file"), cut);
    let reading = Reading::open(dir.path()).expect("the other one can be read");
    let [damage] = reading.damage() else { panic!("{:?}", reading.damage()) };
    assert_eq!((damage.offset, damage.first, damage.next), (24, 1, Some(2)));
    assert_eq!(values(dir.path()), [(2, b"2".to_vec())], "what is left can be read");
    // Whoever throws away what is left gets rid of the damage.
    store.mark(&[(2, Outcome::Purged)]).expect("marked");
    store.reclaim().expect("reclaimed");
    assert_eq!(Reading::open(dir.path()).expect("a store").damage(), []);
}
