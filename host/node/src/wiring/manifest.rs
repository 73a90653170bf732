//! A manifest's file, or a bundle, becomes a pipeline, with the lock of what it names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use model::diagnostics::Diagnostics;
use model::limits;
use model::lock::{self, Lock};
use model::manifest::{Context, Pipeline, Rejected, parse_bytes};

use super::builtin;
use crate::exit::{Failure, Result};
use crate::pulled::{Bundle, Pushed, is_bundle, lock_path};

/// A pipeline that is checked by itself.
#[derive(Debug)]
pub struct Draft {
    pub pipeline: Pipeline,
    /// The directory of the manifest. Of a bundle it is the current one.
    pub home: PathBuf,
    /// What its references stand for, where that is written down.
    pub lock: Option<Lock>,
    /// Where its components come from, if not from files and registries.
    pub bundle: Option<Arc<Bundle>>,
    /// Where those come from that it names by paths, if not from files.
    pub pushed: Option<Pushed>,
    /// The variables that it names and that the environment has, with what they were.
    pub variables: BTreeMap<String, String>,
}

/// What a node was given of a manifest when it was deployed.
pub struct Deployed<'a> {
    /// What people know it by: pipeline and revision.
    pub called: &'a str,
    pub manifest: &'a str,
    /// What its references and paths stand for; empty where it names built-in stages alone.
    pub lock: &'a str,
    /// To which its paths are relative.
    pub dir: Option<&'a str>,
    /// Of the environment in which it was deployed: those that it names.
    pub variables: &'a BTreeMap<String, String>,
    pub pushed: Pushed,
}

impl Deployed<'_> {
    pub fn read(self) -> Result<Draft> {
        let Self { called, manifest, lock, dir, variables, pushed } = self;
        let home = PathBuf::from(dir.unwrap_or_default());
        let env = |variable: &str| variables.get(variable).cloned();
        let (pipeline, variables) = parse(called, manifest.as_bytes(), &home, &env)?;
        let lock = match lock {
            "" => None,
            text => Some(Lock::parse(&format!("the lock of {called}"), text.as_bytes(), "conveyor deploy")?),
        };
        if let Some(lock) = &lock {
            let misfits = lock.misfits(&pipeline, &format!("the lock of {called}"), "conveyor deploy");
            Diagnostics::check(pipeline.text.clone(), misfits)?;
        }
        Ok(Draft { pipeline, home, lock, bundle: None, pushed: Some(pushed), variables })
    }
}

impl Draft {
    /// What is typed to name it.
    pub fn file(&self) -> String {
        match &self.bundle {
            Some(bundle) => bundle.path().display().to_string(),
            None => self.pipeline.text.name.to_string(),
        }
    }
}

/// Reads a manifest with the variables of this process's environment, and the lock beside it, or both from a bundle. A lock
/// that is of another manifest is refused.
pub fn read(path: &Path) -> Result<Draft> {
    let draft = match is_bundle(path) {
        true => of_bundle(path)?,
        false => {
            let lock = read_lock(path)?;
            Draft { lock, ..read_unlocked(path)? }
        }
    };
    if let Some(lock) = &draft.lock {
        let (file, write) = match &draft.bundle {
            Some(bundle) => (bundle.lock_name(), "conveyor bundle".to_owned()),
            None => (lock_path(path).display().to_string(), lock_command(path)),
        };
        let misfits = lock.misfits(&draft.pipeline, &file, &write);
        Diagnostics::check(draft.pipeline.text.clone(), misfits)?;
    }
    Ok(draft)
}

/// The lock of a manifest; none where there is no file.
fn read_lock(manifest: &Path) -> Result<Option<Lock>> {
    let path = lock_path(manifest);
    let name = path.display().to_string();
    match disk::open_file(&path).and_then(|file| bytes(file, limits::LOCK_BYTES_MAX)) {
        Ok(bytes) => Ok(Some(Lock::parse(&name, &bytes, &lock_command(manifest))?)),
        // A link that leads nowhere is a lock that somebody meant to be there.
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind())
                && path.symlink_metadata().is_err() =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure::Input(anyhow!(
            "{name} cannot be read: {error}; the lock of {} has to be readable, or not there",
            manifest.display()
        ))),
    }
}

/// The same for whoever writes it anew. `replaces`: whether one that is damaged may go; what never was a lock stays.
pub fn read_lock_for_update(manifest: &Path, replaces: bool) -> Result<Option<Lock>> {
    match read_lock(manifest) {
        Err(Failure::Manifest(_)) if replaces && is_damaged_lock(&lock_path(manifest)) => Ok(None),
        read => read,
    }
}

fn is_damaged_lock(path: &Path) -> bool {
    let read = disk::open_file(path).and_then(|file| bytes(file, limits::LOCK_BYTES_MAX));
    read.is_ok_and(|bytes| lock::was_lock(&bytes))
}

/// What writes the lock of a manifest.
fn lock_command(manifest: &Path) -> String {
    format!("conveyor lock {}", manifest.display())
}

fn of_bundle(path: &Path) -> Result<Draft> {
    let bundle = Bundle::open(path).map_err(Failure::input)?;
    let (name, text) = bundle.manifest();
    let home = PathBuf::new();
    let (pipeline, variables) = parse(&name, text, &home, &of_environment)?;
    let lock = match bundle.lock() {
        Some(text) => Some(Lock::parse(&bundle.lock_name(), text, "conveyor bundle")?),
        None => None,
    };
    Ok(Draft { pipeline, home, lock, bundle: Some(Arc::new(bundle)), pushed: None, variables })
}

/// The variables that a manifest names and that there are.
type Variables = BTreeMap<String, String>;

fn parse(
    name: &str,
    bytes: &[u8],
    home: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> std::result::Result<(Pipeline, Variables), Diagnostics> {
    let used = RefCell::new(Variables::new());
    let env = |variable: &str| {
        let value = env(variable)?;
        used.borrow_mut().insert(variable.to_owned(), value.clone());
        Some(value)
    };
    let context = Context { sources: &connect::SOURCES, sinks: &connect::SINKS, env: &env };
    let parsed = parse_bytes(name, bytes, &context).map_err(|rejected| with_configs(*rejected, home));
    Ok((parsed?, used.take()))
}

fn of_environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// Reads a manifest, whatever its lock says.
pub fn read_unlocked(path: &Path) -> Result<Draft> {
    let name = path.display().to_string();
    let read = File::open(path).and_then(|file| bytes(file, limits::MANIFEST_BYTES_MAX));
    let bytes = read.map_err(|error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "name a pipeline.yaml that exists",
            std::io::ErrorKind::IsADirectory => "it is a directory: name the pipeline.yaml in it",
            _ => "a manifest has to be readable",
        };
        Failure::Input(anyhow!("{name} cannot be read: {error}; {help}"))
    })?;
    let home = path.parent().map(Path::to_owned).unwrap_or_default();
    let (pipeline, variables) = parse(&name, &bytes, &home, &of_environment)?;
    Ok(Draft { pipeline, home, lock: None, bundle: None, pushed: None, variables })
}

/// What is wrong with how stages hang together, and with the config of each.
fn with_configs(rejected: Rejected, home: &Path) -> Diagnostics {
    let Rejected { problems, stages } = rejected;
    let Some(stages) = stages else { return problems };
    let all = problems.iter().cloned().chain(builtin::config_problems(&stages, home));
    stages.diagnostics(all.collect())
}

/// One byte more than a file may have is enough to know that it is too large.
fn bytes(file: File, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
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
