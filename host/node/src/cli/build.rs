//! `conveyor build [DIR] [-o FILE]`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use engine::componentize;

use super::Output;
use crate::exit::{Failure, Result};
use crate::report::component;
use crate::{build, terminal, wiring};

/// Builds a stage's source to a component
///
/// Takes whichever way from Rust to WebAssembly this machine has (`conveyor doctor` says which), checks that
/// what comes out is a stage, and prints the path of the component.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Build {
    /// The directory of the stage
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The component's file; DIR/NAME.wasm unless set
    #[arg(short, long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Build {
    pub(super) fn execute(self) -> Result {
        if !self.dir.is_dir() || !self.dir.join("Cargo.toml").is_file() {
            // Nothing was tried yet: the command line is wrong.
            return Err(build::build(&self.dir)
                .map_or_else(Failure::Input, |_| Failure::Told(crate::exit::Code::Wrong)));
        }
        let built = build::build(&self.dir).map_err(Failure::Ran)?;
        let wasm = componentize(&built.wasm).map_err(Failure::ran)?;
        let resolver = wiring::Resolver::new(false)?;
        let loaded = super::block_on(resolver.engine.load(wasm.to_vec()))?;
        let stage = loaded.map_err(|error| {
            let verdict = if error.is_of_compiling() { "cannot be compiled" } else { "is not a stage" };
            Failure::Ran(anyhow!("{} was built, and {verdict}: {error}", self.dir.display()))
        })?;
        let out = self.out.unwrap_or_else(|| self.dir.join(format!("{}.wasm", built.name)));
        replace(&out, &wasm).map_err(Failure::Ran)?;
        terminal::say(format!(
            "built {} with {}: {}, {}, {}",
            out.display(),
            built.toolchain,
            stage.kind(),
            component::size(wasm.len()),
            stage.digest()
        ));
        match self.output {
            Output::Text => terminal::print_data(&format!("{}\n", out.display())),
            Output::Json => {
                let mut data = component::json(&stage, wasm.len());
                data["file"] = out.display().to_string().into();
                terminal::print_json(&data)
            }
        }
    }
}

/// Whoever reads the file meanwhile sees the old one or the new one, never half of it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    }
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        // What matters is why it could not be written.
        let _ = std::fs::remove_file(&part);
    }
    written.with_context(|| format!("{} cannot be written; nothing of it was changed", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/a.wasm");
        replace(&path, b"one").expect("written");
        replace(&path, b"two").expect("written");
        assert_eq!(std::fs::read(&path).expect("the file"), b"two");
        let error = replace(&path.join("below"), b"x").expect_err("a file is no directory");
        assert!(!format!("{error:#}").is_empty());
        let left = std::fs::read_dir(dir.path().join("deep")).expect("the directory").count();
        assert_eq!(left, 1, "a part was left over");
    }
}
