//! The parts of Rust itself that may be missing: rustfmt, clippy, and a standard library for WebAssembly.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::debian;
use crate::step;

pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Says which of the ways to take where both are there: `rustup` or `debian`.
const CHOICE: &str = "CONVEYOR_WASM_RUST";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-19";
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

/// How Rust guests are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wasm {
    /// The standard library that `rustup target add` brought.
    Target,
    /// Debian's `rustc-web`, which builds the standard library from `rust-web-src`: for machines that reach
    /// Debian's packages and not the server of toolchains.
    Debian,
}

pub fn component(component: &str, subcommand: &str) -> Result<()> {
    if step::succeeds(Command::new(cargo()).args([subcommand, "--version"])) {
        return Ok(());
    }
    if debian::find("rustup").is_none() {
        bail!("`cargo {subcommand}` is missing, and there is no rustup to add it: install {component}");
    }
    step::run(
        &format!("rustup component add {component}"),
        Command::new("rustup").args(["component", "add", component]),
    )
}

pub fn wasm() -> Result<Wasm> {
    let is_debian_ready =
        || [DEBIAN_RUSTC, DEBIAN_LINKER, DEBIAN_LIBRARY].iter().all(|path| Path::new(path).is_file());
    let by_debian = || -> Result<Wasm> {
        if !is_debian_ready() {
            debian::install("wasm")?;
        }
        if !is_debian_ready() {
            bail!("Debian's packages did not bring {DEBIAN_RUSTC}, {DEBIAN_LINKER} and {DEBIAN_LIBRARY}");
        }
        Ok(Wasm::Debian)
    };
    match std::env::var(CHOICE).as_deref() {
        Ok("debian") => return by_debian(),
        Ok("rustup") => return add_target().map(|()| Wasm::Target),
        Ok(other) => bail!("{CHOICE} is `{other}`: `rustup` or `debian` is wanted"),
        Err(_) => {}
    }
    if has_target()? {
        return Ok(Wasm::Target);
    }
    if is_debian_ready() {
        return Ok(Wasm::Debian);
    }
    match add_target() {
        Ok(()) => Ok(Wasm::Target),
        Err(error) => {
            step::note(format!("{error:#}; Debian's packages are taken instead"));
            by_debian()
        }
    }
}

fn has_target() -> Result<bool> {
    let sysroot =
        step::quiet("ask rustc for its sysroot", Command::new("rustc").args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(String::from_utf8(sysroot).context("the sysroot is not UTF-8")?.trim());
    Ok(sysroot.join("lib/rustlib").join(WASM_TARGET).join("lib").is_dir())
}

fn add_target() -> Result<()> {
    if has_target()? {
        return Ok(());
    }
    if debian::find("rustup").is_none() {
        bail!("there is no rustup to add {WASM_TARGET}");
    }
    let step = format!("rustup target add {WASM_TARGET}");
    step::say(&step);
    step::quiet(&step, Command::new("rustup").args(["target", "add", WASM_TARGET])).map(|_| ())
}

impl Wasm {
    pub fn name(self) -> &'static str {
        match self {
            Wasm::Target => "rustc with wasm32-unknown-unknown",
            Wasm::Debian => "Debian's rustc-web",
        }
    }

    /// `cargo build` for WebAssembly.
    pub fn cargo_build(self) -> Command {
        let mut command = Command::new(cargo());
        // Options meant for the host would not fit, or would have every guest compiled anew.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        command.args(["build", "--release", "--target", WASM_TARGET]);
        // As `conveyor build` does: the SDK copies and compares in vectors.
        let mut flags = "-C target-feature=+simd128".to_owned();
        if self == Wasm::Debian {
            flags.insert_str(0, "-C linker-flavor=wasm-ld ");
            command
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
        }
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags);
        command
    }
}

/// The cargo that runs us.
pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
