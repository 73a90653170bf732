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
        out.emit_each(batch, |value| Some([b"<<", value.unwrap_or_default(), b">>"]));
        Ok(())
    }
}

conveyor_sdk::transform!(Wrap);

#[cfg(test)]
mod tests {
    use conveyor_sdk::testing;

    use super::*;

    #[test]
    fn every_value_gets_two_bytes_before_and_two_after() {
        let mut stage = testing::transform::<Wrap>(testing::json!({})).unwrap();
        let outcome = stage.run(["", "abc"]).unwrap();
        assert_eq!(outcome.values("main"), ["<<>>", "<<abc>>"]);
    }
}
