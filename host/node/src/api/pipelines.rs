//! Pipelines: which there are, and what is wanted of them.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use control::ProposeError;
use control::state::{
    self, Answer as Answered, Command, Content, Expects, PipelineName, Refusal, TakenOver, Version,
};
use model::ids::{CheckpointNumber, Epoch};
use model::manifest::Name;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::{Caller, Role};
use super::extract::{Answer, AnyProblem, Conditions, Json, OfPipeline, Path, Query, namespace};
use super::problem::{Kind, Problem};
use super::revisions::revision;
use super::status::{desired, word};
use super::types::{Deploy, Deployed, Pipeline, PipelineLine, Pipelines, Time, Wanted};
use super::{Api, Checked};

/// Which pipelines to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Of this namespace alone
    #[param(nullable = false, max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    namespace: Option<String>,
}

/// How to deploy.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct HowToDeploy {
    /// Only say what would come of it
    #[serde(default, rename = "dry-run")]
    #[param(rename = "dry-run")]
    dry_run: bool,
}

/// How to delete.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct HowToDelete {
    /// Whether its dead letters stay where they are
    #[serde(default = "yes", rename = "keep-dead-letters")]
    #[param(rename = "keep-dead-letters", default = true)]
    keep_dead_letters: bool,
}

fn yes() -> bool {
    true
}

/// Lists the pipelines that the token may see, with how they are
#[utoipa::path(
    get, path = "/pipelines", tag = "pipelines", params(Which),
    responses((status = 200, description = "By namespace and name", body = Pipelines), AnyProblem)
)]
pub async fn list_pipelines(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Answer<Pipelines>, Problem> {
    let only = which.namespace.as_deref().map(namespace).transpose()?;
    match &only {
        Some(only) => caller.may(Role::Viewer, only)?,
        None => caller.may_look()?,
    }
    let is_meant = |name: &PipelineName| match &only {
        Some(only) => name.namespace == *only,
        None => caller.sees(&name.namespace),
    };
    let node = api.control.node();
    let found = api.read(|state| {
        if let Some(only) = &only
            && !state.namespaces().contains_key(only)
        {
            return Err(Refusal::NoNamespace { name: only.clone() });
        }
        let pipelines = state.pipelines().values().filter(|pipeline| is_meant(&pipeline.name));
        Ok(pipelines.map(without_revisions).collect())
    });
    let found: Vec<state::Pipeline> = found.await??;
    let line = |pipeline: &state::Pipeline| {
        let (state, detail) = word(pipeline, api.running.status(pipeline.id).as_ref(), node);
        PipelineLine {
            namespace: pipeline.name.namespace.to_string(),
            name: pipeline.name.name.to_string(),
            version: pipeline.version.0,
            desired: desired(pipeline.desired),
            revision: pipeline.revision.0,
            state,
            detail,
        }
    };
    Ok(Answer::ok(Pipelines { pipelines: found.iter().map(line).collect() }))
}

/// Revisions are many, and nobody lists them here.
fn without_revisions(pipeline: &state::Pipeline) -> state::Pipeline {
    state::Pipeline {
        name: pipeline.name.clone(),
        revisions: BTreeMap::new(),
        stopped: pipeline.stopped.clone(),
        id: pipeline.id,
        made_at_us: pipeline.made_at_us,
        version: pipeline.version,
        desired: pipeline.desired,
        revision: pipeline.revision,
        revisions_made: pipeline.revisions_made,
        node: pipeline.node,
        run: pipeline.run,
        epoch: pipeline.epoch,
        rests: pipeline.rests,
        is_removing: pipeline.is_removing,
    }
}

/// What is wanted of a pipeline, with the revision that is to run
#[utoipa::path(
    get, path = "/namespaces/{namespace}/pipelines/{name}", tag = "pipelines", params(OfPipeline),
    responses(
        (status = 200, description = "What is wanted", body = Pipeline, headers(("ETag" = String, description = "Its version, in quotes"))),
        AnyProblem
    )
)]
pub async fn get_pipeline(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfPipeline>,
) -> Result<Answer<Pipeline>, Problem> {
    let name = path.parse()?;
    caller.may(Role::Viewer, &name.namespace)?;
    let pipeline = api.read(|state| {
        let found = found(state, &name)?;
        let current = found.current().ok_or_else(|| no_revision(&name))?;
        Ok::<_, Problem>(Pipeline {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            id: found.id.0,
            version: found.version.0,
            desired: desired(found.desired),
            made_at: Time::of_us(found.made_at_us),
            revision: revision(current),
        })
    });
    let pipeline = pipeline.await??;
    let version = pipeline.version;
    Ok(Answer::ok(pipeline).at(version))
}

