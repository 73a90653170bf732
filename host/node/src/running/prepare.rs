//! Everything that can be wrong before anything flows.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use flow::checkpoint::{CheckpointError, RedbStore};
use flow::letters::{SharedStore, StoreOptions};
use flow::scheduler::FairScheduler;
use flow::supervise::Supervisor;
use model::limits::STOP_OPENING_GRACE;
use model::manifest::Role;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::opener::{Opener, open_store};
use super::stopping::Signals;
use super::{DeadLetters, End, Options, Pipeline, Session, State};
use crate::exit::{Failure, Result};
use crate::report::default_dir;
use crate::wiring::{self, Draft, ResolvedPipeline, Resolver};
use crate::{serve, terminal};

impl Session {
    /// Reads, loads, plans and opens all pipelines, and binds what they need. None where somebody wanted an end before
    /// everything was open: then nothing ran.
    pub fn prepare(files: &[PathBuf], sets: &[String], options: Options) -> Result<Option<Self>> {
        let drafts = drafts(files, sets)?;
        let control = runtime("control", 1)?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let stages = runtime("stage", options.threads.unwrap_or_else(cores))?;
        let (mut signals, metrics) = control.block_on(async {
            let metrics = match options.metrics {
                Some(address) => Some(serve::bind(address).await.map_err(Failure::Input)?),
                None => None,
            };
            Ok::<_, Failure>((Signals::listen().map_err(Failure::Ran)?, metrics))
        })?;
        if let Some(bound) = &metrics {
            let address = bound.address().map_err(Failure::Ran)?;
            terminal::say(format!("metrics are on http://{address}/metrics"));
        }
        let mut policy = options.policy;
        policy.state = options.state.as_ref().map(|state| state.dir.clone());
        let resolver = Arc::new(Resolver::under(policy, options.builds)?);
        let wiring = resolve_all(resolver, drafts, &stages);
        let resolved = control.block_on(async {
            tokio::select! {
                resolved = wiring => resolved.map(Some),
                () = signals.next() => Ok(None),
            }
        });
        let Some(mut resolved) = resolved? else { return Ok(leave(control, stages)) };
        check_new_files(&resolved, options.state.as_ref())?;
        check_names(&resolved, options.state.as_ref())?;
        check_places(&resolved)?;
        wiring::tell_written(&mut resolved);
        let writes_stdout = check_streams(&resolved, options.data_on_stdout)?;
        let stop = CancellationToken::new();
        let opening = open_all(resolved, options.dead_letters, options.state, stop.clone());
        let opening = stages.handle().spawn(opening);
        let opened = control.block_on(opened(opening, &mut signals, &stop))?;
        let Some((mut pipelines, is_stopped)) = opened else { return Ok(leave(control, stages)) };
        share(&mut pipelines, stages.metrics().num_workers());
        // Where records and the display would share a terminal, records win.
        let mixes = writes_stdout && std::io::stdout().is_terminal();
        let shows_progress = terminal::is_terminal() && !mixes;
        let data_on_stdout = options.data_on_stdout;
        Ok(Some(Self {
            control,
            stages,
            pipelines,
            metrics,
            signals,
            is_stopped,
            shows_progress,
            data_on_stdout,
        }))
    }
}

/// Ends where something may be waited for that never comes, such as the first bytes of standard input. No thread that
/// does so holds the process.
fn leave(control: Runtime, stages: Runtime) -> Option<Session> {
    stages.shutdown_background();
    control.shutdown_background();
    terminal::say("stopped before everything was open: nothing ran");
    None
}

/// Where there are more loops than threads, pipelines take turns by their weights.
fn share(pipelines: &mut [Pipeline], threads: usize) {
    let supervisors = pipelines.iter().filter_map(|pipeline| pipeline.supervisor.as_ref());
    let loops: usize = supervisors.map(Supervisor::loops).sum();
    if pipelines.len() < 2 || loops <= threads {
        return;
    }
    let scheduler = FairScheduler::new(threads);
    for pipeline in pipelines {
        if let Some(supervisor) = &mut pipeline.supervisor {
            supervisor.share_with(scheduler.join(pipeline.weight));
        }
    }
}

pub(crate) fn runtime(name: &str, threads: usize) -> Result<Runtime> {
    let mut runtime = Builder::new_multi_thread();
    // Tasks that yielded, timers and sockets come after so many polls. A poll can be as long as a tick of the epoch,
    // and after the usual 61 of a busy stage its neighbours would have waited for more than half a second.
    runtime.worker_threads(threads).thread_name(name).event_interval(4).enable_all();
    let runtime = runtime.build();
    runtime.map_err(|error| Failure::Ran(anyhow!("threads cannot be started: {error}")))
}

