//! The stages that are measured, as `cargo xtask guests` builds them.

use std::path::PathBuf;

/// A component that is not there.
#[derive(thiserror::Error, Debug)]
#[error("no component {path}: {source}; `cargo xtask guests` builds it")]
pub struct NotBuilt {
    path: PathBuf,
    source: std::io::Error,
}

/// Everything that is built or fetched, and not committed.
pub fn cache_dir() -> PathBuf {
    let absolute = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME");
    let cache = cache.or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("conveyor")
}

pub fn path(name: &str) -> PathBuf {
    cache_dir().join("guests").join(format!("{name}.wasm"))
}

pub fn component(name: &str) -> Result<Vec<u8>, NotBuilt> {
    let path = path(name);
    std::fs::read(&path).map_err(|source| NotBuilt { path, source })
}

/// `text` with the path of a stage for each `GUEST(name)`.
pub fn named(text: &str) -> String {
    let mut parts = text.split("GUEST(");
    let mut named = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(')').unwrap_or((part, ""));
        named.push_str(&path(name).display().to_string());
        named.push_str(rest);
    }
    named
}
