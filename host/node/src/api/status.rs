//! How a pipeline is: what is wanted of it, what was given out to run, and what runs here, as one thing.

use std::sync::Arc;

use axum::extract::State;
use control::state::{self, NodeId};

use super::Api;
use super::access::{Caller, Role};
use super::extract::{Answer, AnyProblem, OfPipeline, Path};
use super::pipelines::found;
use super::problem::Problem;
use super::types::{Desired, How, PipelineStatus, Run, RunState, State as Word, Status, Stopped, Time};

/// How a pipeline is: what is wanted of it, what runs of it, per stage, and its last checkpoint and error
#[utoipa::path(
    get, path = "/namespaces/{namespace}/pipelines/{name}/status", tag = "pipelines", params(OfPipeline),
    responses((status = 200, description = "How it is", body = Status), AnyProblem)
)]
pub async fn get_status(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfPipeline>,
) -> Result<Answer<Status>, Problem> {
    let name = path.parse()?;
    caller.may(Role::Viewer, &name.namespace)?;
    let pipeline = api.read(|state| found(state, &name).cloned()).await??;
    let here = api.running.status(pipeline.id);
    Ok(Answer::ok(status(&pipeline, here, api.control.node())))
}

fn status(pipeline: &state::Pipeline, here: Option<PipelineStatus>, node: NodeId) -> Status {
    let (state, detail) = word(pipeline, here.as_ref(), node);
    Status {
        namespace: pipeline.name.namespace.to_string(),
        name: pipeline.name.name.to_string(),
        id: pipeline.id.0,
        version: pipeline.version.0,
        desired: desired(pipeline.desired),
        revision: pipeline.revision.0,
        state,
        detail,
        node: pipeline.node.map(|node| node.0),
        run: pipeline.run.as_ref().map(run),
        stopped: pipeline.stopped.as_ref().map(stopped),
        here,
    }
}

pub fn desired(desired: state::Desired) -> Desired {
    match desired {
        state::Desired::Running => Desired::Running,
        state::Desired::Paused => Desired::Paused,
        state::Desired::Deleted { .. } => Desired::Deleted,
    }
}

fn run(run: &state::Run) -> Run {
    let state::Run { node, revision, epoch, since_us, is_stopping } = *run;
    let since = Time::of_us(since_us);
    Run { node: node.0, revision: revision.0, epoch: epoch.0, since, is_stopping }
}

fn stopped(stop: &state::Stop) -> Stopped {
    Stopped {
        epoch: stop.epoch.0,
        revision: stop.revision.0,
        how: match stop.how {
            state::How::Asked => How::Asked,
            state::How::Ended => How::Ended,
            state::How::Failed => How::Failed,
        },
        checkpoint: stop.checkpoint.map(|checkpoint| checkpoint.0),
        at: Time::of_us(stop.at_us),
        why: stop.why.clone(),
    }
}

/// How it is in a word, and what there is to say about that. `here`: what runs of it on `node`.
pub fn word(
    pipeline: &state::Pipeline,
    here: Option<&PipelineStatus>,
    node: NodeId,
) -> (Word, Option<String>) {
    if pipeline.is_being_deleted() {
        return (Word::Deleting, None);
    }
    let Some(run) = &pipeline.run else { return at_rest(pipeline) };
    // What an earlier run says says nothing of this one.
    let here = here.filter(|here| here.epoch == run.epoch.0);
    let error = || here.and_then(|here| here.last_error.as_ref()).map(|error| error.message.clone());
    if run.is_stopping {
        return (Word::Stopping, None);
    }
    match here.map(|here| here.state) {
        Some(RunState::Running) => (Word::Running, None),
        Some(RunState::BackingOff) => (Word::BackingOff, error()),
        Some(RunState::Failed) => (Word::Failed, error()),
        Some(RunState::Stopping) => (Word::Stopping, None),
        Some(RunState::Starting) => (Word::Starting, None),
        None if run.node == node => (Word::Starting, None),
        None => (Word::Running, Some(format!("on node {}, which knows more", run.node))),
    }
}

