//! The API as a whole, over a control state on disk, without a socket.

mod described;
mod lifecycle;
mod refused;
mod watched;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use control::network::NoNetwork;
use control::state::{BootId, ClusterId, NodeId};
use control::{New, Tuning};
use http_body_util::BodyExt as _;
use model::manifest::Name;
use serde_json::Value;
use tempfile::TempDir;
use tower_service::Service as _;

use super::access::{Rights, Role, Token};
use super::problem::PROBLEM_JSON;
use super::*;

const NODE: NodeId = NodeId(1);
const ADMIN: &str = "admin-token";
pub(crate) const DEPLOYER: &str = "deployer-token";
const VIEWER: &str = "viewer-token";
/// A deployer of `team`, and of nothing else.
const TEAM: &str = "team-token";

/// What runs, as tests want it.
#[derive(Default)]
struct Fake {
    runs: Mutex<BTreeMap<PipelineId, PipelineStatus>>,
    misfit: Mutex<Option<Misfit>>,
    /// Whether what is tried out never comes to an end.
    hangs: AtomicBool,
}

#[async_trait]
impl Running for Fake {
    fn status(&self, pipeline: PipelineId) -> Option<PipelineStatus> {
        self.runs.lock().expect("no panic").get(&pipeline).cloned()
    }

    async fn check(&self, content: &Content, _: &PipelineName) -> Result<Checked, Misfit> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        match self.misfit.lock().expect("no panic").clone() {
            Some(misfit) => Err(misfit),
            None => {
                let content = Content { answers: b"planned".to_vec().into(), ..content.clone() };
                Ok(Checked { content, warnings: vec!["it is slow".to_owned()] })
            }
        }
    }
}

/// A node without anything that runs.
pub(crate) struct Scene {
    pub(crate) control: Control,
    fake: Arc<Fake>,
    pub(crate) router: Router,
    _dir: TempDir,
}

/// An answer, whole.
#[derive(Debug)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
    json: Value,
}

fn rights(everywhere: Option<Role>, team: Option<Role>) -> Rights {
    let namespaces = team.map(|role| (Name::parse("team").expect("a name"), role));
    Rights { everywhere, namespaces: namespaces.into_iter().collect() }
}

fn tokens(open_to_look: bool) -> Tokens {
    let known = vec![
        Token::new("ada", ADMIN, rights(Some(Role::Admin), None)),
        Token::new("dan", DEPLOYER, rights(Some(Role::Deployer), None)),
        Token::new("vic", VIEWER, rights(Some(Role::Viewer), None)),
        Token::new("tim", TEAM, rights(None, Some(Role::Deployer))),
    ];
    Tokens::new(known, open_to_look).expect("four tokens")
}

async fn control(dir: &TempDir) -> Control {
    static BOOTS: AtomicU64 = AtomicU64::new(1);
    let options = control::Options {
        disk: Arc::new(disk::SystemDisk),
        dir: dir.path().join("control"),
        node: NODE,
        boot: BootId(u128::from(BOOTS.fetch_add(1, Ordering::SeqCst))),
        address: "127.0.0.1:1".into(),
        version: "0.1.0".into(),
        new: New::Cluster { id: ClusterId(7), voters: [(NODE, "127.0.0.1:1".to_owned())].into() },
        network: Arc::new(NoNetwork),
        clock: Arc::new(|| 1_785_585_600_000_000),
        tuning: Tuning::default(),
    };
    Control::open(options).await.expect("it opens")
}

impl Scene {
    pub(crate) async fn open() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("control")).expect("a directory");
        let control = control(&dir).await;
        let fake = Arc::new(Fake::default());
        let key = SecretKey::open_or_make(&dir.path().join("secret.key")).expect("a key");
        let hosts = Hosts::new(["node.example".to_owned()]);
        let mut options = Options::new(control.clone(), fake.clone(), Arc::new(key), tokens(false), hosts);
        options.rate = Rate { burst: 1e9, per_second: 1e9 };
        change(&mut options);
        let router = router(Api::new(options));
        Self { control, fake, router, _dir: dir }
    }

    /// `what`: `GET /v1/node`. `body`: nothing, or JSON.
    fn request(
        &self,
        what: &str,
        token: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Request<Body> {
        let (method, path) = what.split_once(' ').expect("a method and a path");
        let mut request = Request::new(Body::from(body.to_owned()));
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = path.parse().expect("a path");
        let all = request.headers_mut();
        all.insert(HOST, HeaderValue::from_static("localhost:5000"));
        if !token.is_empty() {
            all.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).expect("a header"));
        }
        if !body.is_empty() {
            all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in headers {
            all.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"));
        }
        request
    }

    async fn send(&self, request: Request<Body>) -> axum::response::Response {
        match self.router.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn ask(&self, what: &str, token: &str, headers: &[(&'static str, &str)], body: &str) -> Got {
        let response = self.send(self.request(what, token, headers, body)).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Got { status: parts.status, headers: parts.headers, bytes, json }
    }

    /// As an admin, and without more.
    async fn admin(&self, what: &str, body: &str) -> Got {
        self.ask(what, ADMIN, &[], body).await
    }

    /// A pipeline of this name, with this manifest.
    async fn deploy(&self, place: &str, manifest: &str) -> Got {
        let (namespace, name) = place.split_once('/').expect("a namespace and a name");
        let what = format!("PUT /v1/namespaces/{namespace}/pipelines/{name}");
        self.admin(&what, &serde_json::json!({ "manifest": manifest }).to_string()).await
    }

    pub(crate) async fn close(self) {
        self.control.shutdown().await;
    }
}

impl Got {
    /// That it is this, and what is in it.
    fn is(&self, status: u16) -> &Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        &self.json
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// That it is this problem, whole, and what it says.
    fn problem(&self, status: u16, name: &str) -> &str {
        let json = self.is(status);
        assert_eq!(self.header("content-type"), PROBLEM_JSON);
        assert_eq!(json["type"], format!("urn:conveyor:problem:{name}"), "{json}");
        assert_eq!(json["status"], status);
        assert!(json["title"].as_str().is_some_and(|title| !title.is_empty()), "{json}");
        let detail = json["detail"].as_str().unwrap_or_default();
        assert!(detail.len() > 10, "{json}");
        detail
    }
}

const LATE: Duration = Duration::from_secs(60);
