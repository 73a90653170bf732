//! Where a pipeline goes on: the checkpoint that stands, and whether this manifest may go on from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use engine::Component;
use flow::checkpoint::{
    Checkpoint, CheckpointError, CheckpointStore as _, Opened, Pace, RedbStore, StageMark, Standing,
};
use flow::run::{Checkpoints, Setbacks};
use model::manifest::{Pipeline, Stage, StageRef};
use model::stage::Role;

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
    /// Stages whose state is thrown away.
    pub forgotten: Vec<String>,
}

impl State {
    /// For lives after the first: what was asked for once is not done again.
    pub(super) fn again(self) -> Self {
        Self { reset: false, renames: Vec::new(), forgotten: Vec::new(), ..self }
    }
}

/// Opens the store of a pipeline, and finds out where it goes on. Gives the epoch of this life as well.
/// `next_letter`: the number that its next dead letter gets. `is_first`: whether users are told where it goes on.
pub(super) fn open(
    state: &State,
    wired: &Wired,
    next_letter: u64,
    setbacks: Setbacks,
    is_first: bool,
) -> Result<(Checkpoints, u64)> {
    let dir = state.dir.join(wired.name());
    if let Some(file) = [&state.dir, &dir].into_iter().find(|path| path.exists() && !path.is_dir()) {
        return Err(Failure::Input(anyhow!("{} is no directory; name one with `--state`", file.display())));
    }
    let least = if state.reset { reset(&dir)? } else { 0 };
    let Opened { mut store, standing } = RedbStore::open(&dir)?;
    let pipeline = &wired.pipeline;
    for stage in wired.stages_of("stdin").into_iter().filter(|_| is_first) {
        terminal::say(format!(
            "`{stage}` of `{}` reads stdin, which cannot be read again: records that are on their way when the \
             process dies are lost",
            wired.name()
        ));
    }
    let checkpoint = match standing {
        None => Checkpoint { letters: next_letter, ..Checkpoint::default() },
        Some(mut standing) => {
            for (old, new) in &state.renames {
                rename(&mut standing, old, new);
                rename_spool(&dir, old, new)?;
            }
            for stage in &state.forgotten {
                standing.states.remove(stage);
            }
            let mut misfits = misfits(&standing, pipeline);
            misfits.extend(state_misfits(&standing, wired));
            if !misfits.is_empty() {
                return Err(Failure::input(cannot_go_on(wired, standing.checkpoint.number, &dir, &misfits)));
            }
            if !state.renames.is_empty() || !state.forgotten.is_empty() {
                store.adopt(&standing, &state.renames, &state.forgotten)?;
            }
            if standing.checkpoint.number > 0 && is_first {
                terminal::say(format!(
                    "pipeline {} goes on from checkpoint {}",
                    wired.name(),
                    standing.checkpoint.number
                ));
            }
            standing.checkpoint
        }
    };
    let epoch = store.next_epoch(epoch_now().max(least))?;
    let mut store = store.running(wired.identity().revision, marks(wired));
    if checkpoint.number == 0 {
        store.put(&checkpoint, Duration::ZERO)?;
    }
    let every = pipeline.checkpoint;
    let pace = Pace { interval: every.interval.0, timeout: every.timeout.0 };
    Ok((Checkpoints { store: Box::new(store), standing: checkpoint, pace, setbacks }, epoch))
}

