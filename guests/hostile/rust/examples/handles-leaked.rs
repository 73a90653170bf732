//! Takes handles of the host and lets go of none.

use wasip2::clocks::monotonic_clock::subscribe_duration;

fn act(_: &str) -> String {
    loop {
        std::mem::forget(subscribe_duration(0));
    }
}

hostile::stage!(act);
