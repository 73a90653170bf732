//! Which of the pipelines on a busy machine may go on, and how much fuel one may burn.
//!
//! Shares are those of start-time fair queueing (Goyal, Vin and Cheng, 1996): each pipeline has a virtual time that
//! its work moves forward by the time worked over its weight, and one that is ahead of the others that want to work
//! waits. One that had nothing to do comes back at the virtual time of those that worked, so that nobody saves up, and
//! while it has nothing to do nobody waits for it, nor where there is a thread for everybody. One that has left counts
//! no more. Times come in as arguments; whoever asks does the waiting.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::limits;

/// The pipelines that share the threads of one process. What is asked for each turn takes as long as a look into an ordered
/// set of those that work or have just worked, however many others there are.
#[derive(Debug)]
pub struct Shares {
    threads: usize,
    /// None where one has left, and another may join.
    pipelines: Vec<Option<Share>>,
    vacant: Vec<usize>,
    /// Those that others may have to wait for, by their virtual time.
    present: BTreeSet<(u128, usize)>,
    /// Those of them that have nothing to do just now, by the end of their presence on the clock of [`Shares::quiet`].
    lingering: BTreeSet<(Duration, usize)>,
    /// Loops that others may have to wait for; each that lingers counts as one.
    wanting: usize,
    /// What all have worked, over the threads.
    worked: Duration,
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
    /// Until when it lingers, while it does. One that has worked for a while counts for as long as that when it has nothing
    /// to do: it may be between two pieces of its input. One that works now and then counts while it works.
    lingers: Option<Duration>,
}

impl Share {
    fn is_present(&self) -> bool {
        self.wanting > 0 || self.lingers.is_some()
    }
}