fn no_revision(name: &PipelineName) -> Problem {
    Problem::new(
        Kind::Internal,
        format!("`{name}` has no revision; this is a mistake of Conveyor: report it"),
    )
}

pub fn found<'s>(state: &'s state::State, name: &PipelineName) -> Result<&'s state::Pipeline, Refusal> {
    state.pipelines().get(name).ok_or_else(|| Refusal::NoPipeline { pipeline: name.clone() })
}

/// Puts a pipeline there, or a new revision of it, which takes over at a barrier
///
/// What is there already is no new revision. It is tried out on the node first, and nothing changes where it does not fit.
#[utoipa::path(
    put, path = "/namespaces/{namespace}/pipelines/{name}", tag = "pipelines",
    params(OfPipeline, HowToDeploy, Conditions), request_body = Deploy,
    responses(
        (status = 200, description = "It is to run, or would be", body = Deployed, headers(("ETag" = String, description = "Its version, in quotes"))),
        (status = 201, description = "It is a new pipeline", body = Deployed, headers(("ETag" = String, description = "Its version, in quotes"))),
        AnyProblem
    )
)]
pub async fn deploy_pipeline(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfPipeline>,
    Query(how): Query<HowToDeploy>,
    conditions: Conditions,
    Json(deploy): Json<Deploy>,
) -> Result<Answer<Deployed>, Problem> {
    let name = path.parse()?;
    caller.may(Role::Deployer, &name.namespace)?;
    let (expects, key) = (conditions.expects()?, conditions.key()?);
    let (content, taken_over) = content(deploy)?;
    let node = Some(api.control.node());
    let command = |content| {
        let pipeline = name.clone();
        let deploy = state::Deploy { pipeline, content, expects, node, taken_over };
        Command::Deploy(Box::new(deploy))
    };
    let asked = api.proposal(&caller, key.clone(), command(content.clone()));
    let known = api.read(|state| {
        // What was done under this key before is answered as it was, whatever has become of it.
        if let Some((answer, _)) = state.answered(&asked) {
            return Ok(Known::Answered(answer));
        }
        state.may_deploy(&name, expects)?;
        let known = state.pipelines().get(&name);
        Ok(Known::There(known.map(|known| (known.version, known.current().cloned()))))
    });
    let known = match known.await?.map_err(of_deploy)? {
        Known::Answered(answer) => return deployed(&name, answer.map_err(of_deploy)?, vec![]),
        Known::There(known) => known,
    };
    let Checked { content, warnings } = api.check(&content, &name).await?;
    if how.dry_run {
        let (version, current) = known.map_or((0, None), |(version, current)| (version.0, current));
        let is_new = current.as_ref().is_none_or(|current| current.content != content);
        let revision = current.map_or(0, |current| current.number.0);
        return Ok(Answer::ok(Deployed { revision, version, is_new, is_dry_run: true, warnings }));
    }
    let done = api.propose(&caller, key, command(content)).await.map_err(|error| match error {
        ProposeError::Refused(refusal) => of_deploy(*refusal),
        error => error.into(),
    })?;
    deployed(&name, done.answer, warnings)
}

/// What there is before a deploy.
enum Known {
    /// It was asked for before, under the same key.
    Answered(Result<Answered, Refusal>),
    /// The pipeline, where there is one: its version, and what is to run.
    There(Option<(Version, Option<Arc<state::Revision>>)>),
}

fn deployed(
    name: &PipelineName,
    answer: Answered,
    warnings: Vec<String>,
) -> Result<Answer<Deployed>, Problem> {
    let Answered::Deployed { revision, version, is_new } = answer else { return Err(other_answer()) };
    let deployed = Deployed { revision: revision.0, version: version.0, is_new, is_dry_run: false, warnings };
    let answer = Answer::ok(deployed).at(version.0);
    Ok(match is_new && version.0 == 1 {
        true => answer.made_at(format!("/v1/namespaces/{}/pipelines/{}", name.namespace, name.name)),
        false => answer,
    })
}

/// Where something has to be there to be deployed to, and is not, the precondition fails: without it, the deploy would be done.
fn of_deploy(refusal: Refusal) -> Problem {
    match &refusal {
        Refusal::NoPipeline { .. } => Problem::new(Kind::Stale, refusal.to_string()),
        _ => refusal.into(),
    }
}

