//! The health gate of a new revision: whether it is kept, or the one before goes on in its place.

use std::time::Duration;

use control::state::{Pipeline, RevisionNumber};
use flow::meters::StageReport;
use model::limits::{DEPLOY_RECORDS_MIN, PIPELINE_STOP_GRACE};
use model::manifest::Gate;

/// What a new revision has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// That its sources gave.
    pub read: u64,
    /// That any of its stages refused.
    pub rejected: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is looked at again.
    Waits,
    Passed,
    /// The one before goes on, for this reason.
    Failed(String),
}

impl Record {
    pub fn of(stages: &[StageReport]) -> Self {
        let sources = stages.iter().filter(|stage| stage.role == "source");
        Self {
            read: sources.map(|stage| stage.records_in).sum(),
            rejected: stages.iter().map(|stage| stage.rejected).sum(),
        }
    }
}

/// `ran`: how long the revision has run.
pub fn judge(gate: &Gate, record: Record, ran: Duration) -> Verdict {
    let Record { read, rejected } = record;
    let is_too_much =
        u128::from(rejected) * 1_000_000 > u128::from(read) * u128::from(gate.max_reject_rate.0);
    if read >= DEPLOY_RECORDS_MIN && is_too_much {
        return Verdict::Failed(format!(
            "it rejected {rejected} of {read} records, and at most {} are allowed (`deploy: {{ max-reject-rate }}`)",
            gate.max_reject_rate
        ));
    }
    if ran >= gate.within.0 { Verdict::Passed } else { Verdict::Waits }
}

/// The revision that goes on where `revision` does not pass: the one that ran before it. None where it has no gate: it is the
/// first, somebody went back to it, or it was deployed so long ago that it has passed. `now_us`: microseconds since the Unix
/// epoch.
pub fn before(
    pipeline: &Pipeline,
    revision: RevisionNumber,
    gate: &Gate,
    now_us: u64,
) -> Option<RevisionNumber> {
    let known = pipeline.revisions.get(&revision)?;
    let is_newest = revision.0 == pipeline.revisions_made;
    let age = Duration::from_micros(now_us.saturating_sub(known.made_at_us));
    let is_new = age <= gate.within.0 + PIPELINE_STOP_GRACE;
    // Where it was started anew itself, the one below it ran before.
    let stopped = pipeline.stopped.as_ref()?.revision;
    let most = if stopped < revision { stopped } else { RevisionNumber(revision.0.checked_sub(1)?) };
    let before = pipeline.revisions.range(..=most).next_back().map(|(number, _)| *number)?;
    (is_newest && is_new).then_some(before)
}

#[cfg(test)]
mod tests {
    use control::state::{Content, How, Stop};
    use model::ids::Epoch;
    use model::manifest::{Duration as Text, Percent};

    use super::*;

    fn gate() -> Gate {
        Gate { max_reject_rate: Percent(10_000), within: Text(Duration::from_secs(60)) }
    }

    #[test]
    fn a_revision_that_refuses_too_much_of_enough_fails_and_one_that_lasts_passes() {
        let judged =
            |read, rejected, seconds| judge(&gate(), Record { read, rejected }, Duration::from_secs(seconds));
        assert_eq!(judged(999, 999, 1), Verdict::Waits, "too few to tell");
        assert_eq!(judged(1000, 10, 1), Verdict::Waits, "as many as may be");
        let Verdict::Failed(why) = judged(1000, 11, 1) else { panic!("it was kept") };
        assert!(why.contains("11 of 1000") && why.contains("1%"), "{why}");
        assert!(matches!(judged(u64::MAX, u64::MAX, 99), Verdict::Failed(_)));
        assert_eq!(judged(5, 5, 60), Verdict::Passed);
        let none = Gate { max_reject_rate: Percent(0), ..gate() };
        assert!(matches!(
            judge(&none, Record { read: 5000, rejected: 1 }, Duration::ZERO),
            Verdict::Failed(_)
        ));
    }

    #[test]
    fn only_a_new_revision_over_one_that_ran_has_a_gate() {
        let name = "default/orders".parse().expect("a name");
        let mut pipeline = Pipeline::new(control::state::PipelineId(1), name, 0);
        let (first, second) = (RevisionNumber(1), RevisionNumber(2));
        let minute = 60_000_000;
        for _ in 0..2 {
            let revision = pipeline.next_revision(Content::default(), 10 * minute, None);
            pipeline.add(revision);
        }
        let now = 10 * minute + 1;
        assert_eq!(before(&pipeline, second, &gate(), now), None, "none ran before it");
        let stopped = |revision| Stop {
            epoch: Epoch(1),
            revision,
            how: How::Asked,
            checkpoint: None,
            at_us: 0,
            why: None,
        };
        pipeline.stopped = Some(stopped(first));
        assert_eq!(before(&pipeline, second, &gate(), now), Some(first));
        assert_eq!(before(&pipeline, second, &gate(), 12 * minute), None, "it has passed by now");
        assert_eq!(before(&pipeline, first, &gate(), now), None, "somebody went back to it");
        pipeline.stopped = Some(stopped(second));
        assert_eq!(before(&pipeline, second, &gate(), now), Some(first), "it was started anew");
    }
}
