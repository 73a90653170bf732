//! Pages that are damaged, cut and torn beneath a database.

use std::fs::File;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tempfile::TempDir;

use super::*;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("values");
const ENTRIES: u64 = 400;

fn file(path: &Path) -> Box<dyn DiskFile> {
    Box::new(File::options().read(true).write(true).create(true).truncate(false).open(path).expect("a file"))
}

fn value(key: u64) -> Vec<u8> {
    // Some take a page of several.
    vec![key as u8; if key.is_multiple_of(50) { 9000 } else { 100 + key as usize }]
}

fn write(database: &Database, keys: std::ops::Range<u64>) {
    let mut change = database.begin_write().expect("a change");
    change.set_quick_repair(true);
    {
        let mut table = change.open_table(TABLE).expect("a table");
        for key in keys {
            table.insert(key, &*value(key)).expect("inserted");
        }
    }
    change.commit().expect("committed");
}

/// A file with a database, closed, or as it is while somebody has it.
fn made(is_closed: bool) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, copy) = (dir.path().join("pages"), dir.path().join("copy"));
    let pages = Pages::create(file(&path)).expect("made");
    let database = Database::builder().create_with_backend(pages).expect("a database");
    (0..ENTRIES).step_by(100).for_each(|from| write(&database, from..from + 100));
    std::fs::copy(&path, &copy).expect("a copy");
    drop(database);
    (dir, if is_closed { path } else { copy })
}

/// Everything that is in it, or why not.
fn read_all(path: &Path) -> std::result::Result<Vec<(u64, Vec<u8>)>, String> {
    let pages = Pages::open(file(path)).map_err(|error| error.to_string())?;
    let above = Overlay::over(pages).expect("above");
    let all = || {
        let database = Database::builder().create_with_backend(above)?;
        let read = database.begin_read()?;
        let table = read.open_table(TABLE)?;
        let all = table.iter()?.map(|entry| {
            let (key, value) = entry?;
            Ok((key.value(), value.value().to_vec()))
        });
        all.collect::<std::result::Result<_, redb::Error>>()
    };
    all().map_err(|error| error.to_string())
}

fn expected() -> Vec<(u64, Vec<u8>)> {
    (0..ENTRIES).map(|key| (key, value(key))).collect()
}

#[test]
fn no_damage_is_read_as_something_else() {
    for is_closed in [true, false] {
        let (_dir, path) = made(is_closed);
        let whole = std::fs::read(&path).expect("the file");
        assert!(read_all(&path).expect("it is whole") == expected());
        let (mut told, mut random) = (0, fastrand::Rng::with_seed(7));
        for round in 0..300 {
            let mut bytes = whole.clone();
            let at = match round % 3 {
                // The header, whose damage strikes everything.
                0 => random.usize(0..64 << 10),
                _ => random.usize(0..bytes.len()),
            };
            match round % 4 {
                0 | 1 => bytes[at] ^= 1 << random.u8(0..8),
                2 => bytes.truncate(at),
                _ => {
                    let end = (at + random.usize(1..20_000)).min(bytes.len());
                    bytes[at..end].fill(0);
                }
            }
            std::fs::write(&path, &bytes).expect("written");
            match read_all(&path) {
                Ok(all) => assert!(all == expected(), "round {round}, at {at}: other values"),
                Err(_) => told += 1,
            }
        }
        assert!(told > 50, "{told} damages were told");
    }
}

#[test]
fn a_page_in_the_place_of_another_and_an_old_page_are_told() {
    let (_dir, path) = made(true);
    let pages = Pages::open(file(&path)).expect("opened");
    let mut page = [0; PAGE_BYTES];
    let used: Vec<u64> = (1..100).filter(|number| pages.read(number * 4096, &mut page).is_ok()).collect();
    let [one, other, ..] = used[..] else { panic!("{used:?}") };
    let pages = Pages::open(file(&path)).expect("opened");
    pages.read(one * 4096, &mut page).expect("read");
    let beneath = file(&path);
    let mut checksum = [0; CHECKSUM_BYTES];
    read_exact_at(&*beneath, &mut checksum, layout::place(one).1).expect("read");
    beneath.write_at(&page, layout::place(other).0).expect("written");
    beneath.write_at(&checksum, layout::place(other).1).expect("written");
    let error = pages.read(other * 4096, &mut page).expect_err("it is another page");
    assert_eq!((error.kind(), pages.damage().found().is_some()), (ErrorKind::InvalidData, true));
    let number = format!("page {other}");
    assert!(error.to_string().contains(&number), "{error}");
}

