//! The files that a path or a pattern names.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use flow::connector::ConnectError;
use model::limits::GLOB_FILES_MAX;

use super::{FilePlaces, InputFile};
use crate::{Roots, RootsError};

/// What was found, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) files: Vec<InputFile>,
    /// Patterns that match nothing.
    pub(crate) unmatched: Vec<String>,
}

/// Whether the path is a pattern.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// The files of `paths`, each relative to `base`, all of them inside `roots`. One that matches nothing is an
/// error, unless more may come.
pub(crate) fn find(
    base: &Path,
    roots: &Roots,
    paths: &[String],
    may_be_none: bool,
) -> Result<Found, ConnectError> {
    let (mut files, mut unmatched): (Vec<InputFile>, Vec<String>) = (Vec::new(), Vec::new());
    for path in paths {
        let full = base.join(path);
        // A file of exactly that name wins over what the name would mean as a pattern.
        if !is_pattern(path) || full.is_file() {
            inside(roots, &full, path)?;
            if !may_be_none {
                check_is_file(&full, path)?;
            }
            files.push(InputFile { path: full, name: path.as_str().into() });
            continue;
        }
        let matched = matches(base, path)?;
        if matched.is_empty() {
            if !may_be_none {
                return Err(no_match(path));
            }
            unmatched.push(path.clone());
        }
        for file in &matched {
            inside(roots, &file.path, &file.name)?;
        }
        files.extend(matched);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files.dedup_by(|a, b| a.path == b.path);
    if files.len() > GLOB_FILES_MAX {
        // How many there are nobody knows: not all are looked at.
        let why = format!("more than {GLOB_FILES_MAX} files match");
        return Err(ConnectError::failed(paths.join(", "), why, "split them over several sources"));
    }
    Ok(Found { files, unmatched })
}

pub(crate) fn no_match(pattern: &str) -> ConnectError {
    ConnectError::failed(
        pattern,
        "no file matches it",
        "check the pattern; it is relative to the manifest, and of a bundle to the current directory",
    )
}

impl Found {
    /// Leaves out what is gone and was read to its end, as the places `from` say: all else has to be there.
    pub(crate) fn check_gone(&mut self, from: &FilePlaces) -> Result<(), ConnectError> {
        let is_done = |name: &str| from.get(name).is_some_and(|place| place.ended);
        self.files.retain(|file| file.path.exists() || !is_done(&file.name));
        self.files.iter().try_for_each(|file| check_is_file(&file.path, &file.name))?;
        let was_matched = |pattern: &&String| {
            let pattern = glob::Pattern::new(pattern);
            pattern.is_ok_and(|pattern| from.keys().any(|split| is_done(split) && pattern.matches(split)))
        };
        self.unmatched
            .iter()
            .find(|pattern| !was_matched(pattern))
            .map_or(Ok(()), |pattern| Err(no_match(pattern)))
    }
}

fn matches(base: &Path, pattern: &str) -> Result<Vec<InputFile>, ConnectError> {
    // Only the pattern is one: what the directory of the manifest is called is taken as it is.
    let escaped = glob::Pattern::escape(&base.to_string_lossy());
    let full = if Path::new(pattern).is_absolute() {
        PathBuf::from(pattern)
    } else {
        Path::new(&escaped).join(pattern)
    };
    let bad = |why: String| ConnectError::failed(pattern, why, "`*`, `?`, `[a-z]` and `**` are known");
    let found =
        glob::glob(&full.to_string_lossy()).map_err(|error| bad(format!("it is no pattern: {error}")))?;
    let mut files = Vec::new();
    for path in found.take(GLOB_FILES_MAX + 1) {
        let path = match path {
            // A directory that was removed meanwhile has no files.
            Err(error) if error.error().kind() == ErrorKind::NotFound => continue,
            path => path.map_err(|error| bad(format!("a directory cannot be read: {error}")))?,
        };
        let is_file = match path.metadata() {
            // It was removed meanwhile, or is a link to nothing.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            there => there.map_err(|error| super::failed(&path.to_string_lossy(), &error))?.is_file(),
        };
        if is_file {
            let name = path.strip_prefix(base).unwrap_or(&path).to_string_lossy().as_ref().into();
            files.push(InputFile { path, name });
        }
    }
    Ok(files)
}

fn inside(roots: &Roots, path: &Path, name: &str) -> Result<(), ConnectError> {
    // What is not there is told of by whoever opens it.
    match roots.check(path) {
        Err(RootsError::Io(error)) if error.kind() != ErrorKind::NotFound => Err(super::failed(name, &error)),
        Ok(_) | Err(RootsError::Io(_)) => Ok(()),
        Err(error) => {
            let next = "move it there, or run with another `--allow-root`";
            Err(ConnectError::failed(name, error.to_string(), next))
        }
    }
}

/// Says what is wrong with a path before anything runs. A pipe is left alone: whoever writes to it already would be cut
/// off when it is closed again.
fn check_is_file(path: &Path, name: &str) -> Result<(), ConnectError> {
    let broken = |error: std::io::Error| super::failed(name, &error);
    let there = std::fs::metadata(path).map_err(broken)?;
    if there.is_dir() {
        return Err(broken(ErrorKind::IsADirectory.into()));
    }
    if there.is_file() {
        std::fs::File::open(path).map_err(broken)?;
    }
    Ok(())
}
