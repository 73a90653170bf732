//! Asks for 2^40 random bytes.

use wasip2::random::random::get_random_bytes;

fn act(_: &str) -> String {
    format!("{} bytes", get_random_bytes(1 << 40).len())
}

hostile::stage!(act);
