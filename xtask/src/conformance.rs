//! `conformance`: every kind of run of the OCI conformance suite against `conveyor registry serve`; `test` has one.

use anyhow::Result;

use crate::checks::at;
use crate::places::Places;
use crate::setup::go;
use crate::{demo, setup, step};

/// Names the suite's program to the tests.
pub const PROGRAM: &str = "CONVEYOR_CONFORMANCE";

pub fn run(places: &Places) -> Result<()> {
    setup::host()?;
    let program = go::ensure(places, go::CONFORMANCE)?;
    demo::build_conveyor(places)?;
    step::run(
        "the conformance suite: version 1.1, the next one, with passwords, with tokens",
        at(&places.root, places)
            .args([
                "test",
                "--release",
                "--workspace",
                "--test",
                "cli",
                "--",
                "registry::conformance",
                "--nocapture",
            ])
            .env(PROGRAM, program)
            .env("CONVEYOR_CONFORMANCE_ALL", "1"),
    )
}
