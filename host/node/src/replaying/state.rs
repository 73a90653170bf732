//! The checkpoints of a pipeline, through which a replay goes: stages have the state that they have there, sinks go on
//! from what they have committed, and all of it becomes one checkpoint more.
//!
//! Sources are not read, so that their places stay as they are. The replay commits as a whole, or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use flow::checkpoint::{
    Checkpoint, CheckpointError, CheckpointStore, LastCommitted, Opened, Pace, RedbStore, Stored,
};
use flow::letters::Reading;
use flow::state::StateBase;
use flow::{Checkpoints, Recovery};
use model::limits::CHECKPOINT_TIME_MAX;

use crate::exit::{Failure, Result};
use crate::report::run_command;
use crate::running::{cannot_go_on, compat, leave_others};
use crate::terminal;
use crate::wiring::{ResolvedPipeline, epoch_now};

/// A store of checkpoints that nobody else has as long as it is open.
pub(super) struct Resumed {
    dir: PathBuf,
    store: RedbStore,
    last_committed: LastCommitted,
}

impl Resumed {
    /// The last checkpoint of a pipeline in `state`, the directory that its runs are given.
    pub fn open(state: &Path, pipeline: &str) -> Result<Self> {
        let dir = state.join(pipeline);
        let none = || Failure::from(CheckpointError::None { path: dir.clone() });
        // Nothing is made where nothing is.
        let (looked, _) = RedbStore::look(&dir).map_err(|error| in_use(pipeline, error))?;
        looked.ok_or_else(none)?;
        let Opened { store, last_committed } =
            RedbStore::open(&dir).map_err(|error| in_use(pipeline, error))?;
        let last_committed = last_committed.ok_or_else(none)?;
        Ok(Self { dir, store, last_committed })
    }

    /// Whether a sink goes on from what it has committed.
    pub fn has_committed(&self, sink: &str) -> bool {
        self.last_committed.checkpoint.tokens.get(sink).is_some_and(|token| !token.is_empty())
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.last_committed.checkpoint
    }

    /// What somebody types where sinks have not committed the last checkpoint: a replay may have died before they did.
    pub fn what_commits(&self, resolved: &ResolvedPipeline) -> Option<String> {
        (!self.last_committed.sinks_committed).then(|| self.run_command(resolved))
    }

    fn run_command(&self, resolved: &ResolvedPipeline) -> String {
        run_command(&resolved.identity().manifest, self.dir.parent().unwrap_or(&self.dir))
    }

    /// What a replay through these stages goes on from, and its epoch. `writes`: whether it commits.
    pub fn go_on(
        mut self,
        resolved: &ResolvedPipeline,
        stages: &[bool],
        writes: bool,
    ) -> Result<(Checkpoints, u64)> {
        let is_meant = |name: &str| resolved.pipeline.index_of(name).is_some_and(|index| stages[index]);
        let now = resolved.beside(&self.last_committed);
        let misfits = compat(&self.last_committed, &now).misfits_behind(&[], is_meant);
        let number = self.last_committed.checkpoint.number;
        if !misfits.is_empty() {
            let next = format!(
                "these are options of `run`: run the pipeline with them (`{}`), and replay then; or replay with the manifest \
                 that the checkpoint was taken with",
                self.run_command(resolved)
            );
            return Err(Failure::input(cannot_go_on(resolved.name(), number, &self.dir, &misfits, &next)));
        }
        leave_others(&mut self.last_committed, &now, resolved.name(), is_meant);
        // The others stay what they were when the checkpoint was taken.
        let mut marks = self.last_committed.stages.clone();
        marks.extend(resolved.marks().into_iter().filter(|(name, _)| is_meant(name)));
        let has_token = |name: &Arc<str>| !is_meant(name);
        let all_commit = self.last_committed.sinks_committed
            || !self.last_committed.checkpoint.tokens.keys().any(has_token);
        let epoch = if writes { self.store.next_epoch(epoch_now())? } else { epoch_now() };
        let store = Through { store: self.store.running(resolved.identity().revision, marks), all_commit };
        // One checkpoint, at the end: what was sent in is either closed or still to be sent in. A stage that changes more
        // state than fits in memory asks for one before.
        let pace = Pace { interval: CHECKPOINT_TIME_MAX, timeout: resolved.pipeline.checkpoint.timeout.0 };
        let (last_committed, recovery) = (self.last_committed.checkpoint, Recovery::default());
        Ok((Checkpoints { store: Box::new(store), last_committed, pace, recovery }, epoch))
    }
}

/// A store to which a part of the sinks commits.
struct Through {
    store: RedbStore,
    /// Whether all sinks have committed once those have.
    all_commit: bool,
}

impl CheckpointStore for Through {
    fn put(
        &mut self,
        checkpoint: &Checkpoint,
        took: Duration,
    ) -> std::result::Result<Stored, CheckpointError> {
        self.store.put(checkpoint, took)
    }

    fn sinks_committed(&mut self) -> std::result::Result<(), CheckpointError> {
        if self.all_commit { self.store.sinks_committed() } else { Ok(()) }
    }

    fn state(&mut self, stage: &str) -> std::result::Result<Arc<dyn StateBase>, CheckpointError> {
        self.store.state(stage)
    }
}

/// Who has the store is the pipeline itself, most of the time.
fn in_use(pipeline: &str, error: CheckpointError) -> Failure {
    match error {
        CheckpointError::Locked { path } => Failure::Input(anyhow!(
            "pipeline `{pipeline}` is running: {} is in use; stop it, replay, and start it again",
            path.display()
        )),
        error => error.into(),
    }
}

/// Refuses a replay without checkpoints through stages that have some: their state is not here, and what goes into their
/// files, the next run does not know of.
pub(super) fn check_without(
    resolved: &ResolvedPipeline,
    stages: &[bool],
    reading: &Reading,
    writes: bool,
) -> Result {
    let pipeline = resolved.name();
    let said = reading.state_of(pipeline);
    let names = || resolved.plan.stages.iter().enumerate().filter(|(index, _)| stages[*index]);
    if writes && let Some((_, stage)) = names().find(|(index, _)| resolved.keeps_state(*index)) {
        let dir = said.map_or_else(|| "DIR".to_owned(), |dir| dir.display().to_string());
        return Err(Failure::Input(anyhow!(
            "stage `{}` keeps state, and a replay that begins with none would leave it wrong: say `--state {dir}`, the \
             directory that `run` is given, or see with `--dry-run` what would become of them",
            stage.name
        )));
    }
    for (_, stage) in names().filter(|(index, _)| resolved.keeps_state(*index)) {
        terminal::say(format!(
            "`{}` keeps state, which is that of the pipeline: here it begins with none",
            stage.name
        ));
    }
    let Some(dir) = said.filter(|_| writes) else { return Ok(()) };
    let last_committed = match RedbStore::look(&dir.join(pipeline)) {
        Ok((Some(last_committed), _)) => last_committed,
        Ok((None, _)) | Err(CheckpointError::None { .. }) => return Ok(()),
        Err(error) => return Err(in_use(pipeline, error)),
    };
    let discards = resolved.sinks_of("discard");
    let owned = names().find(|(_, stage)| {
        let token = last_committed.checkpoint.tokens.get(&stage.name);
        token.is_some_and(|token| !token.is_empty()) && !discards.contains(&&*stage.name)
    });
    match owned {
        None => Ok(()),
        Some((_, stage)) => Err(Failure::Input(anyhow!(
            "what sink `{}` writes belongs to the checkpoints of `{pipeline}`, which would not know of what a replay \
             adds: say `--state {}`",
            stage.name,
            dir.display()
        ))),
    }
}
