//! Signals, and what is left to do once one came.

use std::future::pending;

use anyhow::{Context as _, Result};
use model::limits::STOP_GRACE;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::terminal;

/// SIGINT and SIGTERM. From the moment that it exists, neither ends the process by itself.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened to");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// The next of either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
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

    /// Whether sources were told to end, so that an end is not their own.
    pub fn is_under_way(&self) -> bool {
        self.sources.is_cancelled()
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
    use super::*;

    #[tokio::test]
    async fn the_first_stop_drains_and_the_second_cuts_off() {
        let sources = CancellationToken::new();
        let mut stop = Stop::new(sources.clone());
        assert!(!stop.is_under_way());
        assert!(!stop.ask(), "the first stop was not patient");
        assert!(stop.is_under_way() && sources.is_cancelled());
        assert!(stop.ask(), "the second stop was patient");
    }
}
