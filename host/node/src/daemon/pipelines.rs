//! The pipelines of a node: what runs here is brought to agree with what the control state wants, and whatever fails
//! begins again by itself.
//!
//! Each pipeline has a task of its own, under the epoch that the control state gave (`runner`), which decides what follows
//! when that has ended. None ever waits for another.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control::state::{Content, Effect, Event, How, PipelineId, PipelineName, State as ControlState};
use control::{Watch, WatchError};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::reconcile::{Step, step};
use super::runner::{Ending, Parts, Runner};
use super::task::{SecretsRead, Task, lock};
use crate::exit::Failure;
use crate::wiring::ResolvedPipeline;

/// Clones are the same ones.
#[derive(Clone)]
pub struct Pipelines(Arc<Runner>);

impl Pipelines {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Runner { parts, here: Mutex::default(), shutdown: CancellationToken::new() }))
    }

    /// What there is here of a pipeline.
    pub fn find(&self, id: PipelineId) -> Option<Arc<Task>> {
        self.0.here().get(&id).cloned()
    }

    /// Where everything is kept.
    pub fn dir(&self) -> &Path {
        self.0.parts.data.dir()
    }

    /// What writes are asked for.
    pub fn token_file(&self) -> PathBuf {
        self.0.parts.data.token_file()
    }

    /// All that there is here.
    pub fn all(&self) -> Vec<Arc<Task>> {
        self.0.here().values().cloned().collect()
    }

    /// Whether a revision can be opened here: everything that it names is there, fits together, and may be reached.
    pub async fn fits(&self, name: &PipelineName, content: &Content) -> Result<ResolvedPipeline, Failure> {
        let known = self.0.parts.control.look(|state| state.pipelines().get(name).map(|known| known.id));
        let called = format!("pipeline {name}");
        let reads = SecretsRead::default();
        let resolved = self.0.resolve(name, known, &called, content, reads).await?;
        if resolved.name() != name.name.as_str() {
            return Err(Failure::Input(anyhow::anyhow!(
                "the manifest is of pipeline `{}`, and is deployed as `{name}`: give both one name",
                resolved.name()
            )));
        }
        Ok(resolved)
    }

    /// Brings what runs here to agree with what is wanted, until `stop` is cancelled. Then everything stops at a barrier, for
    /// at most `grace`.
    pub async fn reconcile(&self, stop: CancellationToken, grace: Duration) {
        let mut tasks = JoinSet::new();
        let mut watch = self.settle_all(&mut tasks);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                events = watch.next() => match events {
                    Ok(events) => {
                        for event in &events {
                            self.heed(event, &mut tasks);
                        }
                    }
                    Err(WatchError::Behind { .. }) => {
                        // Among what was missed may be a secret.
                        self.all().iter().for_each(|task| lock(&task.reopen).cancel());
                        watch = self.settle_all(&mut tasks);
                    }
                    Err(WatchError::Stopped) => break,
                },
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Some(name) = self.ended(ended) {
                        self.settle(&name, &mut tasks);
                    }
                }
            }
        }
        self.0.shutdown.cancel();
        let drained = async { while tasks.join_next().await.is_some() {} };
        if timeout(grace, drained).await.is_err() {
            let left: Vec<String> = self.all().iter().map(|task| task.name.to_string()).collect();
            tracing::warn!(
                pipelines = left.join(", "),
                "they did not stop in time and are cut off; each goes on from its last checkpoint"
            );
        }
    }

    /// Does what follows from an effect.
    fn heed(&self, event: &Event, tasks: &mut JoinSet<Arc<PipelineName>>) {
        match &event.effect {
            Effect::SecretSet { secret, .. } => {
                self.all().iter().for_each(|task| task.secret_changed(secret));
            }
            _ => {
                if let Some(name) = concerned(event) {
                    self.settle(name, tasks);
                }
            }
        }
    }

    /// The task of a pipeline has ended, and what it had to say is said.
    fn ended(&self, ended: Result<Arc<PipelineName>, tokio::task::JoinError>) -> Option<Arc<PipelineName>> {
        match ended {
            Ok(name) => Some(name),
            Err(broke) => {
                // The task is a frame around others, each of which may break by itself and is told then.
                tracing::error!(%broke, "the task of a pipeline broke; this is a defect of Conveyor");
                None
            }
        }
    }

    /// Looks at all pipelines, and watches from there on.
    fn settle_all(&self, tasks: &mut JoinSet<Arc<PipelineName>>) -> Watch {
        let control = &self.0.parts.control;
        let (seen, mut names) = control.look(|state| {
            let names: Vec<Arc<PipelineName>> =
                state.pipelines().values().map(|pipeline| pipeline.name.clone()).collect();
            (state.last_effect(), names)
        });
        // Also what is here and is known no more.
        names.extend(self.all().iter().map(|task| task.name.clone()));
        for name in &names {
            self.settle(name, tasks);
        }
        control.watch(Some(seen))
    }

    /// Does what is next about one pipeline.
    fn settle(&self, name: &Arc<PipelineName>, tasks: &mut JoinSet<Arc<PipelineName>>) {
        let inner = &self.0;
        let decide = |state: &ControlState| {
            let known = state.pipelines().get(name);
            let here = match known {
                Some(known) => inner.here().get(&known.id).cloned(),
                // Nothing of it is known any more, and it runs: that has to end.
                None => inner.here().values().find(|task| task.name == *name).cloned(),
            };
            let next = step(inner.node(), known, here.as_deref().map(Task::here));
            let revision = match next {
                Step::Start { revision, .. } => {
                    known.and_then(|known| known.revisions.get(&revision)).cloned()
                }
                _ => None,
            };
            (next, known.map(|known| known.id), revision, here)
        };
        let (next, id, revision, here) = inner.parts.control.look(decide);
        match (next, id, here) {
            (Step::Nothing, ..) => {}
            (Step::Stop, _, Some(task)) => task.tell_to_stop(),
            (Step::Start { revision: number, epoch }, Some(id), _) => {
                let Some(revision) = revision else {
                    tracing::error!(pipeline = %name, revision = %number, "the control state has no such revision");
                    return;
                };
                let task = Arc::new(Task::new(id, name.clone(), number, epoch, &inner.shutdown));
                inner.here().insert(id, task.clone());
                let inner = inner.clone();
                tasks.spawn(async move { inner.live(task, revision).await });
            }
            (Step::ReportStopped { epoch }, Some(id), _) => {
                let (inner, name) = (inner.clone(), name.clone());
                let ending = Ending { how: How::Asked, checkpoint: None, why: None };
                tasks.spawn(async move {
                    inner.report(id, epoch, ending).await;
                    name
                });
            }
            (Step::Remove { keeps_dead_letters }, Some(id), _) => {
                let (inner, name) = (inner.clone(), name.clone());
                tasks.spawn(async move {
                    inner.remove(id, &name, keeps_dead_letters).await;
                    name
                });
            }
            (Step::Stop | Step::Start { .. } | Step::ReportStopped { .. } | Step::Remove { .. }, ..) => {}
        }
    }
}

/// The pipeline that an effect is about.
fn concerned(event: &Event) -> Option<&Arc<PipelineName>> {
    match &event.effect {
        Effect::Wanted { pipeline, .. }
        | Effect::Start { pipeline, .. }
        | Effect::Stop { pipeline, .. }
        | Effect::Stopped { pipeline, .. }
        | Effect::Remove { pipeline, .. }
        | Effect::Gone { pipeline, .. } => Some(pipeline),
        _ => None,
    }
}
