//! One or several pipelines, from their manifests to the summary at the end.
//!
//! Stages run on an executor of their own. Signals, metrics and the display have another, so that none of
//! them ever waits behind a stage.

mod misfits;
mod opener;
mod prepare;
mod resuming;
mod stopping;
mod summary;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flow::letters::LettersError;
use flow::meters::Meters;
use flow::supervise::Supervisor;
use flow::{Ended, RunError};
use tokio::runtime::Runtime;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::exit::Result;
use crate::report::{Progress, Tally};
use crate::serve::{Bound, Ready};
use crate::terminal;
use crate::wiring::Policy;
use crate::words::Words;
pub(crate) use misfits::{cannot_go_on, compat, leave_others};
pub(crate) use opener::{Opener, open_store};
pub(crate) use prepare::runtime;
pub use resuming::State;
pub use stopping::Signals;
use stopping::Stop;

/// What `run` is asked for beside its manifests.
#[derive(Debug, Default)]
pub struct Options {
    pub builds: bool,
    pub metrics: Option<SocketAddr>,
    /// None where nothing is kept.
    pub state: Option<State>,
    pub dead_letters: DeadLetters,
    pub threads: Option<usize>,
    pub policy: Policy,
    /// Whether the summary goes to stdout, as data.
    pub data_on_stdout: bool,
}

/// Where dead letters are kept, and for how long.
#[derive(Clone, Debug, Default)]
pub struct DeadLetters {
    /// By default a directory for each pipeline, by its name.
    pub dir: Option<PathBuf>,
    pub bytes_max: Option<u64>,
    pub age_max: Option<Duration>,
}

/// Pipelines that are opened, with everything bound that they need.
pub struct Session {
    control: Runtime,
    stages: Runtime,
    pipelines: Vec<Pipeline>,
    metrics: Option<Bound>,
    signals: Signals,
    /// Whether somebody wanted an end before it began.
    is_stopped: bool,
    shows_progress: bool,
    data_on_stdout: bool,
}

/// One pipeline of a session.
struct Pipeline {
    name: String,
    /// Its share of the cores where pipelines take turns.
    weight: u32,
    /// Taken when it is spawned.
    supervisor: Option<Supervisor<Opener>>,
    meters: Meters,
    letters: Tally,
    /// Whether the next run goes on where this one ends.
    keeps_state: bool,
    /// Dead letters that are open in the end because a branch was cut off, in this run or an earlier one.
    open_cut: std::result::Result<u64, LettersError>,
    end: End,
    took: Duration,
}

/// How a pipeline ended.
enum End {
    Running,
    /// Its sources ended.
    Done,
    /// It was asked to stop, and drained.
    Stopped,
    Failed(RunError),
    /// Its sources ended, and branches had been cut on the way: `on-failure: continue`.
    Cut(Vec<RunError>),
    /// It did not drain in time.
    CutOff,
}

impl Session {
    /// Runs everything to its end and prints the summary. Says whether all went well.
    pub fn run(mut self) -> Result<bool> {
        let control = &self.control;
        let started = Instant::now();
        let ready = self.metrics.as_ref().map(Bound::ready).unwrap_or_default();
        let meters: Vec<Meters> = self.pipelines.iter().map(|pipeline| pipeline.meters.clone()).collect();
        if let Some(bound) = self.metrics.take() {
            control.spawn(bound.serve(meters.clone()));
        }
        let progress = self.shows_progress.then(|| Progress::start(&meters));
        let (signals, is_stopped) = (self.signals, self.is_stopped);
        let watch = Watch { signals, is_stopped, ready, progress, started };
        control.block_on(watch.until_all_end(&mut self.pipelines, &self.stages));
        // Neither a stage that does not come back nor a read of stdin that nothing ends holds the process.
        self.stages.shutdown_background();
        self.control.shutdown_background();
        for pipeline in self.pipelines.iter_mut().filter(|pipeline| pipeline.keeps_state) {
            pipeline.open_cut = pipeline.letters.open_cut();
        }
        summary::print(&self.pipelines, self.data_on_stdout)?;
        Ok(self.pipelines.iter().all(Pipeline::went_well))
    }
}

impl Pipeline {
    /// Whether it ended well, and nothing is left that only a replay delivers.
    fn went_well(&self) -> bool {
        matches!(self.end, End::Done | End::Stopped) && matches!(self.open_cut, Ok(0))
    }
}

/// What goes on beside the stages while they run.
struct Watch {
    signals: Signals,
    is_stopped: bool,
    ready: Ready,
    progress: Option<Progress>,
    started: Instant,
}

impl Watch {
    async fn until_all_end(mut self, pipelines: &mut [Pipeline], stages: &Runtime) {
        let stop = CancellationToken::new();
        let mut loops: JoinSet<(usize, Ended)> = JoinSet::new();
        let mut spawned: Vec<Id> = Vec::with_capacity(pipelines.len());
        for (index, pipeline) in pipelines.iter_mut().enumerate() {
            let Some(supervisor) = pipeline.supervisor.take() else { continue };
            let stop = stop.clone();
            let running = async move { (index, supervisor.run(stop).await) };
            let handle = loops.spawn_on(running, stages.handle());
            spawned.push(handle.id());
        }
        let mut stopping = Stop::new(stop.clone());
        self.ready.set(!self.is_stopped);
        if self.is_stopped {
            stopping.ask();
        }
        let mut ticks = interval(Progress::EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = loops.join_next() => match ended {
                    None => break,
                    Some(ended) => {
                        let (index, end) = self.end_of(ended, &spawned);
                        pipelines[index].took = self.started.elapsed();
                        if let End::Failed(error) = &end {
                            // The others have nothing to do with it and go on; who watches is told at once.
                            self.ready.failed(&pipelines[index].name);
                            self.tell(&pipelines[index].name, error, loops.len());
                        }
                        pipelines[index].end = end;
                    }
                },
                () = self.signals.next() => {
                    self.ready.set(false);
                    if stopping.ask() {
                        break;
                    }
                }
                () = stopping.grace_is_over() => break,
                _ = ticks.tick(), if self.progress.is_some() => self.draw(),
            }
        }
        self.draw();
        for pipeline in pipelines.iter_mut().filter(|pipeline| matches!(pipeline.end, End::Running)) {
            pipeline.end = End::CutOff;
            pipeline.took = self.started.elapsed();
        }
        loops.abort_all();
    }

    /// Says at once that a pipeline failed while others go on, which may be for ever. All of it is in the summary.
    fn tell(&self, pipeline: &str, error: &RunError, others: usize) {
        if others == 0 {
            return;
        }
        let mut words = Words::from(format!("pipeline `{pipeline}` failed: {error}"));
        words.push(format!("  the others go on ({others} of them)"));
        match &self.progress {
            Some(progress) => progress.suspend(|| terminal::error(words)),
            None => terminal::error(words),
        }
    }

    fn draw(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.draw();
        }
    }

    fn end_of(&self, ended: std::result::Result<(usize, Ended), JoinError>, spawned: &[Id]) -> (usize, End) {
        match ended {
            Ok((index, Ended { failure: Some(error), .. })) => (index, End::Failed(error)),
            Ok((index, Ended { cuts, .. })) if !cuts.is_empty() => (index, End::Cut(cuts)),
            Ok((index, Ended { is_stopped: true, .. })) => (index, End::Stopped),
            Ok((index, _)) => (index, End::Done),
            Err(broke) => {
                let index = spawned.iter().position(|id| *id == broke.id()).unwrap_or(0);
                let why = broke.to_string();
                (index, End::Failed(RunError::Broke { stage: String::new(), why }))
            }
        }
    }
}
