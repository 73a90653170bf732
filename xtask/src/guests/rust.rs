//! The workspace `guests/`: each library becomes a component of the name of its package.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::component;
use super::fresh::{Inputs, unless_fresh};
use crate::places::Places;
use crate::setup::rust::{WASM_TARGET, Wasm, cargo};
use crate::step;

pub fn build(places: &Places, wasm: Wasm) -> Result<()> {
    let libraries = libraries(places)?;
    if libraries.is_empty() {
        bail!("guests/ has no library that can become a component: a stage is a crate of type cdylib");
    }
    let mut command = wasm.cargo_build();
    command.current_dir(places.guests_source()).env("CARGO_TARGET_DIR", &places.guests);
    for library in &libraries {
        command.args(["--package", &library.package]);
    }
    step::run(&format!("build {} guests in Rust ({})", libraries.len(), wasm.name()), &mut command)?;
    let mut encoded = 0;
    for library in &libraries {
        encoded += usize::from(library.encode(places)?);
    }
    step::note(format!("{} components in Rust, {encoded} of them new", libraries.len()));
    Ok(())
}

struct Library {
    package: String,
    module: String,
}

/// The packages of the workspace that compile to a module.
fn libraries(places: &Places) -> Result<Vec<Library>> {
    let metadata = step::quiet(
        "read guests/Cargo.toml",
        Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(places.guests_source()),
    )?;
    let metadata: Value =
        serde_json::from_slice(&metadata).context("what cargo says of guests/ is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo names no packages in guests/")?;
    Ok(packages.iter().filter_map(library).collect())
}

fn library(package: &Value) -> Option<Library> {
    let has =
        |list: &Value, wanted: &str| list.as_array().is_some_and(|all| all.iter().any(|one| one == wanted));
    // Examples can be modules too: those of the hostile corpus are, and are built by themselves.
    let is_module =
        |target: &&Value| has(&target["crate_types"], "cdylib") && !has(&target["kind"], "example");
    let target = package["targets"].as_array()?.iter().find(is_module)?;
    let module = target["name"].as_str()?.replace('-', "_");
    Some(Library { package: package["name"].as_str()?.to_string(), module })
}

impl Library {
    fn output(&self, places: &Places) -> PathBuf {
        match self.package.strip_prefix("contract-") {
            Some(kind) => places.guests.join(format!("contract/rust-{kind}.wasm")),
            None => places.guests.join(format!("{}.wasm", self.package)),
        }
    }

    fn encode(&self, places: &Places) -> Result<bool> {
        let module = places.guests.join(WASM_TARGET).join("release").join(format!("{}.wasm", self.module));
        let inputs = Inputs::default().files(&module)?;
        unless_fresh(&self.output(places), &inputs, |output| {
            let bytes = std::fs::read(&module)?;
            let component = component::from_core(&bytes)
                .with_context(|| format!("{} does not become a component", module.display()))?;
            if component::exports(&component)?.is_empty() {
                bail!(
                    "the guest `{}` exports nothing: does it name its stage to the SDK's macro?",
                    self.package
                );
            }
            Ok(std::fs::write(output, component)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_packages_that_compile_to_a_module_are_taken() {
        let package = |kind: &str| {
            json!({ "name": "pick-some", "targets": [
                { "name": "t", "crate_types": ["bin"] },
                { "name": "pick-some", "crate_types": [kind, "rlib"] },
            ] })
        };
        let found = library(&package("cdylib")).expect("a library");
        assert_eq!((&*found.package, &*found.module), ("pick-some", "pick_some"));
        assert!(library(&package("lib")).is_none());
        let example = json!({ "name": "e", "targets": [
            { "name": "e", "crate_types": ["cdylib"], "kind": ["example"] },
        ] });
        assert!(library(&example).is_none());
    }
}
