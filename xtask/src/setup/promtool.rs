//! `promtool`, Prometheus' own checker of what is served to it, out of Debian's package `prometheus`: the package itself is
//! not installed, since that would start a server.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::debian;
use crate::places::Places;
use crate::step;

const NAME: &str = "promtool";

/// Where it is kept; the tests look for it there, and on the path.
fn kept(places: &Places) -> PathBuf {
    places.cache.join("tools").join(NAME).join(NAME)
}

pub fn ensure(places: &Places) -> Result<()> {
    let kept = kept(places);
    if debian::find(NAME).is_some() || kept.is_file() {
        return Ok(());
    }
    let scraps = places.cache.join("tools").join(format!(".{NAME}-{}", std::process::id()));
    let unpacked = debian::unpack(NAME, &scraps).and_then(|()| {
        std::fs::create_dir_all(kept.with_file_name(""))?;
        Ok(std::fs::rename(scraps.join("usr/bin").join(NAME), &kept)?)
    });
    // What is left of the package is not needed, whatever became of it.
    let _ = std::fs::remove_dir_all(&scraps);
    unpacked?;
    step::run("promtool works", Command::new(kept).arg("--version").stdout(std::process::Stdio::null()))
}
