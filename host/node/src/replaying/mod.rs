//! Dead letters sent in again, from the manifest to what became of each.
//!
//! Everything that can be wrong is told before anything is opened. Entries are closed last: what the sinks had
//! committed when the process died comes to them a second time, and nothing is lost.

mod done;
mod state;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use connect::Beside;
use flow::Checkpoints;
use flow::letters::{Filter, Identity, LetterCounts, Letters, Reading, SharedStore, StoreOptions, Writer};
use flow::replay::{Choice, Chosen, Fates, Left, Misfit, takes_records};
use model::ids::RecordId;
use model::lineage::Origin;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::exit::{Code, Failure, Result};
use crate::report::{default_dir, explain, full_path, nothing_is_open};
use crate::wiring::{self, Behind, Draft, Policy, ResolvedPipeline, Resolver};
use crate::words::Words;
use crate::{pulled, terminal};

pub use done::Done;
use state::Resumed;

/// What is sent in again, and how.
#[derive(Debug)]
pub struct Options {
    pub file: PathBuf,
    pub filter: Filter,
    pub into: Option<String>,
    /// Whether sinks are opened and written to.
    pub writes: bool,
    pub dead_letters: Option<PathBuf>,
    /// What `run` is given: the replay goes through the checkpoints there.
    pub state: Option<PathBuf>,
    pub sets: Vec<String>,
    pub builds: bool,
    /// How components come from registries.
    pub pulling: pulled::Options,
    /// Whether what became of them goes to stdout, as data.
    pub data_on_stdout: bool,
}

/// Sends in what is meant, and waits for the end of it.
pub fn run(options: Options) -> Result<Done> {
    let mut draft = wiring::read(&options.file)?;
    draft.set(&options.sets)?;
    // Before anything else, so that a pipeline that is running is told of.
    let name = draft.pipeline.name.to_string();
    let resumed = options.state.as_ref().map(|state| Resumed::open(state, &name)).transpose()?;
    let goes_on = |sink: &str| resumed.as_ref().is_some_and(|resumed| resumed.has_committed(sink));
    let kept = if options.writes { keep_earlier_output(&mut draft, goes_on) } else { Vec::new() };
    let runtime = Builder::new_multi_thread().thread_name("stage").enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Ran(anyhow!("threads cannot be started: {error}")))?;
    let policy = Policy::default().pulling(options.pulling.clone()).of_replay();
    let resolver = Resolver::under(policy, options.builds)?;
    let resolved = runtime.block_on(resolver.resolve(draft))?;
    check_stdout(&resolved, &options)?;
    let dir = options.dead_letters.clone().unwrap_or_else(|| default_dir(resolved.name()));
    // Locked before it is read, so that nobody else sends the same entries in.
    let store = if options.writes { Some(open_store(&dir)?) } else { None };
    let mut reading = read(&dir, options.writes)?;
    if let Some(resumed) = &resumed {
        // A replay may have died before it marked what its checkpoint has closed.
        let due = reading.due(resolved.name(), &resumed.checkpoint().closing)?;
        store.iter().try_for_each(|store| store.store().mark(&due))?;
        reading.close(&due);
    }
    let comes_again = |entry: u64, origin: &Origin| {
        resumed.as_ref().is_some_and(|resumed| resumed.checkpoint().comes_again(entry, origin))
            && resolved.gives_again(&origin.source)
    };
    let choice = Choice {
        filter: &options.filter,
        into: options.into.as_deref().map(|name| into(&resolved, name)).transpose()?,
        decoders: &resolved.decoders()?,
        comes_again: &comes_again,
    };
    let (chosen, left) = Chosen::choose(&reading, &choice, &resolved.plan)?;
    check_left(&chosen, &left)?;
    if chosen.is_empty() {
        return nothing_is_meant(&resolved, &options, &dir, &reading, resumed.as_ref());
    }
    let stages = chosen.stages();
    let beside = || {
        let kept = kept.iter().filter(|(stage, _)| stages[*stage]);
        kept.map(|(stage, beside)| (&*resolved.plan.stages[*stage].name, beside))
    };
    if resumed.is_some() {
        beside().try_for_each(|(sink, beside)| check_beside(sink, beside))?;
    }
    let mut sending =
        Sending { resolved: &resolved, chosen: &chosen, stages: &stages, through: None, letters: None };
    match resumed {
        None => state::check_without(&resolved, &stages, &reading, options.writes)?,
        Some(resumed) => {
            sending.letters = Some(resumed.checkpoint().letters);
            sending.through = Some(resumed.go_on(&resolved, &stages, options.writes)?);
        }
    }
    beside().for_each(|(sink, beside)| say_where(sink, beside));
    let state = match &options.state {
        Some(state) => Some(full_path(state)),
        None => reading.state_of(resolved.name()).map(|dir| dir.to_string_lossy().into_owned()),
    };
    let fates = sending.send(&runtime, store.as_ref(), state, &options)?;
    let done = Done::of(&chosen, fates.seen(), options.writes);
    if let Some(store) = store {
        store.store().mark(&done.marks())?;
    }
    // Neither a stage that does not come back nor a read that nothing ends holds the process.
    runtime.shutdown_background();
    Ok(done)
}

