//! Waits for an hour, inside the host.

use wasip2::clocks::monotonic_clock::subscribe_duration;

fn act(_: &str) -> String {
    subscribe_duration(3_600_000_000_000).block();
    "it was an hour".to_owned()
}

hostile::stage!(act);
