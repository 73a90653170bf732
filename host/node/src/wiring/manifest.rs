//! A manifest's file becomes a pipeline.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use model::diagnostics::Diagnostics;
use model::limits;
use model::manifest::{Context, Pipeline, Rejected, parse_bytes};

use super::builtin;
use crate::exit::{Failure, Result};

/// A pipeline that is checked by itself.
#[derive(Debug)]
pub struct Draft {
    pub pipeline: Pipeline,
    /// The directory of the manifest.
    pub home: PathBuf,
}

/// Reads a manifest with the variables of this process's environment.
pub fn read(path: &Path) -> Result<Draft> {
    let name = path.display().to_string();
    let bytes = bytes(path).map_err(|error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "name a pipeline.yaml that exists",
            std::io::ErrorKind::IsADirectory => "it is a directory: name the pipeline.yaml in it",
            _ => "a manifest has to be readable",
        };
        Failure::Input(anyhow!("{name} cannot be read: {error}; {help}"))
    })?;
    let env = |variable: &str| std::env::var(variable).ok();
    let context = Context { sources: &connect::SOURCES, sinks: &connect::SINKS, env: &env };
    let home = path.parent().map(Path::to_owned).unwrap_or_default();
    match parse_bytes(&name, &bytes, &context) {
        Ok(pipeline) => Ok(Draft { pipeline, home }),
        Err(rejected) => Err(with_configs(*rejected, &home).into()),
    }
}

/// What is wrong with how stages hang together, and with the config of each.
fn with_configs(rejected: Rejected, home: &Path) -> Diagnostics {
    let Rejected { problems, stages } = rejected;
    let Some(stages) = stages else { return problems };
    let all = problems.iter().cloned().chain(builtin::config_problems(&stages, home));
    stages.diagnostics(all.collect())
}

/// One byte more than a manifest may have is enough to know that it is too large.
fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = limits::MANIFEST_BYTES_MAX as u64 + 1;
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Draft {
    /// Takes `--set stage.key=value`.
    pub fn set(&mut self, assignments: &[String]) -> Result {
        for assignment in assignments {
            self.pipeline.set(assignment).map_err(Failure::input)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let cases = [(dir.path().join("none.yaml"), "name a pipeline.yaml"), (dir.path().into(), "in it")];
        for (path, expected) in cases {
            let Err(Failure::Input(error)) = read(&path) else { panic!("{} was read", path.display()) };
            let error = error.to_string();
            assert!(error.contains(expected) && error.contains(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_huge_file_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("huge.yaml");
        let file = File::create(&path).expect("a file");
        file.set_len(1 << 40).expect("a sparse file");
        assert!(matches!(read(&path), Err(Failure::Manifest(_))));
    }
}
