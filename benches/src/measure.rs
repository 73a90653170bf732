//! How things are measured: on one core, contenders in turn, several rounds, medians.
//!
//! All contenders run one round after the other before the first runs its second, so that a machine that is
//! slow for a while is slow for everybody. A rate is the median over the rounds.
//!
//! What is counted is the time that the core worked, this process and its sidecars together: what others do on
//! the same machine does not count. On a machine that does nothing else it is the time on the wall.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Rounds, of which the median counts.
pub const ROUNDS: usize = 9;
/// How long one contender works in one round.
pub const ROUND: Duration = Duration::from_millis(200);

/// Ties this process, with the threads and children that it starts from now on, to the last core that it may
/// use; gives its number.
pub fn pin_to_one_core() -> std::io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let core = (0..CpuSet::MAX_CPU).rev().find(|&core| allowed.is_set(core)).unwrap_or_default();
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one)?;
    Ok(core)
}

/// What one round of one contender came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    pub records: u64,
    /// That the core worked.
    pub busy: Duration,
    /// That went by.
    pub wall: Duration,
}

impl std::ops::AddAssign for Round {
    fn add_assign(&mut self, more: Self) {
        self.records += more.records;
        self.busy += more.busy;
        self.wall += more.wall;
    }
}

/// Takes the time of a piece of work.
#[derive(Debug)]
pub struct Clock<'a> {
    children: &'a [u32],
    busy: Duration,
    wall: Instant,
}

impl<'a> Clock<'a> {
    /// `children`: processes that work for this one, each on one thread.
    pub fn start(children: &'a [u32]) -> Self {
        Self { children, busy: busy(children), wall: Instant::now() }
    }

    pub fn stop(&self, records: u64) -> Round {
        Round { records, busy: busy(self.children).saturating_sub(self.busy), wall: self.wall.elapsed() }
    }
}

/// Whether no clock is looked at.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Has every clock stand still. The kernel's fast way to the clock, which rustix takes, does not exist under valgrind.
pub fn stop_clocks() {
    STOPPED.store(true, Ordering::Relaxed);
}

fn busy(children: &[u32]) -> Duration {
    if STOPPED.load(Ordering::Relaxed) {
        return Duration::ZERO;
    }
    let own = clock_gettime(ClockId::ProcessCPUTime);
    let own = Duration::new(own.tv_sec.unsigned_abs(), own.tv_nsec.unsigned_abs() as u32);
    own + ran(children)
}

/// How long processes of one thread each have worked.
fn ran(children: &[u32]) -> Duration {
    // The first number is the nanoseconds that it ran. A child that is gone fails the call that waits for it.
    let ran = |pid: &u32| -> Option<u64> {
        std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(children.iter().filter_map(ran).sum())
}

/// Repeats `pass`, which says how many records it took in, until the time of a round is over.
pub fn repeat<E>(children: &[u32], mut pass: impl FnMut() -> Result<u64, E>) -> Result<Round, E> {
    let mut round = Round::default();
    while round.busy < ROUND {
        let clock = Clock::start(children);
        let records = pass()?;
        round += clock.stop(records);
    }
    Ok(round)
}

/// One way to do the same work.
pub struct Contender<'a> {
    pub name: &'static str,
    pub round: Box<dyn FnMut() -> anyhow::Result<Round> + 'a>,
}

/// Records per second of work, round by round.
#[derive(Clone, Debug)]
pub struct Rates {
    pub name: &'static str,
    rates: Vec<f64>,
    /// Records per second that went by.
    walls: Vec<f64>,
    total: Round,
}

impl Rates {
    pub fn median(&self) -> f64 {
        median(&self.rates)
    }

    /// Records per second that went by, for what waits for disks and for itself.
    pub fn median_by_the_wall(&self) -> f64 {
        median(&self.walls)
    }

    /// Which share of the time that went by the core worked for this.
    pub fn share(&self) -> f64 {
        self.total.busy.as_secs_f64() / self.total.wall.as_secs_f64()
    }

