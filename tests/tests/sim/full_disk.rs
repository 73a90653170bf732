//! A disk without room at any operation of the spool and of the dead letters, over any number of starts: nothing that was
//! durable is missing or taken for damaged, and once there is room everything goes on.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use arrow::array::BinaryArray;
use fastrand::Rng;
use flow::letters::{
    Filter, Form, Group as Letter, Identity, LettersError, Reading, Refusal, Store, StoreOptions,
};
use flow::spool::{Group, Log, NotTaken, Records, SpoolError, SpoolOptions};
use model::batch::{Batch, Parts};
use model::lineage::{Lineage, Offsets, SourceRows};
use model::outcome::Rejection;

use super::disk::{Crash, SimDisk};

const SEEDS: u64 = 300;
const LIVES: u64 = 8;
const DIR: &str = "/full";

/// What was answered for, by its number, and all that anybody gave.
#[derive(Default)]
struct Given {
    durable: BTreeMap<u64, u64>,
    last: u64,
    /// Records before this one are not wanted any more.
    released: u64,
    /// How often there was no room for a start, and for a record.
    starts: u64,
    records: u64,
}

impl Given {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// `found`: by number.
    fn check(&self, seed: u64, found: &BTreeMap<u64, u64>) {
        for (number, value) in self.durable.range(self.released..) {
            assert_eq!(found.get(number), Some(value), "seed {seed}: {number} of {found:?}");
        }
        let mut values: Vec<u64> = found.values().copied().collect();
        assert!(values.iter().all(|&value| value > 0 && value <= self.last), "seed {seed}: {found:?}");
        values.dedup();
        assert_eq!(values.len(), found.len(), "seed {seed}: twice in {found:?}");
    }
}

/// Runs lives on disks that run full, then one with room, and says how often there was none. `life`: opens what is on the
/// disk, checks it and writes to it; the error is what kept it from being opened, or ended it.
fn lives(life: impl Fn(u64, &SimDisk, &mut Rng, &mut Given) -> Result<(), String>) -> (u64, u64) {
    let (mut starts, mut records) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = Rng::with_seed(seed);
        let disk = SimDisk::new(random.fork());
        let mut given = Given::default();
        for _ in 0..LIVES {
            let most = [1, 6, 30, 80][random.usize(0..4)];
            disk.set_room(Some(random.u64(0..most)), random.bool());
            // Why it ended is looked at in the life itself.
            let _ = life(seed, &disk, &mut random, &mut given);
            disk.restart(if random.bool() { Crash::Kill } else { Crash::PowerCut });
        }
        disk.set_room(None, true);
        for crash in [Crash::PowerCut, Crash::Kill] {
            life(seed, &disk, &mut random, &mut given).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            disk.restart(crash);
        }
        let left = disk.names(Path::new(DIR));
        assert!(!left.iter().any(|name| name.ends_with(".making")), "seed {seed}: {left:?}");
        starts += given.starts;
        records += given.records;
    }
    (starts, records)
}

#[test]
fn a_spool_without_room_loses_nothing_and_is_never_damaged() {
    let (starts, records) = lives(spool);
    assert!(starts > SEEDS && records > SEEDS, "no room for {starts} starts and {records} records");
}

