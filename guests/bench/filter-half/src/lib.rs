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

#[cfg(test)]
mod tests {
    use conveyor_sdk::testing;

    use super::*;

    #[test]
    fn records_go_on_whose_first_byte_is_even() {
        let mut stage = testing::transform::<FilterHalf>(testing::json!({})).unwrap();
        let outcome = stage
            .run(["a", "b", "", "dz"].map(testing::record).into_iter().chain([testing::deletion()]))
            .unwrap();
        assert_eq!(outcome.values("main"), ["b", "dz"]);
        assert_eq!(outcome.filtered(), [0, 2, 4]);
    }
}
