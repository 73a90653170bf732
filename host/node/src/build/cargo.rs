//! Runs cargo on a stage and finds what it made.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::Toolchain;
use crate::places;

/// The WebAssembly of one package.
#[derive(Debug, PartialEq, Eq)]
pub struct Artifact {
    pub package: String,
    pub wasm: PathBuf,
}

/// What of cargo's messages is read, see
/// <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    manifest_path: PathBuf,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

pub fn build(manifest: &Path, toolchain: &Toolchain) -> Result<Artifact> {
    let manifest =
        manifest.canonicalize().with_context(|| format!("{} cannot be found", manifest.display()))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--message-format=json-render-diagnostics"]);
    cargo.arg("--manifest-path").arg(&manifest);
    // So that its `.cargo/config.toml` and `rust-toolchain.toml` count.
    if let Some(dir) = manifest.parent() {
        cargo.current_dir(dir);
    }
    if std::env::var_os("CARGO_TARGET_DIR").is_none() {
        cargo.env("CARGO_TARGET_DIR", places::stage_builds());
    }
    toolchain.apply(&mut cargo);
    cargo.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child =
        cargo.spawn().context("`cargo` cannot be started: install Rust from https://rustup.rs")?;
    let stdout = child.stdout.take().context("cargo's output cannot be read")?;
    let mut found = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cargo's output cannot be read")?;
        found.extend(artifact(&line, &manifest));
    }
    let status = child.wait().context("cargo cannot be waited for")?;
    if !status.success() {
        bail!("cargo did not build {} ({status}); what it says stands above", manifest.display());
    }
    found.pop().with_context(|| {
        format!(
            "{} makes no module: a stage is a library with `crate-type = [\"cdylib\"]` under `[lib]`; if it is a \
             workspace, name the directory of one of its members",
            manifest.display()
        )
    })
}

fn artifact(line: &str, manifest: &Path) -> Option<Artifact> {
    let message: Message = serde_json::from_str(line).ok()?;
    let target = message.target?;
    let is_stage = message.reason == "compiler-artifact"
        && message.manifest_path == manifest
        && target.crate_types.iter().any(|kind| kind == "cdylib");
    let wasm =
        message.filenames.into_iter().find(|file| file.extension().is_some_and(|end| end == "wasm"))?;
    is_stage.then(|| Artifact { package: package_name(&message.package_id).unwrap_or(target.name), wasm })
}

/// The name in a package id, see <https://doc.rust-lang.org/cargo/reference/pkgid-spec.html>:
/// `path+file:///a/large#0.1.0`, or `path+file:///a/dir#large@0.1.0`.
fn package_name(id: &str) -> Option<String> {
    let (url, fragment) = id.rsplit_once('#')?;
    let name = fragment.split_once('@').map(|(name, _)| name).or_else(|| url.rsplit('/').next())?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_of_the_asked_package_is_found_and_nothing_else() {
        let line = |manifest: &str, kind: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///a/my-stage#0.1.0","manifest_path":"{manifest}",
                "target":{{"name":"my_stage","crate_types":["{kind}","rlib"]}},"filenames":["/t/my_stage.wasm"]}}"#
            )
        };
        let asked = Path::new("/a/my-stage/Cargo.toml");
        let expected = Artifact { package: "my-stage".into(), wasm: "/t/my_stage.wasm".into() };
        assert_eq!(artifact(&line("/a/my-stage/Cargo.toml", "cdylib"), asked), Some(expected));
        assert_eq!(artifact(&line("/a/other/Cargo.toml", "cdylib"), asked), None);
        assert_eq!(artifact(&line("/a/my-stage/Cargo.toml", "lib"), asked), None);
        assert_eq!(artifact(r#"{"reason":"build-finished","success":true}"#, asked), None);
        assert_eq!(artifact("warning: not JSON", asked), None);
    }

    #[test]
    fn a_package_id_has_the_name_in_one_of_two_places() {
        let cases = [
            ("path+file:///a/large#0.1.0", Some("large")),
            ("path+file:///a/dir#large@0.1.0", Some("large")),
            ("nonsense", None),
        ];
        for (id, expected) in cases {
            assert_eq!(package_name(id).as_deref(), expected, "{id}");
        }
    }
}
