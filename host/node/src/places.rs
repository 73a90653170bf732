//! Where things are kept between runs: compiled code, what was pulled, what was learnt of signatures, and the build directory
//! of stages.

use std::path::PathBuf;

/// The cache of this user: `$XDG_CACHE_HOME/conveyor` or `~/.cache/conveyor`. None where neither is known.
pub fn cache() -> Option<PathBuf> {
    of_this_user("XDG_CACHE_HOME", ".cache")
}

/// The configuration of this user: `$XDG_CONFIG_HOME/conveyor` or `~/.config/conveyor`. None where neither is known.
pub fn config() -> Option<PathBuf> {
    of_this_user("XDG_CONFIG_HOME", ".config")
}

/// What this user's runs have learnt and may not forget: `$XDG_STATE_HOME/conveyor` or `~/.local/state/conveyor`. None where
/// neither is known.
fn state() -> Option<PathBuf> {
    of_this_user("XDG_STATE_HOME", ".local/state")
}

fn of_this_user(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)));
    Some(base?.join("conveyor"))
}

/// What a node of this user keeps: `$XDG_DATA_HOME/conveyor/node` or `~/.local/share/conveyor/node`. None where neither is
/// known.
pub fn node() -> Option<PathBuf> {
    Some(of_this_user("XDG_DATA_HOME", ".local/share")?.join("node"))
}

/// The nodes that this user speaks to, each under a name.
pub fn contexts() -> Option<PathBuf> {
    Some(config()?.join("config.toml"))
}

/// By which `conveyor up` of this user is found while it runs.
pub fn up_file() -> Option<PathBuf> {
    Some(state()?.join("up.json"))
}

/// The trust policy that holds where none is named.
pub fn trust() -> Option<PathBuf> {
    Some(config()?.join("trust.yaml"))
}

/// Of which repositories signatures were required, and seen. Not in the cache, which is removed by whoever needs room.
pub fn required_signatures() -> Option<PathBuf> {
    Some(state()?.join("required-signatures"))
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
