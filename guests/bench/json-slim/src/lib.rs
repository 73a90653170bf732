//! The second of three stages that have JSON between them, for `docs/performance.md` to compare with stages of
//! tables. It keeps five members.

use conveyor_sdk::{Batch, Emitter, NoConfig, Result, Transform};
use serde_json::{Map, Value};

const KEPT: [&str; 5] = ["carrier", "flight", "origin", "dest", "distance"];

struct JsonSlim;

impl Transform for JsonSlim {
    type Config = NoConfig;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(JsonSlim)
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        for record in batch {
            match serde_json::from_slice::<Map<String, Value>>(record.bytes()) {
                Ok(mut flight) => {
                    let kept = KEPT.map(|name| (name.to_owned(), flight.remove(name).unwrap_or_default()));
                    let slim: Map<String, Value> = kept.into_iter().collect();
                    out.emit_with(record, |bytes| {
                        // Writing to memory does not fail.
                        let _ = serde_json::to_writer(bytes, &slim);
                    });
                }
                Err(error) => out.reject(record, "bad-json", error.to_string()),
            }
        }
        Ok(())
    }
}

conveyor_sdk::transform!(JsonSlim);