fn cannot_go_on(wired: &Wired, number: u64, dir: &Path, misfits: &[String]) -> Words {
    let mut words = Words::from(format!(
        "pipeline `{}` cannot go on from checkpoint {number} in {}:",
        wired.name(),
        dir.display()
    ));
    misfits.iter().for_each(|misfit| words.push(format!("  {misfit}")));
    words.push("begin anew with `--reset`, or run the manifest that it was taken with");
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

fn rename(standing: &mut Standing, old: &str, new: &str) {
    if let Some(places) = standing.checkpoint.places.remove(old) {
        standing.checkpoint.places.insert(new.into(), places);
    }
    if let Some(token) = standing.checkpoint.tokens.remove(old) {
        standing.checkpoint.tokens.insert(new.into(), token);
    }
    if let Some(size) = standing.states.remove(old) {
        standing.states.insert(new.to_owned(), size);
    }
    if let Some(mark) = standing.stages.remove(old) {
        standing.stages.insert(new.to_owned(), mark);
    }
}

/// What sources, sinks and stages with state are, for the run that goes on from a checkpoint of this one.
fn marks(wired: &Wired) -> BTreeMap<String, StageMark> {
    let mark = |(index, stage): (usize, &Stage)| {
        let mark = match component_with_state(wired, index) {
            Some(component) => StageMark { uses: component.about().name.clone(), with: Default::default() },
            None if *stage.role == Role::Transform => return None,
            None => StageMark { uses: stage.reference.value.to_string(), with: stage.with.value.clone() },
        };
        Some((stage.name.to_string(), mark))
    };
    wired.pipeline.stages.iter().enumerate().filter_map(mark).collect()
}

fn component_with_state(wired: &Wired, index: usize) -> Option<&Component> {
    wired.component(index).filter(|_| wired.keeps_state(index))
}

/// State that nobody is left for, or that is somebody else's. Another version of a component has what the one before
/// had; which it is, its own name says, and not that of its file.
fn state_misfits(standing: &Standing, wired: &Wired) -> Vec<String> {
    let mut misfits = Vec::new();
    for (name, size) in standing.states.iter().filter(|(_, size)| size.keys > 0) {
        let index = wired.pipeline.index_of(name);
        let has = format!("the checkpoint has state of `{name}` ({} keys)", size.keys);
        match index.and_then(|index| component_with_state(wired, index)) {
            None => {
                let why = if index.is_some() {
                    "which keeps none now"
                } else {
                    "and there is no such stage any more"
                };
                misfits.push(format!(
                    "{has}, {why}; if the stage has another name now, say `--rename {name}=NEW`; to throw its state away, \
                     `--forget {name}`"
                ));
            }
            Some(component) => {
                let (is, was) = (&component.about().name, standing.stages.get(name));
                if let Some(was) = was.filter(|was| was.uses != *is) {
                    misfits.push(format!(
                        "{has}, which was a `{}` and is a `{is}`; to throw its state away, say `--forget {name}`",
                        was.uses
                    ));
                }
            }
        }
    }
    misfits
}

/// Why a manifest cannot go on from a checkpoint. Sources have to read what they read; a sink may change once all
/// that it prepared is committed.
fn misfits(standing: &Standing, pipeline: &Pipeline) -> Vec<String> {
    let mut misfits = Vec::new();
    for name in standing.checkpoint.places.keys() {
        let Some(stage) = pipeline.stage(name).filter(|stage| *stage.role == Role::Source) else {
            misfits.push(format!(
                "there is no source `{name}` any more; if it has another name now, say `--rename {name}=NEW`"
            ));
            continue;
        };
        if let Some(mark) = standing.stages.get(&**name) {
            misfits.extend(source_misfit(stage, mark));
        }
    }
    if standing.is_settled {
        return misfits;
    }
    for name in standing.checkpoint.tokens.keys() {
        let stage = pipeline.stage(name).filter(|stage| *stage.role == Role::Sink);
        let was = standing.stages.get(&**name);
        match (stage, was) {
            (None, _) => misfits.push(format!(
                "there is no sink `{name}` any more, and what it has prepared is not committed yet; if it has another \
                 name now, say `--rename {name}=NEW`"
            )),
            (Some(stage), Some(was)) if stage.reference.value.to_string() != was.uses && is_built_in(stage) => {
                misfits.push(format!(
                    "sink `{name}` was `{}` and is `{}`, and what it has prepared is not committed yet",
                    was.uses, stage.reference.value
                ));
            }
            _ => {}
        }
    }
    misfits
}

fn is_built_in(stage: &Stage) -> bool {
    matches!(stage.reference.value, StageRef::BuiltIn(_))
}

/// A component may be another version of itself: what is in its cursors is its own. What a built-in source reads rests
/// on some of its options.
fn source_misfit(stage: &Stage, was: &StageMark) -> Option<String> {
    let (name, uses) = (&stage.name, stage.reference.value.to_string());
    if !is_built_in(stage) {
        return None;
    }
    if uses != was.uses {
        return Some(format!("source `{name}` was `{}` and is `{uses}`", was.uses));
    }
    let changed = |key: &&&str| stage.with.value.get(**key) != was.with.get(**key);
    let keys: Vec<String> =
        connect::place_keys(&uses).iter().filter(changed).map(|key| format!("`{key}`")).collect();
    (!keys.is_empty()).then(|| format!("source `{name}` reads in another way: {} changed", keys.join(", ")))
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
