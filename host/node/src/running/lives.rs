//! A pipeline that goes back to its last checkpoint within one process: when a source or a sink has died, when one asks
//! for another try where nothing else can be gone back to, and when a disk is full.
//!
//! Each life is a run of its own, with everything opened anew, as after a crash; what lasts is in the checkpoint. What
//! the lives have in common is their counters, and what is known of the records that killed a sink.

use std::time::Duration;

use flow::letters::{Identity, Letters as _, SharedStore, Writer};
use flow::meters::{Meters, StageReport};
use flow::scheduler::ShareHandle;
use flow::{Ended, Run, RunError, Setback, Setbacks};
use model::limits;
use model::manifest::{OnFailure, Retry, Role};
use tokio_util::sync::CancellationToken;

use super::State;
use super::resuming;
use crate::exit::Failure;
use crate::report::{Tally, full_path};
use crate::wiring::{Wired, epoch_now};

/// A pipeline with all that it takes to open it again.
pub(super) struct Lives {
    wired: Wired,
    store: SharedStore,
    tally: Tally,
    /// None in a run without checkpoints, or with a source that cannot be read again: it has one life.
    state: Option<State>,
    setbacks: Setbacks,
    share: Option<ShareHandle>,
    run: Run,
}

impl Lives {
    /// Opens a pipeline for its first life. Where a disk has no room for that, and there are checkpoints, it waits until
    /// there is some, or `stop` is cancelled.
    pub(super) async fn open(
        wired: Wired,
        store: SharedStore,
        state: Option<&State>,
        stop: &CancellationToken,
    ) -> Result<(Self, Tally), Failure> {
        let tally = Tally::new(store.store().dir(), &identity(&wired, state));
        let goes_back = wired.replays();
        let mut setbacks = Setbacks { goes_back, goes_back_to_cut: goes_back, ..Setbacks::default() };
        let mut start = Start::new(wired.name(), state.is_some(), stop);
        let run = loop {
            let letters = Writer::new(store.clone(), identity(&wired, state), tally.counts());
            match life(&wired, letters, state, setbacks.clone(), true).await {
                Ok(run) => break run,
                // Something may have been read that cannot be read again.
                Err(failure @ Failure::Manifest(_)) if !wired.replays() => return Err(failure),
                Err(failure) => start.wait_for_room(failure).await?,
            }
        };
        setbacks.meters = Some(run.meters());
        // What was asked for once was done.
        let state = state.filter(|_| wired.replays()).cloned().map(State::again);
        let lives = Self { wired, store, tally: tally.clone(), state, setbacks, share: None, run };
        Ok((lives, tally))
    }

    pub(super) fn meters(&self) -> Meters {
        self.run.meters()
    }

    pub(super) fn loops(&self) -> usize {
        self.run.loops()
    }

    pub(super) fn weight(&self) -> u32 {
        self.wired.weight()
    }

    /// Shares the cores with other pipelines.
    pub(super) fn share_with(&mut self, share: ShareHandle) {
        self.run.share_with(share.clone());
        self.share = Some(share);
    }

    /// Runs until the pipeline has ended, `stop` is cancelled, or nothing is left to go back for.
    pub(super) async fn run(self, stop: CancellationToken) -> Ended {
        let Self { wired, store, tally, state, mut setbacks, share, mut run } = self;
        let meters = run.meters();
        let mut patience = Patience::default();
        let mut cuts: Vec<RunError> = Vec::new();
        loop {
            let from = meters.checkpoints.report().number;
            let (decided, taken) = (setbacks.poison.decided(), meters.report());
            let mut ended = run.run(stop.clone()).await;
            let Some(state) = &state else { return with_cuts(ended, cuts) };
            let Some(error) = ended.failure.take() else { return with_cuts(ended, cuts) };
            let has_moved = meters.checkpoints.report().number > from
                && has_taken(&error, &taken, &meters.report())
                || setbacks.poison.decided() > decided;
            if has_moved {
                patience = Patience { tries: 0, ..patience };
            }
            let mut failed = Failed::new(&wired, error);
            run = loop {
                let next =
                    if stop.is_cancelled() { Next::End } else { patience.next(&failed, fastrand::f64()) };
                match next {
                    Next::Again(wait) => {
                        tell(wired.name(), &failed.error, meters.checkpoints.report().number, wait);
                        tokio::select! {
                            () = stop.cancelled() => continue,
                            () = tokio::time::sleep(wait) => {}
                        }
                    }
                    Next::Cut(sink) => {
                        tell_cut(wired.name(), &failed.error, meters.checkpoints.report().number);
                        meters.stages[sink].count_cut(0);
                        setbacks.cut.insert(sink, failed.error.in_one_line().into());
                    }
                    Next::Last => {}
                    Next::End => return with_cuts(Ended { failure: Some(failed.error), ..ended }, cuts),
                }
                failed.is_cut |= matches!(next, Next::Cut(_));
                meters.checkpoints.goes_back();
                let letters = Writer::new(store.clone(), identity(&wired, Some(state)), tally.counts());
                let setbacks = Setbacks { goes_back: !patience.is_over, ..setbacks.clone() };
                match life(&wired, letters, Some(state), setbacks, false).await {
                    Ok(run) => break run,
                    Err(failure) => {
                        tracing::warn!(pipeline = wired.name(), "it cannot go on yet: {}", failure.line())
                    }
                }
            };
            if failed.is_cut {
                cuts.push(failed.error);
            }
            if let Some(share) = &share {
                run.share_with(share.clone());
            }
        }
    }
}

