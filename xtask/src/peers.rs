//! `peers`: clients and registries of others against ours, and ours against theirs; `test` has those that are built soon.

use anyhow::Result;

use crate::checks::at;
use crate::places::Places;
use crate::{demo, guests, setup, step};

/// Names the directory of their programs to the tests.
pub const PROGRAMS: &str = "CONVEYOR_PEERS";

pub fn run(places: &Places) -> Result<()> {
    setup::host()?;
    let programs = setup::peers::all(places)?;
    let components = guests::build(places)?;
    demo::build_conveyor(places)?;
    step::run(
        "skopeo, oras, crane, regctl, wkg, cosign and docker-registry",
        at(&places.root, places)
            .args([
                "test",
                "--release",
                "--workspace",
                "--test",
                "cli",
                "--",
                "registry::peers",
                "--nocapture",
            ])
            .env(PROGRAMS, programs)
            .env(guests::DIRECTORY, components)
            .env("CONVEYOR_PEERS_ALL", "1"),
    )
}
