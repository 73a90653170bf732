//! Waits for a short while, inside the host, again and again: none of the waits is long.

use wasip2::clocks::monotonic_clock::subscribe_duration;

fn act(_: &str) -> String {
    loop {
        subscribe_duration(30_000_000).block();
    }
}

hostile::stage!(act);
