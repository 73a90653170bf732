//! The checkpoints of a pipeline, through which a replay goes: stages have the state that they have there, sinks go on
//! from what they have committed, and all of it becomes one checkpoint more.
//!
//! Sources are not read, so that their places stay as they are. The replay commits as a whole, or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use flow::checkpoint::{
    Checkpoint, CheckpointError, CheckpointStore, Opened, Pace, RedbStore, Standing, Stored,
};
use flow::letters::Reading;
use flow::state::StateBase;
use flow::{Checkpoints, Setbacks};
use model::limits::CHECKPOINT_TIME_MAX;

use crate::exit::{Failure, Result};
use crate::report::run_command;
use crate::running::{cannot_go_on, leave_others, misfits_behind};
use crate::terminal;
use crate::wiring::{Wired, epoch_now};

/// A store of checkpoints that nobody else has as long as it is open.
pub(super) struct Resumed {
    dir: PathBuf,
    store: RedbStore,
    standing: Standing,
}

impl Resumed {
    /// What stands of a pipeline in `state`, the directory that its runs are given.
    pub fn open(state: &Path, pipeline: &str) -> Result<Self> {
        let dir = state.join(pipeline);
        let none = || Failure::from(CheckpointError::None { path: dir.clone() });
        // Nothing is made where nothing is.
        let (looked, _) = RedbStore::look(&dir).map_err(|error| in_use(pipeline, error))?;
        looked.ok_or_else(none)?;
        let Opened { store, standing } = RedbStore::open(&dir).map_err(|error| in_use(pipeline, error))?;
        let standing = standing.ok_or_else(none)?;
        Ok(Self { dir, store, standing })
    }

    /// Whether a sink goes on from what it has committed.
    pub fn has_committed(&self, sink: &str) -> bool {
        self.standing.checkpoint.tokens.get(sink).is_some_and(|token| !token.is_empty())
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.standing.checkpoint
    }

    /// What somebody types where sinks have not committed what stands: a replay may have died before they did.
    pub fn what_commits(&self, wired: &Wired) -> Option<String> {
        (!self.standing.is_settled).then(|| self.run_command(wired))
    }

    fn run_command(&self, wired: &Wired) -> String {
        run_command(&wired.identity().manifest, self.dir.parent().unwrap_or(&self.dir))
    }

    /// What a replay through these stages goes on from, and its epoch. `writes`: whether it commits.
    pub fn go_on(mut self, wired: &Wired, stages: &[bool], writes: bool) -> Result<(Checkpoints, u64)> {
        let is_meant = |name: &str| wired.pipeline.index_of(name).is_some_and(|index| stages[index]);
        let misfits = misfits_behind(&self.standing, wired, &[], is_meant);
        let number = self.standing.checkpoint.number;
        if !misfits.is_empty() {
            let next = format!(
                "these are options of `run`: run the pipeline with them (`{}`), and replay then; or replay with the manifest \
                 that the checkpoint was taken with",
                self.run_command(wired)
            );
            return Err(Failure::input(cannot_go_on(wired, number, &self.dir, &misfits, &next)));
        }
        leave_others(&mut self.standing, wired, is_meant);
        // The others stay what they were when the checkpoint was taken.
        let mut marks = self.standing.stages.clone();
        marks.extend(wired.marks().into_iter().filter(|(name, _)| is_meant(name)));
        let has_token = |name: &Arc<str>| !is_meant(name);
        let settles = self.standing.is_settled || !self.standing.checkpoint.tokens.keys().any(has_token);
        let epoch = if writes { self.store.next_epoch(epoch_now())? } else { epoch_now() };
        let store = Through { store: self.store.running(wired.identity().revision, marks), settles };
        // One checkpoint, at the end: what was sent in is either closed or still to be sent in. A stage that changes more
        // state than fits in memory asks for one before.
        let pace = Pace { interval: CHECKPOINT_TIME_MAX, timeout: wired.pipeline.checkpoint.timeout.0 };
        let (standing, setbacks) = (self.standing.checkpoint, Setbacks::default());
        Ok((Checkpoints { store: Box::new(store), standing, pace, setbacks }, epoch))
    }
}

/// A store to which a part of the sinks commits.
struct Through {
    store: RedbStore,
    /// Whether all sinks have committed once those have.
    settles: bool,
}

impl CheckpointStore for Through {
    fn put(
        &mut self,
        checkpoint: &Checkpoint,
        took: Duration,
    ) -> std::result::Result<Stored, CheckpointError> {
        self.store.put(checkpoint, took)
    }

    fn settled(&mut self) -> std::result::Result<(), CheckpointError> {
        if self.settles { self.store.settled() } else { Ok(()) }
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
pub(super) fn check_without(wired: &Wired, stages: &[bool], reading: &Reading, writes: bool) -> Result {
    let pipeline = wired.name();
    let said = reading.state_of(pipeline);
    let names = || wired.plan.stages.iter().enumerate().filter(|(index, _)| stages[*index]);
    if writes && let Some((_, stage)) = names().find(|(index, _)| wired.keeps_state(*index)) {
        let dir = said.map_or_else(|| "DIR".to_owned(), |dir| dir.display().to_string());
        return Err(Failure::Input(anyhow!(
            "stage `{}` keeps state, and a replay that begins with none would leave it wrong: say `--state {dir}`, the \
             directory that `run` is given, or see with `--dry-run` what would become of them",
            stage.name
        )));
    }
    for (_, stage) in names().filter(|(index, _)| wired.keeps_state(*index)) {
        terminal::say(format!(
            "`{}` keeps state, which is that of the pipeline: here it begins with none",
            stage.name
        ));
    }
    let Some(dir) = said.filter(|_| writes) else { return Ok(()) };
    let standing = match RedbStore::look(&dir.join(pipeline)) {
        Ok((Some(standing), _)) => standing,
        Ok((None, _)) | Err(CheckpointError::None { .. }) => return Ok(()),
        Err(error) => return Err(in_use(pipeline, error)),
    };
    let discards = wired.sinks_of("discard");
    let owned = names().find(|(_, stage)| {
        let token = standing.checkpoint.tokens.get(&stage.name);
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