fn at_rest(pipeline: &state::Pipeline) -> (Word, Option<String>) {
    let how = pipeline.stopped.as_ref().filter(|_| pipeline.rests).map(|stop| (stop.how, stop.why.clone()));
    match (pipeline.desired, how) {
        (state::Desired::Paused, _) => (Word::Paused, None),
        (_, Some((state::How::Failed, why))) => (Word::Failed, why),
        (_, Some((_, why))) => (Word::Ended, why),
        (_, None) if pipeline.node.is_none() => (Word::Waiting, Some("no node is to run it".to_owned())),
        (_, None) => (Word::Waiting, None),
    }
}

#[cfg(test)]
mod tests {
    use control::state::{Command, Content, Deploy, Expects, PipelineId, Proposal};
    use model::ids::Epoch;

    use super::*;

    const NODE: NodeId = NodeId(1);

    fn apply(state: &mut state::State, index: u64, command: Command) {
        let proposal = Proposal { at_us: 1_000_000, by: None, key: None, command };
        state.apply(index, &proposal).result.expect("done");
    }

    fn deployed() -> state::State {
        let mut state = state::State::default();
        let boot = state::Boot {
            node: NODE,
            boot: state::BootId(1),
            address: String::new(),
            version: String::new(),
        };
        apply(&mut state, 1, Command::Boot(boot));
        let deploy = Deploy {
            pipeline: "default/a".parse().expect("a name"),
            content: Content::default(),
            expects: Expects::Anything,
            node: Some(NODE),
            taken_over: None,
        };
        apply(&mut state, 2, Command::Deploy(Box::new(deploy)));
        state
    }

    fn pipeline(state: &state::State) -> &state::Pipeline {
        state.pipelines().values().next().expect("one")
    }

    fn here(state: RunState, epoch: u64) -> PipelineStatus {
        PipelineStatus {
            state,
            since: Time(0),
            revision: 1,
            epoch,
            restarts: 0,
            retry_at: None,
            last_error: Some(super::super::types::LastError {
                at: Time(0),
                stage: None,
                message: "no such file".into(),
                next: None,
            }),
            last_checkpoint: None,
            stages: vec![],
        }
    }

    #[test]
    fn a_pipeline_is_what_its_node_says_of_this_run_and_what_is_wanted_where_none_runs() {
        let mut state = deployed();
        let epoch = pipeline(&state).epoch;
        let said =
            |state: &state::State, here: Option<PipelineStatus>| word(pipeline(state), here.as_ref(), NODE);
        let of = |run| here(run, epoch.0);
        let why = Some("no such file".to_owned());
        assert_eq!(said(&state, None), (Word::Starting, None));
        assert_eq!(said(&state, Some(of(RunState::Running))), (Word::Running, None));
        assert_eq!(said(&state, Some(here(RunState::Running, epoch.0 - 1))), (Word::Starting, None));
        assert_eq!(said(&state, Some(of(RunState::BackingOff))), (Word::BackingOff, why.clone()));
        assert_eq!(said(&state, Some(of(RunState::Failed))), (Word::Failed, why.clone()));
        let elsewhere = word(pipeline(&state), None, NodeId(2));
        assert_eq!(elsewhere, (Word::Running, Some("on node 1, which knows more".to_owned())));

        let name = || "default/a".parse().expect("a name");
        let pause = |paused| Command::Pause { pipeline: name(), paused, expects: Expects::Anything };
        let stop =
            |epoch, how, why| Command::Stopped { pipeline: PipelineId(1), epoch, how, checkpoint: None, why };
        apply(&mut state, 3, pause(true));
        assert_eq!(said(&state, Some(of(RunState::Running))), (Word::Stopping, None));
        apply(&mut state, 4, stop(epoch, state::How::Asked, None));
        assert_eq!(said(&state, None), (Word::Paused, None));
        apply(&mut state, 5, pause(false));
        let again: Epoch = pipeline(&state).epoch;
        apply(&mut state, 6, stop(again, state::How::Failed, why.clone()));
        assert_eq!(said(&state, None), (Word::Failed, why));
        apply(&mut state, 7, Command::Restart { pipeline: name(), expects: Expects::Anything });
        let again = pipeline(&state).epoch;
        apply(&mut state, 8, stop(again, state::How::Ended, None));
        assert_eq!(said(&state, None), (Word::Ended, None));
        apply(&mut state, 9, Command::RemoveNode { node: NODE });
        apply(&mut state, 10, Command::Restart { pipeline: name(), expects: Expects::Anything });
        assert_eq!(said(&state, None), (Word::Waiting, Some("no node is to run it".to_owned())));
    }
}