impl Shares {
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            pipelines: Vec::new(),
            vacant: Vec::new(),
            present: BTreeSet::new(),
            lingering: BTreeSet::new(),
            wanting: 0,
            worked: Duration::ZERO,
        }
    }

    /// A new pipeline, by its number until it leaves.
    pub fn join(&mut self, weight: u32) -> usize {
        let share = Share {
            weight: weight.max(1),
            virtual_time: 0,
            wanting: 0,
            lately: Duration::ZERO,
            lingers: None,
        };
        match self.vacant.pop() {
            Some(number) => {
                self.pipelines[number] = Some(share);
                number
            }
            None => {
                self.pipelines.push(Some(share));
                self.pipelines.len() - 1
            }
        }
    }

    /// A pipeline is gone, and nobody waits for it any more. Its number may be that of another one from now on.
    pub fn leave(&mut self, pipeline: usize) {
        let Some(share) = self.pipelines.get_mut(pipeline).and_then(Option::take) else { return };
        self.present.remove(&(share.virtual_time, pipeline));
        self.wanting -= share.wanting;
        if let Some(until) = share.lingers {
            self.lingering.remove(&(until, pipeline));
            self.wanting -= 1;
        }
        self.vacant.push(pipeline);
        if self.vacant.len() == self.pipelines.len() {
            (self.pipelines, self.vacant) = (Vec::new(), Vec::new());
        }
    }

    /// Whether there is no pipeline.
    pub fn is_empty(&self) -> bool {
        self.pipelines.is_empty()
    }

    /// A loop of a pipeline has something to do, until it `rests`.
    pub fn wants(&mut self, pipeline: usize, now: Duration) {
        self.let_go(now);
        let least = self.least(pipeline);
        let Some(share) = self.pipelines.get_mut(pipeline).and_then(Option::as_mut) else { return };
        if !share.is_present() {
            share.lately = Duration::ZERO;
            share.virtual_time = share.virtual_time.max(least.unwrap_or_default());
            self.present.insert((share.virtual_time, pipeline));
        }
        if let Some(until) = share.lingers.take() {
            self.lingering.remove(&(until, pipeline));
            self.wanting -= 1;
        }
        share.wanting += 1;
        self.wanting += 1;
    }

    /// A loop of a pipeline has nothing to do for now, or has ended.
    pub fn rests(&mut self, pipeline: usize, now: Duration) {
        let quiet = self.quiet(now);
        let Some(share) = self.pipelines.get_mut(pipeline).and_then(Option::as_mut) else { return };
        match share.wanting {
            0 => {}
            // The loop that wanted to work is the one that lingers.
            1 => {
                let until =
                    quiet.saturating_add(share.lately.clamp(limits::SHARE_LINGER, limits::SHARE_LINGER_MAX));
                (share.wanting, share.lingers) = (0, Some(until));
                self.lingering.insert((until, pipeline));
            }
            _ => {
                share.wanting -= 1;
                self.wanting -= 1;
            }
        }
    }

    /// Whether a pipeline may go on now. It wants to.
    pub fn may_work(&mut self, pipeline: usize, now: Duration) -> bool {
        self.let_go(now);
        let share = self.pipelines.get(pipeline).and_then(Option::as_ref);
        let (Some(share), Some(least)) = (share, self.least(pipeline)) else {
            return true;
        };
        self.wanting <= self.threads || share.virtual_time <= least + over(limits::SHARE_SLACK, share.weight)
    }

    /// A pipeline worked.
    pub fn worked(&mut self, pipeline: usize, time: Duration) {
        self.worked += time / u32::try_from(self.threads.max(1)).unwrap_or(u32::MAX);
        let Some(share) = self.pipelines.get_mut(pipeline).and_then(Option::as_mut) else { return };
        let before = share.virtual_time;
        share.virtual_time += over(time, share.weight);
        share.lately += time;
        if self.present.remove(&(before, pipeline)) {
            self.present.insert((share.virtual_time, pipeline));
        }
    }

    /// The time without what was worked: one that has nothing to do may have been woken while others worked, and nobody was
    /// there to hear it.
    fn quiet(&self, now: Duration) -> Duration {
        now.saturating_sub(self.worked)
    }

    /// Those that have had nothing to do for long enough are not waited for any more.
    fn let_go(&mut self, now: Duration) {
        let quiet = self.quiet(now);
        while let Some(&(until, pipeline)) = self.lingering.first()
            && until < quiet
        {
            self.lingering.pop_first();
            self.wanting -= 1;
            if let Some(share) = self.pipelines.get_mut(pipeline).and_then(Option::as_mut) {
                share.lingers = None;
                self.present.remove(&(share.virtual_time, pipeline));
            }
        }
    }

    /// The least virtual time of the others that want to work.
    fn least(&self, but: usize) -> Option<u128> {
        self.present.iter().find(|(_, pipeline)| *pipeline != but).map(|(virtual_time, _)| *virtual_time)
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
    fn who_has_left_is_not_waited_for_and_has_left_nothing_to_the_next() {
        let mut shares = Shares::new(1);
        let (a, b) = (shares.join(100), shares.join(100));
        shares.wants(a, MS);
        shares.wants(b, MS);
        shares.worked(b, 30 * MS);
        assert!(!shares.may_work(b, MS), "it is ahead");
        shares.leave(a);
        assert!(shares.may_work(b, MS));
        // One that lingers leaves as well.
        let a = shares.join(100);
        shares.wants(a, MS);
        shares.worked(a, MS);
        shares.rests(a, 2 * MS);
        shares.worked(b, 30 * MS);
        assert!(!shares.may_work(b, 2 * MS));
        shares.leave(a);
        assert!(shares.may_work(b, 2 * MS));
        // Whoever gets its number begins where the others are.
        let next = shares.join(100);
        assert_eq!(next, a);
        shares.wants(next, 2 * MS);
        shares.worked(next, 30 * MS);
        assert!(!shares.may_work(next, 2 * MS) && shares.may_work(b, 2 * MS));
        // What comes late from one that has left changes nothing.
        shares.leave(next);
        shares.rests(next, 3 * MS);
        shares.wants(next, 3 * MS);
        shares.worked(next, MS);
        assert!(shares.may_work(b, 3 * MS) && shares.may_work(next, 3 * MS));
    }

    #[test]
    fn thousands_that_join_and_leave_leave_nothing_behind() {
        let mut shares = Shares::new(2);
        for round in 0..100u32 {
            let joined: Vec<usize> = (0..100).map(|_| shares.join(100)).collect();
            for (i, &pipeline) in joined.iter().enumerate() {
                let now = MS * round;
                // Some leave before they have worked, some while they do, some between two turns, and some long after.
                (0..i % 4).for_each(|_| shares.wants(pipeline, now));
                shares.worked(pipeline, MS / 10);
                (0..i % 3).for_each(|_| shares.rests(pipeline, now));
                shares.may_work(pipeline, now + MS * (i % 5) as u32 * 100);
            }
            assert!(shares.pipelines.len() <= 100, "numbers are given again");
            joined.into_iter().rev().for_each(|pipeline| shares.leave(pipeline));
            assert!(shares.is_empty() && shares.present.is_empty() && shares.lingering.is_empty());
            assert_eq!((shares.wanting, shares.vacant.len()), (0, 0));
        }
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
