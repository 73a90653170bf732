//! Signals, and what is left to do once one came.

use std::future::pending;

use anyhow::{Context as _, Result};
use model::limits::{STOP_AGAIN_AFTER, STOP_GRACE};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::terminal;

/// SIGINT and SIGTERM. From the moment that it exists, neither ends the process by itself.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// When the last one came that counted.
    last: Option<Instant>,
}

impl Signals {
    pub fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened to");
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: listen(interrupt)?, terminate: listen(terminate)?, last: None })
    }

    /// The next of either. Cancel safe.
    pub async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            let now = Instant::now();
            if is_another(self.last, now) {
                self.last = Some(now);
                return;
            }
        }
    }
}

/// Whether a signal is one of its own. `timeout` sends its signal to the process and then to its whole group, a terminal and
/// a supervisor may both send theirs: one wish for an end, of which nobody has seen yet what comes of it.
fn is_another(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= STOP_AGAIN_AFTER)
}

/// How far a stop has come.
pub struct Stop {
    sources: CancellationToken,
    asked: bool,
    deadline: Option<Instant>,
}

impl Stop {
    pub fn new(sources: CancellationToken) -> Self {
        Self { sources, asked: false, deadline: None }
    }

    /// Somebody wants an end. Says whether that was wanted before, so that patience is over.
    pub fn ask(&mut self) -> bool {
        if std::mem::replace(&mut self.asked, true) {
            terminal::say("stopped again: what is on its way is cut off");
            return true;
        }
        terminal::say(format!(
            "stopping: sources end and the rest drains, for at most {} s; stop again to cut it off",
            STOP_GRACE.as_secs()
        ));
        self.drain();
        false
    }

    /// Sources end, and the rest has some time.
    fn drain(&mut self) {
        self.sources.cancel();
        self.deadline.get_or_insert_with(|| Instant::now() + STOP_GRACE);
    }

    /// Returns when draining took too long; never where nothing is being drained.
    pub async fn grace_is_over(&self) {
        match self.deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn signals_that_come_together_are_one() {
        let first = Instant::now();
        let after = |ms| first + Duration::from_millis(ms);
        assert!(is_another(None, first));
        assert!(!is_another(Some(first), first) && !is_another(Some(first), after(999)));
        assert!(is_another(Some(first), after(1000)), "whoever sends one a second later means it");
    }

    #[tokio::test]
    async fn the_first_stop_drains_and_the_second_cuts_off() {
        let sources = CancellationToken::new();
        let mut stop = Stop::new(sources.clone());
        assert!(!stop.ask(), "the first stop was not patient");
        assert!(sources.is_cancelled());
        assert!(stop.ask(), "the second stop was patient");
    }
}
