//! The socket of a registry: connections within their bounds, by TLS or in the clear.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::limits::{
    HTTP_ACCEPT_AGAIN_AFTER, HTTP_CONNECT_TIME, HTTP_HEADERS_MAX, REGISTRY_CONNECTIONS,
    REGISTRY_HEAD_BYTES_MAX, REGISTRY_HEAD_TIME,
};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The system chooses the port where it is 0.
    pub listen: SocketAddr,
    /// In the clear, where there is none.
    pub tls: Option<Tls>,
}

/// A certificate with its chain, and its key, in files of PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why nobody can be answered.
#[derive(thiserror::Error, Debug)]
pub enum ListenError {
    #[error("{listen}: {error}; name an address of this machine that nobody uses")]
    Bind { listen: SocketAddr, error: std::io::Error },
    #[error("{}: {why}", path.display())]
    Pem { path: PathBuf, why: String },
    #[error("{} and {}: {error}", tls.certificate.display(), tls.key.display())]
    Tls { tls: Tls, error: rustls::Error },
}

/// A socket that is bound, and answers nobody yet.
pub struct Server {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
}

impl ServerOptions {
    pub async fn bind(self) -> Result<Server, ListenError> {
        let acceptor = self.tls.as_ref().map(acceptor).transpose()?;
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.map_err(|error| ListenError::Bind { listen: self.listen, error })?;
        Ok(Server { listener, acceptor })
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ListenError> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| ListenError::Pem {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let chain =
        CertificateDer::pem_file_iter(&tls.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| wrong(&tls.certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong(&tls.certificate, &"it has no certificate: name a file of PEM"));
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&tls.key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| ListenError::Tls { tls: tls.clone(), error })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What all connections share.
struct Line {
    http: http1::Builder,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
}

impl Server {
    /// The address, with the port that the system chose.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is told to stop, and then what is under way, for at most `grace`.
    pub async fn run(self, router: Router, stop: CancellationToken, grace: Duration) {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(REGISTRY_HEAD_TIME)
            .max_buf_size(REGISTRY_HEAD_BYTES_MAX)
            .max_headers(HTTP_HEADERS_MAX);
        let line = Arc::new(Line { http, tls: self.acceptor, router, stop: stop.clone() });
        let mut connections = JoinSet::new();
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept(&self.listener, &line, &mut connections) => {}
        }
        drop(self.listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!("requests that were under way are cut off");
        }
    }
}

async fn accept(listener: &TcpListener, line: &Arc<Line>, connections: &mut JoinSet<()>) {
    let permits = Arc::new(Semaphore::new(REGISTRY_CONNECTIONS));
    loop {
        // More than these wait in the kernel, which has a bound of its own.
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let line = line.clone();
                while connections.try_join_next().is_some() {}
                connections.spawn(async move {
                    line.serve(stream, from).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Such as too many open files, which ends when connections do.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(HTTP_ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

impl Line {
    async fn serve(&self, stream: TcpStream, from: SocketAddr) {
        // Answers are small, and are not to wait for more of them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.converse(stream, from).await };
        match tokio::time::timeout(HTTP_CONNECT_TIME, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.converse(stream, from).await,
            Ok(Err(error)) => tracing::debug!(%from, %error, "a connection is not one of TLS"),
            Err(_) => tracing::debug!(%from, "a connection took too long to agree on TLS"),
        }
    }

    /// One request after the other, each with the address that it is from.
    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin, from: SocketAddr) {
        let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
            let mut router = self.router.clone();
            request.extensions_mut().insert(ConnectInfo(from));
            async move {
                Ok::<_, Infallible>(
                    router.call(request.map(Body::new)).await.unwrap_or_else(|never| match never {}),
                )
            }
        });
        let mut connection = std::pin::pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // Whoever went away knows that.
            tracing::debug!(%from, %error, "a connection has ended");
        }
    }
}
