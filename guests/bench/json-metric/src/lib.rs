//! The third of three stages that have JSON between them, for `docs/performance.md` to compare with stages of
//! tables. It adds the distance in kilometres.

use conveyor_sdk::{Batch, Emitter, NoConfig, Result, Transform};
use serde_json::{Map, Value};

const KILOMETRES_PER_MILE: f64 = 1.609344;

struct JsonMetric;

impl Transform for JsonMetric {
    type Config = NoConfig;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(JsonMetric)
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        for record in batch {
            match serde_json::from_slice::<Map<String, Value>>(record.bytes()) {
                Ok(mut flight) => {
                    let miles = flight.get("distance").and_then(Value::as_f64).unwrap_or_default();
                    flight.insert("kilometres".to_owned(), Value::from(miles * KILOMETRES_PER_MILE));
                    out.emit_with(record, |bytes| {
                        // Writing to memory does not fail.
                        let _ = serde_json::to_writer(bytes, &flight);
                    });
                }
                Err(error) => out.reject(record, "bad-json", error.to_string()),
            }
        }
        Ok(())
    }
}

conveyor_sdk::transform!(JsonMetric);
