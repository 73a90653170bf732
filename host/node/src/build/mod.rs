//! From the source of a stage to a component.
//!
//! `toolchain` finds out how Rust becomes WebAssembly on this machine, `cargo` drives it. What comes out is
//! wrapped by the engine, so that the file is a component whatever the compiler made.

mod cargo;
mod toolchain;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

pub use toolchain::{INSTALL, Toolchain, find};

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The package's name.
    pub name: String,
    /// A component, or the core module that `engine::componentize` makes one of.
    pub wasm: Vec<u8>,
    pub toolchain: Toolchain,
}

/// Builds the stage whose source is in `dir`. What the compiler says goes to stderr as it comes.
pub fn build(dir: &Path) -> Result<Built> {
    let manifest = manifest(dir)?;
    let toolchain = find(dir)?;
    let artifact = cargo::build(&manifest, &toolchain)?;
    let wasm = std::fs::read(&artifact.wasm)
        .with_context(|| format!("{} was built and cannot be read", artifact.wasm.display()))?;
    Ok(Built { name: artifact.package, wasm, toolchain })
}

/// The same, and nothing but the bytes of the component.
pub fn component(dir: &Path) -> Result<Vec<u8>> {
    Ok(engine::componentize(&build(dir)?.wasm)?.into_owned())
}

fn manifest(dir: &Path) -> Result<PathBuf> {
    if !dir.is_dir() {
        let hint = if dir.is_file() { "it is a file" } else { "it does not exist" };
        bail!("{} is no directory with a stage's source: {hint}", dir.display());
    }
    let manifest = dir.join("Cargo.toml");
    if manifest.is_file() {
        return Ok(manifest);
    }
    let other =
        [("package.json", "JavaScript"), ("go.mod", "Go"), ("pyproject.toml", "Python"), ("Makefile", "C")];
    let found = other.iter().find(|(file, _)| dir.join(file).exists());
    match found {
        Some((file, language)) => bail!(
            "{} has a {file} and no Cargo.toml: this version builds stages in Rust. A component that the tools \
             of {language} make is taken as it is: name its `.wasm` in the manifest",
            dir.display()
        ),
        None => bail!(
            "{} has no Cargo.toml: name the directory of a stage, or make one with `conveyor new NAME`",
            dir.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_source_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("file"), "").expect("written");
        let go = dir.path().join("go");
        std::fs::create_dir(&go).expect("made");
        std::fs::write(go.join("go.mod"), "").expect("written");
        let cases = [
            (dir.path().join("none"), "does not exist"),
            (dir.path().join("file"), "it is a file"),
            (dir.path().to_owned(), "conveyor new"),
            (go, "tools of Go"),
        ];
        for (path, expected) in cases {
            let error = build(&path).expect_err("nothing to build").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
