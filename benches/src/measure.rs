//! How things are measured: on one core, contenders in turn, several rounds, medians.
//!
//! All contenders run one round after the other before the first runs its second, so that a machine that is
//! slow for a while is slow for everybody. A rate is the median over the rounds.

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Rounds, of which the median counts.
pub const ROUNDS: usize = 9;
/// How long one contender runs in one round.
pub const ROUND: Duration = Duration::from_millis(300);

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
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub records: u64,
    pub time: Duration,
}

/// Repeats `pass`, which says how many records it took in, until the time of a round is over.
pub fn repeat<E>(mut pass: impl FnMut() -> Result<u64, E>) -> Result<Round, E> {
    let start = Instant::now();
    let mut records = 0;
    loop {
        records += pass()?;
        let time = start.elapsed();
        if time >= ROUND {
            return Ok(Round { records, time });
        }
    }
}

/// One way to do the same work.
pub struct Contender<'a> {
    pub name: &'static str,
    pub round: Box<dyn FnMut() -> anyhow::Result<Round> + 'a>,
}

/// Records per second, round by round.
#[derive(Clone, Debug)]
pub struct Rates {
    pub name: &'static str,
    rates: Vec<f64>,
}

impl Rates {
    pub fn median(&self) -> f64 {
        median(&self.rates)
    }

    /// The slowest and the fastest round.
    pub fn spread(&self) -> (f64, f64) {
        let rates = self.rates.iter().copied();
        (rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max))
    }
}

/// Runs all contenders in turn, `ROUNDS` times, after one round that does not count.
pub fn compare(contenders: &mut [Contender<'_>]) -> anyhow::Result<Vec<Rates>> {
    let mut all: Vec<Rates> =
        contenders.iter().map(|contender| Rates { name: contender.name, rates: Vec::new() }).collect();
    for number in 0..=ROUNDS {
        for (contender, rates) in contenders.iter_mut().zip(&mut all) {
            let round = (contender.round)()?;
            if number > 0 {
                rates.rates.push(round.records as f64 / round.time.as_secs_f64());
            }
        }
    }
    Ok(all)
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
                    Ok(Round { records: records * rank, time: Duration::from_secs(1) })
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
    }

    #[test]
    fn percentiles_of_a_few_values() {
        let mut values: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile(&mut values, 0.5), Duration::from_micros(51));
        assert_eq!(percentile(&mut values, 0.99), Duration::from_micros(99));
        assert_eq!(percentile(&mut [], 0.5), Duration::ZERO);
    }

    #[test]
    fn a_round_lasts_as_long_as_it_should() {
        let round = repeat(|| {
            std::thread::sleep(ROUND / 4);
            Ok::<_, ()>(10)
        });
        let round = round.expect("runs");
        assert!(round.time >= ROUND && round.records <= 40, "{round:?}");
    }
}
