//! Whether a pipeline that has failed begins again at its last committed checkpoint, and when. It is decided from values;
//! the supervisor waits and opens.

use std::time::Duration;

use model::limits;
use model::manifest::{OnFailure, Retry};

use crate::error::RestartCause;
use crate::meters::StageReport;

/// A failure, with what the manifest says of it.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// None where beginning again does not help.
    pub cause: Option<RestartCause<'a>>,
    /// How often the stage that failed may be tried again.
    pub retry: Retry,
    pub on_failure: OnFailure,
    /// The sink that failed, if it was one, as its index in the plan.
    pub sink: Option<usize>,
    /// That sink is cut off by now, and what is left is to open the rest.
    pub is_cut: bool,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The pipeline begins again at the last committed checkpoint, after a while.
    Restart(Duration),
    /// It begins again there at once, with this sink cut off.
    Cut(usize),
    /// It begins again there at once, and for the last time: from now on, what fails is cut off where it is.
    Last,
    End,
}

/// How often a pipeline began again without getting any further.
#[derive(Debug, Default)]
pub struct RestartPolicy {
    tries: u32,
    /// The pipeline does not begin again any more.
    is_exhausted: bool,
}

impl RestartPolicy {
    pub fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }

    /// The pipeline got further than it was: all tries are there again.
    pub fn progressed(&mut self) {
        self.tries = 0;
    }

    /// What follows a failure. A sink that is out of tries is cut off, where the manifest says so. `random`: from 0 to 1.
    pub fn next(&mut self, failed: &Failed<'_>, random: f64) -> Next {
        let continues = failed.on_failure == OnFailure::Continue;
        let cause = match failed.sink {
            // The others could not be opened without it.
            Some(_) if failed.is_cut => Some(RestartCause::Later { stage: "", after: Duration::ZERO }),
            _ => failed.cause,
        };
        if let Some(wait) = cause.and_then(|cause| self.wait(cause, &failed.retry, random)) {
            return Next::Restart(wait);
        }
        match failed.sink {
            Some(sink) if continues && !failed.is_cut => {
                self.tries = 0;
                Next::Cut(sink)
            }
            None if continues && cause.is_some() && !self.is_exhausted => {
                self.is_exhausted = true;
                Next::Last
            }
            _ => Next::End,
        }
    }

    /// How long to wait before the pipeline begins again; none where that would not help. There is always another try
    /// for room on a disk: whoever looks after it needs the time that they need.
    pub fn wait(&mut self, cause: RestartCause<'_>, retry: &Retry, random: f64) -> Option<Duration> {
        if self.is_exhausted {
            return None;
        }
        self.tries = self.tries.saturating_add(1);
        match cause {
            RestartCause::Died { .. } => retry.wait(self.tries, Duration::ZERO, random),
            RestartCause::Later { after, .. } => retry.wait(self.tries, after, random),
            RestartCause::Full => {
                let patient = Retry { attempts: u32::MAX, ..Retry::default() };
                let wait = patient.wait(self.tries, Duration::ZERO, random)?;
                Some(wait.min(limits::FULL_DISK_WAIT_MAX))
            }
        }
    }
}

/// How far a pipeline has come.
#[derive(Debug)]
pub struct Progress {
    /// The last committed checkpoint.
    pub checkpoint: u64,
    /// Of how many records it is known whether a sink dies on them.
    pub decided: u64,
    pub stages: Vec<StageReport>,
}

impl Progress {
    /// Whether it is further than `before`, at a failure for this cause. A checkpoint alone says little of a sink that
    /// failed: what it dies on may have been refused, record by record. It has to have taken something.
    pub fn is_past(&self, before: &Self, cause: Option<RestartCause<'_>>) -> bool {
        let has_taken = match cause {
            Some(RestartCause::Died { stage } | RestartCause::Later { stage, .. }) => {
                let taken = |progress: &Self| {
                    let sink = progress
                        .stages
                        .iter()
                        .find(|report| report.stage == stage && report.role == "sink")?;
                    Some(sink.records_out)
                };
                taken(before).is_none_or(|before| taken(self).is_some_and(|now| now > before))
            }
            Some(RestartCause::Full) | None => true,
        };
        self.checkpoint > before.checkpoint && has_taken || self.decided > before.decided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIED: RestartCause<'static> = RestartCause::Died { stage: "out" };

    fn failed(attempts: u32, on_failure: OnFailure, sink: Option<usize>) -> Failed<'static> {
        let retry = Retry { attempts, ..Retry::default() };
        Failed { cause: Some(DIED), retry, on_failure, sink, is_cut: false }
    }

