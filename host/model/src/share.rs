//! Which of the pipelines on a busy machine may go on, and how much fuel one may burn.
//!
//! Shares are those of start-time fair queueing (Goyal, Vin and Cheng, 1996): each pipeline has a virtual time that
//! its work moves forward by the time worked over its weight, and one that is ahead of the others that want to work
//! waits. One that had nothing to do comes back at the virtual time of those that worked, so that nobody saves up, and
//! while it has nothing to do nobody waits for it, nor where there is a thread for everybody. Times come in as
//! arguments; whoever asks does the waiting.

use std::time::Duration;

use crate::limits;

/// The pipelines that share the threads of one process.
#[derive(Debug)]
pub struct Shares {
    threads: usize,
    pipelines: Vec<Share>,
}

#[derive(Debug)]
struct Share {
    weight: u32,
    /// Time worked over weight, in nanoseconds for the largest weight.
    virtual_time: u128,
    /// Loops of it that work or want to.
    wanting: usize,
    /// Time worked since it last had nothing to do for longer than a moment.
    lately: Duration,
    /// When the last of its loops had nothing to do any more.
    rested: Option<Duration>,
    /// Time that others worked since then. It may have been woken meanwhile, and nobody was there to hear it.
    unheard: Duration,
}

impl Share {
    /// Its loops that others may have to wait for. One that has worked for a while counts for as long as that when it
    /// has nothing to do: it may be between two pieces of its input. One that works now and then counts while it works.
    fn present(&self, now: Duration) -> usize {
        let between = self.rested.is_some_and(|rested| {
            let idle = now.saturating_sub(rested).saturating_sub(self.unheard);
            idle <= self.lately.clamp(limits::SHARE_LINGER, limits::SHARE_LINGER_MAX)
        });
        self.wanting.max(usize::from(between))
    }
}

impl Shares {
    pub fn new(threads: usize) -> Self {
        Self { threads, pipelines: Vec::new() }
    }

    /// A new pipeline, by its number from now on.
    pub fn join(&mut self, weight: u32) -> usize {
        self.pipelines.push(Share {
            weight: weight.max(1),
            virtual_time: 0,
            wanting: 0,
            lately: Duration::ZERO,
            rested: None,
            unheard: Duration::ZERO,
        });
        self.pipelines.len() - 1
    }

    /// A loop of a pipeline has something to do, until it `rests`.
    pub fn wants(&mut self, pipeline: usize, now: Duration) {
        let least = self.least(pipeline, now);
        let Some(share) = self.pipelines.get_mut(pipeline) else { return };
        if share.present(now) == 0 {
            share.lately = Duration::ZERO;
            share.virtual_time = share.virtual_time.max(least.unwrap_or_default());
        }
        share.wanting += 1;
        share.rested = None;
    }

    /// A loop of a pipeline has nothing to do for now, or has ended.
    pub fn rests(&mut self, pipeline: usize, now: Duration) {
        if let Some(share) = self.pipelines.get_mut(pipeline) {
            share.wanting = share.wanting.saturating_sub(1);
            share.rested = (share.wanting == 0).then_some(now);
            share.unheard = Duration::ZERO;
        }
    }

    /// Whether a pipeline may go on now. It wants to.
    pub fn may_work(&self, pipeline: usize, now: Duration) -> bool {
        let wanting: usize = self.pipelines.iter().map(|share| share.present(now)).sum();
        let (Some(share), Some(least)) = (self.pipelines.get(pipeline), self.least(pipeline, now)) else {
            return true;
        };
        wanting <= self.threads || share.virtual_time <= least + over(limits::SHARE_SLACK, share.weight)
    }

    /// A pipeline worked.
    pub fn worked(&mut self, pipeline: usize, time: Duration) {
        let unheard = time / u32::try_from(self.threads.max(1)).unwrap_or(u32::MAX);
        for (i, share) in self.pipelines.iter_mut().enumerate() {
            if i == pipeline {
                share.virtual_time += over(time, share.weight);
                share.lately += time;
            } else if share.rested.is_some() {
                share.unheard += unheard;
            }
        }
    }

