//! The tasks of pipelines: each opens a revision, runs it, and where that fails waits and does so again. It ends where it was
//! told to, or where nothing is left to read, and says so to the control state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use control::sealing::SecretKey;
use control::state::{
    Command, Content, Expects, How, NodeId, PipelineId, PipelineName, Refusal, Revision, RevisionNumber,
    SecretName, Version,
};
use control::{Control, ProposeError};
use engine::Engine;
use flow::letters::StoreOptions;
use flow::meters::Meters;
use flow::scheduler::FairScheduler;
use flow::supervise::Supervisor;
use flow::{Ended, RestartCause, RunError};
use model::ids::{CheckpointNumber, Epoch};
use model::limits::{
    DEPLOY_LOOK_EVERY, GATE_REASON_BYTES, NODE_PROPOSE_TIME, NODE_REPORT_AGAIN, PIPELINE_STOP_GRACE,
    STOP_OPENING_GRACE,
};
use model::manifest::Name;
use registry::store::Store;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::apart::reaches_into;
use super::data::Data;
use super::gate::{Record, Verdict, before, judge};
use super::now_us;
use super::task::{Phase, SecretsRead, SeenError, Task, lock};
use crate::exit::Failure;
use crate::pulled::{Puller, Pushed};
use crate::report::failure as report;
use crate::running::{Opener, State, open_store};
use crate::wiring::{Deployed, KeptSecrets, Policy, ResolvedPipeline, Resolver};

/// What it takes to open pipelines.
pub struct Parts {
    pub control: Control,
    pub data: Data,
    pub engine: Engine,
    /// What this node lets pipelines reach.
    pub policy: Policy,
    /// What secrets are sealed with.
    pub key: Arc<SecretKey>,
    /// What was pushed here.
    pub store: Arc<Store>,
    /// On which stages run.
    pub stages: Handle,
    pub scheduler: FairScheduler,
}

/// The pipelines that run here, and what it takes to run them.
pub struct Runner {
    pub parts: Parts,
    pub here: Mutex<BTreeMap<PipelineId, Arc<Task>>>,
    /// The node ends: what runs stops at a barrier, and is not reported as stopped, so that it runs again at the next start.
    pub shutdown: CancellationToken,
}

/// How the task of a pipeline came to its end.
pub struct Ending {
    pub how: How,
    pub checkpoint: Option<CheckpointNumber>,
    pub why: Option<String>,
}

impl Runner {
    pub fn node(&self) -> NodeId {
        self.parts.data.node()
    }

