//! How much may be on its way at once, so that a barrier comes through in time behind a slow consumer.
//!
//! Bytes alone do not bound that: a megabyte is nothing to a file and an hour to a sink that takes a record a second.
//! So a source gives as many records at once as were worked off in a while, and an edge holds as many bytes as its
//! receiver takes in as long. Both begin with what is known, which is nothing, and double while it goes well: no more
//! often than [`limits::PACE_DOUBLES`], since whoever has a buffer is quick until that is full, and then there is much
//! on its way already.

use std::time::{Duration, Instant};

use model::limits;

use crate::connector::PullLimits;

/// When it doubled last.
#[derive(Clone, Copy, Debug, Default)]
struct Doubling(Option<Instant>);

impl Doubling {
    /// Whether it may double now. The first time only begins to count.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_some_and(|last| now.saturating_duration_since(last) >= limits::PACE_DOUBLES);
        if is_due || self.0.is_none() {
            self.0 = Some(now);
        }
        is_due
    }
}

/// How many records a source may give at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacing {
    /// A batch is to be worked off within this time.
    within: Duration,
    records: usize,
    doubling: Doubling,
}

impl Pacing {
    pub fn new(within: Duration) -> Self {
        Self { within, records: 1, doubling: Doubling::default() }
    }

    pub fn limit(&self, limits: PullLimits) -> PullLimits {
        PullLimits { records_max: limits.records_max.min(self.records), ..limits }
    }

    /// A batch of `rows` records took `took` to be worked off.
    pub fn worked_off(&mut self, rows: usize, took: Duration, now: Instant) {
        if rows == 0 {
            return;
        }
        let fits = rows as f64 * self.within.as_secs_f64() / took.as_secs_f64().max(1e-9);
        // From a float: saturating, and never none.
        let fits = (fits as usize).max(1);
        let is_full = rows >= self.records;
        let more =
            if is_full && self.doubling.is_due(now) { self.records.saturating_mul(2) } else { self.records };
        self.records = more.min(fits);
    }
}

/// How many bytes may be on their way to somebody, by what is taken there: over an edge, or to a thread that writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drain {
    /// Bytes; 0 while nothing is known.
    window: usize,
    doubling: Doubling,
}

impl Drain {
    /// `bytes` were worked off in `took`; all on the way is to be worked off `within`.
    pub fn worked_off(&mut self, bytes: usize, took: Duration, within: Duration, now: Instant) {
        let fits = bytes as f64 * within.as_secs_f64() / took.as_secs_f64().max(1e-9);
        let known = self.window.max(bytes);
        let more = if self.doubling.is_due(now) { known.saturating_mul(2) } else { known };
        self.window = more.min(fits as usize).max(1);
    }

    /// Bytes; 0 while nothing is known.
    pub fn window(&self) -> usize {
        self.window
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
        let start = Instant::now();
        let (mut pacing, mut now) = (Pacing::new(WITHIN), start);
        while given(&pacing) < LIMITS.records_max {
            let took = Duration::from_micros(5 + given(&pacing) as u64);
            now += took;
            pacing.worked_off(given(&pacing), took, now);
        }
        let ramp = now - start;
        assert!(ramp >= limits::PACE_DOUBLES * 10 && ramp < limits::PACE_DOUBLES * 12, "it took {ramp:?}");
    }

    #[test]
    fn a_source_in_front_of_a_buffer_has_given_little_when_that_is_full() {
        let (mut pacing, mut now) = (Pacing::new(WITHIN), Instant::now());
        let mut taken = 0;
        while taken < 100 {
            now += Duration::from_micros(5);
            taken += given(&pacing);
            pacing.worked_off(given(&pacing), Duration::from_micros(5), now);
        }
        assert_eq!(given(&pacing), 1, "a hundred records went into the buffer, one by one");
        now += limits::PACE_DOUBLES;
        pacing.worked_off(1, limits::PACE_DOUBLES, now);
        assert_eq!(given(&pacing), 2);
        now += Duration::from_secs(2);
        pacing.worked_off(2, Duration::from_secs(2), now);
        assert_eq!(given(&pacing), 1, "now it is known how slow it is");
    }

    #[test]
    fn a_source_in_front_of_something_slow_gives_what_is_worked_off_in_time() {
        let (mut pacing, mut now) = (Pacing::new(WITHIN), Instant::now());
        let mut work = |pacing: &mut Pacing, rows: usize, took: Duration| {
            now += took;
            pacing.worked_off(rows, took, now);
        };
        for _ in 0..20 {
            let rows = given(&pacing);
            work(&mut pacing, rows, Duration::from_millis(20) * rows as u32);
        }
        assert_eq!(given(&pacing), 12);
        // It becomes much slower, and then fast again.
        work(&mut pacing, 12, Duration::from_secs(12));
        assert_eq!(given(&pacing), 1);
        work(&mut pacing, 1, Duration::from_secs(1));
        assert_eq!(given(&pacing), 1, "never none");
        work(&mut pacing, 1, limits::PACE_DOUBLES);
        assert_eq!(given(&pacing), 2);
    }

    #[test]
    fn a_batch_that_is_not_full_does_not_say_that_more_would_do() {
        let (mut pacing, mut now) = (Pacing::new(WITHIN), Instant::now());
        for (rows, expected) in [(1, 1), (1, 2), (1, 2), (0, 2), (2, 4)] {
            now += limits::PACE_DOUBLES;
            pacing.worked_off(rows, Duration::from_micros(1), now);
            assert_eq!(given(&pacing), expected, "after a batch of {rows}");
        }
    }

    #[test]
    fn an_edge_holds_what_is_worked_off_in_time_and_never_more_than_its_bytes() {
        const ROOM: usize = 1 << 20;
        let (mut drain, mut now) = (Drain::default(), Instant::now());
        assert_eq!(drain.room(1000, ROOM), ROOM, "nothing is known yet: one batch at a time");
        let quick = Duration::from_micros(10);
        for _ in 0..3 {
            drain.worked_off(1000, quick, WITHIN, now);
        }
        assert_eq!(drain.room(1000, ROOM), ROOM, "it is quick, or has a buffer");
        for _ in 0..20 {
            now += limits::PACE_DOUBLES;
            drain.worked_off(1000, quick, WITHIN, now);
        }
        assert_eq!(drain.room(1000, ROOM), 1000, "a hundred megabytes a second: bytes alone count");
        drain.worked_off(1000, Duration::from_millis(125), WITHIN, now);
        assert_eq!(drain.room(1000, ROOM), ROOM / 2, "two of them are worked off in time");
        assert_eq!(drain.room(100_000, ROOM), ROOM, "what is slower passes alone");
        assert_eq!(Drain::default().room(0, ROOM), 1);
    }
}
