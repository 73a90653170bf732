//! Packages of the npm registry, installed from a lock file into the cache. Scripts that packages bring are not
//! run: they would fetch programs from elsewhere.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::pypi::Python;
use crate::places::Places;
use crate::step;

/// A `package.json` and its lock.
pub struct Pins {
    manifest: &'static str,
    lock: &'static str,
}

pub const JS: Pins = Pins {
    manifest: include_str!("../../pins/js/package.json"),
    lock: include_str!("../../pins/js/package-lock.json"),
};

pub const DEMO: Pins = Pins {
    manifest: include_str!("../../pins/demo/package.json"),
    lock: include_str!("../../pins/demo/package-lock.json"),
};

impl Pins {
    pub fn lock(&self) -> &'static str {
        self.lock
    }
}

#[derive(Debug, Clone)]
pub struct Packages {
    directory: PathBuf,
    manifest: &'static str,
}

pub fn ensure(places: &Places, python: &Python, name: &str, pins: Pins) -> Result<Packages> {
    let directory = places.tool(&format!("npm-{name}"), pins.lock);
    let packages = Packages { directory, manifest: pins.manifest };
    if packages.directory.join("ready").is_file() {
        return Ok(packages);
    }
    std::fs::create_dir_all(&packages.directory)?;
    std::fs::write(packages.directory.join("package.json"), pins.manifest)?;
    std::fs::write(packages.directory.join("package-lock.json"), pins.lock)?;
    // Not `ci`, which wants every platform's optional packages in the lock, those too that no registry has.
    step::run(
        &format!("npm install {}", packages.packages()),
        python
            .npm()
            .args([
                "install",
                "--no-save",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
                "--no-update-notifier",
                "--prefix",
            ])
            .arg(&packages.directory)
            .current_dir(&packages.directory),
    )
    .context("nothing was installed from npm: is the registry reached?")?;
    std::fs::write(packages.directory.join("ready"), pins.lock)?;
    Ok(packages)
}

impl Packages {
    /// The directory that holds `node_modules`.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    pub fn packages(&self) -> String {
        named(self.manifest).join(" ")
    }
}

fn named(manifest: &str) -> Vec<String> {
    let manifest: serde_json::Value = serde_json::from_str(manifest).unwrap_or_default();
    let Some(packages) = manifest["dependencies"].as_object() else { return vec![] };
    packages.iter().map(|(name, version)| format!("{name}@{}", version.as_str().unwrap_or("?"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_pin_exact_versions_that_their_locks_have() {
        for pins in [JS, DEMO] {
            let packages = named(pins.manifest);
            assert!(!packages.is_empty());
            for package in packages {
                let (name, version) = package.rsplit_once('@').expect("a name and a version");
                assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{package}");
                let lock: serde_json::Value = serde_json::from_str(pins.lock).expect("a lock file");
                assert_eq!(lock["packages"][format!("node_modules/{name}")]["version"], version, "{package}");
            }
        }
    }
}
