//! What was built stays until something that it was made from changes, by content and not by time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// SHA-256 of the parts, in hex. Where one part ends matters: `ab`, `c` is not `a`, `bc`.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything that an output is made from.
#[derive(Debug, Default)]
pub struct Inputs(BTreeMap<String, Vec<u8>>);

impl Inputs {
    /// Something that is no file: the version of a tool, the options of a build.
    pub fn text(mut self, name: &str, text: &str) -> Self {
        self.0.insert(format!("={name}"), text.into());
        self
    }

    /// A file, or all the files of a directory, by their names within it.
    pub fn files(mut self, path: &Path) -> Result<Self> {
        for file in walk(path)? {
            let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let name = file.strip_prefix(path).unwrap_or(&file).display().to_string();
            let within = path.file_name().unwrap_or_default().to_string_lossy();
            self.0.insert(format!("{within}/{name}"), bytes);
        }
        Ok(self)
    }

    fn digest(&self) -> String {
        digest(self.0.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes]))
    }
}

fn walk(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = vec![];
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        files.extend(walk(&entry?.path())?);
    }
    Ok(files)
}

/// Runs `build`, unless `output` was made from the same inputs before. Answers whether it ran. `build` gets
/// the path to write to, which becomes `output` only when all went well.
pub fn unless_fresh(output: &Path, inputs: &Inputs, build: impl FnOnce(&Path) -> Result<()>) -> Result<bool> {
    let digest = inputs.digest();
    let stamp = output.with_added_extension("inputs");
    let is_fresh = output.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|old| old == digest);
    if is_fresh {
        return Ok(false);
    }
    let part = output.with_added_extension("part");
    build(&part)?;
    std::fs::rename(&part, output).with_context(|| format!("cannot write {}", output.display()))?;
    std::fs::write(&stamp, digest).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_digest_tells_where_parts_end() {
        let of = |parts: &[&str]| digest(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_eq!(of(&[]).len(), 64);
    }

    #[test]
    fn an_output_is_built_again_only_when_an_input_changes() {
        let directory = tempfile::tempdir().expect("a directory");
        let (source, output) = (directory.path().join("source"), directory.path().join("out"));
        fs::create_dir_all(source.join("deep")).expect("a directory");
        let build = |version: &str| {
            let inputs = Inputs::default().text("version", version).files(&source).expect("inputs");
            unless_fresh(&output, &inputs, |part| Ok(fs::write(part, "made")?)).expect("a build")
        };
        fs::write(source.join("deep/a"), "1").expect("a file");
        assert!(build("1"), "there is no output yet");
        assert!(!build("1"), "nothing has changed");
        fs::write(source.join("deep/a"), "1").expect("a file");
        assert!(!build("1"), "the file is newer, and the same");
        fs::write(source.join("deep/a"), "2").expect("a file");
        assert!(build("1"), "the file has changed");
        fs::rename(source.join("deep/a"), source.join("b")).expect("a file");
        assert!(build("1"), "the file has moved");
        assert!(build("2"), "the tool has changed");
        fs::remove_file(&output).expect("a file");
        assert!(build("2"), "the output is gone");
    }

    #[test]
    fn a_build_that_fails_leaves_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let output = directory.path().join("out");
        let inputs = |version| Inputs::default().text("version", version);
        unless_fresh(&output, &inputs("1"), |part| Ok(fs::write(part, "made")?)).expect("a build");
        let failed = unless_fresh(&output, &inputs("2"), |_| anyhow::bail!("no compiler"));
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&output).expect("the output"), "made");
        assert!(unless_fresh(&output, &inputs("2"), |part| Ok(fs::write(part, "again")?)).expect("a build"));
    }
}