/// All manifests, or what is wrong with all of them.
fn drafts(files: &[PathBuf], sets: &[String]) -> Result<Vec<Draft>> {
    let mut drafts: Vec<Draft> = Vec::with_capacity(files.len());
    let mut problems = Vec::new();
    for file in files {
        match wiring::read(file) {
            Ok(draft) => drafts.push(draft),
            Err(Failure::Manifest(found)) => problems.extend(found),
            Err(other) => return Err(other),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Manifest(problems));
    }
    let mut names: HashMap<String, String> = HashMap::new();
    for draft in &drafts {
        let (name, file) = (draft.pipeline.name.to_string(), draft.pipeline.text.name.to_string());
        if let Some(first) = names.insert(name.clone(), file.clone()) {
            return Err(Failure::Input(anyhow!(
                "{first} and {file} both name their pipeline `{name}`: give each a name of its own"
            )));
        }
    }
    for set in sets {
        set_where_it_fits(&mut drafts, set)?;
    }
    Ok(drafts)
}

/// An assignment goes to every pipeline that has the stage; there has to be one.
fn set_where_it_fits(drafts: &mut [Draft], set: &str) -> Result {
    let stage = set.split('.').next().unwrap_or_default();
    let all = drafts.iter().all(|draft| draft.pipeline.index_of(stage).is_none());
    for draft in drafts.iter_mut().filter(|draft| all || draft.pipeline.index_of(stage).is_some()) {
        draft.set(std::slice::from_ref(&set.to_owned()))?;
    }
    Ok(())
}

/// Loads and plans all pipelines at once, on the executor of stages, since stages are asked.
async fn resolve_all(
    resolver: Arc<Resolver>,
    drafts: Vec<Draft>,
    stages: &Runtime,
) -> Result<Vec<ResolvedPipeline>> {
    let mut wiring = JoinSet::new();
    for (index, draft) in drafts.into_iter().enumerate() {
        let resolver = resolver.clone();
        wiring.spawn_on(async move { (index, resolver.resolve(draft).await) }, stages.handle());
    }
    let mut all = Vec::new();
    let mut problems = Vec::new();
    while let Some(resolved) = wiring.join_next().await {
        match resolved.map_err(Failure::ran)? {
            (index, Ok(resolved)) => all.push((index, resolved)),
            (_, Err(found)) => problems.push(found),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Manifest(problems));
    }
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, resolved)| resolved).collect())
}

/// A stage that is to begin a new file writes one, in a pipeline at least.
fn check_new_files(all: &[ResolvedPipeline], state: Option<&State>) -> Result {
    let writers: HashSet<&str> = all.iter().flat_map(|resolved| resolved.sinks_of("file")).collect();
    for stage in state.into_iter().flat_map(|state| &state.new_files) {
        if !writers.contains(stage.as_str()) {
            return Err(Failure::Input(anyhow!(
                "`--new-file {stage}`: there is no sink `file` of that name; name one that the manifest has"
            )));
        }
    }
    Ok(())
}

