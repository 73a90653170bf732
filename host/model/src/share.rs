//! Which of the pipelines on a busy machine may go on, and how much fuel one may burn.
//!
//! Shares are those of start-time fair queueing (Goyal, Vin and Cheng, 1996): each pipeline has a virtual time that
//! its work moves forward by the time worked over its weight, and one that is ahead of the others waits. One that had
//! nothing to do comes back at the virtual time of those that worked, so that nobody saves up. Times come in as
//! arguments; whoever asks does the waiting.

use std::time::Duration;

use crate::limits;

/// The pipelines that share the cores of one process.
#[derive(Debug, Default)]
pub struct Shares {
    pipelines: Vec<Share>,
}

#[derive(Debug)]
struct Share {
    weight: u32,
    /// Time worked over weight, in nanoseconds for the largest weight.
    virtual_time: u128,
    /// When it last worked or wanted to, from some beginning.
    seen: Duration,
    gone: bool,
}

/// How long a pipeline that was not seen still counts as one that wants to work: it may be between two turns.
const PRESENT: Duration = Duration::from_millis(50);

impl Shares {
    /// A new pipeline, by its number from now on.
    pub fn join(&mut self, weight: u32, now: Duration) -> usize {
        let virtual_time = self.least(now, None).unwrap_or_default();
        self.pipelines.push(Share { weight: weight.max(1), virtual_time, seen: now, gone: false });
        self.pipelines.len() - 1
    }

    /// Pipelines that have ended wait for nobody, and nobody for them.
    pub fn leave(&mut self, pipeline: usize) {
        if let Some(share) = self.pipelines.get_mut(pipeline) {
            share.gone = true;
        }
    }

    /// Whether a pipeline may go on now. It wants to.
    pub fn may_work(&mut self, pipeline: usize, now: Duration) -> bool {
        let least = self.least(now, Some(pipeline));
        let Some(share) = self.pipelines.get_mut(pipeline) else { return true };
        let was_away = now.saturating_sub(share.seen) > PRESENT;
        share.seen = now;
        let Some(least) = least else { return true };
        if was_away {
            share.virtual_time = share.virtual_time.max(least);
        }
        share.virtual_time <= least + over(limits::SHARE_SLACK, share.weight)
    }

    /// A pipeline worked.
    pub fn worked(&mut self, pipeline: usize, time: Duration, now: Duration) {
        if let Some(share) = self.pipelines.get_mut(pipeline) {
            share.virtual_time += over(time, share.weight);
            share.seen = now;
        }
    }

    /// The least virtual time of the others that want to work.
    fn least(&self, now: Duration, but: Option<usize>) -> Option<u128> {
        let present =
            self.pipelines.iter().enumerate().filter(|(i, share)| {
                Some(*i) != but && !share.gone && now.saturating_sub(share.seen) <= PRESENT
            });
        present.map(|(_, share)| share.virtual_time).min()
    }
}

/// Scaled up, so that a short time over a large weight is not nothing.
fn over(time: Duration, weight: u32) -> u128 {
    time.as_nanos() * u128::from(limits::WEIGHT_MAX) / u128::from(weight)
}

/// Fuel that flows in at a rate and out as it is burnt: a token bucket that may go into debt, since what a call burns
/// is known when it is over.
#[derive(Clone, Debug)]
pub struct FuelBucket {
    per_second: u64,
    /// Negative while in debt.
    level: i128,
    filled: Duration,
}

impl FuelBucket {
    /// Starts with what flows in within a tenth of a second, which is also the most that it holds.
    pub fn new(per_second: u64, now: Duration) -> Self {
        let mut bucket = Self { per_second: per_second.max(1), level: 0, filled: now };
        bucket.level = bucket.holds();
        bucket
    }

    fn holds(&self) -> i128 {
        i128::from(self.per_second / 10).max(1)
    }

    /// Takes what a call burnt.
    pub fn burn(&mut self, fuel: u64) {
        self.level -= i128::from(fuel);
    }

