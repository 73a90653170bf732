//! Revisions of a pipeline: which there are, what is in one, and back to one.

use std::sync::Arc;

use axum::extract::State;
use control::state::{self, Command, PipelineName, Refusal, RevisionNumber};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::access::{Caller, Role};
use super::extract::{Answer, AnyProblem, Conditions, MaybeJson, OfPipeline, Path, bad};
use super::pipelines::{found, want};
use super::problem::{Kind, Problem};
use super::types::{Revision, RevisionLine, Revisions, Rollback, Time, Wanted};

/// One revision of a pipeline.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfRevision {
    /// The namespace, such as `default`
    #[param(max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    namespace: String,
    /// The name of the pipeline
    #[param(max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    name: String,
    /// The number of the revision
    #[param(minimum = 1)]
    revision: u64,
}

/// Lists the revisions that are kept of a pipeline, oldest first
#[utoipa::path(
    get, path = "/namespaces/{namespace}/pipelines/{name}/revisions", tag = "revisions", params(OfPipeline),
    responses((status = 200, description = "Those that are kept", body = Revisions), AnyProblem)
)]
pub async fn list_revisions(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfPipeline>,
) -> Result<Answer<Revisions>, Problem> {
    let name = path.parse()?;
    caller.may(Role::Viewer, &name.namespace)?;
    let revisions = api.read(|state| {
        let pipeline = found(state, &name)?;
        let runs = pipeline.run.map(|run| run.revision);
        let line = |revision: &Arc<state::Revision>| RevisionLine {
            revision: revision.number.0,
            made_at: Time::of_us(revision.made_at_us),
            by: revision.by.clone(),
            is_current: revision.number == pipeline.revision,
            runs: runs == Some(revision.number),
        };
        Ok::<_, Refusal>(pipeline.revisions.values().map(line).collect())
    });
    Ok(Answer::ok(Revisions { revisions: revisions.await?? }))
}

/// What was deployed as a revision
#[utoipa::path(
    get, path = "/namespaces/{namespace}/pipelines/{name}/revisions/{revision}", tag = "revisions", params(OfRevision),
    responses((status = 200, description = "What is in it", body = Revision), AnyProblem)
)]
pub async fn get_revision(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(OfRevision { namespace, name, revision: number }): Path<OfRevision>,
) -> Result<Answer<Revision>, Problem> {
    let name = OfPipeline { namespace, name }.parse()?;
    caller.may(Role::Viewer, &name.namespace)?;
    let number = RevisionNumber(number);
    let kept = api.read(|state| {
        let pipeline = found(state, &name)?;
        pipeline.revisions.get(&number).cloned().ok_or_else(|| none_of(pipeline, number))
    });
    Ok(Answer::ok(revision(&*kept.await??)))
}

fn none_of(pipeline: &state::Pipeline, revision: RevisionNumber) -> Refusal {
    let mut numbers = pipeline.revisions.keys().copied();
    let least = numbers.next().unwrap_or_default();
    let most = numbers.next_back().unwrap_or(least);
    Refusal::NoRevision { pipeline: PipelineName::clone(&pipeline.name), revision, least, most }
}

pub fn revision(kept: &state::Revision) -> Revision {
    let content = &kept.content;
    Revision {
        revision: kept.number.0,
        made_at: Time::of_us(kept.made_at_us),
        by: kept.by.clone(),
        manifest: content.manifest.to_string(),
        variables: content.variables.clone(),
        lock: content.lock.to_string(),
        dir: content.dir.as_deref().map(str::to_owned),
        grants: content.grants.iter().map(|(stage, grants)| (stage.to_string(), grants.clone())).collect(),
    }
}

/// Lets an earlier revision run, or a later one again: the one before that which is to run, unless one is named
#[utoipa::path(
    post, path = "/namespaces/{namespace}/pipelines/{name}/rollback", tag = "revisions", params(OfPipeline, Conditions),
    request_body(content = Option<Rollback>, content_type = "application/json"),
    responses((status = 200, description = "It is to run", body = Wanted), AnyProblem)
)]
pub async fn rollback_pipeline(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfPipeline>,
    mut conditions: Conditions,
    MaybeJson(rollback): MaybeJson<Rollback>,
) -> Result<Answer<Wanted>, Problem> {
    let name = path.parse()?;
    caller.may(Role::Deployer, &name.namespace)?;
    let Rollback { revision, why } = rollback;
    let revision = match revision {
        Some(revision) => RevisionNumber(revision),
        // Asked again, it would be another one.
        None if conditions.idempotency_key.is_some() => {
            return Err(bad(
                "name the `revision` together with an `Idempotency-Key`: asked again, the one before is another one",
            ));
        }
        None => {
            let (revision, version) = api.read(|state| before(state, &name)).await??;
            // It is the one before as long as nobody wants something else.
            if conditions.if_match.is_none() && conditions.if_none_match.is_none() {
                conditions.if_match = Some(format!("\"{version}\""));
            }
            revision
        }
    };
    let command = |pipeline, expects| Command::UseRevision { pipeline, revision, expects, why };
    want(&api, &caller, &path, &conditions, command).await
}

/// The revision before that which is to run, and the version at which that is so.
fn before(state: &state::State, name: &PipelineName) -> Result<(RevisionNumber, u64), Problem> {
    let pipeline = found(state, name)?;
    let before = pipeline.revisions.range(..pipeline.revision).next_back();
    let (revision, _) = before.ok_or_else(|| {
        let detail = format!("`{name}` has no revision before {}; name one that it has", pipeline.revision);
        Problem::new(Kind::Unknown, detail)
    })?;
    Ok((*revision, pipeline.version.0))
}
