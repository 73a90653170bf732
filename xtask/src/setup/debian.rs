//! Debian's packages. A machine without `apt-get` is told what to install by its own means.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use anyhow::{Result, bail};

use crate::places::Places;
use crate::step;

const PINS: &str = include_str!("../../pins/debian.txt");

/// Installs the packages of one purpose, where one of the programs that they bring is missing.
pub fn ensure(purpose: &str, programs: &[&str]) -> Result<()> {
    if programs.iter().all(|program| find(program).is_some()) {
        return Ok(());
    }
    install(purpose)
}

/// A program on the path, or the one that an absolute path names.
pub fn find(program: &str) -> Option<PathBuf> {
    let program = Path::new(program);
    if program.is_absolute() {
        return program.is_file().then(|| program.to_path_buf());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|found| found.is_file())
}

pub fn install(purpose: &str) -> Result<()> {
    let packages = available(purpose)?;
    step::run(
        &format!("apt-get install {}", packages.join(" ")),
        apt()
            .args(["install", "-y", "-qq", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"])
            .args(packages),
    )
}

/// Fetches the packages of one purpose and unpacks them into a directory, where they are not installed.
fn unpack(purpose: &str, into: &Path) -> Result<()> {
    let packages = available(purpose)?;
    std::fs::create_dir_all(into)?;
    let step = format!("apt-get download {}", packages.join(" "));
    let mut download = Command::new("apt-get");
    download.args(["download", "-qq", "-o", "APT::Sandbox::User=root"]).args(packages).current_dir(into);
    step::run(&step, &mut download)?;
    for entry in std::fs::read_dir(into)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            step::quiet("dpkg-deb --extract", Command::new("dpkg-deb").arg("-x").arg(&path).arg(into))?;
        }
    }
    Ok(())
}

/// Where a program is kept that `unpacked` has brought.
pub fn kept(places: &Places, name: &str) -> PathBuf {
    places.cache.join("tools").join(name).join(name)
}

/// A program out of a package that is not installed, since that would start a server; the purpose has its name.
pub fn unpacked(places: &Places, name: &str) -> Result<PathBuf> {
    let kept = kept(places, name);
    if kept.is_file() {
        return Ok(kept);
    }
    let scraps = places.cache.join("tools").join(format!(".{name}-{}", std::process::id()));
    let unpacked = unpack(name, &scraps).and_then(|()| {
        std::fs::create_dir_all(kept.with_file_name(""))?;
        Ok(std::fs::rename(scraps.join("usr/bin").join(name), &kept)?)
    });
    // What is left of the package is not needed, whatever became of it.
    let _ = std::fs::remove_dir_all(&scraps);
    unpacked?;
    step::run(&format!("{name} works"), Command::new(&kept).arg("--version").stdout(Stdio::null()))?;
    Ok(kept)
}

/// The packages of one purpose, with the lists brought up to date from which they are fetched.
fn available(purpose: &str) -> Result<Vec<&'static str>> {
    let packages = packages(PINS, purpose);
    if packages.is_empty() {
        bail!("xtask/pins/debian.txt names no packages for `{purpose}`: add the line");
    }
    if find("apt-get").is_none() {
        let list = packages.join(" ");
        bail!(
            "what Debian calls {list} is missing, and there is no apt-get to install it: install it by hand"
        );
    }
    static UPDATED: Once = Once::new();
    let mut updated = Ok(());
    UPDATED.call_once(|| {
        updated = step::run("apt-get update", apt().args(["update", "-qq"]));
    });
    updated?;
    Ok(packages)
}

/// `apt-get`, by `sudo` where this user may not install.
fn apt() -> Command {
    let mut command = if is_root() || find("sudo").is_none() {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// The packages that a line `purpose: package package` names.
fn packages<'a>(pins: &'a str, purpose: &str) -> Vec<&'a str> {
    let lines = pins.lines().filter_map(|line| line.split_once(':'));
    let found = lines.into_iter().find(|(name, _)| *name == purpose);
    found.map(|(_, packages)| packages.split_whitespace().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_by_their_purpose_alone() {
        let pins = "# a: comment\na: one two\nb: three\n";
        assert_eq!(packages(pins, "a"), ["one", "two"]);
        assert_eq!(packages(pins, "b"), ["three"]);
        assert!(packages(pins, "c").is_empty());
    }

    #[test]
    fn every_purpose_that_is_asked_for_has_packages() {
        for purpose in
            ["linker", "clock", "documents", "promtool", "python", "wasm", "skopeo", "docker-registry"]
        {
            assert!(!packages(PINS, purpose).is_empty(), "{purpose}");
        }
    }

    #[test]
    fn a_program_is_found_on_the_path_or_by_its_own() {
        assert!(find("sh").is_some());
        assert!(find("/bin/sh").is_some());
        assert_eq!(find("no-such-program-here"), None);
        assert_eq!(find("/no/such/program"), None);
    }
}
