//! How long to wait before something is tried again: exponential, with jitter, and never shorter than the stage
//! asks for.
//!
//! Half of each wait is fixed and half is random ("equal jitter", Brooker, "Exponential Backoff And Jitter",
//! 2015), so that stages which failed together do not come back together, and none comes back at once.

use std::time::Duration;

use crate::limits;
use crate::manifest::Retry;

impl Retry {
    /// The wait before try `next`, where 1 is the first one after a failure. None when there is none left.
    /// `asked`: what the stage wants at least. `random`: from 0 to 1.
    pub fn wait(&self, next: u32, asked: Duration, random: f64) -> Option<Duration> {
        if next > self.attempts {
            return None;
        }
        let (first, longest) = (self.backoff.from.0, self.backoff.to.0);
        let doubled = first.saturating_mul(1u32.checked_shl(next.saturating_sub(1)).unwrap_or(u32::MAX));
        let whole = doubled.min(longest);
        let wait = whole / 2 + (whole / 2).mul_f64(random.clamp(0.0, 1.0));
        Some(wait.max(asked).min(limits::RETRY_WAIT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Duration as Text, DurationRange};

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_tries() {
        let ms = Duration::from_millis;
        let backoff = DurationRange { from: Text(ms(100)), to: Text(ms(1000)) };
        let retry = Retry { attempts: 6, backoff };
        let cases = [
            (1, 0, 1.0, Some(100)),
            (1, 0, 0.0, Some(50)),
            (2, 0, 1.0, Some(200)),
            (4, 0, 1.0, Some(800)),
            (5, 0, 1.0, Some(1000)),
            (6, 0, 0.5, Some(750)),
            (7, 0, 1.0, None),
            (1, 3000, 1.0, Some(3000)),
            (1, u64::MAX / 4, 1.0, Some(600_000)),
        ];
        for (next, asked, random, expected) in cases {
            let found = retry.wait(next, ms(asked), random);
            assert_eq!(found, expected.map(ms), "try {next}, asked {asked}, random {random}");
        }
        assert!(Retry { attempts: u32::MAX, ..retry }.wait(u32::MAX, ms(0), 1.0).is_some(), "it overflows");
    }
}