fn spool(seed: u64, disk: &SimDisk, random: &mut Rng, given: &mut Given) -> Result<(), String> {
    let options = SpoolOptions {
        dir: DIR.into(),
        bytes_max: 20_000,
        segment_bytes: 300,
        seed: random.u64(..),
        disk: Arc::new(disk.clone()),
    };
    let from = (given.released > 0).then_some(given.released);
    let mut log = options.open_log(from).map_err(|error| {
        given.starts += 1;
        out_of_room(seed, error)
    })?;
    let mut found = BTreeMap::new();
    let read = log.tail(log.first()).each(|chunk| {
        let values = chunk.values().map(|value| String::from_utf8_lossy(value).trim().parse().unwrap_or(0));
        found.extend((chunk.first..).zip(values));
    });
    read.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    given.check(seed, &found);
    for _ in 0..random.u32(1..12) {
        write(seed, &mut log, random, given)?;
        match random.u8(0..8) {
            0 => log.mark().map_err(|error| out_of_room(seed, error))?,
            1 => {
                given.released = random.u64(given.released..=log.durable());
                log.release(given.released).map_err(|error| out_of_room(seed, error))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn write(seed: u64, log: &mut Log, random: &mut Rng, given: &mut Given) -> Result<(), String> {
    let mut group = Group::default();
    let mut records = Records::new(0).labelled(None, []);
    let mut values = Vec::new();
    for _ in 0..random.u64(1..4) {
        values.push(given.next());
        // Of any length, so that some still find room where others did not.
        records.push(format!("{:width$}", given.last, width = random.usize(0..120)).as_bytes());
    }
    group.push(&records);
    let appended = log.append(&mut group).and_then(|appended| {
        log.sync()?;
        Ok(appended)
    });
    match appended {
        Ok(appended) => {
            given.durable.extend((appended.first..).zip(values));
            Ok(())
        }
        Err(NotTaken::Failed(error)) => Err(out_of_room(seed, error)),
        Err(NotTaken::NoSpace | NotTaken::Full { .. }) => {
            given.records += 1;
            Ok(())
        }
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

/// That an error says what is the matter, and nothing else.
fn out_of_room(seed: u64, error: SpoolError) -> String {
    match error {
        SpoolError::Io { kind: ErrorKind::StorageFull, .. } | SpoolError::NotDurable { .. } => {
            error.to_string()
        }
        error => panic!("seed {seed}: {error}"),
    }
}

#[test]
fn dead_letters_without_room_are_all_there_and_never_damaged() {
    let (starts, records) = lives(letters);
    assert!(starts > SEEDS / 4 && records > SEEDS, "no room for {starts} starts and {records} records");
}

fn letters(seed: u64, disk: &SimDisk, random: &mut Rng, given: &mut Given) -> Result<(), String> {
    let no_room = |error: LettersError| match error {
        LettersError::Io { error, .. } if error.kind() == ErrorKind::StorageFull => error.to_string(),
        LettersError::Broken { .. } => error.to_string(),
        error => panic!("seed {seed}: {error}"),
    };
    let options = StoreOptions { segment_bytes: 3000, clock: || 0, ..StoreOptions::new(DIR) };
    let mut store = StoreOptions { disk: Arc::new(disk.clone()), ..options }.open().map_err(|error| {
        given.starts += 1;
        no_room(error)
    })?;
    given.check(seed, &kept(disk));
    let mut written = BTreeMap::new();
    for _ in 0..random.u32(1..8) {
        let put = put(&mut store, given.next());
        given.records += u64::from(put.is_err());
        written.insert(put.map_err(no_room)?, given.last);
        match random.u8(0..4) {
            0 | 1 => {
                store.sync().map_err(no_room)?;
                given.durable.append(&mut written);
            }
            2 => store.idle().map_err(no_room)?,
            _ => {}
        }
    }
    if random.bool() {
        store.close().map_err(no_room)?;
    }
    Ok(())
}

fn put(store: &mut Store, value: u64) -> Result<u64, LettersError> {
    let lineage = Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: "in".into(),
        split: "0".into(),
        offsets: Offsets::From(value),
    });
    let rows = BinaryArray::from_iter_values([value.to_string()]);
    let rows = Batch::from_values(rows, Parts::default(), lineage).expect("a batch");
    let refusals = vec![Refusal::from(Rejection { row: 0, code: "bad".into(), message: String::new() })];
    store.put(
        &Identity::default(),
        &Letter { stage: "s".into(), kept_as: Form::Opaque.into(), rows, refusals },
    )
}

/// By entry.
fn kept(disk: &SimDisk) -> BTreeMap<u64, u64> {
    let reading = match Reading::open_on(Arc::new(disk.clone()), Path::new(DIR)) {
        Err(LettersError::None { .. }) => return BTreeMap::new(),
        opened => opened.expect("a store"),
    };
    assert_eq!(reading.damage(), []);
    let mut found = BTreeMap::new();
    for frame in reading.frames(&Filter::default()) {
        let kept = frame.read().expect("a frame");
        found.extend((0..kept.len()).map(|row| (kept.id(row), kept.origin(row).offset)));
    }
    found
}
