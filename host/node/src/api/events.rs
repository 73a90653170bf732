//! What happens, as it happens: server-sent events, which whoever watches goes on with where it was.
//!
//! Each who watches pulls from the one list that the control state keeps, when its connection takes more: one that does not
//! read costs its socket alone, and is told that it is too far behind when it reads again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use control::state::{self, Effect, PipelineName};
use control::{Watch, WatchError};
use futures::{FutureExt as _, stream};
use model::ids::CheckpointNumber;
use model::limits::{API_KEEP_ALIVE, API_RETRY_AFTER};
use model::manifest::Name;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use super::Api;
use super::access::Caller;
use super::extract::{AnyProblem, Query, bad};
use super::problem::{Kind, Problem};
use super::status::desired;
use super::types::{Event, Happened, Time};

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// Those behind the event of this number; from now on unless set
    #[param(nullable = false)]
    after: Option<u64>,
    /// Those that are kept first, from the first on, in place of `after`
    #[serde(default)]
    kept: bool,
    /// Whether to go on with those that come, when all that there are were sent
    #[serde(default = "yes")]
    #[param(default = true)]
    follow: bool,
}

fn yes() -> bool {
    true
}

const LAST_EVENT_ID: &str = "last-event-id";

/// Tells what happens, as server-sent events: `id` is the number of the event, `data` is an `Event` as JSON
///
/// Goes on where a connection broke off by `Last-Event-ID`, which counts more than `after`. Those that the token may not see are
/// left out, and only their number is sent. Where events are not kept any more, it is 410: list what there is, and watch from then on. One who falls so far
/// behind on an open connection is sent an event `problem`, and the connection ends.
#[utoipa::path(
    get, path = "/events", tag = "events",
    params(From, ("Last-Event-ID" = Option<u64>, Header, nullable = false, description = "The number of the last event that was seen")),
    responses((status = 200, description = "Events without end", body = Event, content_type = "text/event-stream"), AnyProblem)
)]
pub async fn watch_events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may_look()?;
    let seen =
        match headers.get(LAST_EVENT_ID) {
            // What a reader sends that was never given a number.
            Some(id) if id.is_empty() => from.after,
            Some(id) => {
                let number = id.to_str().ok().and_then(|id| id.parse().ok());
                Some(number.ok_or_else(|| {
                    bad("`Last-Event-ID` is no number of an event; leave it out to begin anew")
                })?)
            }
            None => from.after,
        };
    if from.kept && from.after.is_some() {
        return Err(bad("ask for `kept` or for those behind `after`, not for both"));
    }
    let permit = api.watchers.clone().try_acquire_owned().map_err(|_| Problem {
        retry_after: Some(API_RETRY_AFTER),
        ..Problem::new(
            Kind::TooManyRequests,
            "too many watch events already; end some that nobody needs, and try again",
        )
    })?;
    let mut feed = Feed {
        watch: match seen.is_none() && from.kept {
            true => api.control.watch_kept(),
            false => api.control.watch(seen),
        },
        pending: VecDeque::new(),
        caller,
        follow: from.follow,
        is_over: false,
        _permit: permit,
    };
    // Whether there is anything to go on with is known before the answer begins.
    match feed.watch.next().now_or_never() {
        Some(Ok(events)) => feed.pending.extend(events),
        Some(Err(error)) => return Err(ended(error)),
        None => {}
    }
    let stream = stream::unfold(feed, async |mut feed| Some((Ok::<_, Infallible>(feed.next().await?), feed)));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(API_KEEP_ALIVE)).into_response())
}

/// What one who watches is sent.
struct Feed {
    watch: Watch,
    pending: VecDeque<Arc<state::Event>>,
    caller: Caller,
    follow: bool,
    is_over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// The next one; none when it is over. Safe to cancel.
    async fn next(&mut self) -> Option<Sent> {
        let mut hidden = None;
        while !self.is_over {
            while let Some(event) = self.pending.pop_front() {
                let told = told(&event);
                if !sees(&self.caller, &told) {
                    hidden = Some(event.number);
                    continue;
                }
                let sent = Sent::default().id(event.number.to_string());
                // Texts and numbers: there is nothing in it that JSON cannot have.
                return Some(sent.data(serde_json::to_string(&told).unwrap_or_default()));
            }
            // A reader remembers the number, and is told of no event.
            if let Some(number) = hidden {
                return Some(Sent::default().id(number.to_string()));
            }
            let next = match self.follow {
                true => Some(self.watch.next().await),
                false => self.watch.next().now_or_never(),
            };
            match next.unwrap_or(Err(WatchError::Stopped)) {
                Ok(events) => self.pending.extend(events),
                Err(WatchError::Stopped) => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    let body = serde_json::to_string(&ended(error).body()).unwrap_or_default();
                    return Some(Sent::default().event("problem").data(body));
                }
            }
        }
        None
    }
}

