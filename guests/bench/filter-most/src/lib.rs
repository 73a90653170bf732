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
        out.forward_where(batch, |value| {
            value.and_then(|value| value.get(2)).is_some_and(|byte| *byte < 230)
        });
        Ok(())
    }
}

conveyor_sdk::transform!(FilterMost);

#[cfg(test)]
mod tests {
    use conveyor_sdk::testing;

    use super::*;

    #[test]
    fn records_go_on_whose_third_byte_is_below_230() {
        let mut stage = testing::transform::<FilterMost>(testing::json!({})).unwrap();
        let outcome = stage.run([&[0, 0, 229][..], &[0, 0, 230], &[0, 0]]).unwrap();
        assert_eq!((outcome.port("main").len(), outcome.filtered()), (1, vec![1, 2]));
    }
}
