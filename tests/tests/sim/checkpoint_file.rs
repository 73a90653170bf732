//! The database that checkpoints are kept in, on the simulated disk: what was committed stands after a crash at any
//! operation, whole, and what was being committed stands or does not; nothing that a crash tears is taken for damage.
//! The rest of the simulation has a store of its own, because this one orders what it writes as it likes, and a seed has
//! to be the same each time.

use std::io::Error;
use std::path::Path;

use disk::pages::{OpenError, Pages};
use disk::{Disk, Mode};
use fastrand::Rng;
use redb::{Database, ReadableDatabase, TableDefinition};

use super::disk::{Crash, SimDisk};

const PLACES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("places");
const FILE: &str = "/checkpoints.redb";
/// One that is being made is none yet: the product gives it its name when it is whole, and so does this.
const MAKING: &str = "/checkpoints.making";
/// Written anew with each commit.
const SPLITS: u64 = 12;

fn open(disk: &SimDisk) -> std::result::Result<Database, redb::Error> {
    let (path, making) = (Path::new(FILE), Path::new(MAKING));
    if disk.stat(path)?.is_none() {
        drop(Pages::create(disk.open(making, Mode::Create)?)?);
        disk.open(making, Mode::Change)?.sync()?;
        disk.rename(making, path)?;
    }
    let pages = Pages::open(disk.open(path, Mode::Change)?).map_err(|error| match error {
        OpenError::Io(error) => error,
        other => Error::other(other),
    })?;
    let database = Database::builder().create_with_backend(pages)?;
    disk.sync_dir(Path::new("/"))?;
    Ok(database)
}

/// In two phases, as every commit of the product is: a page is read only where it was synced before.
fn commit(database: &Database, number: u64) -> std::result::Result<(), redb::Error> {
    let mut change = database.begin_write()?;
    change.set_quick_repair(true);
    {
        let mut places = change.open_table(PLACES)?;
        for split in 0..SPLITS {
            // Of several lengths, so that pages split and are used again.
            let place = number.to_le_bytes().repeat((number % 40 + split) as usize + 1);
            places.insert(split, place.as_slice())?;
        }
    }
    Ok(change.commit()?)
}

/// The number that all splits agree on; 0 where nothing was committed.
fn committed(database: &Database) -> std::result::Result<u64, redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(PLACES) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
        table => table?,
    };
    let mut numbers = Vec::new();
    for split in 0..SPLITS {
        let place = table.get(split)?.expect("each commit writes all of them");
        let number = place.value().first_chunk().copied().map(u64::from_le_bytes).expect("eight bytes");
        assert_eq!(place.value(), number.to_le_bytes().repeat((number % 40 + split) as usize + 1));
        numbers.push(number);
    }
    assert!(numbers.iter().all(|number| *number == numbers[0]), "half a commit: {numbers:?}");
    Ok(numbers[0])
}

#[test]
fn what_was_committed_stands_after_a_crash_at_any_operation() {
    let (mut kept, mut gone, mut crashes) = (0, 0, 0);
    for seed in 0..40 {
        let mut random = Rng::with_seed(seed);
        let disk = SimDisk::new(random.fork());
        let (mut sure, mut tried) = (0, 0);
        for _ in 0..8 {
            disk.set_fuse(Some(random.u64(0..120)));
            let life = || -> std::result::Result<(), redb::Error> {
                let database = open(&disk)?;
                let found = committed(&database)?;
                assert!(found == sure || found == tried, "seed {seed}: {found} stands, {sure} did");
                if tried > sure {
                    if found == tried { kept += 1 } else { gone += 1 }
                }
                (sure, tried) = (found, found);
                loop {
                    tried = sure + 1;
                    commit(&database, tried)?;
                    sure = tried;
                }
            };
            let mut life = life;
            let error = life().expect_err("it goes on until it crashes");
            assert!(disk.is_down(), "seed {seed}: {error}");
            crashes += 1;
            disk.restart(if random.bool() { Crash::Kill } else { Crash::PowerCut });
        }
    }
    assert!(kept > 10 && gone > 10, "{crashes} crashes; commits that were cut off: {kept} kept, {gone} gone");
}