/// What dead letters say of what ran, and where it goes on.
fn identity(wired: &Wired, state: Option<&State>) -> Identity {
    Identity { state: state.map(|state| full_path(&state.dir)), ..wired.identity() }
}

/// An end, with the branches that were cut off between its lives.
fn with_cuts(ended: Ended, mut cuts: Vec<RunError>) -> Ended {
    cuts.extend(ended.cuts);
    Ended { cuts, ..ended }
}

/// Opens everything that one life takes.
async fn life(
    wired: &Wired,
    mut letters: Writer,
    state: Option<&State>,
    setbacks: Setbacks,
    is_first: bool,
) -> Result<Run, Failure> {
    let next = letters.next();
    let (checkpoints, epoch) = match state {
        Some(state) => {
            let (checkpoints, epoch) = resuming::open(state, wired, next, setbacks, is_first)?;
            (Some(checkpoints), epoch)
        }
        None => (None, epoch_now()),
    };
    if let Some(checkpoints) = &checkpoints {
        letters = letters.going_on_from(&checkpoints.last_committed, |source| wired.gives_again(source))?;
    }
    let job = wired.open(Box::new(letters), epoch, checkpoints).await?;
    job.build().map_err(Failure::ran)
}

/// Whether the sink that had a setback has taken anything in this life. A checkpoint alone says little of it: what it
/// dies on may have been refused, record by record.
fn has_taken(error: &RunError, before: &[StageReport], after: &[StageReport]) -> bool {
    let Some(Setback::Died { stage } | Setback::Later { stage, .. }) = error.setback() else { return true };
    let taken = |reports: &[StageReport]| {
        let sink = reports.iter().find(|report| report.stage == stage && report.role == "sink")?;
        Some(sink.records_out)
    };
    taken(before).is_none_or(|before| taken(after).is_some_and(|after| after > before))
}

/// Why a life ended, with what the manifest says of it.
struct Failed {
    error: RunError,
    /// How often the stage that failed may be tried again.
    retry: Retry,
    on_failure: OnFailure,
    /// The sink that failed, if it was one.
    sink: Option<usize>,
    /// That sink is cut off by now, and what is left is to open the rest.
    is_cut: bool,
}

impl Failed {
    fn new(wired: &Wired, error: RunError) -> Self {
        let name = match &error {
            RunError::Connect { stage, .. } => Some(stage.as_str()),
            _ => None,
        };
        let stage = name.and_then(|name| wired.pipeline.stage(name));
        let retry = stage.map(|stage| stage.retry).unwrap_or_default();
        let is_sink = stage.is_some_and(|stage| *stage.role == Role::Sink);
        let sink = name.filter(|_| is_sink).and_then(|name| wired.pipeline.index_of(name));
        Self { error, retry, on_failure: wired.pipeline.on_failure, sink, is_cut: false }
    }
}

/// What follows a life that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another one from the last checkpoint, after a while.
    Again(Duration),
    /// Another one from there, at once, in which this sink is cut off.
    Cut(usize),
    /// Another one from there, at once, in which nobody goes back any more: who fails is cut off where it is.
    Last,
    End,
}

fn tell(pipeline: &str, error: &RunError, checkpoint: u64, wait: Duration) {
    let text = error.to_string();
    // The frames of a guest are told when it is given up, and kept with its dead letters.
    let line = text.lines().next().unwrap_or_default();
    tracing::warn!(pipeline, checkpoint, ?wait, "{line}; the pipeline goes back to its last checkpoint");
}