    /// The least virtual time of the others that want to work.
    fn least(&self, but: usize, now: Duration) -> Option<u128> {
        let others =
            self.pipelines.iter().enumerate().filter(|(i, share)| *i != but && share.present(now) > 0);
        others.map(|(_, share)| share.virtual_time).min()
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

    const MS: Duration = Duration::from_millis(1);

    /// Pipelines of these weights on one core, each turn as long as its entry in `turns_us`, and each resting for
    /// `rest_us` after a turn; how long each worked.
    fn simulate(weights: &[u32], turns_us: &[u64], rest_us: u64, until: Duration) -> Vec<Duration> {
        let mut shares = Shares::new(1);
        let numbers: Vec<usize> = weights.iter().map(|&weight| shares.join(weight)).collect();
        let mut worked = vec![Duration::ZERO; weights.len()];
        let mut comes_back = vec![Some(Duration::ZERO); weights.len()];
        let (mut now, mut turn) = (Duration::ZERO, 0);
        while now < until {
            // Round and round, as an executor does.
            let i = turn % weights.len();
            turn += 1;
            for (number, back) in numbers.iter().zip(&mut comes_back) {
                if back.is_some_and(|back| back <= now) {
                    shares.wants(*number, now);
                    *back = None;
                }
            }
            if comes_back[i].is_none() && shares.may_work(numbers[i], now) {
                let took = Duration::from_micros(turns_us[i]);
                now += took;
                worked[i] += took;
                shares.worked(numbers[i], took);
                if rest_us > 0 {
                    shares.rests(numbers[i], now);
                    comes_back[i] = Some(now + Duration::from_micros(rest_us));
                }
            } else {
                now += Duration::from_micros(1);
            }
        }
        worked
    }

    #[test]
    fn work_is_shared_by_weight_whatever_the_length_of_a_turn() {
        let cases: [(&[u32], &[u64], u64); 5] = [
            (&[100, 100], &[10_000, 30], 0),
            (&[100, 300], &[10_000, 10_000], 0),
            (&[1, 10], &[500, 10_000], 0),
            (&[100, 200, 700], &[10_000, 1_000, 20], 0),
            // Those that rest for a moment between two turns, as for the next piece of a file, do not lose by it.
            (&[100, 300], &[10_000, 10_000], 50),
        ];
        for (weights, turns, rest_us) in cases {
            let worked = simulate(weights, turns, rest_us, Duration::from_secs(20));
            let total: f64 = worked.iter().map(Duration::as_secs_f64).sum();
            let weight: u32 = weights.iter().sum();
            for (i, time) in worked.iter().enumerate() {
                let (found, due) = (time.as_secs_f64() / total, f64::from(weights[i]) / f64::from(weight));
                assert!(
                    (found / due - 1.0).abs() < 0.05,
                    "{weights:?} {turns:?} {rest_us}: {i} got {found}, is due {due}"
                );
            }
        }
    }

    #[test]
    fn nobody_waits_for_one_that_has_little_to_do() {
        // One works for 20 us in each ms; the other always has something to do.
        let mut shares = Shares::new(1);
        let (light, heavy) = (shares.join(100), shares.join(100));
        let (mut now, mut worked, mut waited) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        shares.wants(heavy, now);
        while now < 1000 * MS {
            shares.wants(light, now);
            assert!(shares.may_work(light, now), "it is behind and waits");
            now += MS / 50;
            shares.worked(light, MS / 50);
            shares.rests(light, now);
            let comes_back = now + MS - MS / 50;
            while now < comes_back {
                match shares.may_work(heavy, now) {
                    true => {
                        shares.worked(heavy, MS / 10);
                        worked += MS / 10;
                    }
                    false => waited += MS / 10,
                }
                now += MS / 10;
            }
        }
        assert!(worked > 2 * waited, "it worked for {worked:?} and waited for {waited:?}");
    }

    #[test]
    fn one_alone_never_waits_and_who_was_away_has_saved_nothing_up() {
        let mut shares = Shares::new(1);
        let (a, b) = (shares.join(100), shares.join(100));
        let mut now = 1000 * MS;
        shares.wants(a, now);
        for _ in 0..100 {
            assert!(shares.may_work(a, now), "nobody else wants to work");
            now += 10 * MS;
            shares.worked(a, 10 * MS);
        }
        shares.wants(b, now);
        assert!(shares.may_work(b, now));
        shares.worked(b, 30 * MS);
        assert!(!shares.may_work(b, now), "it was away for a second and takes all of it now");
        shares.rests(a, now);
        assert!(!shares.may_work(b, now), "the other is between two turns");
        assert!(shares.may_work(b, now + 51 * MS), "it waits for one that has ended");
    }

    #[test]
    fn where_there_is_a_thread_for_everybody_nobody_waits() {
        for (threads, may) in [(1, false), (2, true)] {
            let mut shares = Shares::new(threads);
            let (a, b) = (shares.join(100), shares.join(100));
            shares.wants(a, MS);
            shares.wants(b, MS);
            shares.worked(b, 100 * MS);
            assert_eq!(shares.may_work(b, MS), may, "{threads} threads");
        }
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
