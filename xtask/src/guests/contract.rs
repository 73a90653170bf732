//! The proof of the contract: the same two stages in five languages. Rust's are part of the workspace; those
//! of C, Go, JavaScript and Python are built here, straight on the bindings of each language's generator.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::fresh::{Inputs, unless_fresh};
use super::{bindings, component};
use crate::places::Places;
use crate::setup::rust::cargo;
use crate::setup::{Toolchains, npm, pypi};
use crate::step::{note, quiet};

#[derive(Debug, Clone, Copy)]
struct Stage {
    name: &'static str,
    world: &'static str,
    interface: &'static str,
}

const STAGES: [Stage; 2] = [
    Stage { name: "bytes", world: "transform-stage", interface: "conveyor:stage/transform@" },
    Stage { name: "table", world: "table-transform-stage", interface: "conveyor:stage/table-transform@" },
];

/// Where `componentize-js` is called: it is a library of Node, with no program of its own.
const COMPONENTIZE: &str = include_str!("componentize.mjs");

type Recipe = fn(&Build<'_>, &Path) -> Result<()>;

pub fn build(places: &Places, tools: &Toolchains) -> Result<()> {
    let source = places.guests_source().join("contract");
    let go_package = go_package(places)?;
    let languages: [(&str, &str, String, Recipe); 4] = [
        ("c", "c", format!("{}\n{}", pypi::PINS, bindings::VERSION), c),
        ("go", "go", format!("{}\n{}", pypi::PINS, bindings::VERSION), go),
        ("js", "js", format!("{}\n{COMPONENTIZE}", npm::JS.lock()), js),
        ("py", "python", pypi::PINS.to_string(), python),
    ];
    for (language, directory, tool, recipe) in languages {
        for stage in STAGES {
            let name = format!("{language}-{}", stage.name);
            let work = places.guests.join("contract/work").join(&name);
            let build = Build {
                stage,
                source: source.join(directory),
                wit: places.wit(),
                work,
                tools,
                go_package: &go_package,
            };
            let output = places.guests.join("contract").join(format!("{name}.wasm"));
            let inputs = Inputs::default()
                .text("tool", &tool)
                .text("recipe", include_str!("contract.rs"))
                .files(&build.wit)?
                .files(&build.source)?;
            let is_new = unless_fresh(&output, &inputs, |part| build.run(recipe, part))
                .with_context(|| format!("guests/contract, stage {name}"))?;
            note(format!("contract/{name}.wasm: {}", if is_new { "built" } else { "fresh" }));
        }
    }
    Ok(())
}

struct Build<'a> {
    stage: Stage,
    source: PathBuf,
    wit: PathBuf,
    /// For what is generated; empty at the start.
    work: PathBuf,
    tools: &'a Toolchains,
    go_package: &'a Path,
}

impl Build<'_> {
    fn run(&self, recipe: Recipe, output: &Path) -> Result<()> {
        if self.work.exists() {
            std::fs::remove_dir_all(&self.work)?;
        }
        std::fs::create_dir_all(&self.work)?;
        recipe(self, output)?;
        let component = std::fs::read(output).with_context(|| format!("cannot read {}", output.display()))?;
        let exports = component::exports(&component)?;
        for wanted in [self.stage.interface, "conveyor:stage/about@"] {
            if !exports.iter().any(|export| export.starts_with(wanted)) {
                bail!("the component does not export {wanted}; it exports {}", exports.join(", "));
            }
        }
        Ok(())
    }
}

fn c(build: &Build<'_>, output: &Path) -> Result<()> {
    let Stage { name, world, .. } = build.stage;
    bindings::c(&build.wit, world, &build.work)?;
    let generated = world.replace('-', "_");
    let module = build.work.join("module.wasm");
    quiet(
        "compile C with zig cc",
        build
            .tools
            .python
            .zig_cc()
            .args(["--target=wasm32-wasi", "-O2", "-s", "-Wall", "-Werror", "-mexec-model=reactor", "-I"])
            .arg(&build.work)
            .arg("-I")
            .arg(&build.source)
            .arg("-o")
            .arg(&module)
            .arg(build.source.join(format!("{name}.c")))
            .arg(build.work.join(format!("{generated}.c")))
            .arg(build.work.join(format!("{generated}_component_type.o"))),
    )?;
    Ok(std::fs::write(output, component::from_core(&std::fs::read(module)?)?)?)
}

fn go(build: &Build<'_>, output: &Path) -> Result<()> {
    let Stage { name, world, .. } = build.stage;
    bindings::go(&build.wit, world, &build.work)?;
    copy(&build.source.join(name), &build.work)?;
    let go = || {
        let mut go = build.tools.python.go();
        // The one module that is needed comes with its generator.
        go.current_dir(&build.work).env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOSUMDB", "off");
        go
    };
    let replaced = format!("-replace=go.bytecodealliance.org/pkg={}", build.go_package.display());
    let version = go_version(build.go_package)?;
    quiet("prepare go.mod", go().args(["mod", "edit", &format!("-go={version}"), &replaced]))?;
    let module = build.work.join("module.wasm");
    quiet(
        "compile Go",
        go().env("GOOS", "wasip1")
            .env("GOARCH", "wasm")
            // The runtime of the bindings links to the allocator of Go's.
            .args(["build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w -checklinkname=0", "-o"])
            .arg(&module)
            .arg("."),
    )?;
    Ok(std::fs::write(output, component::from_bare_core(std::fs::read(module)?, &build.wit, world)?)?)
}

fn js(build: &Build<'_>, output: &Path) -> Result<()> {
    let Stage { name, world, .. } = build.stage;
    // Beside the packages, so that Node finds them.
    let script = build.tools.js.directory().join("componentize.mjs");
    std::fs::write(&script, COMPONENTIZE)?;
    quiet(
        "componentize JavaScript",
        build
            .tools
            .python
            .node()
            .arg(script)
            .arg(build.source.join(format!("{name}.js")))
            .arg(&build.wit)
            .arg(world)
            .arg(output),
    )
    .map(|_| ())
}

fn python(build: &Build<'_>, output: &Path) -> Result<()> {
    quiet(
        "componentize Python",
        build
            .tools
            .python
            .componentize()
            // Compiled files would end up in the clone.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(["--quiet", "--wit-path"])
            .arg(&build.wit)
            .args(["--world", build.stage.world, "componentize", "--python-path"])
            .arg(build.source.join(build.stage.name))
            .arg("app")
            .arg("--output")
            .arg(output),
    )
    .map(|_| ())
}

/// The Go module that generated bindings import. Its source comes inside the crate of the generator, so the two
/// are always of one version.
fn go_package(places: &Places) -> Result<PathBuf> {
    let metadata = quiet(
        "ask cargo where the crate wit-bindgen-go lies",
        Command::new(cargo())
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(&places.root),
    )?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo names no packages")?;
    let generator = packages.iter().find(|package| package["name"] == "wit-bindgen-go");
    let manifest = generator.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.context("cargo does not know the crate wit-bindgen-go")?);
    Ok(manifest.with_file_name("src").join("pkg"))
}

/// The version of Go that the package wants, which the stage's own module must want too.
fn go_version(package: &Path) -> Result<String> {
    let path = package.join("go.mod");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let version = text.lines().find_map(|line| line.strip_prefix("go "));
    Ok(version.with_context(|| format!("{} names no version of Go", path.display()))?.trim().to_string())
}

fn copy(from: &Path, into: &Path) -> Result<()> {
    std::fs::create_dir_all(into)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = into.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
