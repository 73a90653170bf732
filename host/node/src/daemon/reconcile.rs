//! What a node does next about one pipeline, decided from what the control state wants of it and what there is here.

use control::state::{NodeId, Pipeline, RevisionNumber};
use model::ids::Epoch;

/// What there is here of a pipeline: a task that opens it, runs it, or waits before it opens it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Here {
    /// Under which it was told to start.
    pub epoch: Epoch,
    /// Whether the task was told to stop, or has ended by itself and says so to the control state.
    pub is_ending: bool,
}

/// What is done next; more may follow when that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// Opens a revision and runs it.
    Start {
        revision: RevisionNumber,
        epoch: Epoch,
    },
    /// Has what runs here stop at a barrier.
    Stop,
    /// Says to the control state that what was to run under this epoch does not, though nobody here has begun it.
    ReportStopped {
        epoch: Epoch,
    },
    /// Removes what is kept here of it.
    Remove {
        keeps_dead_letters: bool,
    },
}

/// `pipeline`: as the control state has it; none where it knows of none.
pub fn step(node: NodeId, pipeline: Option<&Pipeline>, here: Option<Here>) -> Step {
    let run = pipeline.and_then(|pipeline| pipeline.run).filter(|run| run.node == node);
    if let Some(here) = here {
        // Two runs of a pipeline never overlap: what is here ends before anything else begins.
        let is_wanted = run.is_some_and(|run| run.epoch == here.epoch && !run.is_stopping);
        return if is_wanted || here.is_ending { Step::Nothing } else { Step::Stop };
    }
    match (run, pipeline) {
        (Some(run), _) if run.is_stopping => Step::ReportStopped { epoch: run.epoch },
        (Some(run), _) => Step::Start { revision: run.revision, epoch: run.epoch },
        (None, Some(pipeline)) if pipeline.is_removing && pipeline.node == Some(node) => {
            match pipeline.desired {
                control::state::Desired::Deleted { keeps_dead_letters } => {
                    Step::Remove { keeps_dead_letters }
                }
                _ => Step::Nothing,
            }
        }
        (None, _) => Step::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use control::state::{Desired, PipelineId, Run};

    use super::*;

    const NODE: NodeId = NodeId(1);

    fn pipeline(run: Option<(u64, u64, bool)>) -> Pipeline {
        let name = "default/orders".parse().expect("a name");
        let run = run.map(|(node, epoch, is_stopping)| Run {
            node: NodeId(node),
            revision: RevisionNumber(4),
            epoch: Epoch(epoch),
            since_us: 0,
            is_stopping,
        });
        Pipeline { run, node: Some(NODE), ..Pipeline::new(PipelineId(1), name, 0) }
    }

    fn here(epoch: u64, is_ending: bool) -> Option<Here> {
        Some(Here { epoch: Epoch(epoch), is_ending })
    }

    #[test]
    fn what_is_to_run_is_started_once_and_what_is_not_stops_before_anything_else() {
        let start = Step::Start { revision: RevisionNumber(4), epoch: Epoch(7) };
        let cases = [
            (Some(pipeline(Some((1, 7, false)))), None, start),
            (Some(pipeline(Some((1, 7, false)))), here(7, false), Step::Nothing),
            (Some(pipeline(Some((1, 7, true)))), here(7, false), Step::Stop),
            (Some(pipeline(Some((1, 7, true)))), here(7, true), Step::Nothing),
            (Some(pipeline(Some((1, 7, true)))), None, Step::ReportStopped { epoch: Epoch(7) }),
            // Under another epoch it is another run.
            (Some(pipeline(Some((1, 8, false)))), here(7, false), Step::Stop),
            (Some(pipeline(Some((1, 8, false)))), here(7, true), Step::Nothing),
            (Some(pipeline(Some((2, 8, false)))), here(7, false), Step::Stop),
            (Some(pipeline(Some((2, 8, false)))), None, Step::Nothing),
            (Some(pipeline(None)), here(7, false), Step::Stop),
            (Some(pipeline(None)), None, Step::Nothing),
            (None, here(7, false), Step::Stop),
            (None, None, Step::Nothing),
        ];
        for (pipeline, here, expected) in cases {
            assert_eq!(step(NODE, pipeline.as_ref(), here), expected, "{pipeline:?} {here:?}");
        }
    }

    #[test]
    fn what_is_deleted_is_removed_when_nothing_of_it_runs() {
        let desired = Desired::Deleted { keeps_dead_letters: true };
        let deleted = |run| Pipeline { desired, is_removing: true, ..pipeline(run) };
        let remove = Step::Remove { keeps_dead_letters: true };
        assert_eq!(step(NODE, Some(&deleted(None)), None), remove);
        assert_eq!(step(NODE, Some(&deleted(None)), here(7, false)), Step::Stop);
        assert_eq!(step(NODE, Some(&deleted(None)), here(7, true)), Step::Nothing);
        let elsewhere = Pipeline { node: Some(NodeId(2)), ..deleted(None) };
        assert_eq!(step(NODE, Some(&elsewhere), None), Step::Nothing);
    }
}
