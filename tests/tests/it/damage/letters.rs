//! The dead-letter store, with what was replayed and thrown away of it.

use std::path::Path;

use arrow::array::BinaryArray;
use flow::letters::{Filter, Form, Group, Identity, Outcome, Reading, Refusal, StoreOptions};
use model::batch::{Batch, Parts};
use model::lineage::{Lineage, Offsets, SourceRows};
use model::outcome::Rejection;

use super::{Found, Kind, MayLose, Read};

const GROUPS: u64 = 30;
const OF_A_GROUP: u64 = 4;

fn options(dir: &Path) -> StoreOptions {
    StoreOptions { segment_bytes: 8000, clock: || 1_000_000, ..StoreOptions::new(dir.join("dead")) }
}

fn group(number: u64) -> Group {
    let lineage = Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: "in".into(),
        split: "a.csv".into(),
        offsets: Offsets::From(number * OF_A_GROUP),
    });
    let values =
        BinaryArray::from_iter_values((0..OF_A_GROUP).map(|row| format!("record {row} of {number}")));
    let refusal = |row| Refusal::from(Rejection { row, code: "bad".into(), message: format!("row {row}") });
    Group {
        stage: "picky".into(),
        kept_as: Form::Opaque.into(),
        rows: Batch::from_values(values, Parts::default(), lineage).expect("a batch"),
        refusals: (0..OF_A_GROUP as u32).map(refusal).collect(),
    }
}

fn make(dir: &Path) {
    let identity = Identity { pipeline: "p".into(), ..Identity::default() };
    let mut store = options(dir).open().expect("a store");
    for number in 0..GROUPS {
        store.put(&identity, &group(number)).expect("put");
        store.sync().expect("synced");
        if number == 5 || number == 15 {
            let closed: Vec<_> = (0..3).map(|at| (number * 2 + at + 1, Outcome::Replayed)).collect();
            store.mark(&closed).expect("marked");
        }
    }
    // As a second of idling does, and a clean end.
    store.close().expect("marked");
}

/// All letters and what became of them, as `dlq` reads them, and then as a run does.
fn read(dir: &Path) -> Read {
    let found = all(dir)?;
    let mut store = options(dir).open().map_err(|error| error.to_string())?;
    let identity = Identity { pipeline: "p".into(), ..Identity::default() };
    store.put(&identity, &group(GROUPS)).and_then(|_| store.sync()).map_err(|error| error.to_string())?;
    drop(store);
    let with_next = all(dir)?.lines;
    assert_eq!(with_next.len(), found.lines.len() + OF_A_GROUP as usize);
    assert!(super::is_part(&found.lines, &with_next), "what comes next has changed something");
    Ok(found)
}

/// The letters, and behind them those that were closed.
fn all(dir: &Path) -> Read {
    let reading = Reading::open(&dir.join("dead")).map_err(|error| error.to_string())?;
    let filter = Filter { closed_too: true, ..Filter::default() };
    let (mut lines, mut closed, mut next) = (Vec::new(), Vec::new(), 1);
    let is_told = |number: u64| {
        let mut damage = reading.damage().iter();
        damage.any(|damage| damage.first <= number && damage.next.is_none_or(|next| number < next))
    };
    for frame in reading.frames(&filter) {
        let Some((kept, rows)) = reading.rows(frame, &filter).map_err(|error| error.to_string())? else {
            continue;
        };
        for entry in kept.entries(&rows).map_err(|error| error.to_string())? {
            let number = entry.entry;
            assert!((next..number).all(is_told), "letters {next} to {number} are gone, and nothing says so");
            next = number + 1;
            lines.push(format!("{entry:?}"));
            closed.extend(reading.outcome(number).map(|outcome| format!("{number} was {outcome:?}")));
        }
    }
    lines.extend(closed);
    Ok(Found { lines, told: reading.damage().iter().map(ToString::to_string).collect() })
}

#[test]
fn a_dead_letter_store() {
    let may_lose = MayLose::End(sure());
    Kind { name: "dead letters", make, is_struck: |_| true, read, may_lose }.strike_all();
}

/// The letters before the last segment.
fn sure() -> usize {
    let dir = tempfile::tempdir().expect("a directory");
    make(dir.path());
    let files = super::files(dir.path());
    let names = files.iter().filter_map(|path| super::name_of(path).strip_suffix(".letters")?.parse().ok());
    let first: usize = names.max().expect("segments");
    assert!((2..(GROUPS * OF_A_GROUP) as usize).contains(&first), "{first}");
    first - 1
}
