//! Keeps the records whose first byte is even: half of them, where the bytes are random. The first stage of
//! the belt that `docs/performance.md` measures.

use conveyor_sdk::{Batch, Emitter, NoConfig, Result, Transform};

struct FilterHalf;

impl Transform for FilterHalf {
    type Config = NoConfig;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(FilterHalf)
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        out.forward_where(batch, |value| value.and_then(<[u8]>::first).is_some_and(|byte| byte & 1 == 0));
        Ok(())
    }
}

conveyor_sdk::transform!(FilterHalf);