    #[test]
    fn a_stage_is_tried_as_often_as_it_may_be_and_a_full_disk_for_ever() {
        let retry = Retry { attempts: 2, ..Retry::default() };
        let mut policy = RestartPolicy::default();
        let waits: Vec<bool> = (0..4).map(|_| policy.wait(DIED, &retry, 0.5).is_some()).collect();
        assert_eq!(waits, [true, true, false, false]);
        policy.progressed();
        assert!(policy.wait(DIED, &retry, 0.5).is_some(), "it got further");
        let mut policy = RestartPolicy::default();
        let later = RestartCause::Later { stage: "out", after: Duration::from_secs(3) };
        assert_eq!(policy.wait(later, &retry, 0.5), Some(Duration::from_secs(3)), "what it asks for");
        let mut policy = RestartPolicy::default();
        for _ in 0..10_000 {
            let wait = policy.wait(RestartCause::Full, &retry, 1.0).expect("there is always another try");
            assert!(wait <= limits::FULL_DISK_WAIT_MAX, "{wait:?}");
        }
        policy.is_exhausted = true;
        assert_eq!(policy.wait(RestartCause::Full, &retry, 1.0), None);
    }

    #[test]
    fn what_is_out_of_tries_ends_the_pipeline_or_is_cut_off_as_the_manifest_says() {
        let is_restart = |next: Next| matches!(next, Next::Restart(_));
        let mut policy = RestartPolicy::default();
        let stops = failed(1, OnFailure::Stop, Some(2));
        assert!(is_restart(policy.next(&stops, 0.5)));
        assert_eq!(policy.next(&stops, 0.5), Next::End);
        let mut policy = RestartPolicy::default();
        let for_good = Failed { cause: None, ..failed(9, OnFailure::Stop, Some(2)) };
        assert_eq!(policy.next(&for_good, 0.5), Next::End, "beginning again does not help");
        // A sink: once it is cut off, the rest has tries of its own to be opened.
        let mut policy = RestartPolicy::default();
        let sink = failed(1, OnFailure::Continue, Some(2));
        assert!(is_restart(policy.next(&sink, 0.5)));
        assert_eq!(policy.next(&sink, 0.5), Next::Cut(2));
        let cut = Failed { is_cut: true, ..sink };
        assert!(is_restart(policy.next(&cut, 0.5)));
        assert_eq!(policy.next(&cut, 0.5), Next::End);
        // Anything else: once more, for the last time.
        let mut policy = RestartPolicy::default();
        let source = failed(0, OnFailure::Continue, None);
        assert_eq!(policy.next(&source, 0.5), Next::Last);
        assert!(policy.is_exhausted());
        assert_eq!(policy.next(&source, 0.5), Next::End);
    }

    #[test]
    fn a_checkpoint_is_progress_of_a_sink_that_failed_only_where_it_has_taken_something() {
        let progress = |checkpoint, decided, records_out| {
            let sink = StageReport {
                stage: "out".into(),
                role: "sink".into(),
                records_out,
                ..StageReport::default()
            };
            Progress { checkpoint, decided, stages: vec![sink] }
        };
        let before = progress(1, 0, 7);
        let cases = [
            (progress(1, 0, 7), Some(DIED), false),
            (progress(1, 0, 9), Some(DIED), false),
            (progress(2, 0, 7), Some(DIED), false),
            (progress(2, 0, 8), Some(DIED), true),
            (progress(1, 1, 7), Some(DIED), true),
            (progress(2, 0, 7), Some(RestartCause::Died { stage: "in" }), true),
            (progress(2, 0, 7), Some(RestartCause::Full), true),
            (progress(2, 0, 7), None, true),
        ];
        for (now, cause, expected) in cases {
            assert_eq!(now.is_past(&before, cause), expected, "{now:?} after {cause:?}");
        }
    }
}
