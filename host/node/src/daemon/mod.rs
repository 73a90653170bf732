//! A node that stays: pipelines come and go on it, and whatever dies, all of it comes back.
//!
//! What is wanted is in the control state, which the API changes; `reconcile` decides what follows from it here,
//! and `pipelines` and `runner` do that. One port has the API (`/v1`), the registry (`/v2`), metrics and health.

mod apart;
mod data;
mod door;
mod gate;
mod notify;
mod pipelines;
mod reconcile;
mod runner;
mod status;
mod task;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use axum::Router;
use control::network::NoNetwork;
use control::sealing::SecretKey;
use control::{Control, New, OpenError, StoreError};
use disk::SystemDisk;
use flow::clock::wall_clock;
use flow::meters::Meters;
use flow::scheduler::FairScheduler;
use model::limits::{NODE_CONTROL_THREADS, NODE_REPORT_AGAIN, REGISTRY_BODY_TIME, STOP_GRACE};
use registry::auth::{Access, Auth};
use registry::server::{Registry, Server, ServerOptions, Tls, Writes};
use registry::store::{Store, StoreOptions};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::api::access::{Hosts, Rights, Role, Token, Tokens};
use crate::api::{self, Api};
use crate::client::place::UpFile;
use crate::exit::{Failure, Result};
use crate::running::{Signals, runtime};
use crate::serve::{self, Ready};
use crate::terminal;
use crate::wiring::{Policy, engine};
use data::Data;
use door::Door;
use pipelines::Pipelines;
use runner::Parts;

/// What a node is started with.
#[derive(Debug)]
pub struct Options {
    /// Where everything is kept.
    pub data: PathBuf,
    /// The system chooses the port where it is 0.
    pub listen: SocketAddr,
    pub tls: Option<Tls>,
    /// By which it is called beside its address.
    pub hosts: Vec<String>,
    /// Whether nobody needs a token to look.
    pub is_open_to_look: bool,
    /// With which secrets are sealed; in the data directory unless set.
    pub secret_key: Option<PathBuf>,
    pub threads: Option<usize>,
    pub policy: Policy,
    /// Where verbs of this user find the node while it runs; none where they are told by other means.
    pub up_file: Option<PathBuf>,
}

