//! Keeps the records whose third byte is below 230: nine in ten, where the bytes are random. The third stage
//! of the belt that `docs/performance.md` measures; the first two bytes are those that the second put there.

use conveyor_sdk::{Batch, Emitter, NoConfig, Result, Transform};

struct FilterMost;

impl Transform for FilterMost {
    type Config = NoConfig;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(FilterMost)
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        out.forward_where(batch, |value| value.and_then(|value| value.get(2)).is_some_and(|byte| *byte < 230));
        Ok(())
    }
}

conveyor_sdk::transform!(FilterMost);
