//! A sink of bytes for tests of the host: it counts what it gets, refuses empty values, and says in its
//! token what it has seen. A batch with the value `later` it takes at the third try, one with `panic` never.

wit_bindgen::generate!({ path: "../../../wit", world: "sink-stage" });

use std::cell::{Cell, RefCell};

use conveyor::stage::columns::Varlen;
use conveyor::stage::commits::Context;
use conveyor::stage::outcomes::{Failure, Rejection, Retry};
use conveyor::stage::records::Batch;
use exports::conveyor::stage::{about, sink};

struct Probe;

export!(Probe);

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(vec![]) };
    static TRIES: Cell<u32> = const { Cell::new(0) };
}

impl about::Guest for Probe {
    fn describe() -> about::About {
        about::About {
            name: "probe-sink".into(),
            version: "0.1.0".into(),
            summary: "Says what it has seen".into(),
            config_schema: "".into(),
            needs: vec![],
            hints: vec![],
        }
    }
}

impl sink::Guest for Probe {
    fn plan(_config: String) -> Result<sink::SinkPlan, Failure> {
        Ok(sink::SinkPlan { times: false, keys: true, headers: false, ids: true, commits: true })
    }

    fn open(config: String, context: Context) -> Result<(), Failure> {
        let Context { replica, replicas, epoch, committed } = context;
        let seen = format!("open {config} {replica}/{replicas} epoch {epoch} committed {committed:?}");
        SEEN.with_borrow_mut(|all| all.push(seen));
        Ok(())
    }

    fn write(input: Batch, ids: Option<Vec<u8>>) -> Result<Vec<Rejection>, Failure> {
        let Varlen { offsets, bytes } = &input.values.blobs;
        let has = |wanted: &[u8]| {
            offsets.windows(2).any(|ends| bytes[ends[0] as usize..ends[1] as usize] == *wanted)
        };
        if has(b"panic") {
            panic!("not this one");
        }
        if has(b"later") && TRIES.replace(TRIES.get() + 1) < 2 {
            return Err(Failure::Retry(Retry { after_ms: 20, message: "not yet".into() }));
        }
        let empty = (0..input.rows).filter(|&row| offsets[row as usize] == offsets[row as usize + 1]);
        let rejection = |of| Rejection { of, code: "empty".into(), message: "nothing to write".into() };
        let keys = input.keys.map(|keys| String::from_utf8_lossy(&keys.blobs.bytes).into_owned());
        let keys = keys.unwrap_or_default();
        let ids = ids.map_or(0, |ids| ids.len());
        let seen = format!("write {} keys {keys} ids {ids}", input.rows);
        SEEN.with_borrow_mut(|all| all.push(seen));
        Ok(empty.map(rejection).collect())
    }

    fn prepare(checkpoint: u64) -> Result<Vec<u8>, Failure> {
        SEEN.with_borrow_mut(|all| all.push(format!("prepare {checkpoint}")));
        Ok(SEEN.with_borrow(|all| all.join("; ")).into_bytes())
    }

    fn commit(token: Vec<u8>) -> Result<(), Failure> {
        match &*token {
            b"unknown" => Err(Failure::Fatal("nobody prepared that".into())),
            b"die" => panic!("dead"),
            _ => Ok(()),
        }
    }
}
