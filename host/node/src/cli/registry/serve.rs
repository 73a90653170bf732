//! `conveyor registry serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use model::limits::{REGISTRY_BODY_TIME, REGISTRY_GRACE, STOP_GRACE};
use registry::auth::{Access, Auth, Challenge, Keys, Passwords, Tokens};
use registry::server::{Registry, ServerOptions, Tls, Writes, listen_admin, router};
use registry::store::{Rules, Store, StoreOptions};
use tokio_util::sync::CancellationToken;

use super::super::amounts;
use super::keep::{failure, secret};
use crate::exit::{Failure, Result};
use crate::running::Signals;
use crate::terminal;

/// Serves a registry: everything in DIR, to whoever may have it, by the OCI distribution specification 1.1
///
/// On an address of this machine alone (127.0.0.1, [::1]) nobody has to sign in unless `--htpasswd` says so. On any other it
/// wants TLS and passwords, unless `--plain-http` and `--no-auth` say that it is meant so.
///
/// SIGINT and SIGTERM end it: what is under way is done, for at most ten seconds.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Serve {
    /// Where everything is kept; it is made where it is missing
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The address to listen on; a port of 0 is chosen by the system, and told
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// The certificate with its chain, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speak without TLS on an address that others reach, because something in front of it does
    #[arg(long, conflicts_with = "tls_cert")]
    plain_http: bool,
    /// Who may sign in: NAME:HASH, a line each, as `htpasswd -B` writes it
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Let everybody do everything, on an address that others reach
    #[arg(long, conflicts_with = "htpasswd")]
    no_auth: bool,
    /// What a client is asked for that has not signed in
    #[arg(long, value_enum, default_value_t, requires = "htpasswd")]
    auth: Asks,
    /// Who may do what in which repository, and how much one may have; without it, whoever has signed in may do everything
    #[arg(long, value_name = "FILE", requires = "htpasswd")]
    access: Option<PathBuf>,
    /// Let everybody pull
    #[arg(long, requires = "htpasswd")]
    anonymous_pull: bool,
    /// Take no pushes and no deletions
    #[arg(long)]
    read_only: bool,
    /// How much there may be of everything, for example 100GiB
    #[arg(long, value_name = "SIZE", value_parser = amounts::bytes)]
    max_bytes: Option<u64>,
    /// How much a repository may have that no quota of `--access` is for
    #[arg(long, value_name = "SIZE", value_parser = amounts::bytes)]
    max_repository_bytes: Option<u64>,
    /// Scheme and host by which clients find it, where something in front of it changes them: https://registry.example.com
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How often what nothing needs is collected, for example 12h; never unless set, and by `registry gc`
    #[arg(long, value_name = "AGE", value_parser = amounts::duration)]
    gc_interval: Option<Duration>,
}

/// What a client is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Asks {
    /// A password, with each request.
    #[default]
    Basic,
    /// A token, which there is at /token for a password.
    Bearer,
}

impl Serve {
    pub(super) fn execute(self) -> Result {
        self.check()?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::ran)?;
        let ended = runtime.block_on(self.serve());
        // A write that is under way ends by itself.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    }

