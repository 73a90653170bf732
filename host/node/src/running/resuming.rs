//! Where a pipeline goes on: the last committed checkpoint, and whether this manifest may go on from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use connect::{SetAside, SpecError};
use flow::checkpoint::{
    Checkpoint, CheckpointError, CheckpointStore as _, LastCommitted, Opened, Pace, RedbStore, StageMark,
};
use flow::connector::ConnectErrorKind;
use flow::{Checkpoints, Recovery};

use super::misfits::{CONNECTORS, cannot_go_on, compat, leave_others, unforgettable};
use crate::exit::{Failure, Result};
use crate::terminal;
use crate::wiring::{ResolvedPipeline, epoch_now, spools_in};

/// What `run` is asked for about state.
#[derive(Clone, Debug)]
pub struct State {
    /// Each pipeline has a directory of its own name in it.
    pub dir: PathBuf,
    /// Throw away what is there.
    pub reset: bool,
    /// Stages that had another name: the old one, and the new one.
    pub renames: Vec<(String, String)>,
    /// Stages of which what the checkpoint has is thrown away.
    pub forgotten: Vec<String>,
    /// Sinks `file` that keep the file that they have under another name and begin a new one.
    pub new_files: Vec<String>,
}

impl State {
    /// In this directory, going on from what is there.
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir, reset: false, renames: Vec::new(), forgotten: Vec::new(), new_files: Vec::new() }
    }

    /// For runs after the first: what was asked for once is not done again.
    pub(super) fn again(self) -> Self {
        Self::at(self.dir)
    }
}

/// Opens the store of a pipeline, and finds out where it goes on. Gives the epoch of this run as well.
/// `next_letter`: the number that its next dead letter gets. `is_first`: whether users are told where it goes on.
pub(super) fn open(
    state: &State,
    resolved: &ResolvedPipeline,
    next_letter: u64,
    recovery: Recovery,
    is_first: bool,
) -> Result<(Checkpoints, u64)> {
    let dir = state.dir.join(resolved.name());
    if let Some(file) = [&state.dir, &dir].into_iter().find(|path| path.exists() && !path.is_dir()) {
        return Err(Failure::Input(anyhow!("{} is no directory; name one with `--state`", file.display())));
    }
    let least = if state.reset { reset(&dir)? } else { 0 };
    let Opened { mut store, last_committed } = RedbStore::open(&dir).map_err(|error| match error {
        // Nothing ran yet: another directory may have to be named.
        CheckpointError::Io { .. } if is_first => Failure::input(error),
        error => error.into(),
    })?;
    let pipeline = &resolved.pipeline;
    for stage in resolved.stages_of("stdin").into_iter().filter(|_| is_first) {
        terminal::say(format!(
            "`{stage}` of `{}` reads stdin, which cannot be read again: records that are on their way when the \
             process dies are lost",
            resolved.name()
        ));
    }
    let (checkpoint, marks) = match last_committed {
        None => (Checkpoint { letters: next_letter, ..Checkpoint::default() }, resolved.marks()),
        Some(last_committed) => go_on(last_committed, &mut store, state, resolved, &dir)?,
    };
    if checkpoint.number > 0 && is_first {
        let number = checkpoint.number;
        terminal::say(format!("pipeline {} goes on from checkpoint {number}", resolved.name()));
    }
    let epoch = store.next_epoch(epoch_now().max(least))?;
    let mut store = store.running(resolved.identity().revision, marks);
    if checkpoint.number == 0 {
        store.put(&checkpoint, Duration::ZERO)?;
    }
    let every = pipeline.checkpoint;
    let pace = Pace { interval: every.interval.0, timeout: every.timeout.0 };
    Ok((Checkpoints { store: Box::new(store), last_committed: checkpoint, pace, recovery }, epoch))
}

