//! Where a pipeline goes on: the last committed checkpoint, and whether this manifest may go on from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use connect::{SetAside, SpecError};
use flow::checkpoint::{
    Checkpoint, CheckpointError, CheckpointStore as _, LastCommitted, Opened, Pace, RedbStore, StageMark,
};
use flow::connector::ConnectErrorKind;
use flow::{Checkpoints, Recovery};
use model::manifest::Role;

use super::misfits::{begins_anew, misfits, other_connectors, replacing};
use crate::exit::{Failure, Result};
use crate::terminal;
use crate::wiring::{Wired, epoch_now, spools_in};
use crate::words::Words;

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
    /// For runs after the first: what was asked for once is not done again.
    pub(super) fn again(self) -> Self {
        Self {
            dir: self.dir,
            reset: false,
            renames: Vec::new(),
            forgotten: Vec::new(),
            new_files: Vec::new(),
        }
    }
}

/// Opens the store of a pipeline, and finds out where it goes on. Gives the epoch of this run as well.
/// `next_letter`: the number that its next dead letter gets. `is_first`: whether users are told where it goes on.
pub(super) fn open(
    state: &State,
    wired: &Wired,
    next_letter: u64,
    recovery: Recovery,
    is_first: bool,
) -> Result<(Checkpoints, u64)> {
    let dir = state.dir.join(wired.name());
    if let Some(file) = [&state.dir, &dir].into_iter().find(|path| path.exists() && !path.is_dir()) {
        return Err(Failure::Input(anyhow!("{} is no directory; name one with `--state`", file.display())));
    }
    let least = if state.reset { reset(&dir)? } else { 0 };
    let Opened { mut store, last_committed } = RedbStore::open(&dir).map_err(|error| match error {
        // Nothing ran yet: another directory may have to be named.
        CheckpointError::Io { .. } if is_first => Failure::input(error),
        error => error.into(),
    })?;
    let pipeline = &wired.pipeline;
    for stage in wired.stages_of("stdin").into_iter().filter(|_| is_first) {
        terminal::say(format!(
            "`{stage}` of `{}` reads stdin, which cannot be read again: records that are on their way when the \
             process dies are lost",
            wired.name()
        ));
    }
    let mut marks = wired.marks();
    let checkpoint = match last_committed {
        None => Checkpoint { letters: next_letter, ..Checkpoint::default() },
        Some(mut last_committed) => {
            for (old, new) in &state.renames {
                rename(&mut last_committed, old, new);
                rename_spool(&dir, old, new)?;
            }
            for stage in &state.forgotten {
                forget(&mut last_committed, wired, stage)?;
            }
            let misfits = misfits(&last_committed, wired, &state.new_files);
            if !misfits.is_empty() {
                let next = "begin anew with `--reset`, or run the manifest that it was taken with";
                let number = last_committed.checkpoint.number;
                return Err(Failure::input(cannot_go_on(wired, number, &dir, &misfits, next)));
            }
            let is_left = leave_others(&mut last_committed, wired, |_| true);
            let begins = begin_files(&mut last_committed, wired, &state.new_files)?;
            marks = marks_beside(&last_committed, &marks);
            let is_changed = begins || is_left || !state.renames.is_empty() || !state.forgotten.is_empty();
            // A checkpoint of a version without marks has them from now on, also where nothing more is stored.
            if is_changed || last_committed.stages != marks {
                last_committed.stages.clone_from(&marks);
                store.adopt(&last_committed, &state.renames, &state.forgotten)?;
            }
            if last_committed.checkpoint.number > 0 && is_first {
                terminal::say(format!(
                    "pipeline {} goes on from checkpoint {}",
                    wired.name(),
                    last_committed.checkpoint.number
                ));
            }
            last_committed.checkpoint
        }
    };
    let epoch = store.next_epoch(epoch_now().max(least))?;
    let mut store = store.running(wired.identity().revision, marks);
    if checkpoint.number == 0 {
        store.put(&checkpoint, Duration::ZERO)?;
    }
    let every = pipeline.checkpoint;
    let pace = Pace { interval: every.interval.0, timeout: every.timeout.0 };
    Ok((Checkpoints { store: Box::new(store), last_committed: checkpoint, pace, recovery }, epoch))
}

/// Takes out of a checkpoint what sinks have committed that are another connector now, and says so. Whether there was one.
pub(crate) fn leave_others(
    last_committed: &mut LastCommitted,
    wired: &Wired,
    is_meant: impl Fn(&str) -> bool,
) -> bool {
    let others = other_connectors(last_committed, wired, is_meant);
    for (name, was) in &others {
        last_committed.checkpoint.tokens.remove(&**name);
        let is = wired.pipeline.stage(name).map(|stage| stage.reference.value.to_string());
        terminal::say(format!(
            "sink `{name}` of `{}` was `{was}` and is `{}`: it begins without what the checkpoint has of it, and what \
             was written stays where it is",
            wired.name(),
            is.unwrap_or_default()
        ));
    }
    !others.is_empty()
}

