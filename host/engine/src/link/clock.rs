//! The clocks of a stage that is not granted the time. Language runtimes ask for it as they start, so there
//! is an answer; it just says nothing about the world.

use std::time::{Duration, Instant, SystemTime};

use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};

/// Stands still.
pub(super) struct Standing(pub SystemTime);

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(since.as_secs())
    }
}

/// Goes on from its first step, in steps too coarse to see what a neighbour does. Never zero: to Go that is a
/// broken clock.
pub(super) struct Coarse(pub Instant);

/// A timer that a stage sets still ends.
const STEP: Duration = Duration::from_millis(1);

impl HostMonotonicClock for Coarse {
    fn resolution(&self) -> u64 {
        STEP.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        let step = STEP.as_nanos();
        u64::try_from((self.0.elapsed().as_nanos() / step + 1) * step).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_granted_stands_still_or_is_coarse() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(5_700);
        assert_eq!(Standing(at).now(), Duration::from_secs(5));
        let coarse = Coarse(Instant::now() - Duration::from_micros(2_500));
        assert!(Coarse(Instant::now()).now() > 0);
        assert!(coarse.now() >= 3_000_000 && coarse.now().is_multiple_of(1_000_000), "{}", coarse.now());
    }
}
