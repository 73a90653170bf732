//! The sockets of a listening source: connections within their bounds, each with one request at a time.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::limits::{
    HTTP_ACCEPT_AGAIN_AFTER, HTTP_CONNECT_TIME, HTTP_HEADERS_MAX, HTTP_LINGER_BYTES_MAX, HTTP_LINGER_SILENCE,
    HTTP_REQUEST_HEAD_BYTES_MAX,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::answer::{Answer, Responder};

/// A socket that is bound and answers nobody before it is started.
pub(super) struct Server {
    listener: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
    connections_max: usize,
    /// How long a head may take to come in, and how long a connection may say nothing.
    request_timeout: Duration,
    responder: Arc<Responder>,
    stop: CancellationToken,
    _stops: DropGuard,
}

impl Server {
    pub fn new(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        connections_max: usize,
        request_timeout: Duration,
        responder: Arc<Responder>,
    ) -> Self {
        let stop = CancellationToken::new();
        let _stops = stop.clone().drop_guard();
        Self { listener: Some(listener), tls, connections_max, request_timeout, responder, stop, _stops }
    }

    /// Answers from now on, until it is dropped. Requests that are under way then are answered still.
    pub fn start(&mut self) -> std::io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.request_timeout)
            .max_buf_size(HTTP_REQUEST_HEAD_BYTES_MAX)
            .max_headers(HTTP_HEADERS_MAX);
        let (tls, responder, stop) = (self.tls.clone(), self.responder.clone(), self.stop.clone());
        let line = Line { http, tls, request_timeout: self.request_timeout, responder, stop };
        tokio::spawn(accept(listener, Arc::new(line), self.connections_max));
        Ok(())
    }
}

/// What all connections share.
struct Line {
    http: http1::Builder,
    tls: Option<TlsAcceptor>,
    request_timeout: Duration,
    responder: Arc<Responder>,
    stop: CancellationToken,
}

async fn accept(listener: tokio::net::TcpListener, line: Arc<Line>, connections_max: usize) {
    let permits = Arc::new(Semaphore::new(connections_max));
    let stop = line.stop.clone();
    let accepting = async {
        loop {
            // More than these wait in the kernel, which has a bound of its own.
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    line.responder.meter.count_connection();
                    let line = line.clone();
                    tokio::spawn(async move {
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
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting => {}
    }
}

impl Line {
    async fn serve(&self, stream: TcpStream, from: SocketAddr) {
        // Answers are small, and are not to wait for more of them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.converse(stream, from).await };
        match timeout(HTTP_CONNECT_TIME, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.converse(stream, from).await,
            Ok(Err(error)) => tracing::debug!(%from, %error, "a connection is not one of TLS"),
            Err(_) => tracing::debug!(%from, "a connection took too long to agree on TLS"),
        }
    }

    /// One request after the other.
    async fn converse(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, from: SocketAddr) {
        let is_cut = AtomicBool::new(false);
        let service = service_fn(async |request| {
            let Answer { response, is_whole } = self.responder.answer(request).await;
            is_cut.fetch_or(!is_whole, Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        });
        let ended = {
            let connection = self.http.serve_connection(TokioIo::new(&mut stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = self.stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        if let Err(error) = &ended {
            // Whoever went away knows that.
            tracing::debug!(%from, %error, "a connection has ended");
        }
        if ended.is_err() || is_cut.into_inner() {
            // It has as long as a request has.
            let _ = timeout(self.request_timeout, linger(&mut stream)).await;
        }
    }
}

/// Takes in and forgets what a sender still sends, until it has read its answer and closes. A socket that is closed with
/// something unread in it takes back what was answered, and a sender that sends all of its body before it reads would
/// see a broken connection instead.
async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let _ = stream.shutdown().await;
    let (mut scraps, mut left) = (vec![0; 16 << 10], HTTP_LINGER_BYTES_MAX);
    while left > 0 {
        match timeout(HTTP_LINGER_SILENCE, stream.read(&mut scraps)).await {
            Ok(Ok(count @ 1..)) => left = left.saturating_sub(count as u64),
            _ => return,
        }
    }
}
