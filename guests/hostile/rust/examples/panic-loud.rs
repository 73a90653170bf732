//! Panics with a message of a MiB, in colour.

fn act(_: &str) -> String {
    panic!("\u{1b}[31m{}", "loud ".repeat(200_000));
}

hostile::stage!(act);
