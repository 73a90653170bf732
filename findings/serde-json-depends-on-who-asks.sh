#!/usr/bin/env bash
# Whether a text is JSON depends, in serde_json 1.0.154, on the type that it is read into: `IgnoredAny` takes texts that `Value`
# and `Box<RawValue>` judge otherwise.
#
# `IgnoredAny` is what one reaches for to ask "is this JSON?" without building anything. It skips values with a scanner of its
# own, which has no limit of depth and does not look at what an escape stands for: half a surrogate pair passes. So a record
# can pass the check at the door and be refused by the next program that reads it, with the same library. Who checks on
# behalf of others reads into `Value`, or checks depth and surrogates as well.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/src"
cd "$dir"
cat > Cargo.toml <<'TOML'
[package]
name = "asked"
version = "0.0.0"
edition = "2024"

[dependencies]
serde = "=1.0.229"
serde_json = { version = "=1.0.154", features = ["raw_value"] }
TOML
cat > src/main.rs <<'RUST'
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, from_str};

fn main() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let cases = [
        ("200 lists, one in the other", deep.as_str(), [true, false, true]),
        ("half a surrogate pair", r#"["\ud800"]"#, [true, false, true]),
        ("a number that no f64 holds", "[1e400]", [true, false, true]),
        ("a plain list", "[1]", [true, true, true]),
    ];
    println!("{:30} IgnoredAny Value RawValue", "serde_json 1.0.154");
    let mut changed = false;
    for (name, text, was) in cases {
        let takes = [
            from_str::<IgnoredAny>(text).is_ok(),
            from_str::<Value>(text).is_ok(),
            from_str::<Box<RawValue>>(text).is_ok(),
        ];
        println!("{name:30} {:10} {:5} {}", takes[0], takes[1], takes[2]);
        changed |= takes != was;
    }
    assert!(!changed, "the three judge otherwise now");
}
RUST
CARGO_TARGET_DIR="$dir/target" cargo run --quiet
