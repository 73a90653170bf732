//! Puts two bytes before and two bytes after each value. The second stage of the belt that
//! `docs/performance.md` measures.

use conveyor_sdk::{Batch, Emitter, NoConfig, Result, Transform};

struct Wrap;

impl Transform for Wrap {
    type Config = NoConfig;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Wrap)
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        for record in batch {
            out.emit_parts(record, [b"<<", record.bytes(), b">>"]);
        }
        Ok(())
    }
}

conveyor_sdk::transform!(Wrap);
