//! `faults`: more kills, power cuts and a longer slow reader than `test` has, against the binary itself.

use anyhow::Result;

use crate::checks::at;
use crate::places::Places;
use crate::{demo, guests, setup, step};

/// What `test` has a few of, by the names that the tests look for.
const COUNTS: [(&str, &str); 3] = [
    ("CONVEYOR_FAULTS_KILLS", "200"),
    ("CONVEYOR_FAULTS_POWER_CUTS", "50"),
    ("CONVEYOR_FAULTS_SLOW_SECONDS", "60"),
];

pub fn run(places: &Places) -> Result<()> {
    setup::host()?;
    let components = guests::build(places)?;
    let data = setup::data(places)?;
    demo::build_conveyor(places)?;
    step::run(
        "200 kills, 50 power cuts, a full disk, and a slow reader for a minute",
        at(&places.root, places)
            .args(["test", "--release", "--workspace", "--test", "cli", "--", "faults::", "--nocapture"])
            .env(guests::DIRECTORY, &components)
            .env(demo::DATA, &data)
            .envs(COUNTS),
    )
}