    pub fn here(&self) -> MutexGuard<'_, BTreeMap<PipelineId, Arc<Task>>> {
        lock(&self.here)
    }

    /// Runs a pipeline until it has ended, and says so to the control state, unless the node itself ends.
    pub async fn live(self: Arc<Self>, task: Arc<Task>, revision: Arc<Revision>) -> Arc<PipelineName> {
        let ending = self.run_until_end(&task, &revision).await;
        task.enter(Phase::Ended);
        let is_kept = self.shutdown.is_cancelled() && ending.how == How::Asked;
        if !is_kept {
            self.report(task.id, task.epoch, ending).await;
        }
        self.here().remove(&task.id);
        task.name.clone()
    }

    async fn run_until_end(self: &Arc<Self>, task: &Arc<Task>, revision: &Arc<Revision>) -> Ending {
        loop {
            task.enter(Phase::Starting);
            let reopen = task.renew();
            let broken = match self.open(task, revision).await {
                Ok(None) => return Ending::asked(task),
                Ok(Some(supervisor)) => match self.run(task, supervisor, &reopen).await {
                    // It has stopped at a barrier, and goes on there.
                    Ok(Ending { how: How::Asked, .. }) if !task.stop.is_cancelled() => continue,
                    Ok(ending) => return ending,
                    Err(broken) => broken,
                },
                Err(failure) => Broken::opening(&failure),
            };
            if task.stop.is_cancelled() {
                return Ending::asked(task);
            }
            if broken.is_of_revision {
                self.fall_back(task, &format!("it failed: {}", broken.error.message)).await;
            }
            let wait = task.failed(broken.error);
            tokio::select! {
                () = task.stop.cancelled() => return Ending::asked(task),
                // What it waits for may have come just now.
                () = reopen.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Opens a revision. None where it was told to stop meanwhile.
    async fn open(
        self: &Arc<Self>,
        task: &Arc<Task>,
        revision: &Arc<Revision>,
    ) -> Result<Option<Supervisor<Opener>>, Failure> {
        let (inner, known, content) = (self.clone(), task.clone(), revision.clone());
        // Guests are opened where they run, so that nothing else of the node waits for them. A set of one, so that it ends
        // with whoever waits for it.
        let mut opening = JoinSet::new();
        opening.spawn_on(async move { inner.opened(&known, &content.content).await }, &self.parts.stages);
        let opened = tokio::select! {
            opened = opening.join_next() => opened,
            () = task.stop.cancelled() => match timeout(STOP_OPENING_GRACE, opening.join_next()).await {
                // What is open has read nothing yet.
                Ok(Some(Ok(Ok(_)))) | Err(_) => return Ok(None),
                Ok(opened) => opened,
            },
        };
        match opened {
            Some(opened) => opened.map_err(Failure::ran)?.map(Some),
            None => Ok(None),
        }
    }

    async fn opened(self: &Arc<Self>, task: &Task, content: &Content) -> Result<Supervisor<Opener>, Failure> {
        let called = format!("pipeline {}, revision {}", task.name, task.revision);
        let reads = task.secrets.clone();
        let resolved = self.resolve(&task.name, Some(task.id), &called, content, reads).await?;
        let weight = resolved.weight();
        task.lock().gate = resolved.pipeline.gate;
        let letters = StoreOptions::new(self.parts.data.dead_letters(task.id));
        let store = open_store(letters, resolved.name(), true, &task.stop).await?;
        let state = State::at(self.parts.data.pipeline(task.id));
        let (mut supervisor, _) = Opener::supervise(resolved, store, Some(&state), &task.stop).await?;
        supervisor.share_with(self.parts.scheduler.join(weight));
        Ok(supervisor)
    }

    /// Runs what was opened.
    async fn run(
        &self,
        task: &Arc<Task>,
        supervisor: Supervisor<Opener>,
        reopen: &CancellationToken,
    ) -> Result<Ending, Broken> {
        let meters = supervisor.meters();
        task.runs(meters.clone());
        let mut running = self.parts.stages.spawn(supervisor.run(reopen.clone()));
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = self.watch_over(task, &meters, reopen) => {
                task.enter(Phase::Stopping);
                match timeout(PIPELINE_STOP_GRACE, &mut running).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        tracing::warn!(
                            pipeline = %task.name,
                            "it did not drain within {} s and is cut off; it goes on from its last checkpoint",
                            PIPELINE_STOP_GRACE.as_secs()
                        );
                        running.abort();
                        let _ = running.await;
                        return Ok(Ending::asked(task));
                    }
                }
            }
        };
        let ended = ended.unwrap_or_else(|broke| Ended {
            failure: Some(RunError::Broke { stage: String::new(), why: broke.to_string() }),
            ..Ended::default()
        });
        if let Some(error) = &ended.failure {
            return Err(Broken::running(error));
        }
        let how = if ended.is_stopped { How::Asked } else { How::Ended };
        let why = ended.cuts.first().map(RunError::in_one_line);
        Ok(Ending { how, checkpoint: ended.checkpoint, why })
    }

    /// Looks at a new revision while its gate says so. Comes back when the pipeline is to stop.
    async fn watch_over(&self, task: &Arc<Task>, meters: &Meters, stop: &CancellationToken) {
        let gate = task.seen().gate;
        if self.before(task).is_some() {
            let begun = Instant::now();
            let mut ticks = tokio::time::interval(DEPLOY_LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                match judge(&gate, Record::of(&meters.report()), begun.elapsed()) {
                    Verdict::Waits => {}
                    Verdict::Passed => break,
                    Verdict::Failed(why) => {
                        self.fall_back(task, &why).await;
                        break;
                    }
                }
            }
        }
        stop.cancelled().await;
    }

    /// The revision that goes on where this one does not pass its gate, and the version at which that was so.
    fn before(&self, task: &Task) -> Option<(RevisionNumber, Version)> {
        let gate = task.seen().gate;
        self.parts.control.look(|state| {
            let known = state.pipelines().get(&*task.name)?;
            let is_current = known.revision == task.revision && known.id == task.id;
            let before = before(known, task.revision, &gate, now_us()).filter(|_| is_current)?;
            Some((before, known.version))
        })
    }

    /// Has the revision before go on in place of one that does not pass its gate, if there is one.
    async fn fall_back(&self, task: &Task, why: &str) {
        let Some((revision, version)) = self.before(task) else { return };
        let why = format!("revision {} did not pass its gate: {why}", task.revision);
        tracing::error!(pipeline = %task.name, "{why}; revision {revision} goes on");
        task.lock().error = Some(SeenError::new(why.clone()));
        let mut why = why;
        let end =
            why.char_indices().map(|(at, _)| at).find(|at| *at >= GATE_REASON_BYTES).unwrap_or(why.len());
        why.truncate(end);
        self.propose(Command::UseRevision {
            pipeline: PipelineName::clone(&task.name),
            revision,
            // Whoever has wanted something else meanwhile gets that.
            expects: Expects::Version(version),
            why: Some(why),
        })
        .await;
    }

    pub async fn resolve(
        self: &Arc<Self>,
        name: &PipelineName,
        id: Option<PipelineId>,
        called: &str,
        content: &Content,
        reads: SecretsRead,
    ) -> Result<ResolvedPipeline, Failure> {
        let Parts { store, data, engine, policy, stages, .. } = &self.parts;
        let repository = name.to_string().parse().map_err(Failure::input)?;
        let pushed = Pushed { store: store.clone(), repository };
        let deployed = Deployed {
            called,
            manifest: &content.manifest,
            lock: &content.lock,
            dir: content.dir.as_deref(),
            variables: &content.variables,
            pushed,
        };
        let draft = deployed.read()?;
        if let Some((stage, path)) = reaches_into(data.dir(), &draft.pipeline, &draft.home) {
            return Err(Failure::Input(anyhow::anyhow!(
                "stage `{stage}` names `{path}`, and {} is the node's own: name another place",
                data.dir().display()
            )));
        }
        let policy = policy.clone().keeping(id.map(|id| data.pipeline(id)));
        let policy = policy.with_secrets(self.secrets(name.namespace.clone(), reads));
        // What was looked up is not kept: a node runs for months.
        let puller = Arc::new(Puller::new(policy.pulling.clone())?);
        let resolver =
            Resolver { engine: engine.clone(), builds: false, keeps_builds: false, policy, puller };
        // Guests are asked where they run, so that nothing else of the node waits for them.
        let resolving = stages.spawn(async move { resolver.resolve(draft).await });
        let resolved = resolving.await.map_err(Failure::ran)??;
        refuse_streams(&resolved)?;
        Ok(resolved)
    }

    /// What this node keeps of the secrets of a namespace. `reads`: is told what is asked for.
    fn secrets(self: &Arc<Self>, namespace: Name, reads: SecretsRead) -> KeptSecrets {
        let inner = self.clone();
        KeptSecrets::new(move |name| {
            lock(&reads).insert(name.to_owned());
            let Ok(name) = name.parse() else { return Ok(None) };
            let name = SecretName { namespace: namespace.clone(), name };
            let Some(secret) = inner.parts.control.look(|state| state.secrets().get(&name).cloned()) else {
                return Ok(None);
            };
            Ok(Some(inner.parts.key.open_sealed(&name, &secret.sealed)?.as_bytes().to_vec()))
        })
    }

    /// Says to the control state how a run came to its end, as often as it takes.
    pub async fn report(&self, pipeline: PipelineId, epoch: Epoch, ending: Ending) {
        let Ending { how, checkpoint, why } = ending;
        self.propose(Command::Stopped { pipeline, epoch, how, checkpoint, why }).await;
    }

    /// Removes what a pipeline kept here, and says so.
    pub async fn remove(self: &Arc<Self>, id: PipelineId, name: &PipelineName, keeps_dead_letters: bool) {
        loop {
            let inner = self.clone();
            let remove = move || inner.parts.data.remove_pipeline(id, keeps_dead_letters);
            let why = match tokio::task::spawn_blocking(remove).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error.to_string(),
                Err(broke) => broke.to_string(),
            };
            tracing::warn!(pipeline = %name, why, "what it kept cannot be removed yet");
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(NODE_REPORT_AGAIN) => {}
            }
        }
        self.propose(Command::Removed { pipeline: id, node: self.node() }).await;
    }

    /// Has a command of this node's own done, as often as it takes; what is refused has been overtaken.
    async fn propose(&self, command: Command) {
        let control = &self.parts.control;
        loop {
            let proposed =
                control.propose(control.proposal(command.clone()), Instant::now() + NODE_PROPOSE_TIME).await;
            match proposed {
                Ok(_) => return,
                Err(ProposeError::Refused(refusal)) => {
                    match *refusal {
                        Refusal::OldEpoch { .. }
                        | Refusal::NoPipelineNumber { .. }
                        | Refusal::Stale { .. }
                        | Refusal::BeingDeleted { .. } => {}
                        refusal => tracing::warn!(%refusal, "what this node said was refused"),
                    }
                    return;
                }
                Err(ProposeError::Ended(_) | ProposeError::Stopping) => return,
                Err(error) => tracing::warn!(%error, "the control state is told again"),
            }
            tokio::select! {
                // At the next start it is known that nothing runs.
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(NODE_REPORT_AGAIN) => {}
            }
        }
    }
}