#[test]
fn what_was_never_written_is_not_read_as_zeros() {
    let dir = tempfile::tempdir().expect("a directory");
    let pages = Pages::create(file(&dir.path().join("pages"))).expect("made");
    pages.set_len(3 * 4096).expect("longer");
    let mut page = [1; PAGE_BYTES];
    assert!(pages.read(4096, &mut page).is_err());
    pages.write(4096, &[0; PAGE_BYTES]).expect("written");
    pages.read(4096, &mut page).expect("zeros, which were written");
    assert!(pages.read(3 * 4096, &mut page).is_err(), "it ends before");
    for (offset, bytes) in [(0, 4097), (4096, 100), (4097, 4096)] {
        let error = pages.read(offset, &mut vec![0; bytes]).expect_err("no pages");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bytes} at {offset}");
    }
}

/// Pages of the largest kinds go over the end of a group.
#[test]
fn many_pages_at_once_are_written_and_read_across_groups() {
    let dir = tempfile::tempdir().expect("a directory");
    let pages = Pages::create(file(&dir.path().join("pages"))).expect("made");
    pages.set_len(4000 * 4096).expect("longer");
    let bytes: Vec<u8> = (0..2500 * PAGE_BYTES).map(|at| (at / 1000) as u8).collect();
    pages.write(600 * 4096, &bytes).expect("written");
    let mut read = vec![0; bytes.len()];
    pages.read(600 * 4096, &mut read).expect("read");
    assert!(read == bytes);
    let mut page = [0; PAGE_BYTES];
    pages.read(2000 * 4096, &mut page).expect("one of them");
    assert!(page == bytes[1400 * PAGE_BYTES..][..PAGE_BYTES]);
}

#[test]
fn what_is_cut_off_by_the_database_is_not_missed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pages");
    let pages = Pages::create(file(&path)).expect("made");
    let mut header = [7; HEADER_BYTES];
    header[..4].copy_from_slice(b"redb");
    pages.set_len(9 * 4096).expect("longer");
    pages.write(0, &header).expect("written");
    pages.sync_data().expect("synced");
    drop(pages);
    assert_eq!(Pages::open(file(&path)).expect("opened").len().expect("a length"), 9 * 4096);
    file(&path).set_bytes(layout::file_bytes(5)).expect("cut by somebody");
    let error = Pages::open(file(&path)).expect_err("it is shorter").to_string();
    assert!(error.contains(&layout::file_bytes(9).to_string()), "{error}");
    file(&path).set_bytes(layout::file_bytes(9)).expect("as it was");
    Pages::open(file(&path)).expect("opened").set_len(5 * 4096).expect("shorter");
    let pages = Pages::open(file(&path)).expect("opened");
    assert_eq!(pages.len().expect("a length"), 5 * 4096);
    let mut read = [0; 9];
    pages.read(0, &mut read).expect("read");
    assert_eq!(&read, b"redb\x07\x07\x07\x07\x07");
}

/// Its checksum waits, and is not written where nothing is any more.
#[test]
fn a_page_that_is_cut_off_before_it_was_synced_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pages");
    let pages = Pages::create(file(&path)).expect("made");
    pages.set_len(5 * 4096).expect("longer");
    pages.write(4 * 4096, &[4; PAGE_BYTES]).expect("written");
    pages.sync_data().expect("synced");
    pages.set_len(3000 * 4096).expect("longer");
    pages.write(2999 * 4096, &[7; PAGE_BYTES]).expect("written");
    let mut page = [0; PAGE_BYTES];
    pages.read(2999 * 4096, &mut page).expect("read before it is synced");
    pages.set_len(5 * 4096).expect("shorter");
    pages.sync_data().expect("synced");
    assert_eq!(file(&path).bytes().expect("a length"), layout::file_bytes(5));
    pages.read(4 * 4096, &mut page).expect("read");
    assert_eq!(page, [4; PAGE_BYTES]);
}

#[test]
fn above_an_overlay_nothing_is_changed() {
    for is_closed in [true, false] {
        let (_dir, path) = made(is_closed);
        let before = std::fs::read(&path).expect("the file");
        let above = Overlay::over(Pages::open(file(&path)).expect("opened")).expect("above");
        let database = Database::builder().create_with_backend(above.clone()).expect("opened");
        write(&database, 1000..1400);
        drop(database);
        assert!(std::fs::read(&path).expect("the file") == before);
        let database = Database::builder().create_with_backend(above).expect("what it wrote is there");
        let read = database.begin_read().expect("a look");
        let table = read.open_table(TABLE).expect("a table");
        assert_eq!(table.iter().expect("entries").count(), 800);
    }
}
