//! Calls into the host for ever, as often as it can.

use wasip2::random::random::get_random_u64;

fn act(_: &str) -> String {
    let mut all = 0;
    loop {
        all ^= std::hint::black_box(get_random_u64());
        std::hint::black_box(all);
    }
}

hostile::stage!(act);