/// What is to be forgotten or renamed is there, in a pipeline at least.
fn check_names(all: &[ResolvedPipeline], state: Option<&State>) -> Result {
    let Some(state) = state.filter(|state| !state.forgotten.is_empty() || !state.renames.is_empty()) else {
        return Ok(());
    };
    let mut kept = BTreeSet::new();
    for resolved in all {
        match RedbStore::look(&state.dir.join(resolved.name())) {
            Ok((Some(last_committed), _)) => kept.extend(last_committed.remembers()),
            Ok((None, _)) | Err(CheckpointError::None { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let of = || match kept.is_empty() {
        true => format!("there is none yet in {}", state.dir.display()),
        false => format!("there is one of {}", kept.iter().cloned().collect::<Vec<_>>().join(", ")),
    };
    let is_stage = |resolved: &ResolvedPipeline, name: &str| {
        resolved.pipeline.index_of(name).is_some_and(|index| {
            *resolved.pipeline.stages[index].role != Role::Transform || resolved.keeps_state(index)
        })
    };
    for name in &state.forgotten {
        if !kept.contains(name) && !all.iter().any(|resolved| is_stage(resolved, name)) {
            return Err(Failure::Input(anyhow!(
                "`--forget {name}`: no checkpoint has anything of a stage `{name}`; {}",
                of()
            )));
        }
    }
    for (old, new) in &state.renames {
        // Whoever says it again says what was done.
        if !kept.contains(old) && !kept.contains(new) && !kept.is_empty() {
            return Err(Failure::Input(anyhow!(
                "`--rename {old}={new}`: no checkpoint has anything of a stage `{old}`; {}",
                of()
            )));
        }
    }
    Ok(())
}

/// Pipelines that are fine alone may be in each other's way.
fn check_places(all: &[ResolvedPipeline]) -> Result {
    let clashes = wiring::between(all);
    if clashes.is_empty() { Ok(()) } else { Err(Failure::Input(anyhow!("{}", clashes.join("\n")))) }
}

/// stdin has one reader, and stdout is for records or for the summary. Says whether records go to stdout.
fn check_streams(all: &[ResolvedPipeline], data_on_stdout: bool) -> Result<bool> {
    let users = |name: &str| -> Vec<String> {
        let of = |resolved: &ResolvedPipeline| -> Vec<String> {
            resolved
                .stages_of(name)
                .into_iter()
                .map(|stage| format!("`{stage}` of `{}`", resolved.name()))
                .collect()
        };
        all.iter().flat_map(of).collect()
    };
    let readers = users("stdin");
    if readers.len() > 1 {
        let readers = readers.join(" and ");
        return Err(Failure::Input(anyhow!(
            "{readers} all read stdin, which can be read once: leave it to one of them"
        )));
    }
    let writers = users("stdout");
    if data_on_stdout && let Some(writer) = writers.first() {
        return Err(Failure::Input(anyhow!(
            "{writer} writes records to stdout, where `--output json` would print the summary: let it write to a \
             file, or leave out `--output json`"
        )));
    }
    Ok(!writers.is_empty())
}

/// Waits until everything is opened, and says whether somebody wanted an end meanwhile: then nothing waits for room on a
/// disk any more, and what is open runs only to its stop. None where something is not open soon after that.
async fn opened(
    mut opening: JoinHandle<Result<Vec<Pipeline>>>,
    signals: &mut Signals,
    stop: &CancellationToken,
) -> Result<Option<(Vec<Pipeline>, bool)>> {
    let (opened, is_stopped) = tokio::select! {
        opened = &mut opening => (opened, false),
        () = signals.next() => {
            stop.cancel();
            let Ok(opened) = timeout(STOP_OPENING_GRACE, opening).await else { return Ok(None) };
            (opened, true)
        }
    };
    Ok(Some((opened.map_err(Failure::ran)??, is_stopped)))
}

/// Opens everything, so that what cannot be opened is told before anything flows.
async fn open_all(
    all: Vec<ResolvedPipeline>,
    dead_letters: DeadLetters,
    state: Option<State>,
    stop: CancellationToken,
) -> Result<Vec<Pipeline>> {
    let mut stores: HashMap<PathBuf, SharedStore> = HashMap::new();
    let mut pipelines = Vec::with_capacity(all.len());
    let mut problems = Vec::new();
    for resolved in all {
        let (name, weight) = (resolved.name().to_owned(), resolved.weight());
        let dir = dead_letters.dir.clone().unwrap_or_else(|| default_dir(&name));
        let store = match stores.get(&dir) {
            Some(store) => store.clone(),
            None => {
                let store =
                    open_store(dead_letters.store(dir.clone()), &name, state.is_some(), &stop).await?;
                stores.entry(dir).or_insert(store).clone()
            }
        };
        match Opener::supervise(resolved, store, state.as_ref(), &stop).await {
            Ok((supervisor, letters)) => pipelines.push(Pipeline {
                name,
                weight,
                meters: supervisor.meters(),
                supervisor: Some(supervisor),
                letters,
                keeps_state: state.is_some(),
                open_cut: Ok(0),
                end: End::Running,
                took: Duration::ZERO,
            }),
            Err(Failure::Manifest(found)) => problems.extend(found),
            Err(other) => return Err(other),
        }
    }
    if problems.is_empty() { Ok(pipelines) } else { Err(Failure::Manifest(problems)) }
}

impl DeadLetters {
    /// The store in `dir`.
    pub fn store(&self, dir: PathBuf) -> StoreOptions {
        let mut options = StoreOptions::new(dir);
        options.bytes_max = self.bytes_max.unwrap_or(options.bytes_max);
        options.age_max = self.age_max;
        options
    }
}
