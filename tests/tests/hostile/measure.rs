//! Measuring on a machine that others use too: what misses its bound is measured again, with its own baseline, before
//! it counts.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// Latencies of the healthy pipeline, and how late a thread was that did nothing but sleep meanwhile: what the machine
/// does to everybody on it, such as a compiler beside the tests.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    own: Vec<Duration>,
    machine: Vec<Duration>,
}

impl Latencies {
    pub fn new(mut own: Vec<Duration>, mut machine: Vec<Duration>) -> Self {
        own.sort_unstable();
        machine.sort_unstable();
        Self { own, machine }
    }

    /// The time within which 99 of 100 records came through.
    pub fn p99(&self) -> Duration {
        p99(&self.own)
    }

    /// What is wrong with it, beside what it was alone.
    pub fn misses(&self, alone: &Latencies) -> Option<String> {
        let (found, own) = (self.p99(), alone.p99());
        let machine = p99(&self.machine).saturating_sub(p99(&alone.machine));
        let bound = 2 * own + LATENCY_SLACK + machine;
        (found > bound).then(|| {
            format!(
                "p99 of the healthy pipeline is {found:?}, alone {own:?}, and the machine is {machine:?} slower, so that \
                 {bound:?} are allowed"
            )
        })
    }
}

fn p99(sorted: &[Duration]) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * 99 / 100).min(last)).copied().unwrap_or_default()
}

/// A thread that sleeps, and says how late it woke up each time.
pub struct Sleeper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Sleeper {
    /// Does `look` each time that it wakes up.
    pub fn start(mut look: impl FnMut() + Send + 'static) -> Self {
        const NAP: Duration = Duration::from_millis(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut late = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                std::thread::sleep(NAP);
                late.push(begun.elapsed().saturating_sub(NAP));
                look();
            }
            late
        });
        Self { stop, thread }
    }

    pub fn wake(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only sleeps")
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

/// Runs a process to its end. What it left, and the most memory that it ever held.
pub fn watched(mut command: Command) -> (Output, u64) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let process = child.id();
    let ends = std::thread::spawn(move || child.wait_with_output().expect("it ends"));
    let mut peak = 0;
    while !ends.is_finished() {
        peak = peak_bytes(process).unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(1));
    }
    (ends.join().expect("its output is read"), peak)
}

/// The memory that this process holds now.
pub fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let sizes = std::fs::read_to_string("/proc/self/statm").expect("a process has it");
    let pages = sizes.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number") * PAGE_BYTES
}

#[test]
fn the_slowest_of_a_hundred_does_not_count_and_the_second_does() {
    let all = |list: &[u64]| list.iter().map(|&ms| Duration::from_millis(ms)).collect::<Vec<_>>();
    let ms = |list: &[u64]| Latencies::new(all(list), vec![]);
    let mut hundred = vec![1; 99];
    hundred.push(500);
    assert_eq!(ms(&hundred).p99(), Duration::from_millis(500));
    hundred.insert(0, 1);
    assert_eq!(ms(&hundred).p99(), Duration::from_millis(1));
    assert_eq!(ms(&[]).p99(), Duration::ZERO);
    assert!(ms(&[7]).misses(&ms(&[1])).is_none() && ms(&[8]).misses(&ms(&[1])).is_some());
    // A machine that was slower for everybody is not held against the node.
    let on = |own: u64, machine: u64| Latencies::new(all(&[own]), all(&[machine]));
    assert!(on(10, 4).misses(&on(1, 1)).is_none() && on(11, 4).misses(&on(1, 1)).is_some());
}
