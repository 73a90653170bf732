//! Programs of Go modules, built from the module proxy into the cache.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::pypi;
use crate::places::Places;
use crate::step;

const PINS: &str = include_str!("../../pins/go.txt");

/// The conformance suite of the OCI distribution specification.
pub const CONFORMANCE: &str = "conformance";

/// The program of the pinned module whose path ends with this name.
pub fn ensure(places: &Places, name: &str) -> Result<PathBuf> {
    let module = module(name).with_context(|| format!("xtask/pins/go.txt pins no `{name}`: add the line"))?;
    let directory = places.tool(name, module);
    let program = directory.join(name);
    if !program.is_file() {
        step::run(
            &format!("go install {module}"),
            pypi::ensure(places)?
                .go()
                .args(["install", "-trimpath", module])
                .env("GOBIN", &directory)
                .env("GOCACHE", places.cache.join("go-build"))
                .env_remove("GOFLAGS"),
        )
        .context("nothing was built of a Go module: is the module proxy reached?")?;
    }
    Ok(program)
}

fn module(name: &str) -> Option<&'static str> {
    let is_of =
        |line: &&str| line.split_once('@').is_some_and(|(path, _)| path.ends_with(&format!("/{name}")));
    PINS.lines().find(is_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_that_is_asked_for_is_pinned_to_a_version() {
        for name in [CONFORMANCE, "oras", "crane", "regctl", "registry", "cosign"] {
            let module = module(name).expect("a module");
            assert!(module.rsplit_once('@').is_some_and(|(_, version)| version.starts_with('v')), "{module}");
        }
        assert_eq!(super::module("none"), None);
    }
}