fn tell_cut(pipeline: &str, error: &RunError, checkpoint: u64) {
    tracing::error!(
        pipeline,
        checkpoint,
        "{}; its branch is cut, and the pipeline goes back to its last checkpoint",
        error.in_one_line()
    );
}

/// The start of a pipeline, which waits for room on a disk as long as one that runs does.
pub(super) struct Start<'a> {
    pipeline: &'a str,
    may_wait: bool,
    stop: &'a CancellationToken,
    patience: Patience,
}

impl<'a> Start<'a> {
    pub(super) fn new(pipeline: &'a str, may_wait: bool, stop: &'a CancellationToken) -> Self {
        Self { pipeline, may_wait, stop, patience: Patience::default() }
    }

    /// Waits before another try. Gives the failure back where that would not help, or nobody wants one any more.
    pub(super) async fn wait_for_room(&mut self, failure: Failure) -> Result<(), Failure> {
        let may_help = self.may_wait && failure.is_full();
        let wait = self.patience.wait(Setback::Full, &Retry::default(), fastrand::f64());
        let Some(wait) = wait.filter(|_| may_help) else { return Err(failure) };
        tracing::warn!(
            pipeline = self.pipeline,
            ?wait,
            "{}; the pipeline waits for room, and then begins",
            failure.line()
        );
        tokio::select! {
            () = self.stop.cancelled() => Err(failure),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

/// How often a pipeline went back without getting any further.
#[derive(Debug, Default)]
struct Patience {
    tries: u32,
    /// Nobody goes back any more.
    is_over: bool,
}

impl Patience {
    /// What follows a failure. Who is out of tries is cut off, where the manifest says so.
    fn next(&mut self, failed: &Failed, random: f64) -> Next {
        let continues = failed.on_failure == OnFailure::Continue;
        let setback = match (failed.error.setback(), failed.sink) {
            // The others could not be opened without it.
            (_, Some(_)) if failed.is_cut => Some(Setback::Later { stage: "", after: Duration::ZERO }),
            (setback, _) => setback,
        };
        if let Some(wait) = setback.and_then(|setback| self.wait(setback, &failed.retry, random)) {
            return Next::Again(wait);
        }
        match failed.sink {
            Some(sink) if continues && !failed.is_cut => {
                self.tries = 0;
                Next::Cut(sink)
            }
            None if continues && setback.is_some() && !self.is_over => {
                self.is_over = true;
                Next::Last
            }
            _ => Next::End,
        }
    }

    /// How long to wait before the next life; none where it would not help. There is always another try for room on
    /// a disk: whoever looks after it needs the time that they need.
    fn wait(&mut self, setback: Setback<'_>, retry: &Retry, random: f64) -> Option<Duration> {
        if self.is_over {
            return None;
        }
        self.tries = self.tries.saturating_add(1);
        match setback {
            Setback::Died { .. } => retry.wait(self.tries, Duration::ZERO, random),
            Setback::Later { after, .. } => retry.wait(self.tries, after, random),
            Setback::Full => {
                let patient = Retry { attempts: u32::MAX, ..Retry::default() };
                let wait = patient.wait(self.tries, Duration::ZERO, random)?;
                Some(wait.min(limits::FULL_DISK_WAIT_MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_tried_as_often_as_it_may_be_and_a_full_disk_for_ever() {
        let retry = Retry { attempts: 2, ..Retry::default() };
        let mut patience = Patience::default();
        let died = Setback::Died { stage: "out" };
        let waits: Vec<bool> = (0..4).map(|_| patience.wait(died, &retry, 0.5).is_some()).collect();
        assert_eq!(waits, [true, true, false, false]);
        let mut patience = Patience::default();
        let later = Setback::Later { stage: "out", after: Duration::from_secs(3) };
        assert_eq!(patience.wait(later, &retry, 0.5), Some(Duration::from_secs(3)), "what it asks for");
        let mut patience = Patience::default();
        for _ in 0..10_000 {
            let wait = patience.wait(Setback::Full, &retry, 1.0).expect("there is always another try");
            assert!(wait <= limits::FULL_DISK_WAIT_MAX, "{wait:?}");
        }
        patience.is_over = true;
        assert_eq!(patience.wait(Setback::Full, &retry, 1.0), None);
    }
}
