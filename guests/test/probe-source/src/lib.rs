//! A source of bytes for tests of the host. Its config is `{"do": "<what>"}`. Each of its two splits has ten
//! records, `<split>:<n>`; the cursor is the number of the next one.

wit_bindgen::generate!({ path: "../../../wit", world: "source-stage" });

use std::cell::RefCell;

use conveyor::stage::columns::{BlobColumn, Varlen};
use conveyor::stage::outcomes::Failure;
use conveyor::stage::records::Batch;
use conveyor::stage::splits::{Place, Refused, Split};
use exports::conveyor::stage::{about, source};

struct Probe;

export!(Probe);

#[derive(Default)]
struct State {
    what: String,
    splits: Vec<(String, u64)>,
    /// Those before this one have ended.
    at: usize,
    committed: Vec<(u32, Vec<u8>)>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

const RECORDS: u64 = 10;

impl about::Guest for Probe {
    fn describe() -> about::About {
        about::About {
            name: "probe-source".into(),
            version: "0.1.0".into(),
            summary: "Does what a test of the host tells it to".into(),
            config_schema: "".into(),
            needs: vec![],
            hints: vec![],
        }
    }
}

impl source::Guest for Probe {
    fn splits(config: String) -> Result<Vec<String>, Failure> {
        Ok(match config.split('"').nth(3) {
            Some("splits-twice") => vec!["a".into(), "a".into()],
            _ => vec!["a".into(), "b".into()],
        })
    }

    fn open(config: String) -> Result<(), Failure> {
        let what = config.split('"').nth(3).unwrap_or_default().to_owned();
        if what == "open-fatal" {
            return Err(Failure::Fatal("there is nothing to read".into()));
        }
        STATE.with_borrow_mut(|state| state.what = what);
        Ok(())
    }

    fn assign(splits: Vec<Split>) -> Result<(), Failure> {
        STATE.with_borrow_mut(|state| {
            for split in splits {
                let next = split.cursor.map_or(0, |cursor| cursor.first().copied().unwrap_or_default());
                state.splits.push((split.name, u64::from(next)));
            }
        });
        Ok(())
    }

    fn pull(records: u32, _bytes: u32, _wait: u32) -> Result<Option<(Batch, Place)>, Failure> {
        STATE.with_borrow_mut(|state| pull(state, records))
    }

    fn committed(split: u32, cursor: Vec<u8>) -> Result<(), Failure> {
        STATE.with_borrow_mut(|state| state.committed.push((split, cursor)));
        Ok(())
    }
}

fn pull(state: &mut State, records: u32) -> Result<Option<(Batch, Place)>, Failure> {
    let what = state.what.clone();
    if what == "said" {
        return Err(Failure::Invalid(format!("{:?}", state.committed)));
    }
    while state.splits.get(state.at).is_some_and(|(_, next)| *next >= RECORDS) {
        state.at += 1;
    }
    let split = state.at;
    let Some((name, next)) = state.splits.get_mut(split) else { return Ok(None) };
    let end = RECORDS.min(*next + u64::from(records));
    let mut offsets: Vec<u64> = (*next..end).collect();
    let refused = match &*what {
        "refuse" => offsets.pop().map(|offset| Refused {
            offset,
            code: "torn".into(),
            message: "the record is torn".into(),
            raw: b"raw".to_vec(),
        }),
        _ => None,
    };
    let (mut bytes, mut ends) = (Vec::new(), vec![0]);
    for offset in &offsets {
        bytes.extend_from_slice(format!("{name}:{offset}").as_bytes());
        ends.push(bytes.len() as u32);
    }
    let rows = offsets.len() as u32;
    let mut place = Place {
        split: split as u32,
        offsets,
        refused: refused.into_iter().collect(),
        cursor: vec![end as u8],
        ended: end == RECORDS,
    };
    match &*what {
        "bad-split" => place.split = 9,
        "bad-offsets" => place.offsets.reverse(),
        "bad-count" => drop(place.offsets.pop()),
        "die" => panic!("no more"),
        _ => {}
    }
    *next = end;
    let mut batch = Batch {
        rows,
        times: Some((0..i64::from(rows)).collect()),
        keys: None,
        headers: None,
        values: BlobColumn { valid: None, blobs: Varlen { offsets: ends, bytes } },
    };
    let empty = Varlen { offsets: vec![], bytes: vec![] };
    match &*what {
        "bad-times" => batch.times = Some(vec![]),
        "bad-keys" => batch.keys = Some(BlobColumn { valid: None, blobs: empty }),
        _ => {}
    }
    Ok(Some((batch, place)))
}
