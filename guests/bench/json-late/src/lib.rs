//! The first of three stages that have JSON between them, for `docs/performance.md` to compare with stages of
//! tables. It keeps the flights that left at least 20 minutes late.

use conveyor_sdk::{Batch, Emitter, NoConfig, Result, Transform};
use serde_json::{Map, Value};

struct JsonLate;

impl Transform for JsonLate {
    type Config = NoConfig;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(JsonLate)
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        for record in batch {
            match serde_json::from_slice::<Map<String, Value>>(record.bytes()) {
                Ok(flight) => {
                    let delay = flight.get("dep_delay").and_then(Value::as_i64);
                    out.forward_if(record, delay.is_some_and(|minutes| minutes >= 20));
                }
                Err(error) => out.reject(record, "bad-json", error.to_string()),
            }
        }
        Ok(())
    }
}

conveyor_sdk::transform!(JsonLate);
