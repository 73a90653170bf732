//! Measuring on a machine that others use too: what misses its bound is measured again, with its own baseline, before
//! it counts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often something is measured before it is believed to be slow.
pub const TRIES: usize = 3;
/// What the healthy pipeline may wait longer than twice what it waits alone.
const LATENCY_SLACK: Duration = Duration::from_millis(5);
/// How long after its deadline a stage is gone.
pub const STOP_SLACK: Duration = Duration::from_millis(100);

/// Measurements do not run beside one another.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Latencies of the healthy pipeline.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// The time within which 99 of 100 records came through.
    pub fn p99(&self) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * 99 / 100).min(last)).copied().unwrap_or_default()
    }

    /// What is wrong with it, beside what it was alone.
    pub fn misses(&self, alone: &Latencies) -> Option<String> {
        let (found, own) = (self.p99(), alone.p99());
        let bound = 2 * own + LATENCY_SLACK;
        (found > bound).then(|| {
            format!("p99 of the healthy pipeline is {found:?}, alone {own:?}, so that {bound:?} are allowed")
        })
    }
}

/// Tries until nothing misses its bound. `measure` gets the number of the try, and answers with what missed.
#[track_caller]
pub fn until_it_holds(what: &str, mut measure: impl FnMut(usize) -> Vec<String>) {
    let mut all = Vec::new();
    for attempt in 0..TRIES {
        let missed = measure(attempt);
        if missed.is_empty() {
            return;
        }
        eprintln!("{what}, try {attempt}: {missed:?}");
        all.extend(missed);
    }
    panic!("{what} missed its bounds {TRIES} times:\n  {}", all.join("\n  "));
}

/// The most memory that a process ever held, so far. None once it has ended.
pub fn peak_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[test]
fn the_slowest_of_a_hundred_does_not_count_and_the_second_does() {
    let ms = |list: &[u64]| Latencies::new(list.iter().map(|&ms| Duration::from_millis(ms)).collect());
    let mut hundred = vec![1; 99];
    hundred.push(500);
    assert_eq!(ms(&hundred).p99(), Duration::from_millis(500));
    hundred.insert(0, 1);
    assert_eq!(ms(&hundred).p99(), Duration::from_millis(1));
    assert_eq!(ms(&[]).p99(), Duration::ZERO);
    assert!(ms(&[7]).misses(&ms(&[1])).is_none() && ms(&[8]).misses(&ms(&[1])).is_some());
}
