//! The node that answers, the nodes that it knows, what somebody had done, and what the API is.

use std::sync::Arc;
use std::sync::OnceLock;

use axum::extract::State;
use control::state;
use model::limits::{API_AUDIT_LISTED, API_AUDIT_LISTED_MAX, API_CONTROL_TIME};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa::{IntoParams, openapi};

use super::access::{Caller, Role};
use super::extract::{Answer, AnyProblem, Query, bad};
use super::problem::Problem;
use super::types::{Audit, AuditEntry, Label, ManifestProblem, Node, NodeInfo, Nodes, ProblemBody, Time};
use super::{Api, description};

/// The node that answers
#[utoipa::path(
    get, path = "/node", tag = "nodes",
    responses((status = 200, description = "What it is", body = NodeInfo), AnyProblem)
)]
pub async fn get_node(State(api): State<Arc<Api>>, caller: Caller) -> Result<Answer<NodeInfo>, Problem> {
    caller.may_look()?;
    let node = api.control.node();
    // As it has come here: whoever asks may want to know why nobody leads.
    let boot = api.control.look(|state| state.nodes().get(&node).map(|known| known.boot.to_string()));
    Ok(Answer::ok(NodeInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: node.0,
        cluster: api.control.cluster().to_string(),
        boot: boot.unwrap_or_default(),
        leads: api.control.leads(Instant::now() + API_CONTROL_TIME).await,
    }))
}

/// What the API is: this description
#[utoipa::path(
    get, path = "/openapi.json", tag = "nodes",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value), AnyProblem)
)]
pub async fn get_description(caller: Caller) -> Result<Answer<&'static OpenApi>, Problem> {
    static DESCRIPTION: OnceLock<OpenApi> = OnceLock::new();
    caller.may_look()?;
    Ok(Answer::ok(DESCRIPTION.get_or_init(description)))
}

/// The nodes that the cluster knows
#[utoipa::path(
    get, path = "/nodes", tag = "nodes",
    responses((status = 200, description = "By number", body = Nodes), AnyProblem)
)]
pub async fn list_nodes(State(api): State<Arc<Api>>, caller: Caller) -> Result<Answer<Nodes>, Problem> {
    caller.may_look()?;
    let nodes = api.read(|state| state.nodes().clone()).await?;
    let nodes = nodes.into_iter().map(|(node, state::Node { boot, started_at_us, address, version })| Node {
        node: node.0,
        boot: boot.to_string(),
        started_at: Time::of_us(started_at_us),
        address,
        version,
    });
    Ok(Answer::ok(Nodes { nodes: nodes.collect() }))
}

/// Which entries of the audit log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WhichEntries {
    /// Those before the entry of this number; the last ones unless set
    #[param(nullable = false)]
    before: Option<u64>,
    /// At most so many
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// What somebody had done, the last entries or those before one
#[utoipa::path(
    get, path = "/audit", tag = "nodes", params(WhichEntries),
    responses((status = 200, description = "Oldest first", body = Audit), AnyProblem)
)]
pub async fn list_audit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(which): Query<WhichEntries>,
) -> Result<Answer<Audit>, Problem> {
    caller.may_everywhere(Role::Admin)?;
    let WhichEntries { before, limit } = which;
    let limit = limit.unwrap_or(API_AUDIT_LISTED);
    if !(1..=API_AUDIT_LISTED_MAX).contains(&limit) {
        return Err(bad(format!("`limit` is {limit}; ask for 1 to {API_AUDIT_LISTED_MAX} entries")));
    }
    let (mut entries, more) = api
        .read(|state| {
            let mut behind =
                state.audit_log().rev().filter(|entry| before.is_none_or(|before| entry.number < before));
            let entries: Vec<_> = behind.by_ref().take(limit).cloned().collect();
            (entries, behind.next().is_some())
        })
        .await?;
    entries.reverse();
    let before = entries.first().filter(|_| more).map(|first| first.number);
    let told = entries.iter().map(|entry| AuditEntry {
        number: entry.number,
        at: Time::of_us(entry.at_us),
        by: entry.by.clone(),
        verb: entry.verb.clone(),
        object: entry.object.clone(),
        why: entry.why.clone(),
    });
    Ok(Answer::ok(Audit { entries: told.collect(), before }))
}

const ABOUT: &str = "\
Pipelines on a node of Conveyor: what is wanted of them, and how they are. Errors are bodies of RFC 9457 whose `detail` says what \
to do next. A write may expect a version (`If-Match`, `If-None-Match`) and may be sent again under the same `Idempotency-Key`.";

/// What the description says besides routes and types.
pub fn about() -> OpenApi {
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    // Nothing but routes brings its own types.
    let components = ComponentsBuilder::new().schema_from::<ProblemBody>();
    let components = components.schema_from::<ManifestProblem>().schema_from::<Label>();
    let info =
        InfoBuilder::new().title("Conveyor").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT));
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components.security_scheme(TOKEN, token).build()))
        // A node that its machine alone reaches lets everybody look.
        .security(Some([SecurityRequirement::new(TOKEN, NO_SCOPES), SecurityRequirement::default()]))
        .servers(Some([openapi::Server::new("/")]))
        .build()
}

const TOKEN: &str = "token";
const NO_SCOPES: [&str; 0] = [];