pub fn other_answer() -> Problem {
    let detail = "the control state has answered something else; this is a mistake of Conveyor: report it";
    Problem::new(Kind::Internal, detail)
}

fn content(deploy: Deploy) -> Result<(Content, Option<TakenOver>), Problem> {
    let Deploy { manifest, variables, lock, dir, grants, taken_over } = deploy;
    let invalid = |detail: String| Problem::new(Kind::Invalid, detail);
    if let Some(dir) = dir.as_deref().filter(|dir| !FilePath::new(dir).is_absolute()) {
        return Err(invalid(format!(
            "`dir` is `{dir}`, which is relative; write the absolute path of a directory of the node"
        )));
    }
    let grants = grants.into_iter().map(|(stage, grants)| match Name::parse(&stage) {
        Ok(stage) => Ok((stage, grants)),
        Err(why) => Err(invalid(format!("`grants`: `{stage}` names no stage: {why}"))),
    });
    let content = Content {
        manifest: manifest.into(),
        variables,
        lock: lock.into(),
        dir: dir.map(Into::into),
        grants: grants.collect::<Result<_, _>>()?,
        ..Content::default()
    };
    let over = taken_over
        .map(|over| TakenOver { epoch: Epoch(over.epoch), checkpoint: CheckpointNumber(over.checkpoint) });
    Ok((content, over))
}

/// Deletes a pipeline: it stops, and its node removes what it has of it. The name is free when that is done
#[utoipa::path(
    delete, path = "/namespaces/{namespace}/pipelines/{name}", tag = "pipelines", params(OfPipeline, HowToDelete, Conditions),
    responses((status = 202, description = "It is being deleted", body = Wanted), AnyProblem)
)]
pub async fn delete_pipeline(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfPipeline>,
    Query(how): Query<HowToDelete>,
    conditions: Conditions,
) -> Result<Answer<Wanted>, Problem> {
    let keeps_dead_letters = how.keep_dead_letters;
    let command = |pipeline, expects| Command::Delete { pipeline, keeps_dead_letters, expects };
    Ok(want(&api, &caller, &path, &conditions, command).await?.with(StatusCode::ACCEPTED))
}

/// Stops a pipeline at a checkpoint; it stays so until it is resumed
#[utoipa::path(
    post, path = "/namespaces/{namespace}/pipelines/{name}/pause", tag = "pipelines", params(OfPipeline, Conditions),
    responses((status = 200, description = "It is to pause", body = Wanted), AnyProblem)
)]
pub async fn pause_pipeline(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfPipeline>,
    conditions: Conditions,
) -> Result<Answer<Wanted>, Problem> {
    let command = |pipeline, expects| Command::Pause { pipeline, paused: true, expects };
    want(&api, &caller, &path, &conditions, command).await
}

/// Lets a pipeline run again that was paused, has ended or has failed, from its last checkpoint on
#[utoipa::path(
    post, path = "/namespaces/{namespace}/pipelines/{name}/resume", tag = "pipelines", params(OfPipeline, Conditions),
    responses((status = 200, description = "It is to run", body = Wanted), AnyProblem)
)]
pub async fn resume_pipeline(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfPipeline>,
    conditions: Conditions,
) -> Result<Answer<Wanted>, Problem> {
    let command = |pipeline, expects| Command::Pause { pipeline, paused: false, expects };
    want(&api, &caller, &path, &conditions, command).await
}

/// Stops a pipeline at a checkpoint, and opens it there again
#[utoipa::path(
    post, path = "/namespaces/{namespace}/pipelines/{name}/restart", tag = "pipelines", params(OfPipeline, Conditions),
    responses((status = 200, description = "It is to restart", body = Wanted), AnyProblem)
)]
pub async fn restart_pipeline(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfPipeline>,
    conditions: Conditions,
) -> Result<Answer<Wanted>, Problem> {
    want(&api, &caller, &path, &conditions, |pipeline, expects| Command::Restart { pipeline, expects }).await
}

/// Has something else wanted of a pipeline.
pub async fn want(
    api: &Api,
    caller: &Caller,
    path: &OfPipeline,
    conditions: &Conditions,
    command: impl FnOnce(PipelineName, Expects) -> Command,
) -> Result<Answer<Wanted>, Problem> {
    let name = path.parse()?;
    caller.may(Role::Deployer, &name.namespace)?;
    let command = command(name, conditions.expects()?);
    let done = api.propose(caller, conditions.key()?, command).await?;
    let Answered::Wanted { version } = done.answer else { return Err(other_answer()) };
    Ok(Answer::ok(Wanted { version: version.0 }).at(version.0))
}
