//! Where things are kept between runs: compiled code, what was pulled, and the build directory of stages.

use std::path::PathBuf;

/// The cache of this user: `$XDG_CACHE_HOME/conveyor` or `~/.cache/conveyor`. None where neither is known.
pub fn cache() -> Option<PathBuf> {
    base("XDG_CACHE_HOME", ".cache")
}

/// Ours of a directory of this user that a variable names, or that lies in the home.
fn base(variable: &str, in_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| Some(absolute("HOME")?.join(in_home)));
    Some(base?.join("conveyor"))
}

/// The trust policy of this user: `$XDG_CONFIG_HOME/conveyor/trust.yaml`, where it is there.
pub fn trust_policy() -> Option<PathBuf> {
    Some(base("XDG_CONFIG_HOME", ".config")?.join("trust.yaml"))
}

/// Which repositories had to be signed: no cache, since it is not to be had again.
pub fn trust_memory() -> Option<PathBuf> {
    Some(base("XDG_STATE_HOME", ".local/state")?.join("signed"))
}

/// Native code of components, written and read by this node alone.
pub fn code() -> Option<PathBuf> {
    Some(cache()?.join("code"))
}

/// What was pulled. What is read there is looked at each time, so that anybody may have put it there.
pub fn components() -> PathBuf {
    match cache() {
        Some(cache) => cache.join("components"),
        None => std::env::temp_dir().join("conveyor-components"),
    }
}

/// Cargo's build directory for stages, so that the SDK and the standard library are compiled once and not
/// once per stage.
pub fn stage_builds() -> PathBuf {
    match cache() {
        Some(cache) => cache.join("guests"),
        None => std::env::temp_dir().join("conveyor-guests"),
    }
}