/// Does what was asked for to the last committed checkpoint, and sees that the pipeline may go on from it. Gives it with the
/// marks of the stages that do.
fn go_on(
    mut last_committed: LastCommitted,
    store: &mut RedbStore,
    state: &State,
    resolved: &ResolvedPipeline,
    dir: &Path,
) -> Result<(Checkpoint, BTreeMap<String, StageMark>)> {
    for (old, new) in &state.renames {
        last_committed.rename(old, new);
        rename_spool(dir, old, new)?;
    }
    let now = resolved.beside(&last_committed);
    for stage in &state.forgotten {
        let forgotten = last_committed.forget(stage, &now, CONNECTORS);
        forgotten.map_err(|why| unforgettable(stage, &why))?;
    }
    let misfits = compat(&last_committed, &now).misfits(&state.new_files);
    if !misfits.is_empty() {
        let next = "begin anew with `--reset`, or run the manifest that it was taken with";
        let number = last_committed.checkpoint.number;
        return Err(Failure::input(cannot_go_on(resolved.name(), number, dir, &misfits, next)));
    }
    let is_left = leave_others(&mut last_committed, &now, resolved.name(), |_| true);
    let names = compat(&last_committed, &now).begins_files(&state.new_files);
    let begins = begin_files(&mut last_committed, resolved, names)?;
    let marks = compat(&last_committed, &now).marks();
    let is_changed = begins || is_left || !state.renames.is_empty() || !state.forgotten.is_empty();
    // A checkpoint of a version without marks has them from now on, also where nothing more is stored.
    if is_changed || last_committed.stages != marks {
        last_committed.stages.clone_from(&marks);
        store.adopt(&last_committed, &state.renames, &state.forgotten)?;
    }
    Ok((last_committed.checkpoint, marks))
}

/// Throws away all but the spools: what is in them was acknowledged, and nobody has it any more. Gives an epoch higher
/// than those so far, as far as what is there can still be read.
fn reset(dir: &Path) -> Result<u64> {
    let failed = |path: &Path, error| Failure::Ran(anyhow!("{} cannot be removed: {error}", path.display()));
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(|error| failed(dir, error))?,
    };
    let epoch = match RedbStore::open(dir) {
        Ok(mut opened) => opened.store.next_epoch(0).map_or(0, |last| last + 1),
        Err(locked @ CheckpointError::Locked { .. }) => return Err(locked.into()),
        Err(_) => 0,
    };
    let spools = spools_in(dir);
    for entry in entries {
        let path = entry.map_err(|error| failed(dir, error))?.path();
        if path == spools {
            continue;
        }
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(|error| failed(&path, error))?;
    }
    Ok(epoch)
}

/// A source that has another name now finds its spool under that.
fn rename_spool(dir: &Path, old: &str, new: &str) -> Result {
    let (from, to) = (spools_in(dir).join(old), spools_in(dir).join(new));
    if !from.is_dir() || to.exists() {
        return Ok(());
    }
    std::fs::rename(&from, &to)
        .map_err(|error| Failure::Ran(anyhow!("{} cannot be renamed: {error}", from.display())))
}

/// Sets aside the files of these sinks, which begin new ones. Says whether there was one.
fn begin_files(
    last_committed: &mut LastCommitted,
    resolved: &ResolvedPipeline,
    names: Vec<String>,
) -> Result<bool> {
    let mut any = false;
    for name in names {
        let index = resolved.pipeline.index_of(&name);
        let built_in = index.and_then(|index| resolved.built_in(index));
        let Some(token) = last_committed.checkpoint.tokens.get(&*name) else { continue };
        let Some(aside) = built_in.and_then(|built_in| built_in.set_file_aside(token)) else { continue };
        let SetAside { kept, token } = aside.map_err(|error| match error {
            SpecError::Connect(error) if error.kind == ConnectErrorKind::Full => Failure::Full(error.into()),
            error => Failure::input(error),
        })?;
        if let Some(kept) = kept {
            terminal::say(format!(
                "`{name}` of `{}` begins a new file; what it has written so far is in {}",
                resolved.name(),
                kept.display()
            ));
        }
        match token {
            Some(token) => last_committed.checkpoint.tokens.insert(name.as_str().into(), token),
            None => last_committed.checkpoint.tokens.remove(&*name),
        };
        any = true;
    }
    Ok(any)
}

/// What somebody typed, or what is the matter with a disk.
impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Full { .. } => Self::Full(error.into()),
            error if error.is_input() => Self::input(error),
            error => Self::ran(error),
        }
    }
}
