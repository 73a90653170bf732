//! Dead letters sent in again, from the manifest to what became of each.
//!
//! Everything that can be wrong is told before anything is opened. Entries are closed last: what the sinks had
//! committed when the process died comes to them a second time, and nothing is lost.

mod done;

use std::path::PathBuf;

use anyhow::anyhow;
use connect::Beside;
use flow::letters::{Filter, Letters, Outcome, Reading, StoreOptions};
use flow::replay::{Chosen, Fate, Fates, Left, Misfit, takes_records};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::exit::{Code, Failure, Result};
use crate::report::{Counted, Written, default_dir, explain};
use crate::terminal;
use crate::wiring::{self, Draft, Wired, Workshop};
use crate::words::Words;

pub use done::Done;

/// What is sent in again, and how.
#[derive(Debug)]
pub struct Options {
    pub file: PathBuf,
    pub filter: Filter,
    pub into: Option<String>,
    /// Whether sinks are opened and written to.
    pub writes: bool,
    pub dead_letters: Option<PathBuf>,
    pub sets: Vec<String>,
    pub builds: bool,
    /// Whether what became of them goes to stdout, as data.
    pub data_on_stdout: bool,
}

/// Sends in what is meant, and waits for the end of it.
pub fn run(options: Options) -> Result<Done> {
    let mut draft = wiring::read(&options.file)?;
    draft.set(&options.sets)?;
    let kept = if options.writes { keep_earlier_output(&mut draft) } else { Vec::new() };
    let runtime = Builder::new_multi_thread().thread_name("stage").enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Ran(anyhow!("threads cannot be started: {error}")))?;
    let workshop = Workshop::new(options.builds)?;
    let wired = runtime.block_on(workshop.wire(draft))?;
    check_stdout(&wired, &options)?;
    let dir = options.dead_letters.clone().unwrap_or_else(|| default_dir(wired.name()));
    let mut store = StoreOptions::new(&dir);
    // Each entry comes to one new one at most, so that what is there bounds what is added.
    store.bytes_max = u64::MAX;
    // Locked before it is read, so that nobody else sends the same entries in.
    let store = if options.writes { Some(Written::open(store)?) } else { None };
    let reading = Reading::open(&dir)?;
    // Whoever writes to it was told when it was opened.
    let untold = reading.damage().iter().filter(|_| !options.writes);
    untold.for_each(|damage| terminal::warning(format!("dead letters are damaged: {damage}")));
    let into = options.into.as_deref().map(|name| into(&wired, name)).transpose()?;
    let (chosen, left) = Chosen::choose(&reading, &options.filter, &wired.plan, into)?;
    check_left(&chosen, &left)?;
    if chosen.is_empty() {
        let named = !options.filter.entries.is_empty() || !options.filter.records.is_empty();
        if named {
            return Err(Failure::Input(anyhow!(
                "{} has no such open entry of pipeline `{}`; `conveyor dlq list --all {}` shows what it has",
                dir.display(),
                wired.name(),
                dir.display()
            )));
        }
        return Ok(Done::nothing(options.writes));
    }
    let is_behind = chosen.stages();
    for (stage, beside) in kept.iter().filter(|(stage, _)| is_behind[*stage]) {
        say_where(&wired.plan.stages[*stage].name, beside);
    }
    for (index, planned) in wired.plan.stages.iter().enumerate() {
        if is_behind[index] && wired.keeps_state(index) {
            let name = &planned.name;
            terminal::say(format!(
                "`{name}` keeps state, which is that of the pipeline: here it begins with none"
            ));
        }
    }
    let sending = Sending { wired: &wired, chosen: &chosen, is_behind: &is_behind };
    let fates = sending.send(&runtime, store.as_ref(), &options)?;
    let done = Done::of(&chosen, fates.seen(), options.writes);
    if let Some(store) = store {
        store.store().mark(&done.marks())?;
    }
    // Neither a stage that does not come back nor a read that nothing ends holds the process.
    runtime.shutdown_background();
    Ok(done)
}

struct Sending<'a> {
    wired: &'a Wired,
    chosen: &'a Chosen,
    is_behind: &'a [bool],
}

impl Sending<'_> {
    fn send(&self, runtime: &Runtime, store: Option<&Written>, options: &Options) -> Result<Fates> {
        let letters = store
            .map(|store| Box::new(Counted::new(store.clone(), self.wired.identity())) as Box<dyn Letters>);
        let fates = Fates::default();
        let opening =
            self.wired.open_behind(self.is_behind, options.writes, wiring::epoch_now(), &fates, letters);
        let job = runtime.block_on(opening)?;
        let run = job.build_behind(self.chosen.feeds()).map_err(Failure::ran)?;
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
                terminal::error(explain(self.wired.name(), &error));
                if options.writes {
                    let stay = "what was sent in stays open: some of it may have come to the sinks, and will come again";
                    terminal::say(stay);
                }
                Err(Failure::Told(Code::Failed))
            }
        }
    }
}

/// By stage, what had to change so that sinks keep what they wrote in earlier runs.
fn keep_earlier_output(draft: &mut Draft) -> Vec<(usize, Beside)> {
    let Draft { pipeline, home } = draft;
    let mut kept = Vec::new();
    for (index, stage) in pipeline.stages.iter_mut().enumerate() {
        if *stage.role == model::manifest::Role::Sink {
            let connector = stage.reference.value.to_string();
            let beside = connect::keep_earlier_output(&connector, &mut stage.with.value, home);
            kept.extend(beside.map(|beside| (index, beside)));
        }
    }
    kept
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

fn check_stdout(wired: &Wired, options: &Options) -> Result {
    match wired.stages_of("stdout").first() {
        Some(sink) if options.data_on_stdout && options.writes => Err(Failure::Input(anyhow!(
            "sink `{sink}` writes records to stdout, where `--output json` would print what became of them: leave out \
             `--output json`"
        ))),
        _ => Ok(()),
    }
}

fn into(wired: &Wired, name: &str) -> Result<usize> {
    let stages = &wired.plan.stages;
    let takes = |index: &usize| takes_records(&wired.plan, *index);
    let found = stages.iter().position(|stage| *stage.name == *name).filter(takes);
    found.ok_or_else(|| {
        let names: Vec<&str> = (0..stages.len()).filter(takes).map(|index| &*stages[index].name).collect();
        Failure::Input(anyhow!(
            "nothing can be sent into `{name}`: the stages of `{}` that take records are {}",
            wired.name(),
            names.join(", ")
        ))
    })
}

/// What does not fit is told before anything is sent. What a source refused stays where it is, unless it was all
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
    let is_passed_over = |left: &&Left| left.why == Misfit::Source && !chosen.is_empty();
    let (passed_over, wrong): (Vec<&Left>, Vec<&Left>) = left.iter().partition(is_passed_over);
    if !wrong.is_empty() {
        return Err(Failure::input(wrong.into_iter().map(text).collect::<Words>()));
    }
    passed_over.into_iter().for_each(|left| terminal::warning(text(left)));
    Ok(())
}

/// The outcome that closes an entry.
fn outcome(fate: &Fate) -> Outcome {
    match fate.refused.is_empty() {
        true => Outcome::Replayed,
        false => Outcome::RefusedAgain,
    }
}
