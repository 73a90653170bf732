//! The API of a node: HTTP and JSON under `/v1`, over the control state, and what runs here.
//!
//! Each resource has a file. [`types`] is what is said, [`problem`] how errors are told, [`access`] who may do what. Not here:
//! sockets, TLS, and running anything.

pub mod access;
mod events;
mod extract;
mod namespaces;
mod node;
mod pipelines;
pub mod problem;
pub mod rate;
mod revisions;
mod secrets;
mod status;
#[cfg(test)]
pub(crate) mod tests;
pub mod types;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use control::sealing::SecretKey;
use control::state::{self, Command, Content, IdempotencyKey, PipelineId, PipelineName, Proposal};
use control::{Control, Done, ProposeError};
use model::diagnostics::Diagnostics;
use model::limits::{
    API_BODY_TIME, API_BURST, API_CHECK_TIME, API_CHECKS_MAX, API_CONTROL_TIME, API_REQUESTS_PER_SECOND,
    API_WATCHERS_MAX,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use access::{Caller, Hosts, Tokens};
use problem::{Kind, Problem};
use rate::{Asking, Rate, Rates};
use types::{Label, ManifestProblem, PipelineStatus};

/// What runs on this node, and what would.
#[async_trait]
pub trait Running: Send + Sync {
    /// What runs of a pipeline here. None where nothing does.
    fn status(&self, pipeline: PipelineId) -> Option<PipelineStatus>;

    /// Whether this may be deployed under this name: it is planned, and there is room for it beside what runs. Nothing is
    /// changed by it.
    async fn check(&self, content: &Content, name: &PipelineName) -> Result<Checked, Misfit>;
}

/// What fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// As it is to be kept: with what the stages answered and what each may reach.
    pub content: Content,
    /// What there is to know though it fits, a line each.
    pub warnings: Vec<String>,
}

/// Why something cannot be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Something is wrong with it, and stays so. `detail` says what to do.
    Wrong { detail: String, problems: Vec<ManifestProblem> },
    /// There is no room for it on this node.
    Full { detail: String },
    /// It could not be found out: a registry or a disk has failed. Another try may go well.
    Failed { detail: String },
}

impl From<&Diagnostics> for Misfit {
    fn from(diagnostics: &Diagnostics) -> Self {
        let source = diagnostics.source();
        let label = |label: &model::diagnostics::Label| {
            let (line, column) = source.line_column(label.span.start);
            Label { text: label.text.clone(), start: label.span.start, len: label.span.len, line, column }
        };
        let problems = diagnostics.iter().map(|problem| ManifestProblem {
            code: problem.code.to_owned(),
            message: problem.message.clone(),
            labels: problem.labels.iter().map(label).collect(),
            help: problem.help.clone(),
        });
        let detail = format!("{diagnostics}\nMend the manifest, and deploy it again");
        Self::Wrong { detail, problems: problems.collect() }
    }
}

impl From<Misfit> for Problem {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Wrong { detail, problems } => Self { problems, ..Self::new(Kind::Manifest, detail) },
            Misfit::Full { detail } => Self::new(Kind::Full, detail),
            Misfit::Failed { detail } => Self::new(Kind::Unavailable, detail),
        }
    }
}

/// What an API is made of.
pub struct Options {
    pub control: Control,
    pub running: Arc<dyn Running>,
    /// With which secrets are sealed.
    pub key: Arc<SecretKey>,
    pub tokens: Tokens,
    pub hosts: Hosts,
    pub rate: Rate,
    /// How many may watch at once.
    pub watchers_max: usize,
    /// How long a body may take to come.
    pub body_time: Duration,
    /// How long a deploy is tried out for.
    pub check_time: Duration,
}

impl Options {
    /// With the bounds of `model::limits`.
    pub fn new(
        control: Control,
        running: Arc<dyn Running>,
        key: Arc<SecretKey>,
        tokens: Tokens,
        hosts: Hosts,
    ) -> Self {
        let rate = Rate { burst: f64::from(API_BURST), per_second: f64::from(API_REQUESTS_PER_SECOND) };
        Self {
            control,
            running,
            key,
            tokens,
            hosts,
            rate,
            watchers_max: API_WATCHERS_MAX,
            body_time: API_BODY_TIME,
            check_time: API_CHECK_TIME,
        }
    }
}

/// What all requests share.
pub struct Api {
    control: Control,
    running: Arc<dyn Running>,
    key: Arc<SecretKey>,
    tokens: Tokens,
    hosts: Hosts,
    rates: Mutex<Rates>,
    watchers: Arc<Semaphore>,
    checks: Semaphore,
    /// Of a body, and of trying out a deploy.
    times: (Duration, Duration),
}

