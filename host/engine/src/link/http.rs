//! `wasi:http` for stages: a request goes out to a host that is granted, over an address that was checked,
//! with every wait and every body bounded. Redirects are the stage's to follow: a redirect is an answer, and
//! where it leads has to be granted like everything else.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use model::limits;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::dial::{self, Target};
use super::log::{Level, Voice};
use crate::access::Access;
use crate::tls;

/// The rest of a connection, to be driven while its answer is read.
type Driver = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Driver), Error>;

/// How one stage sends requests.
pub(crate) struct Gate {
    access: Access,
    voice: Arc<Voice>,
}

impl Gate {
    pub fn new(access: Access, voice: Arc<Voice>) -> Self {
        Self { access, voice }
    }
}

impl WasiHttpHooks for Gate {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (access, voice) = (self.access.clone(), self.voice.clone());
        Box::new(async move { send(&access, &voice, request, options.unwrap_or_default()).await })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        limits::WRITE_BYTES
    }

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        match error {
            // The body of the request failed, and the only way in which ours does is by its length.
            error if error.is_user() => ErrorCode::HttpRequestBodySize(Some(limits::HTTP_REQUEST_BYTES_MAX)),
            error if error.is_timeout() => ErrorCode::HttpResponseTimeout,
            error if error.is_incomplete_message() => ErrorCode::HttpResponseIncomplete,
            error if error.is_parse_too_large() => ErrorCode::HttpResponseHeaderSectionSize(None),
            _ => ErrorCode::HttpProtocolError,
        }
    }

    fn p2_error_from_connect(&mut self, error: &std::io::Error) -> ErrorCode {
        match error.kind() {
            std::io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
                ErrorCode::DestinationUnavailable
            }
            _ => ErrorCode::ConnectionRefused,
        }
    }

    fn p2_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        let certificate = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match certificate {
            Some(rustls::Error::InvalidCertificate(_)) => ErrorCode::TlsCertificateError,
            _ => ErrorCode::TlsProtocolError,
        }
    }
}

async fn send(access: &Access, voice: &Voice, request: Request<WasiBody>, options: RequestOptions) -> Sent {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let found = match dial::target(&parts, access.grants()) {
        Ok(target) => {
            let found = dial::addresses(&target, access.grants(), &access.inner.network).await;
            found.map(|addresses| (target, addresses))
        }
        Err(denied) => Err(denied),
    };
    let (target, addresses) = match found {
        Ok(found) => found,
        Err(denied) => {
            if voice.admit() {
                voice.write(Level::Warn, &denied.line);
            }
            return Err(denied.code);
        }
    };
    let waits = Waits::of(&options);
    let until = (Instant::now() + waits.connect).min(begun + limits::HTTP_CONNECT_TIME);
    let stream = dial::connect(&addresses, until).await?;
    // Small requests are not to wait for more of them.
    stream.set_nodelay(true).map_err(Error::Connect)?;
    let request = Request::from_parts(relative(parts), Bounded::request(body).boxed_unsync());
    if !target.tls {
        return exchange(stream, request, &waits, begun).await;
    }
    let network = &access.inner.network;
    let connector = network.tls.get_or_init(|| tls::Connector::new(&network.extra_roots));
    let secured = timeout_at(until, connector.connect(server_name(&target)?, stream)).await;
    let secured = secured.map_err(|_| Error::ConnectionTimeout)?.map_err(Error::Tls)?;
    exchange(secured, request, &waits, begun).await
}

/// The scheme and the authority go to proxies alone, and the server learns the host from its header.
fn relative(mut parts: http::request::Parts) -> http::request::Parts {
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    parts
}

fn server_name(target: &Target) -> Result<ServerName<'static>, Error> {
    match &target.to.host {
        model::grants::Host::Address(address) => Ok(ServerName::from(*address)),
        model::grants::Host::Name(name) => {
            ServerName::try_from(name.as_str().to_owned()).map_err(|_| Error::HttpRequestUriInvalid)
        }
    }
}