fn open_store(dir: &Path) -> Result<SharedStore> {
    let mut store = StoreOptions::new(dir);
    // Each entry comes to one new one at most, so that what is there bounds what is added.
    store.bytes_max = u64::MAX;
    Ok(SharedStore::open(store)?)
}

fn read(dir: &Path, writes: bool) -> Result<Reading> {
    let reading = Reading::open(dir)?;
    // Whoever writes to it was told when it was opened.
    let untold = reading.damage().iter().filter(|_| !writes);
    untold.for_each(|damage| terminal::warning(format!("dead letters are damaged: {damage}")));
    Ok(reading)
}

/// There is nothing to send in; who has named an entry is told that there is no such one.
fn nothing_is_meant(
    resolved: &ResolvedPipeline,
    options: &Options,
    dir: &Path,
    reading: &Reading,
    resumed: Option<&Resumed>,
) -> Result<Done> {
    if options.filter.entries.is_empty() && options.filter.records.is_empty() {
        let mut why = nothing_is_open(reading, &options.filter)?;
        if let Some(command) = resumed.and_then(|resumed| resumed.what_commits(resolved)) {
            why.push_str(&format!(
                "; not all sinks have committed what they have: `{command}` has them do it"
            ));
        }
        return Ok(Done::nothing(options.writes, why));
    }
    let Filter { stage, code, entries, records, .. } = &options.filter;
    let named = entries.iter().map(u64::to_string).chain(records.iter().map(RecordId::to_string));
    let named: Vec<String> = named.map(|name| format!("`{name}`")).collect();
    let of = |what: &str, name: &Option<String>| name.as_ref().map(|name| format!(" of {what} `{name}`"));
    Err(Failure::Input(anyhow!(
        "{} has no open entry {}{}{} of pipeline `{}`; `conveyor dlq list --all {}` shows what it has",
        dir.display(),
        named.join(", "),
        of("stage", stage).unwrap_or_default(),
        of("code", code).unwrap_or_default(),
        resolved.name(),
        dir.display()
    )))
}

struct Sending<'a> {
    resolved: &'a ResolvedPipeline,
    chosen: &'a Chosen,
    /// By stage of the plan: those through which it goes.
    stages: &'a [bool],
    /// The checkpoints to go through, with the epoch.
    through: Option<(Checkpoints, u64)>,
    /// Letters from this number on may be of records that come again.
    letters: Option<u64>,
}

impl Sending<'_> {
    fn send(
        self,
        runtime: &Runtime,
        store: Option<&SharedStore>,
        state: Option<String>,
        options: &Options,
    ) -> Result<Fates> {
        let identity = Identity { state, ..self.resolved.identity() };
        let letters = store.map(|store| {
            let writer = Writer::new(store.clone(), identity, LetterCounts::default());
            Box::new(writer) as Box<dyn Letters>
        });
        let fates = Fates::default();
        let before = self.through.as_ref().map_or(0, |(checkpoints, _)| checkpoints.last_committed.number);
        let goes_through = self.through.is_some();
        let (checkpoints, epoch) = match self.through {
            Some((checkpoints, epoch)) => (Some(checkpoints), epoch),
            None => (None, wiring::epoch_now()),
        };
        let opening = self.resolved.open_behind(Behind {
            stages: self.stages,
            writes: options.writes,
            epoch,
            fates: &fates,
            letters: fates.letters(letters, self.letters),
            checkpoints,
        });
        let job = runtime.block_on(opening)?;
        let run = job.build_behind(self.chosen.injections()).map_err(Failure::ran)?;
        let meters = run.meters();
        let ended = runtime.block_on(async {
            // On a thread of the stages, where their futures belong.
            tokio::spawn(run.run(CancellationToken::new())).await
        });
        match ended.map_err(Failure::ran)?.result() {
            Ok(()) => Ok(fates),
            Err(error) => {
                if let Some(entry) = self.chosen.only() {
                    terminal::say(done::record(&entry));
                }
                terminal::error(explain(self.resolved.name(), &error));
                if options.writes {
                    let has_committed = meters.checkpoints.report().number > before;
                    terminal::say(match goes_through && !has_committed {
                        true => "what was sent in stays open, and nothing of it was committed",
                        false => {
                            "what was sent in stays open: some of it may have come to the sinks, and will come again"
                        }
                    });
                }
                Err(Failure::Told(Code::Failed))
            }
        }
    }
}

