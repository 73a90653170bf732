//! How much may be on its way at once, so that a barrier comes through in time behind a slow consumer.
//!
//! Bytes alone do not bound that: a megabyte is nothing to a file and an hour to a sink that takes a record a second.
//! So a source gives as many records at once as were worked off in a while, and an edge holds as many bytes as its
//! receiver takes in as long. Both begin with what is known, which is nothing, and double while it goes well.

use std::time::Duration;

use crate::connector::PullLimits;

/// How many records a source may give at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacing {
    /// A batch is to be worked off within this time.
    within: Duration,
    records: usize,
}

impl Pacing {
    pub fn new(within: Duration) -> Self {
        Self { within, records: 1 }
    }

    pub fn limit(&self, limits: PullLimits) -> PullLimits {
        PullLimits { records_max: limits.records_max.min(self.records), ..limits }
    }

    /// A batch of `rows` records took `took` to be worked off.
    pub fn worked_off(&mut self, rows: usize, took: Duration) {
        if rows == 0 {
            return;
        }
        let fits = rows as f64 * self.within.as_secs_f64() / took.as_secs_f64().max(1e-9);
        // From a float: saturating, and never none.
        let fits = (fits as usize).max(1);
        let more = if rows >= self.records { self.records.saturating_mul(2) } else { self.records };
        self.records = more.min(fits);
    }
}

/// How many bytes an edge may hold, by what its receiver takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drain {
    /// Bytes; 0 while nothing is known.
    window: usize,
}

impl Drain {
    /// `bytes` were worked off in `took`; all on the edge is to be worked off `within`. While it goes well there may be as
    /// many more: a receiver that has a buffer is quick until that is full.
    pub fn worked_off(&mut self, bytes: usize, took: Duration, within: Duration) {
        let fits = bytes as f64 * within.as_secs_f64() / took.as_secs_f64().max(1e-9);
        self.window = self.window.saturating_add(bytes).min(fits as usize).max(1);
    }

    /// The room that `bytes` take up on an edge with room for `bytes_max`.
    pub fn room(&self, bytes: usize, bytes_max: usize) -> usize {
        let share = bytes as f64 / self.window as f64;
        bytes.max((share * bytes_max as f64) as usize).clamp(1, bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_millis(250);
    const LIMITS: PullLimits =
        PullLimits { records_max: 1024, bytes_max: 1 << 20, delay: Duration::from_millis(5) };

    fn given(pacing: &Pacing) -> usize {
        pacing.limit(LIMITS).records_max
    }

    #[test]
    fn a_source_in_front_of_something_fast_soon_gives_full_batches() {
        let mut pacing = Pacing::new(WITHIN);
        let mut batches = 0;
        while given(&pacing) < LIMITS.records_max {
            pacing.worked_off(given(&pacing), Duration::from_micros(5 + given(&pacing) as u64));
            batches += 1;
        }
        assert_eq!(batches, 10, "it doubles");
    }

    #[test]
    fn a_source_in_front_of_something_slow_gives_what_is_worked_off_in_time() {
        let mut pacing = Pacing::new(WITHIN);
        for _ in 0..20 {
            pacing.worked_off(given(&pacing), Duration::from_millis(20) * given(&pacing) as u32);
        }
        assert_eq!(given(&pacing), 12);
        // It becomes much slower, and then fast again.
        pacing.worked_off(12, Duration::from_secs(12));
        assert_eq!(given(&pacing), 1);
        pacing.worked_off(1, Duration::from_secs(1));
        assert_eq!(given(&pacing), 1, "never none");
        pacing.worked_off(1, Duration::from_micros(1));
        assert_eq!(given(&pacing), 2);
    }

    #[test]
    fn a_batch_that_is_not_full_does_not_say_that_more_would_do() {
        let mut pacing = Pacing::new(WITHIN);
        pacing.worked_off(1, Duration::from_micros(1));
        pacing.worked_off(1, Duration::from_micros(1));
        assert_eq!(given(&pacing), 2);
        pacing.worked_off(0, WITHIN);
        assert_eq!(given(&pacing), 2);
    }

    #[test]
    fn an_edge_holds_what_is_worked_off_in_time_and_never_more_than_its_bytes() {
        const ROOM: usize = 1 << 20;
        let mut drain = Drain::default();
        assert_eq!(drain.room(1000, ROOM), ROOM, "nothing is known yet: one batch at a time");
        for _ in 0..3 {
            drain.worked_off(1000, Duration::from_micros(10), WITHIN);
        }
        assert_eq!(drain.room(1000, ROOM), ROOM / 3, "it has taken three so far");
        for _ in 0..3000 {
            drain.worked_off(1000, Duration::from_micros(10), WITHIN);
        }
        assert_eq!(drain.room(1000, ROOM), 1000, "a hundred megabytes a second: bytes alone count");
        drain.worked_off(1000, Duration::from_millis(125), WITHIN);
        assert_eq!(drain.room(1000, ROOM), ROOM / 2, "two of them are worked off in time");
        assert_eq!(drain.room(100_000, ROOM), ROOM, "what is slower passes alone");
        assert_eq!(Drain::default().room(0, ROOM), 1);
    }
}