/// One request and the head of its answer, for which there is time since it all `begun`.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<WasiBody>,
    waits: &Waits,
    begun: Instant,
) -> Sent {
    let mut http = hyper::client::conn::http1::Builder::new();
    http.max_buf_size(limits::HTTP_HEAD_BYTES_MAX).max_headers(limits::HTTP_HEADERS_MAX);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await?;
    let mut connection = Some(Box::pin(connection));
    let answer = {
        let until = (Instant::now() + waits.first_byte).min(begun + limits::HTTP_ANSWER_TIME);
        let mut answer = pin!(timeout_at(until, sender.send_request(request)));
        // Nothing moves unless the connection is driven too, and it may end first.
        std::future::poll_fn(|cx| {
            if connection.as_mut().is_some_and(|open| open.as_mut().poll(cx).is_ready()) {
                connection = None;
            }
            answer.as_mut().poll(cx)
        })
        .await
    };
    let answer = answer.map_err(|_| Error::HttpResponseTimeout)??;
    let between = waits.between_bytes;
    let answer = answer.map(|body| Bounded::answer(body, between).boxed_unsync());
    let driver = async move {
        match connection {
            Some(connection) => connection.await.map_err(Error::from),
            None => Ok(()),
        }
    };
    Ok((answer, Box::new(driver)))
}

/// How long each step may take: what the stage asks for, within what the host allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waits {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Waits {
    fn of(options: &RequestOptions) -> Self {
        let within = |asked: Option<Duration>, most: Duration| asked.unwrap_or(most).min(most);
        Self {
            connect: within(options.connect_timeout, limits::HTTP_CONNECT_TIME),
            first_byte: within(options.first_byte_timeout, limits::HTTP_ANSWER_TIME),
            between_bytes: within(options.between_bytes_timeout, limits::HTTP_ANSWER_TIME),
        }
    }
}

/// A body that ends with an error when there is too much of it, or when it stalls.
struct Bounded<B> {
    body: B,
    left: u64,
    exceeded: fn() -> Error,
    stall: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Bounded<WasiBody> {
    fn request(body: WasiBody) -> Self {
        let exceeded = || Error::HttpRequestBodySize(Some(limits::HTTP_REQUEST_BYTES_MAX));
        Self { body, left: limits::HTTP_REQUEST_BYTES_MAX, exceeded, stall: None }
    }
}

impl Bounded<Incoming> {
    fn answer(body: Incoming, between: Duration) -> Self {
        let exceeded = || Error::HttpResponseBodySize(Some(limits::HTTP_RESPONSE_BYTES_MAX));
        let stall = Some((between, Box::pin(sleep(between))));
        Self { body, left: limits::HTTP_RESPONSE_BYTES_MAX, exceeded, stall }
    }
}

impl<B: Body<Data = Bytes, Error: Into<Error>> + Unpin> Body for Bounded<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let stalled = this.stall.as_mut().is_some_and(|(_, stall)| stall.as_mut().poll(cx).is_ready());
            return if stalled {
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            } else {
                Poll::Pending
            };
        };
        if let Some((between, stall)) = &mut this.stall {
            stall.as_mut().reset(Instant::now() + *between);
        }
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match this.left.checked_sub(bytes) {
            Some(left) => this.left = left,
            None => return Poll::Ready(Some(Err((this.exceeded)()))),
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[test]
    fn a_stage_may_wait_less_and_never_more() {
        let options = RequestOptions {
            connect_timeout: Some(Duration::from_millis(7)),
            first_byte_timeout: Some(Duration::from_secs(3600)),
            between_bytes_timeout: None,
        };
        let expected = Waits {
            connect: Duration::from_millis(7),
            first_byte: limits::HTTP_ANSWER_TIME,
            between_bytes: limits::HTTP_ANSWER_TIME,
        };
        assert_eq!(Waits::of(&options), expected);
    }

    #[tokio::test]
    async fn a_body_ends_where_it_gets_too_long() {
        for (bytes, fits) in [(9, true), (10, true), (11, false)] {
            let body = Full::new(Bytes::from(vec![0; bytes]));
            let exceeded = || Error::HttpResponseBodySize(Some(10));
            let bounded = Bounded { body, left: 10, exceeded, stall: None };
            assert_eq!(bounded.collect().await.is_ok(), fits, "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_body_that_stalls_is_given_up() {
        let body = http_body_util::combinators::UnsyncBoxBody::new(Stalls);
        let between = Duration::from_millis(5);
        let stall = Some((between, Box::pin(sleep(between))));
        let bounded = Bounded { body, left: 10, exceeded: || Error::HttpProtocolError, stall };
        assert!(matches!(bounded.collect().await, Err(Error::ConnectionReadTimeout)));
    }

    struct Stalls;

    impl Body for Stalls {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            Poll::Pending
        }
    }
}