/// Runs a node until SIGINT or SIGTERM. Then pipelines stop at a barrier, and the next start goes on there.
pub fn run(options: Options) -> Result {
    let data = Data::open(&options.data).map_err(Failure::input)?;
    let control = runtime("control", NODE_CONTROL_THREADS)?;
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or_else(cores);
    let stages = runtime("stage", threads)?;
    let ended = control.block_on(serve(options, data, stages.handle().clone(), threads));
    // Neither a stage that does not come back nor a read that nothing ends holds the process.
    stages.shutdown_background();
    control.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(options: Options, data: Data, stages: Handle, threads: usize) -> Result {
    let mut signals = Signals::listen().map_err(Failure::ran)?;
    let Options { listen, tls, hosts, is_open_to_look, policy, up_file, secret_key, .. } = options;
    let is_tls = tls.is_some();
    let server = ServerOptions { listen, tls }.bind().await.map_err(Failure::input)?;
    let address = server.address().map_err(Failure::ran)?;
    let secret_key = secret_key.unwrap_or_else(|| data.secret_key());
    let key = Arc::new(SecretKey::open_or_make(&secret_key).map_err(Failure::input)?);
    let of_file = Token::new("owner", data.token(), Rights::everywhere(Role::Admin));
    let tokens = Tokens::new(vec![of_file], is_open_to_look).map_err(Failure::input)?;
    let control = opened(&data, address).await?;
    tell_closed_secrets(&control, &key);
    let store = Arc::new(opened_store(&data).await?);
    let parts = Parts {
        control: control.clone(),
        engine: engine()?,
        policy: policy.needing_secrets(),
        key: key.clone(),
        store: store.clone(),
        stages,
        scheduler: FairScheduler::new(threads),
        data,
    };
    let pipelines = Pipelines::new(parts);
    let ready = Ready::default();
    let hosts = Hosts::new(hosts.into_iter().chain([host_of(address.ip())]));
    let running = Arc::new(pipelines.clone());
    let door = Door { hosts: hosts.clone(), tokens: tokens.clone(), is_open: is_open_to_look };
    let api = Api::new(api::Options::new(control.clone(), running, key, tokens, hosts));
    let registry = door.clone().before(registry::server::router(registry(&store, is_tls)));
    let meters = {
        let pipelines = pipelines.clone();
        move || pipelines.all().iter().filter_map(|task| task.seen().meters).collect::<Vec<Meters>>()
    };
    let router = Router::new()
        .merge(api::router(api))
        .merge(serve::health(ready.clone()))
        .merge(door.before(serve::metrics(meters)))
        .fallback_service(registry);
    let scheme = if is_tls { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    let told = UpFile { url: url.clone(), token_file: pipelines.token_file() };
    let found = up_file.map(|path| Found::write(path, &told)).transpose()?;
    let node = Node { control, store, pipelines, server, ready, url };
    let ended = node.run(router, &mut signals).await;
    drop(found);
    ended
}

/// The file by which verbs of this user find a node, there while it runs.
struct Found {
    path: PathBuf,
    text: Vec<u8>,
}

impl Found {
    fn write(path: PathBuf, told: &UpFile) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Failure::Ran(anyhow!(
                "{}: {error}; verbs of this user find the node by that file",
                path.display()
            ))
        };
        let text = serde_json::to_vec(told).map_err(Failure::ran)?;
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(failed)?;
        data::write_whole(&path, &text).map_err(failed)?;
        Ok(Self { path, text })
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        // Another node of this user may have come after this one.
        if std::fs::read(&self.path).is_ok_and(|text| text == self.text) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The parts of a node that go on until it ends.
struct Node {
    control: Control,
    store: Arc<Store>,
    pipelines: Pipelines,
    server: Server,
    ready: Ready,
    url: String,
}

impl Node {
    async fn run(self, router: Router, signals: &mut Signals) -> Result {
        let Self { control, store, pipelines, server, ready, url } = self;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(router, stop.clone(), STOP_GRACE));
        let reconciling = {
            let (pipelines, stop) = (pipelines.clone(), stop.clone());
            tokio::spawn(async move { pipelines.reconcile(stop, STOP_GRACE).await })
        };
        ready.set(true);
        notify::ready();
        let watchdog = tokio::spawn(notify::watchdog());
        terminal::say(format!(
            "{url} has the API (/v1), the registry (/v2) and metrics; data is in {}",
            pipelines.dir().display()
        ));
        let ended = tokio::select! {
            () = signals.next() => Ok(()),
            why = control.ended() => Err(Failure::Ran(anyhow!("{why}; what was acknowledged is kept: start it again"))),
            why = broke(&store) => Err(Failure::Ran(anyhow!("{why}; what was acknowledged is kept: start it again"))),
        };
        ready.set(false);
        notify::stopping();
        watchdog.abort();
        if ended.is_ok() {
            terminal::say(format!(
                "stopping: pipelines stop at a barrier, for at most {} s; stop again to cut them off",
                STOP_GRACE.as_secs()
            ));
        }
        stop.cancel();
        let drained = async {
            // Who comes next finds what each pipeline has come to.
            let _ = reconciling.await;
            let _ = serving.await;
        };
        tokio::select! {
            () = drained => {}
            () = signals.next() => terminal::say("stopped again: what is on its way is cut off"),
        }
        control.shutdown().await;
        ended
    }
}

/// The control state in a data directory.
async fn opened(data: &Data, address: SocketAddr) -> Result<Control> {
    let address = address.to_string();
    let opened = Control::open(control::Options {
        disk: Arc::new(SystemDisk),
        dir: data.control(),
        node: data.node(),
        boot: data.boot(),
        address: address.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        new: New::Cluster { id: data.cluster(), voters: [(data.node(), address)].into() },
        network: Arc::new(NoNetwork),
        clock: Arc::new(now_us),
        tuning: control::Tuning::default(),
    });
    opened.await.map_err(|error| match error {
        OpenError::Store(StoreError::Full { .. }) => Failure::Full(error.into()),
        OpenError::Store(_) => Failure::input(error),
        error => Failure::ran(error),
    })
}

/// How an address stands in a URL.
fn host_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_us() -> u64 {
    u64::try_from(wall_clock()).unwrap_or_default()
}

fn registry(store: &Arc<Store>, is_tls: bool) -> Arc<Registry> {
    Arc::new(Registry {
        store: store.clone(),
        auth: Auth { keys: None, access: Access::default() },
        is_read_only: false,
        url: None,
        is_tls,
        writes: Writes::default(),
        body_time: REGISTRY_BODY_TIME,
    })
}

/// The store of the registry. On a full disk it waits for room, as everything else does.
async fn opened_store(data: &Data) -> Result<Store> {
    let mut is_told = false;
    loop {
        match StoreOptions::new(data.registry()).open() {
            Ok(store) => return Ok(store),
            Err(error @ registry::store::StoreError::Full { .. }) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, "this start waits for room");
                }
                tokio::time::sleep(NODE_REPORT_AGAIN).await;
            }
            Err(error) => return Err(Failure::input(error)),
        }
    }
}

/// Says at a start that secrets stay closed, rather than when a pipeline asks for one.
fn tell_closed_secrets(control: &Control, key: &SecretKey) {
    let secrets = control.look(|state| state.secrets().clone());
    let closed = secrets.iter().find_map(|(name, secret)| key.open_sealed(name, &secret.sealed).err());
    if let Some(error) = closed {
        terminal::warning(error.to_string());
    }
}

/// Comes back with the reason when the store of the registry has ended by itself.
async fn broke(store: &Store) -> String {
    loop {
        if let Some(why) = store.broke() {
            return why.to_owned();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