/// By stage, what had to change so that sinks keep what they wrote in earlier runs. `goes_on`: whether one does so anyway.
fn keep_earlier_output(draft: &mut Draft, goes_on: impl Fn(&str) -> bool) -> Vec<(usize, Beside)> {
    let Draft { pipeline, home, .. } = draft;
    let mut kept = Vec::new();
    for (index, stage) in pipeline.stages.iter_mut().enumerate() {
        if *stage.role == model::manifest::Role::Sink && !goes_on(stage.name.as_str()) {
            let connector = stage.reference.value.to_string();
            let beside = connect::keep_earlier_output(&connector, &mut stage.with.value, home);
            kept.extend(beside.map(|beside| (index, beside)));
        }
    }
    kept
}

/// A file that the checkpoint does not know of, and that nothing can be appended to, is not gone on with: the next run
/// would find another output than it left.
fn check_beside(sink: &str, beside: &Beside) -> Result {
    match beside {
        Beside::PartOf(path) => Err(Failure::Input(anyhow!(
            "sink `{sink}` has committed nothing yet, and {} is there: move the file away, so that the sink can begin it",
            path.display()
        ))),
        Beside::Behind(_) => Ok(()),
    }
}

fn say_where(sink: &str, beside: &Beside) {
    terminal::say(match beside {
        Beside::Behind(path) => format!("sink `{sink}` writes behind what is in {}", path.display()),
        Beside::PartOf(path) => format!(
            "sink `{sink}` writes a new file beside {}, with a number in its name: nothing can be appended to that one",
            path.display()
        ),
    });
}

fn check_stdout(resolved: &ResolvedPipeline, options: &Options) -> Result {
    match resolved.stages_of("stdout").first() {
        Some(sink) if options.data_on_stdout && options.writes => Err(Failure::Input(anyhow!(
            "sink `{sink}` writes records to stdout, where `--output json` would print what became of them: leave out \
             `--output json`"
        ))),
        _ => Ok(()),
    }
}

fn into(resolved: &ResolvedPipeline, name: &str) -> Result<usize> {
    let stages = &resolved.plan.stages;
    let takes = |index: &usize| takes_records(&resolved.plan, *index);
    let found = stages.iter().position(|stage| *stage.name == *name).filter(takes);
    found.ok_or_else(|| {
        let names: Vec<&str> = (0..stages.len()).filter(takes).map(|index| &*stages[index].name).collect();
        Failure::Input(anyhow!(
            "nothing can be sent into `{name}`: the stages of `{}` that take records are {}",
            resolved.name(),
            names.join(", ")
        ))
    })
}

/// What does not fit is told before anything is sent. What nothing can be made of stays where it is, unless it was all
/// that was asked for.
fn check_left(chosen: &Chosen, left: &[Left]) -> Result {
    let text = |left: &Left| {
        let Left { stage, why, count, first, last } = left;
        match count {
            1 => format!("entry {first}, refused by `{stage}`, cannot be sent in: {why}"),
            _ => format!(
                "{count} entries from {first} to {last}, refused by `{stage}`, cannot be sent in: {why}"
            ),
        }
    };
    let is_passed_over = |left: &&Left| {
        let stays = matches!(left.why, Misfit::Source | Misfit::Cut | Misfit::Older | Misfit::ComesAgain);
        stays && !chosen.is_empty()
    };
    let (passed_over, wrong): (Vec<&Left>, Vec<&Left>) = left.iter().partition(is_passed_over);
    if !wrong.is_empty() {
        return Err(Failure::input(wrong.into_iter().map(text).collect::<Words>()));
    }
    passed_over.into_iter().for_each(|left| terminal::warning(text(left)));
    Ok(())
}
