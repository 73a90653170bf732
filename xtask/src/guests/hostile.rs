//! The hostile corpus, `guests/hostile/`: each file is a component of its own in `<cache>/guests/hostile/`, named as
//! the file is.
//!
//! - `wat/*.wat`: core modules in text. A line `;; include NAME...` stands for the files of these names in `wat/base/`,
//!   and `;; world: NAME` for a world other than that of a transform.
//! - `c/*.c`: stages of tables on the bindings for C.
//! - `rust/examples/*.rs`: stages that need WASI.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::fresh::{Inputs, unless_fresh};
use super::{bindings, component};
use crate::places::Places;
use crate::setup::pypi;
use crate::setup::rust::{WASM_TARGET, Wasm};
use crate::step::{self, note, quiet};

const WORLD: &str = "transform-stage";
const C_WORLD: &str = "table-transform-stage";

/// Builds all of them; what has not changed is not built again.
pub fn build(places: &Places, wasm: Wasm) -> Result<()> {
    let corpus = Corpus {
        source: places.guests_source().join("hostile"),
        into: places.guests.join("hostile"),
        wit: places.wit(),
    };
    std::fs::create_dir_all(&corpus.into)
        .with_context(|| format!("cannot create {}", corpus.into.display()))?;
    let built = corpus.wat()? + corpus.c(places)? + corpus.rust(places, wasm)?;
    note(format!("hostile components are in {}, {built} of them new", corpus.into.display()));
    Ok(())
}

struct Corpus {
    source: PathBuf,
    into: PathBuf,
    wit: PathBuf,
}

impl Corpus {
    fn output(&self, source: &Path) -> PathBuf {
        let name = source.file_stem().unwrap_or_default();
        self.into.join(name).with_extension("wasm")
    }

    fn wat(&self) -> Result<usize> {
        let mut built = 0;
        for path in files(&self.source.join("wat"), "wat")? {
            let wat = whole(&path)?;
            let inputs = Inputs::default()
                .text("recipe", include_str!("hostile.rs"))
                .text("wat", &wat)
                .files(&self.wit)?;
            let is_new = unless_fresh(&self.output(&path), &inputs, |part| {
                let module = wat::parse_str(&wat)?;
                Ok(std::fs::write(part, component::from_bare_core(module, &self.wit, world(&wat))?)?)
            });
            built += usize::from(is_new.with_context(|| path.display().to_string())?);
        }
        Ok(built)
    }

    fn c(&self, places: &Places) -> Result<usize> {
        let (source, contract) = (self.source.join("c"), places.guests_source().join("contract/c"));
        let work = self.into.join("work");
        let mut bindings_are_there = false;
        let mut built = 0;
        for path in files(&source, "c")? {
            let inputs = Inputs::default()
                .text("recipe", include_str!("hostile.rs"))
                .text("tool", &format!("{}\n{}", pypi::PINS, bindings::VERSION))
                .files(&path)?
                .files(&source.join("table.h"))?
                .files(&contract.join("memory.h"))?
                .files(&self.wit)?;
            let is_new = unless_fresh(&self.output(&path), &inputs, |part| {
                if !bindings_are_there {
                    bindings::c(&self.wit, C_WORLD, &work)?;
                    bindings_are_there = true;
                }
                let generated = C_WORLD.replace('-', "_");
                let module = part.with_extension("module");
                let mut zig = pypi::ensure(places)?.zig_cc();
                zig.args(["--target=wasm32-wasi", "-O1", "-g", "-Wall", "-Werror", "-mexec-model=reactor"]);
                for include in [&work, &contract, &source] {
                    zig.arg("-I").arg(include);
                }
                zig.arg("-o").arg(&module).arg(&path).arg(work.join(format!("{generated}.c")));
                zig.arg(work.join(format!("{generated}_component_type.o")));
                quiet("compile C with zig cc", &mut zig)?;
                let bytes = std::fs::read(&module)?;
                std::fs::remove_file(&module)?;
                Ok(std::fs::write(part, component::from_core(&bytes)?)?)
            });
            built += usize::from(is_new.with_context(|| path.display().to_string())?);
        }
        Ok(built)
    }

    fn rust(&self, places: &Places, wasm: Wasm) -> Result<usize> {
        let mut command = wasm.cargo_build();
        command.current_dir(places.guests_source()).env("CARGO_TARGET_DIR", &places.guests);
        step::run("build the hostile stages in Rust", command.args(["--package", "hostile", "--examples"]))?;
        let built_into = places.guests.join(WASM_TARGET).join("release/examples");
        let mut built = 0;
        for path in files(&self.source.join("rust/examples"), "rs")? {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
            let module = built_into.join(format!("{name}.wasm"));
            let inputs = Inputs::default().files(&module)?;
            let is_new = unless_fresh(&self.output(&path), &inputs, |part| {
                Ok(std::fs::write(part, component::from_core(&std::fs::read(&module)?)?)?)
            });
            built += usize::from(is_new.with_context(|| path.display().to_string())?);
        }
        Ok(built)
    }
}

/// The files of a directory with this extension, by name.
fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in
        std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    if found.is_empty() {
        bail!("{} has no file that ends in .{extension}", directory.display());
    }
    found.sort();
    Ok(found)
}

/// A module with what it includes.
fn whole(path: &Path) -> Result<String> {
    let base = path.with_file_name("base");
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut whole = String::with_capacity(2 * text.len());
    for line in text.lines() {
        match line.trim().strip_prefix(";; include ") {
            None => whole.push_str(line),
            Some(names) => {
                for name in names.split_whitespace() {
                    let part = base.join(name).with_extension("wat");
                    let part = std::fs::read_to_string(&part)
                        .with_context(|| format!("{} includes {}", path.display(), part.display()))?;
                    whole.push_str(&part);
                }
            }
        }
        whole.push('\n');
    }
    Ok(whole)
}

fn world(wat: &str) -> &str {
    wat.lines().find_map(|line| line.strip_prefix(";; world: ")).map_or(WORLD, str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_put_together_from_what_it_includes() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("base")).expect("a directory");
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).expect("a file");
        };
        write("base/a.wat", "(a)\n");
        write("base/b.wat", "(b)\n");
        write("m.wat", ";; world: source-stage\n(module\n  ;; include b a\n)\n");
        let text = whole(&directory.path().join("m.wat")).expect("a module");
        assert_eq!(text, ";; world: source-stage\n(module\n(b)\n(a)\n\n)\n");
        assert_eq!((world(&text), world("(module)")), ("source-stage", WORLD));
        write("n.wat", ";; include c");
        let error = whole(&directory.path().join("n.wat")).expect_err("there is no c");
        assert!(format!("{error:#}").contains("n.wat includes"), "{error:#}");
    }
}
