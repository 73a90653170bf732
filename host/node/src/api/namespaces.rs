//! Namespaces: which there are, one more, one fewer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use control::state::Command;

use super::Api;
use super::access::{Caller, Role};
use super::extract::{Answer, AnyProblem, InNamespace, Json, Keyed, Path};
use super::problem::{Kind, Problem};
use super::types::{CreateNamespace, Namespace, Namespaces, Time};

/// Lists the namespaces that the token may see
#[utoipa::path(
    get, path = "/namespaces", tag = "namespaces",
    responses((status = 200, description = "By name", body = Namespaces), AnyProblem)
)]
pub async fn list_namespaces(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Answer<Namespaces>, Problem> {
    caller.may_look()?;
    let all = api.read(|state| state.namespaces().clone()).await?;
    let seen = all.into_iter().filter(|(name, _)| caller.sees(name));
    let namespaces =
        seen.map(|(name, made)| Namespace { name: name.to_string(), made_at: Time::of_us(made.made_at_us) });
    Ok(Answer::ok(Namespaces { namespaces: namespaces.collect() }))
}

/// Makes a namespace
#[utoipa::path(
    post, path = "/namespaces", tag = "namespaces", params(Keyed), request_body = CreateNamespace,
    responses((status = 201, description = "It is there", body = Namespace), AnyProblem)
)]
pub async fn create_namespace(
    State(api): State<Arc<Api>>,
    caller: Caller,
    keyed: Keyed,
    Json(CreateNamespace { name }): Json<CreateNamespace>,
) -> Result<Answer<Namespace>, Problem> {
    caller.may_everywhere(Role::Admin)?;
    let parsed = model::manifest::Name::parse(&name)
        .map_err(|why| Problem::new(Kind::Invalid, format!("`name`: `{name}` names no namespace: {why}")))?;
    api.propose(&caller, keyed.key()?, Command::CreateNamespace { name: parsed.clone() }).await?;
    // Where it is deleted again already, it was made now.
    let made = api.read(|state| state.namespaces().get(&parsed).map(|made| made.made_at_us)).await?;
    let made_at = Time::of_us(made.unwrap_or_else(|| api.control.now_us()));
    let location = format!("/v1/namespaces/{name}");
    Ok(Answer::ok(Namespace { name, made_at }).made_at(location))
}

/// Deletes a namespace in which nothing is
#[utoipa::path(
    delete, path = "/namespaces/{namespace}", tag = "namespaces", params(InNamespace, Keyed),
    responses((status = 204, description = "It is gone"), AnyProblem)
)]
pub async fn delete_namespace(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<InNamespace>,
    keyed: Keyed,
) -> Result<StatusCode, Problem> {
    caller.may_everywhere(Role::Admin)?;
    api.propose(&caller, keyed.key()?, Command::DeleteNamespace { name: path.parse()? }).await?;
    Ok(StatusCode::NO_CONTENT)
}
