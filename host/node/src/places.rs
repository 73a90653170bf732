//! Where things are kept between runs: compiled code and the build directory of stages.

use std::path::PathBuf;

/// The cache of this user: `$XDG_CACHE_HOME/conveyor` or `~/.cache/conveyor`. None where neither is known.
pub fn cache() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Some(base?.join("conveyor"))
}

/// Native code of components, written and read by this node alone.
pub fn code() -> Option<PathBuf> {
    Some(cache()?.join("code"))
}

/// Cargo's build directory for stages, so that the SDK and the standard library are compiled once and not
/// once per stage.
pub fn stage_builds() -> PathBuf {
    match cache() {
        Some(cache) => cache.join("guests"),
        None => std::env::temp_dir().join("conveyor-guests"),
    }
}
