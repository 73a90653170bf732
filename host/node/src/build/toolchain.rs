//! How Rust becomes WebAssembly on this machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// What to type where there is no way.
pub const INSTALL: &str = "`rustup target add wasm32-unknown-unknown`, or on Debian \
                           `apt-get install rustc-web rust-web-src lld-19`";

/// Says which way to take where there are several: the name of a target, or `debian`.
const CHOICE: &str = "CONVEYOR_WASM_RUST";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

/// A way from Rust to WebAssembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The standard library of a target, as `rustup target add` brings it.
    Target(&'static str),
    /// Debian's `rustc-web`, which builds the standard library from `rust-web-src`.
    Debian { linker: PathBuf },
}

/// The targets that a stage can be built for, the better one first: without WASI it imports nothing.
const TARGETS: [&str; 2] = ["wasm32-unknown-unknown", "wasm32-wasip2"];

/// There is no way on this machine.
#[derive(Debug)]
pub struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: install {INSTALL}", self.0)
    }
}

impl std::error::Error for Missing {}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(target) => write!(f, "rustc with {target}"),
            Self::Debian { .. } => f.write_str("Debian's rustc-web"),
        }
    }
}

impl Toolchain {
    pub fn target(&self) -> &'static str {
        match self {
            Self::Target(target) => target,
            Self::Debian { .. } => TARGETS[0],
        }
    }

    /// Sets what cargo and rustc need. Options of the user that are meant for the host are left out.
    pub fn apply(&self, cargo: &mut Command) {
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        cargo.args(["--target", self.target()]);
        let target = self.target().to_uppercase().replace('-', "_");
        let mut flags = "-C target-feature=+simd128".to_owned();
        if let Self::Debian { linker } = self {
            flags.insert_str(0, "-C linker-flavor=wasm-ld ");
            cargo
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env(format!("CARGO_TARGET_{target}_LINKER"), linker);
        }
        cargo.env(format!("CARGO_TARGET_{target}_RUSTFLAGS"), flags);
    }
}

/// The way to take for a stage in `dir`, whose `rust-toolchain.toml` counts.
pub fn find(dir: &Path) -> Result<Toolchain> {
    let choice = std::env::var(CHOICE).ok();
    let sysroot = sysroot(dir);
    let has = |target: &&&str| {
        let lib = |sysroot: &PathBuf| sysroot.join("lib/rustlib").join(target).join("lib").is_dir();
        sysroot.as_ref().is_ok_and(lib)
    };
    match choice.as_deref() {
        Some("debian") => return debian().ok_or_else(|| missing("Debian's rustc-web is not there")),
        Some(choice) => {
            let Some(target) = TARGETS.iter().find(|target| **target == choice) else {
                bail!("{CHOICE} is `{choice}`: it can be `debian`, {}", TARGETS.join(" or "));
            };
            if !has(&target) {
                return Err(missing(&format!("this rustc has no {target}")));
            }
            return Ok(Toolchain::Target(target));
        }
        None => {}
    }
    if let Some(target) = TARGETS.iter().find(has) {
        return Ok(Toolchain::Target(target));
    }
    if let Some(debian) = debian() {
        return Ok(debian);
    }
    match sysroot {
        Ok(_) => Err(missing("this machine cannot build Rust for WebAssembly")),
        Err(error) => {
            Err(error.context(format!("a stage in Rust needs Rust (https://rustup.rs) and {INSTALL}")))
        }
    }
}

fn missing(what: &str) -> anyhow::Error {
    Missing(what.to_owned()).into()
}

fn sysroot(dir: &Path) -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc).args(["--print", "sysroot"]).current_dir(dir).output();
    let output = output.with_context(|| format!("`{}` cannot be started", rustc.to_string_lossy()))?;
    if !output.status.success() {
        bail!("`rustc --print sysroot` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn debian() -> Option<Toolchain> {
    let is_there = Path::new(DEBIAN_RUSTC).is_file() && Path::new(DEBIAN_LIBRARY).is_file();
    is_there.then(wasm_ld).flatten().map(|linker| Toolchain::Debian { linker })
}

/// LLVM's linker for WebAssembly; Debian puts its version into the name.
fn wasm_ld() -> Option<PathBuf> {
    let plain = PathBuf::from("/usr/bin/wasm-ld");
    let versioned = (14..=30).rev().map(|version| PathBuf::from(format!("/usr/bin/wasm-ld-{version}")));
    versioned.chain([plain]).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envs(toolchain: &Toolchain) -> Vec<(String, Option<String>)> {
        let mut command = Command::new("cargo");
        toolchain.apply(&mut command);
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        command.get_envs().map(|(name, value)| (text(name), value.map(text))).collect()
    }

    #[test]
    fn each_way_gets_its_flags_and_none_of_the_hosts() {
        let debian = Toolchain::Debian { linker: "/usr/bin/wasm-ld-19".into() };
        let found = envs(&debian);
        let flags = "-C linker-flavor=wasm-ld -C target-feature=+simd128".to_owned();
        assert!(found.contains(&("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS".into(), Some(flags))));
        assert!(found.contains(&("RUSTFLAGS".into(), None)));
        let found = envs(&Toolchain::Target("wasm32-wasip2"));
        let flags = "-C target-feature=+simd128".to_owned();
        assert!(found.contains(&("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS".into(), Some(flags))));
        assert!(!found.iter().any(|(name, _)| name == "RUSTC"));
    }
}
