//! Which crate may know which: the ladder of the architecture, and the libraries that one crate alone may use.

use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Finding;

/// Each crate of the host with those below it that it may know. A crate that is not here has no place yet.
const LADDER: &[(&str, &[&str])] = &[
    ("calendar", &[]),
    ("disk", &[]),
    ("model", &["calendar"]),
    ("engine", &["model"]),
    ("wire", &["model"]),
    ("control", &["model", "disk"]),
    ("registry", &["model", "disk"]),
    ("flow", &["model", "disk", "engine", "wire"]),
    ("connect", &["model", "disk", "flow"]),
    ("node", &["model", "disk", "engine", "wire", "control", "registry", "flow", "connect"]),
    // What it derives is tried on the SDK that it is for.
    ("conveyor-sdk-macros", &["conveyor-sdk"]),
    ("conveyor-sdk", &["conveyor-sdk-macros"]),
    ("benches", MEASURED),
    ("tests", TESTED),
    ("xtask", &[]),
];

/// All but the binary, which tests run as a program.
const TESTED: &[&str] =
    &["model", "disk", "engine", "wire", "control", "registry", "flow", "connect", "conveyor-sdk"];
/// The binary's wiring too: what is measured is what `conveyor run` does.
const MEASURED: &[&str] =
    &["model", "disk", "engine", "wire", "control", "registry", "flow", "connect", "conveyor-sdk", "node"];

/// Libraries that the architecture gives to few crates. What tests and measures may use any.
const ONLY: &[(&str, &[&str])] = &[
    ("wasmtime", &["engine"]),
    ("wasmtime-wasi", &["engine"]),
    ("quinn", &["wire"]),
    ("openraft", &["control"]),
    ("clap", &["node"]),
    ("axum", &["node", "registry"]),
    ("anyhow", &["node"]),
];
const FREE: &[&str] = &["benches", "tests", "xtask"];

pub fn check(manifest: &Path) -> Result<Vec<Finding>> {
    let text =
        std::fs::read_to_string(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let is_guest = manifest.ancestors().any(|path| path.ends_with("guests"));
    let messages = if is_guest { check_guest(&text) } else { check_host(&text) }
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    Ok(messages.into_iter().map(|message| Finding::new(manifest, 1, message)).collect())
}

fn check_host(manifest: &str) -> Result<Vec<String>> {
    let manifest: Table = manifest.parse()?;
    let name = name(&manifest);
    let Some((_, below)) = LADDER.iter().find(|(known, _)| *known == name) else {
        return Ok(vec![format!("the crate `{name}` has no place in the ladder: xtask/src/tidy/ladder.rs")]);
    };
    let mut messages = vec![];
    for dependency in dependencies(&manifest, &["dependencies", "dev-dependencies", "build-dependencies"]) {
        let is_ours = LADDER.iter().any(|(known, _)| *known == dependency);
        if is_ours && !below.contains(&&*dependency) {
            messages.push(format!("`{name}` may not know `{dependency}`: it may know {below:?}"));
        }
    }
    for dependency in dependencies(&manifest, &["dependencies", "build-dependencies"]) {
        let only = ONLY.iter().find(|(library, _)| *library == dependency);
        if let Some((_, may)) = only
            && !may.contains(&name)
            && !FREE.contains(&name)
        {
            messages.push(format!("`{name}` may not use `{dependency}`: that is for {may:?} alone"));
        }
    }
    Ok(messages)
}

/// A guest is what users write: it gets the SDK, and of the host the calendar alone, which has no dependencies.
fn check_guest(manifest: &str) -> Result<Vec<String>> {
    let manifest: Table = manifest.parse()?;
    let all = dependencies(&manifest, &["dependencies", "dev-dependencies", "build-dependencies"]);
    let is_free = |name: &String| ["conveyor-sdk", "calendar"].contains(&name.as_str());
    let of_host = all.filter(|name| LADDER.iter().any(|(known, _)| known == name) && !is_free(name));
    Ok(of_host.map(|found| format!("a guest may not know `{found}`, which is the host's")).collect())
}

fn name(manifest: &Table) -> &str {
    manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The packages in the named tables, those of `[target.'...']` too, by the names that they are published under.
fn dependencies<'a>(manifest: &'a Table, kinds: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(|targets| targets.values().filter_map(Value::as_table));
    let tables = std::iter::once(manifest).chain(targets);
    let lists = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    lists.flat_map(|list| {
        list.iter().map(|(key, value)| {
            let renamed = value.get("package").and_then(Value::as_str);
            renamed.unwrap_or(key).to_string()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n{rest}")
    }

    #[test]
    fn a_crate_knows_those_below_it_alone() {
        let cases = [
            ("engine", "[dependencies]\nmodel.workspace = true", None),
            ("model", "[dependencies]\nengine.workspace = true", Some("`model` may not know `engine`")),
            ("flow", "[dependencies]\nnode = { path = \"../node\" }", Some("`flow` may not know `node`")),
            ("benches", "[dependencies]\nnode.workspace = true", None),
            ("tests", "[dev-dependencies]\nnode.workspace = true", Some("`tests` may not know `node`")),
            ("engine", "[dev-dependencies]\nflow.workspace = true", Some("`engine` may not know `flow`")),
            ("model", "[target.'cfg(unix)'.dependencies]\nflow = \"1\"", Some("`model` may not know `flow`")),
            (
                "model",
                "[dependencies]\nx = { package = \"flow\", path = \"\" }",
                Some("`model` may not know `flow`"),
            ),
            ("novelty", "", Some("no place in the ladder")),
        ];
        for (name, rest, wanted) in cases {
            let found = check_host(&manifest(name, rest)).expect("a manifest");
            match wanted {
                None => assert!(found.is_empty(), "{name}: {found:?}"),
                Some(wanted) => assert!(found.len() == 1 && found[0].contains(wanted), "{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn heavy_libraries_belong_to_one_crate() {
        let wasmtime = "[dependencies]\nwasmtime.workspace = true";
        for (name, is_allowed) in [("engine", true), ("benches", true), ("flow", false), ("node", false)] {
            let found = check_host(&manifest(name, wasmtime)).expect("a manifest");
            assert_eq!(found.is_empty(), is_allowed, "{name}: {found:?}");
        }
        let only_in_tests = "[dev-dependencies]\nanyhow.workspace = true";
        assert!(check_host(&manifest("model", only_in_tests)).expect("a manifest").is_empty());
    }

    #[test]
    fn guests_know_the_sdk_and_nothing_of_the_host() {
        let sdk = manifest("filter", "[dependencies]\nconveyor-sdk = { path = \"../../sdk-rust\" }");
        assert!(check_guest(&sdk).expect("a manifest").is_empty());
        let model = manifest("filter", "[dependencies]\nmodel = { path = \"../../host/model\" }");
        assert_eq!(check_guest(&model).expect("a manifest").len(), 1);
    }
}
