//! Where files may lie: the policy of the machine for built-in connectors and for directories that stages
//! are granted. It is about what a manifest names; against somebody who moves links about inside a root while
//! a pipeline runs, only the rights of the process help.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directories inside which every file has to lie. The default is anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots(Option<Arc<[PathBuf]>>);

/// Why a path is not taken.
#[derive(thiserror::Error, Debug)]
pub enum RootsError {
    #[error("it lies outside of {roots}, where files may be")]
    Outside { roots: String },
    #[error("a symbolic link on its way leads nowhere")]
    Dangling,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Roots {
    /// Each has to be a directory that is there.
    pub fn new(roots: &[PathBuf]) -> io::Result<Self> {
        let resolved = roots.iter().map(|root| {
            let resolved = root.canonicalize()?;
            if resolved.is_dir() { Ok(resolved) } else { Err(io::ErrorKind::NotADirectory.into()) }
        });
        Ok(Self(Some(resolved.collect::<io::Result<_>>()?)))
    }

    /// The path with symbolic links resolved, where it lies inside; what is not there yet is judged by the
    /// directory that it would be in. Without roots the path comes back as it is.
    pub fn check(&self, path: &Path) -> Result<PathBuf, RootsError> {
        let Some(roots) = &self.0 else { return Ok(path.to_owned()) };
        let resolved = resolve(&std::path::absolute(path)?)?;
        if roots.iter().any(|root| resolved.starts_with(root)) {
            return Ok(resolved);
        }
        let roots: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
        Err(RootsError::Outside { roots: roots.join(", ") })
    }
}

fn resolve(path: &Path) -> Result<PathBuf, RootsError> {
    match path.canonicalize() {
        Ok(resolved) => return Ok(resolved),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    // Writing to a link that leads nowhere would make what it leads to.
    if path.symlink_metadata().is_ok() {
        return Err(RootsError::Dangling);
    }
    let not_found = || RootsError::from(io::Error::from(io::ErrorKind::NotFound));
    let name = path.file_name().ok_or_else(not_found)?;
    Ok(resolve(path.parent().ok_or_else(not_found)?)?.join(name))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_lies_inside_is_taken_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("in/deep")).expect("a directory");
        fs::create_dir_all(at("inside-not")).expect("a directory");
        for file in ["in/a", "in/deep/b", "inside-not/c"] {
            fs::write(at(file), "x").expect("a file");
        }
        symlink(at("inside-not/c"), at("in/out")).expect("a link");
        symlink(at("inside-not"), at("in/outer")).expect("a link");
        symlink(at("inside-not/new"), at("in/dangling")).expect("a link");
        symlink(at("in/a"), at("into")).expect("a link");
        let roots = Roots::new(&[at("in")]).expect("roots");
        let cases = [
            ("in/a", true),
            ("in", true),
            ("in/deep/../a", true),
            ("into", true),
            ("in/new/file", true),
            ("in/out", false),
            ("in/outer/c", false),
            ("in/outer/new", false),
            ("in/dangling", false),
            ("in/dangling/x", false),
            ("in/../inside-not/c", false),
            ("in/new/../../inside-not/c", false),
            ("inside-not/c", false),
            ("nowhere/x", false),
        ];
        for (path, inside) in cases {
            let checked = roots.check(&at(path));
            assert_eq!(checked.is_ok(), inside, "{path}: {checked:?}");
            assert!(Roots::default().check(&at(path)).is_ok(), "{path} without roots");
        }
        assert!(Roots::new(&[at("in/a")]).is_err() && Roots::new(&[at("none")]).is_err());
    }
}
