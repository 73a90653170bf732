//! Pipelines that fail and begin again.

use std::collections::VecDeque;
use std::time::Duration;

use model::ids::CheckpointNumber;
use model::manifest::{Duration as Text, DurationRange};

use super::*;
use crate::job::{CutOff, Job, Part};
use crate::letters::{Group, Letters, LettersError};
use crate::run::last_tests::{Commits, FAN_OUT, Log, job};

/// What comes of each opening.
enum Opening {
    Fails,
    /// The first sink commits like this, the second one well.
    Runs(Commits),
}

/// Takes dead letters.
struct Taken;

impl Letters for Taken {
    fn put(&mut self, _: &Group) -> Result<(), LettersError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        Ok(())
    }
}

/// Opens as the script says. Nothing is left of it at the end.
struct Scripted {
    openings: VecDeque<Opening>,
    on_failure: OnFailure,
    log: Log,
    /// Is cancelled when it is opened for the last time.
    stop: Option<CancellationToken>,
}

impl Scripted {
    fn job(&self, commits: Commits, recovery: Recovery) -> Job {
        let mut job = job(FAN_OUT, &[commits, Commits::Well], &self.log);
        if let Some(why) = recovery.cut.get(&1) {
            job.parts[1] = Part::Cut(CutOff { why: why.clone(), is_committed: true });
        }
        let ms = Text(Duration::from_millis(1));
        let retry = Retry { attempts: 3, backoff: DurationRange { from: ms, to: ms } };
        (job.rules.retry, job.rules.on_failure) = (vec![retry; 3], self.on_failure);
        job.checkpoints.as_mut().expect("checkpoints").recovery = recovery;
        job.letters = Box::new(Taken);
        job
    }
}

impl Open for Scripted {
    async fn open(&mut self, recovery: Recovery) -> Result<Run, String> {
        let opening = self.openings.pop_front().expect("it is opened once too often");
        if let Some(stop) = self.stop.as_ref().filter(|_| self.openings.is_empty()) {
            stop.cancel();
        }
        match opening {
            Opening::Fails => Err("there is no room".to_owned()),
            Opening::Runs(commits) => Ok(self.job(commits, recovery).build().expect("loops")),
        }
    }
}

/// Runs a pipeline whose first sink commits like `first`, and then as it is opened. Gives how it ended, what was done,
/// and how often it began again.
async fn supervised(
    first: Commits,
    openings: Vec<Opening>,
    on_failure: OnFailure,
    stops: bool,
) -> (Ended, Log, u64) {
    let (log, stop) = (Log::default(), CancellationToken::new());
    let given = stops.then(|| stop.clone());
    let open = Scripted { openings: openings.into(), on_failure, log: log.clone(), stop: given };
    let recovery = Recovery { restarts: true, restarts_to_cut: true, ..Recovery::default() };
    let run = open.job(first, recovery.clone()).build().expect("loops");
    let supervisor = Supervisor::new(run, Some(open), recovery);
    let meters = supervisor.meters();
    let ended = tokio::time::timeout(Duration::from_secs(60), supervisor.run(stop)).await;
    (ended.expect("it hangs"), log, meters.checkpoints.report().restarts)
}

#[tokio::test]
async fn a_pipeline_whose_sink_dies_begins_again_until_it_ends_well() {
    let openings = vec![Opening::Fails, Opening::Runs(Commits::AsksAgain), Opening::Runs(Commits::Well)];
    let (ended, log, restarts) = supervised(Commits::Dies, openings, OnFailure::Stop, false).await;
    assert!(ended.failure.is_none() && ended.cuts.is_empty() && !ended.is_stopped, "{ended:?}");
    assert_eq!((log.count("committed by all sinks"), restarts), (1, 3));
}

#[tokio::test]
async fn a_pipeline_that_cannot_be_opened_is_tried_as_often_as_its_stage_may_be() {
    let openings = vec![Opening::Fails, Opening::Fails, Opening::Fails];
    let (ended, _, restarts) = supervised(Commits::Dies, openings, OnFailure::Stop, false).await;
    let error = ended.failure.expect("it was given up").to_string();
    assert!(error.starts_with("stage `x`: it: "), "the failure that ended the run is told: {error}");
    assert_eq!(restarts, 3);
}

#[tokio::test]
async fn what_does_not_help_is_not_tried_and_a_stop_ends_the_tries() {
    let (ended, _, restarts) = supervised(Commits::Fails, Vec::new(), OnFailure::Stop, false).await;
    assert!(ended.failure.is_some() && restarts == 0, "{ended:?}");
    assert!(!ended.is_stopped);
    let (ended, _, restarts) = supervised(Commits::Dies, vec![Opening::Fails], OnFailure::Stop, true).await;
    assert!(ended.failure.is_some() && restarts == 1, "{ended:?}");
    // It is where its last checkpoint is: a stop in the middle of a backoff is one.
    assert_eq!((ended.is_stopped, ended.checkpoint), (true, Some(CheckpointNumber(1))));
}

#[tokio::test]
async fn a_sink_that_has_failed_is_cut_off_where_the_manifest_says_so_and_the_rest_begins_again() {
    let openings = vec![Opening::Runs(Commits::Well)];
    let (ended, log, restarts) = supervised(Commits::Fails, openings, OnFailure::Continue, false).await;
    assert!(ended.failure.is_none(), "{ended:?}");
    assert_eq!((ended.cuts.len(), restarts), (1, 1));
    assert_eq!(log.count("committed by all sinks"), 1);
}
