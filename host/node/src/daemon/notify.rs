//! What a node tells the service manager that started it, where one did (`sd_notify`, systemd).

use std::time::Duration;

use sd_notify::{NotifyState, notify};

/// It answers.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// It ends.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Says again and again that it lives, twice as often as it is asked to. Comes back at once where nobody asks.
pub async fn watchdog() {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        tell(NotifyState::Watchdog);
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told how this node is");
    }
}