    /// How long to wait until the debt is paid; none where there is no debt.
    pub fn wait(&mut self, now: Duration) -> Option<Duration> {
        let passed = now.saturating_sub(self.filled).as_nanos() as i128;
        let flowed = passed * i128::from(self.per_second) / 1_000_000_000;
        if flowed > 0 {
            self.level = (self.level + flowed).min(self.holds());
            self.filled = now;
        }
        if self.level >= 0 {
            return None;
        }
        let nanos = -self.level * 1_000_000_000 / i128::from(self.per_second) + 1;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pipelines of these weights on one core, each turn as long as its entry in `turns_us`; how long each worked.
    fn simulate(weights: &[u32], turns_us: &[u64], until: Duration) -> Vec<Duration> {
        let mut shares = Shares::default();
        let numbers: Vec<usize> = weights.iter().map(|&weight| shares.join(weight, Duration::ZERO)).collect();
        let mut worked = vec![Duration::ZERO; weights.len()];
        let (mut now, mut turn) = (Duration::ZERO, 0);
        while now < until {
            // Round and round, as an executor does.
            let i = turn % weights.len();
            turn += 1;
            if shares.may_work(numbers[i], now) {
                let took = Duration::from_micros(turns_us[i]);
                now += took;
                worked[i] += took;
                shares.worked(numbers[i], took, now);
            } else {
                now += Duration::from_micros(1);
            }
        }
        worked
    }

    #[test]
    fn work_is_shared_by_weight_whatever_the_length_of_a_turn() {
        let cases: [(&[u32], &[u64]); 4] = [
            (&[100, 100], &[10_000, 30]),
            (&[100, 300], &[10_000, 10_000]),
            (&[1, 10], &[500, 10_000]),
            (&[100, 200, 700], &[10_000, 1_000, 20]),
        ];
        for (weights, turns) in cases {
            let worked = simulate(weights, turns, Duration::from_secs(20));
            let total: f64 = worked.iter().map(Duration::as_secs_f64).sum();
            let weight: u32 = weights.iter().sum();
            for (i, time) in worked.iter().enumerate() {
                let (found, due) = (time.as_secs_f64() / total, f64::from(weights[i]) / f64::from(weight));
                assert!(
                    (found / due - 1.0).abs() < 0.05,
                    "{weights:?} {turns:?}: {i} got {found}, is due {due}"
                );
            }
        }
    }

    #[test]
    fn one_alone_never_waits_and_who_was_away_has_saved_nothing_up() {
        let mut shares = Shares::default();
        let (a, b) = (shares.join(100, Duration::ZERO), shares.join(100, Duration::ZERO));
        let mut now = Duration::from_secs(1);
        for _ in 0..100 {
            assert!(shares.may_work(a, now), "nobody else wants to work");
            now += Duration::from_millis(10);
            shares.worked(a, Duration::from_millis(10), now);
        }
        assert!(shares.may_work(b, now));
        shares.worked(b, Duration::from_millis(30), now);
        assert!(!shares.may_work(b, now), "it was away for a second and takes all of it now");
        shares.leave(a);
        assert!(shares.may_work(b, now), "it waits for one that has ended");
    }

    #[test]
    fn fuel_flows_in_at_its_rate_and_debt_is_waited_for() {
        let ms = Duration::from_millis;
        let mut bucket = FuelBucket::new(1000, ms(0));
        assert_eq!(bucket.wait(ms(0)), None);
        bucket.burn(1100);
        let wait = bucket.wait(ms(0)).expect("in debt");
        assert!((ms(999)..=ms(1001)).contains(&wait), "{wait:?}");
        assert!(bucket.wait(ms(500)).is_some());
        assert_eq!(bucket.wait(ms(1001)), None);
        // What nobody burns is not saved up for longer than a tenth of a second.
        assert_eq!(bucket.wait(ms(60_000)), None);
        bucket.burn(200);
        let wait = bucket.wait(ms(60_000)).expect("in debt");
        assert!((ms(99)..=ms(101)).contains(&wait), "{wait:?}");
    }
}