pub(crate) fn cannot_go_on(wired: &Wired, number: u64, dir: &Path, misfits: &[String], next: &str) -> Words {
    let mut words = Words::from(format!(
        "pipeline `{}` cannot go on from checkpoint {number} in {}:",
        wired.name(),
        dir.display()
    ));
    misfits.iter().for_each(|misfit| words.push(format!("  {misfit}")));
    words.push(next);
    words
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

/// Names of stages of which a checkpoint has something.
pub(super) fn remembered(last_committed: &LastCommitted) -> BTreeSet<String> {
    let states = last_committed.states.iter().filter(|(_, size)| size.keys > 0).map(|(name, _)| name.clone());
    let Checkpoint { places, tokens, .. } = &last_committed.checkpoint;
    states.chain(places.keys().chain(tokens.keys()).map(|name| name.to_string())).collect()
}

fn rename(last_committed: &mut LastCommitted, old: &str, new: &str) {
    if let Some(places) = last_committed.checkpoint.places.remove(old) {
        last_committed.checkpoint.places.insert(new.into(), places);
    }
    if let Some(reached) = last_committed.checkpoint.reached.remove(old) {
        last_committed.checkpoint.reached.insert(new.into(), reached);
    }
    if let Some(token) = last_committed.checkpoint.tokens.remove(old) {
        last_committed.checkpoint.tokens.insert(new.into(), token);
    }
    if let Some(size) = last_committed.states.remove(old) {
        last_committed.states.insert(new.to_owned(), size);
    }
    if let Some(mark) = last_committed.stages.remove(old) {
        last_committed.stages.insert(new.to_owned(), mark);
    }
}

/// Throws away what the checkpoint has of a stage.
fn forget(last_committed: &mut LastCommitted, wired: &Wired, stage: &str) -> Result {
    last_committed.states.remove(stage);
    let Some(index) = wired.pipeline.index_of(stage) else {
        return forget_gone_sink(last_committed, wired, stage);
    };
    let checkpoint = &mut last_committed.checkpoint;
    match *wired.pipeline.stages[index].role {
        Role::Source => {
            checkpoint.places.remove(stage);
            checkpoint.reached.remove(stage);
        }
        Role::Transform => {}
        Role::Sink if !checkpoint.tokens.contains_key(stage) => {}
        Role::Sink if wired.component(index).is_none() => {
            return Err(Failure::Input(anyhow!(
                "`--forget {stage}`: nothing is remembered for `{stage}` but what it has written; where that is a file, \
                 `--new-file {stage}` begins a new one"
            )));
        }
        Role::Sink if !last_committed.sinks_committed => {
            return Err(Failure::Input(anyhow!(
                "`--forget {stage}` would lose what `{stage}` has prepared and not committed yet: run the manifest that \
                 checkpoint {} was taken with once more",
                checkpoint.number
            )));
        }
        Role::Sink => drop(checkpoint.tokens.remove(stage)),
    }
    Ok(())
}

/// What a sink that is gone has committed stays where it is, and no other sink takes it for its own by itself.
fn forget_gone_sink(last_committed: &mut LastCommitted, wired: &Wired, stage: &str) -> Result {
    // What is not committed yet is told with all else that is in the way.
    if !last_committed.sinks_committed || !last_committed.checkpoint.tokens.contains_key(stage) {
        return Ok(());
    }
    if let Some(new) = replacing(last_committed, wired, stage) {
        return Err(Failure::Input(anyhow!(
            "`--forget {stage}`: sink `{new}` would replace what `{stage}` has committed; to go on with that file, say \
             `--rename {stage}={new}`, or say with `if-exists` of `{new}` what is to become of it"
        )));
    }
    last_committed.checkpoint.tokens.remove(stage);
    Ok(())
}

/// Sets aside the files of sinks that begin new ones: those that were asked for, and those that have changed before they
/// had any. Says whether there was one.
fn begin_files(last_committed: &mut LastCommitted, wired: &Wired, asked: &[String]) -> Result<bool> {
    let begins = |(name, was): (&String, &StageMark)| {
        let is_new = asked.contains(name) || begins_anew(last_committed, wired, name, was);
        is_new.then(|| name.clone())
    };
    let names: Vec<String> = last_committed.stages.iter().filter_map(begins).collect();
    let mut any = false;
    for name in names {
        let index = wired.pipeline.index_of(&name);
        let built_in = index.and_then(|index| wired.built_in(index));
        let Some(token) = last_committed.checkpoint.tokens.get(&*name) else { continue };
        let Some(aside) = built_in.and_then(|built_in| built_in.set_file_aside(token)) else { continue };
        let SetAside { kept, token } = aside.map_err(|error| match error {
            SpecError::Connect(error) if error.kind == ConnectErrorKind::Full => Failure::Full(error.into()),
            error => Failure::input(error),
        })?;
        if let Some(kept) = kept {
            terminal::say(format!(
                "`{name}` of `{}` begins a new file; what it has written so far is in {}",
                wired.name(),
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

/// The marks that go on with a checkpoint: those of the stages that run, and of sinks that do not, as long as the
/// checkpoint has what they committed.
fn marks_beside(
    last_committed: &LastCommitted,
    marks: &BTreeMap<String, StageMark>,
) -> BTreeMap<String, StageMark> {
    let has_token = |name: &str| last_committed.checkpoint.tokens.contains_key(name);
    let others = last_committed.stages.iter().filter(|(name, _)| has_token(name));
    let others = others.map(|(name, mark)| (name.clone(), mark.clone()));
    others.chain(marks.iter().map(|(name, mark)| (name.clone(), mark.clone()))).collect()
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