/// A node has no standard input, and nobody looks at its standard output.
fn refuse_streams(resolved: &ResolvedPipeline) -> Result<(), Failure> {
    let mut streams = ["stdin", "stdout"].into_iter();
    let used = streams.find_map(|name| Some((name, resolved.stages_of(name).into_iter().next()?.to_owned())));
    match used {
        None => Ok(()),
        Some((connector, stage)) => Err(Failure::Input(anyhow::anyhow!(
            "stage `{stage}` is `{connector}`, which a pipeline on a node does not have: let it be a file, or run the manifest \
             with `conveyor run`"
        ))),
    }
}

/// Why a pipeline does not run.
struct Broken {
    error: SeenError,
    /// Whether another revision may do better: it is neither a full disk nor a registry that cannot be reached.
    is_of_revision: bool,
}

impl Broken {
    /// It could not be opened.
    fn opening(failure: &Failure) -> Self {
        Self { error: SeenError::new(failure.line()), is_of_revision: !failure.is_of_surroundings() }
    }

    /// It ran.
    fn running(error: &RunError) -> Self {
        let stage = report::stage(error).filter(|stage| !stage.is_empty()).map(str::to_owned);
        let seen = SeenError::new(error.in_one_line());
        Self {
            error: SeenError { stage, next: Some(report::next_step(error).to_owned()), ..seen },
            is_of_revision: error.restart_cause() != Some(RestartCause::Full),
        }
    }
}

impl Ending {
    /// It was told to stop; at the last checkpoint that is committed.
    fn asked(task: &Task) -> Self {
        let number = task.seen().meters.map_or(0, |meters| meters.checkpoints.report().number);
        let checkpoint = (number > 0).then_some(CheckpointNumber(number));
        Self { how: How::Asked, checkpoint, why: None }
    }
}
