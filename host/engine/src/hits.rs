//! How often a stage ran into each of its limits, or died.

use std::sync::atomic::{AtomicU64, Ordering};

/// The codes that are counted, in the order of their counters.
const CODES: [&str; 21] = [
    "trap",
    "out-of-fuel",
    "timed-out",
    "out-of-memory",
    "stack-overflow",
    "host-call-timed-out",
    "host-call-too-large",
    "output-too-large",
    "too-many-resources",
    "too-many-instances",
    "bad-answer",
    "retry",
    "no-room",
    "state-not-here",
    "state-malformed",
    "state-key-not-owned",
    "state-entry-too-large",
    "state-call-too-large",
    "state-too-large",
    "state-unavailable",
    Hits::LOG_LINES,
];

/// Counters of one stage, shared by its instances.
#[derive(Debug, Default)]
pub struct Hits {
    counts: [AtomicU64; CODES.len()],
}

impl Hits {
    /// Log lines that were dropped.
    pub const LOG_LINES: &'static str = "log-lines";

    /// Counts one; a code that is not among those counted is let go.
    pub fn count(&self, code: &str) {
        if let Some(at) = CODES.iter().position(|known| *known == code) {
            self.counts[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each code with how often it came up.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CODES.into_iter().zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}