    /// The slowest and the fastest round.
    pub fn spread(&self) -> (f64, f64) {
        spread(&self.rates)
    }
}

/// Runs all contenders in turn, `ROUNDS` times, after one round that does not count.
pub fn compare(contenders: &mut [Contender<'_>]) -> anyhow::Result<Vec<Rates>> {
    let rates = |contender: &Contender<'_>| Rates {
        name: contender.name,
        rates: Vec::new(),
        walls: Vec::new(),
        total: Round::default(),
    };
    let mut all: Vec<Rates> = contenders.iter().map(rates).collect();
    for number in 0..=ROUNDS {
        for (contender, rates) in contenders.iter_mut().zip(&mut all) {
            let round = (contender.round)()?;
            if number > 0 {
                rates.rates.push(round.records as f64 / round.busy.as_secs_f64());
                rates.walls.push(round.records as f64 / round.wall.as_secs_f64());
                rates.total += round;
            }
        }
    }
    Ok(all)
}

/// The smallest and the largest of `values`.
pub fn spread(values: &[f64]) -> (f64, f64) {
    let values = values.iter().copied();
    (values.clone().fold(f64::INFINITY, f64::min), values.fold(0.0, f64::max))
}

/// The value in the middle of `values`, of which there is at least one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which `share` of `values` lie.
pub fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort();
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_take_turns_and_the_median_counts() {
        let order = std::cell::RefCell::new(Vec::new());
        let contender = |name: &'static str, records: u64| Contender {
            name,
            round: Box::new({
                let order = &order;
                move || {
                    order.borrow_mut().push(name);
                    let rank = order.borrow().len() as u64;
                    Ok(Round {
                        records: records * rank,
                        busy: Duration::from_secs(1),
                        wall: Duration::from_secs(2),
                    })
                }
            }),
        };
        let rates = compare(&mut [contender("a", 1), contender("b", 10)]).expect("runs");
        assert_eq!(order.borrow()[..4], ["a", "b", "a", "b"]);
        assert_eq!(order.borrow().len(), 2 * (ROUNDS + 1));
        // Turn 11 of 20 is the median of a's 3, 5, ..., 19.
        assert_eq!(rates[0].median(), 11.0);
        assert_eq!(rates[0].spread(), (3.0, 19.0));
        assert_eq!(rates[1].median(), 120.0);
        assert_eq!(rates[1].share(), 0.5);
    }

    #[test]
    fn percentiles_of_a_few_values() {
        let mut values: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile(&mut values, 0.5), Duration::from_micros(51));
        assert_eq!(percentile(&mut values, 0.99), Duration::from_micros(99));
        assert_eq!(percentile(&mut [], 0.5), Duration::ZERO);
    }

    #[test]
    fn a_round_is_as_long_as_the_work_in_it() {
        let mut passes = 0;
        let round = repeat(&[], || {
            passes += 1;
            std::thread::sleep(Duration::from_millis(1));
            let start = Clock::start(&[]);
            while start.stop(0).busy < ROUND / 4 {
                std::hint::spin_loop();
            }
            Ok::<_, ()>(10)
        });
        let round = round.expect("runs");
        assert!(round.busy >= ROUND && round.wall > round.busy / 2, "{round:?}");
        assert_eq!(round.records, 10 * passes);
        assert!(passes <= 5, "sleeping was counted as work: {passes} passes");
    }

    #[test]
    fn the_work_of_children_counts() {
        /// Ended however the test ends.
        struct Busy(std::process::Child);
        impl Drop for Busy {
            fn drop(&mut self) {
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
        }
        let mut child = std::process::Command::new("sh");
        let child = Busy(child.args(["-c", "while :; do :; done"]).spawn().expect("a shell"));
        let clock_of_child = || ran(&[child.0.id()]);
        let start = Instant::now();
        while clock_of_child() < Duration::from_millis(5) && start.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        let worked = clock_of_child();
        drop(child);
        assert!(worked >= Duration::from_millis(5), "{worked:?}");
    }
}
