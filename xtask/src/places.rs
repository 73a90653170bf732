//! Where things are: the clone, and the cache beside it that holds everything which is built or fetched.

use std::path::PathBuf;

use anyhow::{Context, Result};

#[derive(Debug, Clone)]
pub struct Places {
    /// The clone.
    pub root: PathBuf,
    /// `$XDG_CACHE_HOME/conveyor`, or `~/.cache/conveyor`.
    pub cache: PathBuf,
    /// Cargo's build directory of the host workspace.
    pub target: PathBuf,
    /// Cargo's build directory of the guests, where the components come to lie too.
    pub guests: PathBuf,
}

impl Places {
    pub fn find() -> Result<Places> {
        // Asked as it runs: clones that share a build directory share the executable too.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().context("the directory of xtask has no parent: is the clone whole?")?;
        let cache = match absolute("XDG_CACHE_HOME") {
            Some(cache) => cache,
            None => absolute("HOME")
                .context("neither XDG_CACHE_HOME nor HOME is set: say where to keep what is built")?
                .join(".cache"),
        }
        .join("conveyor");
        Ok(Places {
            root: root.to_path_buf(),
            target: absolute("CARGO_TARGET_DIR").unwrap_or_else(|| cache.join("target")),
            guests: cache.join("guests"),
            cache,
        })
    }

    pub fn guests_source(&self) -> PathBuf {
        self.root.join("guests")
    }

    pub fn wit(&self) -> PathBuf {
        self.root.join("wit")
    }

    /// Where an installed tool lives. `of` names it, `pins` is what fixes its versions: other pins, other place.
    pub fn tool(&self, of: &str, pins: &str) -> PathBuf {
        self.cache.join("tools").join(format!("{of}-{}", &crate::guests::digest([pins.as_bytes()])[..12]))
    }
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
