//! Who compiles components, and how much that may take: this program again, in a process of its own.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use anyhow::anyhow;
use engine::{CompileBounds, Compiler};
use model::limits;
use model::manifest;

use crate::exit::{Failure, Result};

/// How long one component may be compiled.
pub const TIME_VARIABLE: &str = "CONVEYOR_COMPILE_TIME";
/// How much memory that may take.
pub const MEMORY_VARIABLE: &str = "CONVEYOR_COMPILE_MEMORY";
/// The verb that does it.
const VERB: &str = "compile-stage";

/// Less is not enough to start.
const TIME_LEAST: Duration = Duration::from_millis(10);
const MEMORY_BYTES_LEAST: u64 = 32 << 20;

pub(super) fn compiler() -> Result<Compiler> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let bounds = bounds(variable).map_err(Failure::Input)?;
    // The very program that runs, even when another was put in its place meanwhile.
    Ok(Compiler { program: "/proc/self/exe".into(), args: vec![VERB.to_owned()], bounds })
}

fn bounds(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<CompileBounds> {
    let default = CompileBounds::default();
    let time = variable(TIME_VARIABLE).map(|text| {
        let range = manifest::Duration(TIME_LEAST)..=manifest::Duration(limits::COMPILE_TIME_MAX);
        within(TIME_VARIABLE, &text, range, "a time such as 5m, from 10ms to 1h")
    });
    let memory = variable(MEMORY_VARIABLE).map(|text| {
        let most = limits::COMPILE_MEMORY_BYTES_MAX as u64;
        let range = manifest::Bytes(MEMORY_BYTES_LEAST)..=manifest::Bytes(most);
        within(MEMORY_VARIABLE, &text, range, "an amount such as 4GiB, from 32MiB to 64GiB")
    });
    Ok(CompileBounds {
        time: time.transpose()?.map_or(default.time, |time| time.0),
        memory_bytes: memory.transpose()?.map_or(default.memory_bytes, |bytes| bytes.0 as usize),
        ..default
    })
}

fn within<T: FromStr + PartialOrd>(
    variable: &str,
    text: &str,
    range: RangeInclusive<T>,
    expected: &str,
) -> anyhow::Result<T> {
    let value = text.parse().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| anyhow!("{variable} is `{text}`, and has to be {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_come_from_the_environment_where_they_are_sane() {
        let of = |time: Option<&str>, memory: Option<&str>| {
            let value = |name: &str| if name == TIME_VARIABLE { time } else { memory };
            bounds(|name| value(name).map(str::to_owned))
        };
        assert_eq!(of(None, None).expect("the defaults"), CompileBounds::default());
        let found = of(Some("2s"), Some("64MiB")).expect("sane");
        assert_eq!((found.time, found.memory_bytes), (Duration::from_secs(2), 64 << 20));
        let wrong = [
            (Some("2"), None),
            (Some("1us"), None),
            (Some("2h"), None),
            (None, Some("lots")),
            (None, Some("1MiB")),
            (None, Some("65GiB")),
        ];
        for (time, memory) in wrong {
            let error = of(time, memory).expect_err("it was taken").to_string();
            assert!(error.contains("CONVEYOR_COMPILE_") && error.contains("such as"), "{error}");
        }
    }
}
