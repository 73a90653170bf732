//! Clients and registries of others, against which ours are tried. All of them come to lie in one directory, by their
//! names, where the tests and the benches find them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{debian, go, rust};
use crate::places::Places;
use crate::step;

/// Built within a minute or two each.
const LIGHT: [&str; 4] = ["oras", "crane", "regctl", "registry"];
/// Built within ten minutes.
const HEAVY: [&str; 1] = ["cosign"];
/// A crate, with several hundred below it.
const WKG: &str = include_str!("../../pins/wkg.txt");

/// The directory that has them all.
fn directory(places: &Places) -> PathBuf {
    places.cache.join("tools/peers")
}

/// Those that the test command tries.
pub fn light(places: &Places) -> Result<PathBuf> {
    let directory = directory(places);
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    debian::ensure("skopeo", &["skopeo"])?;
    let skopeo = debian::find("skopeo").context("Debian's package brought no skopeo")?;
    link(&directory, "skopeo", &skopeo)?;
    // Not installed: that would start a server.
    link(&directory, "docker-registry", &debian::unpacked(places, "docker-registry")?)?;
    LIGHT.iter().try_for_each(|name| link(&directory, name, &go::ensure(places, name)?))?;
    Ok(directory)
}

/// Those, and the ones that take long to build.
pub fn all(places: &Places) -> Result<PathBuf> {
    let directory = light(places)?;
    HEAVY.iter().try_for_each(|name| link(&directory, name, &go::ensure(places, name)?))?;
    link(&directory, "wkg", &wkg(places)?)?;
    Ok(directory)
}

/// Has a name in the directory mean this program, whatever it meant before.
fn link(directory: &Path, name: &str, program: &Path) -> Result<()> {
    let (place, making) = (directory.join(name), directory.join(format!(".{name}-{}", std::process::id())));
    if place.read_link().is_ok_and(|there| there == program) {
        return Ok(());
    }
    std::os::unix::fs::symlink(program, &making)
        .and_then(|()| std::fs::rename(&making, &place))
        .with_context(|| format!("cannot link {}", place.display()))
}

fn wkg(places: &Places) -> Result<PathBuf> {
    let pin = WKG.trim();
    let root = places.tool("wkg", pin);
    let program = root.join("bin/wkg");
    if !program.is_file() {
        step::run(
            &format!("cargo install {pin}"),
            Command::new(rust::cargo())
                .args(["install", "--locked", pin, "--root"])
                .arg(&root)
                .env("CARGO_TARGET_DIR", places.cache.join("wkg-build"))
                // In a directory of its own, so that no settings of ours reach it.
                .current_dir(&places.cache),
        )?;
        // A gigabyte that is not needed again.
        let _ = std::fs::remove_dir_all(places.cache.join("wkg-build"));
    }
    Ok(program)
}
