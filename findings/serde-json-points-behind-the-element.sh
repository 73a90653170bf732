#!/usr/bin/env bash
# An error that a visitor raises for an element of a list is said by serde_json 1.0.154 to be where the next element begins,
# however many lines further that is; an error of a field of an object is where the field is.
#
# `deserialize_seq` first ends the list and then gives the error its position, and ending a list whose visitor has left early
# eats the comma and all white space behind it. The line is what a person looks for in a long list of one entry a line, and the
# entry that is named is innocent. Who checks elements reads them into a type that keeps positions or counts, or looks at them
# after the list is read and says which by its index.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/src"
cd "$dir"
cat > Cargo.toml <<'TOML'
[package]
name = "positions"
version = "0.0.0"
edition = "2024"

[dependencies]
serde = "=1.0.229"
serde_json = "=1.0.154"
TOML
cat > src/main.rs <<'RUST'
use std::fmt;

use serde::Deserialize;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};

/// Numbers below 10.
struct Small;

impl<'de> Deserialize<'de> for Small {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Small;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("small numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Small, A::Error> {
        while let Some(number) = all.next_element::<u32>()? {
            check(number)?;
        }
        Ok(Small)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Small, A::Error> {
        while let Some((_, number)) = all.next_entry::<String, u32>()? {
            check(number)?;
        }
        Ok(Small)
    }
}

fn check<E: Error>(number: u32) -> Result<(), E> {
    if number < 10 { Ok(()) } else { Err(E::custom(format!("{number} is too large"))) }
}

fn main() {
    println!("serde_json 1.0.154");
    let mut changed = false;
    for (what, text, was) in [
        ("a list: 11 is in line 3", "[\n1,\n11,\n\n\n2]", 6),
        ("the last of a list: in line 3", "[\n1,\n11\n\n\n]", 6),
        ("an object: 11 is in line 3", "{\n\"a\":1,\n\"b\":11,\n\n\n\"c\":2}", 3),
    ] {
        let error = serde_json::from_str::<Small>(text).err().expect("11 is too large");
        println!("{what:30} said to be in line {}: {error}", error.line());
        changed |= error.line() != was;
    }
    assert!(!changed, "it says other lines now");
}
RUST
CARGO_TARGET_DIR="$dir/target" cargo run --quiet
