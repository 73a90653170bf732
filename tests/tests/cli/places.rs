//! Where the binary and the stages are that the tests run.

use std::path::PathBuf;

/// The binary, as `cargo build --release --workspace --bin conveyor` leaves it beside the tests.
pub fn conveyor() -> PathBuf {
    // The tests are in `deps`, below the directory of the binaries.
    let tests = std::env::current_exe().expect("the path of the tests");
    let binary = tests.ancestors().nth(2).expect("a directory of binaries").join("conveyor");
    let missing = "is missing: run `cargo build --release --workspace --bin conveyor`";
    assert!(binary.exists(), "{} {missing}", binary.display());
    binary
}

/// A stage of `guests/`, as `cargo xtask guests` built it.
pub fn guest(name: &str) -> PathBuf {
    let path = guests().join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is missing: run `cargo xtask guests`", path.display());
    path
}

fn guests() -> PathBuf {
    match std::env::var_os("CONVEYOR_GUESTS") {
        Some(dir) => dir.into(),
        None => cache().join("guests"),
    }
}

pub fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    cache.expect("XDG_CACHE_HOME or HOME is set").join("conveyor")
}