fn ended(error: WatchError) -> Problem {
    let kind = match error {
        WatchError::Behind { .. } => Kind::Behind,
        WatchError::Stopped => Kind::Unavailable,
    };
    Problem::new(kind, error.to_string())
}

fn sees(caller: &Caller, event: &Event) -> bool {
    let namespace = event.namespace.as_deref().map(Name::parse);
    namespace.is_none_or(|namespace| namespace.is_ok_and(|namespace| caller.sees(&namespace)))
}

fn told(event: &state::Event) -> Event {
    let namespace = namespace(&event.effect).map(Name::to_string);
    Event { number: event.number, at: Time::of_us(event.at_us), namespace, what: happened(&event.effect) }
}

/// In which it happened.
fn namespace(effect: &Effect) -> Option<&Name> {
    match effect {
        Effect::NodeStarted { .. }
        | Effect::NodeRemoved { .. }
        | Effect::TagSet { .. }
        | Effect::TagGone { .. } => None,
        Effect::NamespaceMade { name } | Effect::NamespaceGone { name } => Some(name),
        Effect::SecretSet { secret, .. } | Effect::SecretGone { secret } => Some(&secret.namespace),
        Effect::Wanted { pipeline, .. }
        | Effect::Start { pipeline, .. }
        | Effect::Stop { pipeline, .. }
        | Effect::Stopped { pipeline, .. }
        | Effect::Remove { pipeline, .. }
        | Effect::Gone { pipeline, .. } => Some(&pipeline.namespace),
    }
}

fn happened(effect: &Effect) -> Happened {
    let called = |pipeline: &PipelineName| pipeline.name.to_string();
    let at = |checkpoint: &Option<CheckpointNumber>| checkpoint.map(|checkpoint| checkpoint.0);
    match effect {
        Effect::NodeStarted { node, boot } => Happened::NodeStarted { node: node.0, boot: boot.to_string() },
        Effect::NodeRemoved { node } => Happened::NodeRemoved { node: node.0 },
        Effect::NamespaceMade { .. } => Happened::NamespaceMade,
        Effect::NamespaceGone { .. } => Happened::NamespaceGone,
        Effect::TagSet { tag, digest } => {
            Happened::TagSet { tag: tag.to_string(), digest: digest.to_string() }
        }
        Effect::TagGone { tag } => Happened::TagGone { tag: tag.to_string() },
        Effect::SecretSet { secret, version } => {
            Happened::SecretSet { secret: secret.name.to_string(), version: *version }
        }
        Effect::SecretGone { secret } => Happened::SecretGone { secret: secret.name.to_string() },
        Effect::Wanted { pipeline, version, desired: wanted, revision, why } => Happened::PipelineWanted {
            pipeline: called(pipeline),
            version: version.0,
            desired: desired(*wanted),
            revision: revision.0,
            why: why.clone(),
        },
        Effect::Start { pipeline, id, node, revision, epoch, checkpoint } => Happened::PipelineStarts {
            pipeline: called(pipeline),
            id: id.0,
            node: node.0,
            revision: revision.0,
            epoch: epoch.0,
            checkpoint: at(checkpoint),
        },
        Effect::Stop { pipeline, id, node, epoch } => {
            let pipeline = called(pipeline);
            Happened::PipelineStops { pipeline, id: id.0, node: node.0, epoch: epoch.0 }
        }
        Effect::Stopped { pipeline, id, epoch, checkpoint } => {
            let (pipeline, checkpoint) = (called(pipeline), at(checkpoint));
            Happened::PipelineStopped { pipeline, id: id.0, epoch: epoch.0, checkpoint }
        }
        Effect::Remove { pipeline, id, node, keeps_dead_letters } => {
            let (pipeline, keeps_dead_letters) = (called(pipeline), *keeps_dead_letters);
            Happened::PipelineIsRemoved { pipeline, id: id.0, node: node.0, keeps_dead_letters }
        }
        Effect::Gone { pipeline, id } => Happened::PipelineGone { pipeline: called(pipeline), id: id.0 },
    }
}