    /// Whether what is asked for is meant so: nobody opens a registry to the world by a slip.
    fn check(&self) -> Result {
        if let Some(file) = self.data.ancestors().find(|path| path.exists() && !path.is_dir()) {
            return Err(Failure::Input(anyhow!(
                "{} is no directory; name one with `--data`",
                file.display()
            )));
        }
        let is_reached = !self.listen.ip().is_loopback();
        if is_reached && self.tls_cert.is_none() && !self.plain_http {
            return Err(Failure::Input(anyhow!(
                "others reach {}: give --tls-cert and --tls-key, or --plain-http where something in front of it speaks TLS",
                self.listen
            )));
        }
        if is_reached && self.htpasswd.is_none() && !self.no_auth {
            return Err(Failure::Input(anyhow!(
                "others reach {}: say by --htpasswd who may sign in, or by --no-auth that everybody may do everything",
                self.listen
            )));
        }
        let is_url = |url: &String| {
            ["https://", "http://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme))
        };
        match self.url.as_ref().filter(|url| !is_url(url) || url.contains('"')) {
            Some(url) => Err(Failure::Input(anyhow!(
                "`--url {url}`: write a scheme and a host, such as https://registry.example.com"
            ))),
            None => Ok(()),
        }
    }

    async fn serve(self) -> Result {
        let mut signals = Signals::listen().map_err(Failure::ran)?;
        let tls = self
            .tls_cert
            .clone()
            .zip(self.tls_key.clone())
            .map(|(certificate, key)| Tls { certificate, key });
        let is_tls = tls.is_some();
        let server = ServerOptions { listen: self.listen, tls }.bind().await.map_err(Failure::input)?;
        let options = StoreOptions { bytes_max: self.max_bytes, ..StoreOptions::new(&self.data) };
        let store = Arc::new(options.open().map_err(failure)?);
        let auth = self.auth(&self.data)?;
        let (is_read_only, url) = (self.read_only, self.url.clone());
        let registry = Arc::new(Registry {
            store: store.clone(),
            auth,
            is_read_only,
            url,
            is_tls,
            writes: Writes::default(),
            body_time: REGISTRY_BODY_TIME,
        });
        let address = server.address().map_err(Failure::ran)?;
        let scheme = if is_tls { "https" } else { "http" };
        terminal::say(format!("{scheme}://{address}/v2/ serves {}", self.data.display()));
        let stop = CancellationToken::new();
        let serving = server.run(router(registry), stop.clone(), STOP_GRACE);
        let mut serving = std::pin::pin!(serving);
        let ended = tokio::select! {
            () = serving.as_mut() => Ok(()),
            () = signals.next() => Ok(()),
            why = broke(&store) => Err(Failure::Ran(anyhow!("{why}: what was acknowledged is kept; start it again"))),
            error = admin(&self.data, &store) => Err(error),
            () = collect_now_and_then(&store, self.gc_interval) => Ok(()),
        };
        stop.cancel();
        if ended.is_ok() {
            tokio::select! {
                () = serving => {}
                () = signals.next() => terminal::say("stopped again: what is under way is cut off"),
            }
        }
        ended
    }

    fn auth(&self, data: &Path) -> Result<Auth> {
        let Some(htpasswd) = &self.htpasswd else {
            let mut access = Access::default();
            access.bytes_max = self.max_repository_bytes;
            return Ok(Auth { keys: None, access });
        };
        let secret = secret(data)?;
        let passwords = Passwords::open(htpasswd, &secret).map_err(Failure::input)?;
        let mut access = match &self.access {
            None => Access::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string());
                let text = text.map_err(Failure::Input)?;
                Access::parse(&text).with_context(|| path.display().to_string()).map_err(Failure::Input)?
            }
        };
        for user in access.unknown(|user| passwords.knows(user)) {
            terminal::warning(format!(
                "rights are given to `{user}`, who has no password in {}",
                htpasswd.display()
            ));
        }
        access.is_public = self.anonymous_pull;
        access.bytes_max = self.max_repository_bytes;
        let challenge = match self.auth {
            Asks::Basic => Challenge::Basic,
            Asks::Bearer => Challenge::Bearer,
        };
        let keys = Keys { passwords: Arc::new(passwords), tokens: Tokens::new(&secret), challenge };
        Ok(Auth { keys: Some(keys), access })
    }
}

/// How often it is looked whether the store has broken.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Waits until nothing can be kept any more.
async fn broke(store: &Store) -> String {
    loop {
        if let Some(why) = store.broke() {
            return why.to_owned();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn admin(data: &Path, store: &Arc<Store>) -> Failure {
    match listen_admin(data, store.clone()).await {
        Ok(never) => match never {},
        Err(error) => Failure::ran(anyhow::Error::from(error).context(format!("{}", data.display()))),
    }
}

async fn collect_now_and_then(store: &Arc<Store>, interval: Option<Duration>) {
    let Some(interval) = interval.filter(|interval| !interval.is_zero()) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(interval).await;
        let store = store.clone();
        let rules = Rules { grace: REGISTRY_GRACE, untagged: false };
        match tokio::task::spawn_blocking(move || store.collect(&rules)).await {
            Ok(Ok(collection)) => tracing::info!(?collection, "collected"),
            Ok(Err(error)) => tracing::error!(%error, "what nothing needs could not be collected"),
            Err(error) => tracing::error!(%error, "collecting broke"),
        }
    }
}