impl Api {
    pub fn new(options: Options) -> Arc<Self> {
        let Options { control, running, key, tokens, hosts, rate, watchers_max, body_time, check_time } =
            options;
        let (rates, watchers) = (Mutex::new(Rates::new(rate)), Arc::new(Semaphore::new(watchers_max)));
        let checks = Semaphore::new(API_CHECKS_MAX);
        let times = (body_time, check_time);
        Arc::new(Self { control, running, key, tokens, hosts, rates, watchers, checks, times })
    }

    /// Who sends a request that may be answered.
    fn admit(&self, request: &Request) -> Result<Caller, Problem> {
        self.hosts.check(request.headers())?;
        let caller = self.tokens.caller(request.headers());
        // Whoever guesses tokens is counted by the address.
        let token = caller.as_ref().ok().and_then(|caller| caller.name.clone());
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let address = || peer.map_or(Asking::Others, |ConnectInfo(peer)| Asking::address(peer.ip()));
        let who = token.map_or_else(address, Asking::Token);
        let now = std::time::Instant::now();
        let taken = self.rates.lock().unwrap_or_else(PoisonError::into_inner).take(who, now);
        taken.map_err(|wait| Problem {
            retry_after: Some(wait),
            ..Problem::new(
                Kind::TooManyRequests,
                "this is more than one may ask in so short a time; wait as long as `Retry-After` says, and ask less often",
            )
        })?;
        caller
    }

    /// Looks at what there is, as it is now.
    async fn read<T>(&self, look: impl FnOnce(&state::State) -> T) -> Result<T, Problem> {
        Ok(self.control.read(Instant::now() + API_CONTROL_TIME, look).await?)
    }

    fn proposal(&self, caller: &Caller, key: Option<IdempotencyKey>, command: Command) -> Proposal {
        Proposal { by: caller.name.clone(), key, ..self.control.proposal(command) }
    }

    /// Has something done, in the name of whoever asks.
    async fn propose(
        &self,
        caller: &Caller,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Done, ProposeError> {
        let proposal = self.proposal(caller, key, command);
        self.control.propose(proposal, Instant::now() + API_CONTROL_TIME).await
    }

    /// Tries out what is to be deployed.
    async fn check(&self, content: &Content, name: &PipelineName) -> Result<Checked, Problem> {
        let (_, time) = self.times;
        let checked = timeout(time, async {
            let _permit = self.checks.acquire().await;
            self.running.check(content, name).await
        });
        let late = |_| {
            let seconds = time.as_secs();
            let detail = format!(
                "it was not found out within {seconds} s whether it fits; nothing was done. See what the node is busy with, and try again"
            );
            Problem::new(Kind::Unavailable, detail)
        };
        Ok(checked.await.map_err(late)??)
    }
}

/// Everything under `/v1`. Requests want a [`ConnectInfo`] with the address of whoever asks: without one, all who have no token
/// are counted as one.
pub fn router(api: Arc<Api>) -> Router {
    let (router, _) = described();
    let guarded = from_fn_with_state(api.clone(), guard);
    let router = router
        .method_not_allowed_fallback(no_method)
        .fallback(no_route)
        .layer(guarded.clone())
        .with_state(api);
    // Which is not below what is nested.
    let empty = any(no_route).layer(guarded);
    Router::new().nest(PREFIX, router).route(&format!("{PREFIX}/"), empty)
}

/// The description of the API.
pub fn description() -> OpenApi {
    node::about().nest(PREFIX, described().1)
}

const PREFIX: &str = "/v1";

/// All routes, and what they are.
fn described() -> (Router<Arc<Api>>, OpenApi) {
    let router = OpenApiRouter::new()
        .routes(routes!(node::get_node))
        .routes(routes!(node::get_description))
        .routes(routes!(node::list_nodes))
        .routes(routes!(node::list_audit))
        .routes(routes!(namespaces::list_namespaces, namespaces::create_namespace))
        .routes(routes!(namespaces::delete_namespace))
        .routes(routes!(pipelines::list_pipelines))
        .routes(routes!(pipelines::get_pipeline, pipelines::deploy_pipeline, pipelines::delete_pipeline))
        .routes(routes!(pipelines::pause_pipeline))
        .routes(routes!(pipelines::resume_pipeline))
        .routes(routes!(pipelines::restart_pipeline))
        .routes(routes!(revisions::rollback_pipeline))
        .routes(routes!(revisions::list_revisions))
        .routes(routes!(revisions::get_revision))
        .routes(routes!(status::get_status))
        .routes(routes!(events::watch_events))
        .routes(routes!(secrets::list_secrets))
        .routes(routes!(secrets::get_secret, secrets::set_secret, secrets::delete_secret));
    router.split_for_parts()
}

async fn guard(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    match api.admit(&request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn no_route() -> Problem {
    Problem::new(Kind::NoRoute, "nothing is at this path; /v1/openapi.json says what there is")
}

async fn no_method() -> Problem {
    Problem::new(
        Kind::Method,
        "`Allow` says which methods this path takes, and /v1/openapi.json what they do",
    )
}
