//! What a run answers over HTTP: metrics for Prometheus, and whether it lives and is ready.

mod exposition;
mod metrics;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use flow::meters::Meters;
use tokio::net::TcpListener;

use exposition::Format;

/// A socket that is bound and answers nobody yet.
pub struct Bound {
    listener: TcpListener,
    ready: Ready,
}

/// Whether records flow, in every pipeline: not before all is opened, not while it drains, and not once one of
/// several has failed, though the others go on.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<Readiness>);

#[derive(Debug, Default)]
struct Readiness {
    is_flowing: AtomicBool,
    /// Pipelines that have failed.
    failed: Mutex<Vec<String>>,
}

impl Ready {
    pub fn set(&self, ready: bool) {
        self.0.is_flowing.store(ready, Ordering::Relaxed);
    }

    /// A pipeline has failed, for good.
    pub fn failed(&self, pipeline: &str) {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).push(pipeline.to_owned());
    }

    fn answer(&self) -> (StatusCode, String) {
        let failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).join("`, `");
        match (failed.as_str(), self.0.is_flowing.load(Ordering::Relaxed)) {
            ("", true) => (StatusCode::OK, "ready\n".to_owned()),
            ("", false) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
            (names, _) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: failed: `{names}`\n")),
        }
    }
}

/// Listens on exactly this address.
pub async fn bind(address: SocketAddr) -> Result<Bound> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| {
        format!("metrics cannot be served on {address}: name an address of this machine that nobody uses with `--metrics`")
    })?;
    Ok(Bound { listener, ready: Ready::default() })
}

impl Bound {
    /// The address, with the port that the system chose where 0 was asked for.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// What `/readyz` tells.
    pub fn ready(&self) -> Ready {
        self.ready.clone()
    }

    /// Answers until it is dropped.
    pub async fn serve(self, pipelines: Vec<Meters>) -> Result<()> {
        let Self { listener, ready } = self;
        let app = health(ready).merge(metrics(move || pipelines.clone()));
        Ok(axum::serve(listener, app).await?)
    }
}

/// `/metrics`. `pipelines`: the meters of those that there are when it is asked.
pub fn metrics(pipelines: impl Fn() -> Vec<Meters> + Clone + Send + Sync + 'static) -> Router {
    Router::new().route("/metrics", get(async move |headers: HeaderMap| answer(&pipelines(), &headers)))
}

/// `/livez` and `/readyz`.
pub fn health(ready: Ready) -> Router {
    Router::new().route("/livez", get(async || "alive\n")).route("/readyz", get(async move || ready.answer()))
}

fn answer(pipelines: &[Meters], headers: &HeaderMap) -> impl IntoResponse + use<> {
    let accept: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::wanted(&accept.join(","));
    match format.write(&self::metrics::families(pipelines)) {
        Ok(text) => {
            let headers = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
            (headers, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
