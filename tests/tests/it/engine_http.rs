//! HTTP out of a stage: to hosts that are granted, over addresses that were checked, within bounds.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use engine::{Access, AccessOptions, Network, Resolver, Resolving};
use model::grants::Grants;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::engine_grants::ask;

/// A server on this machine that tells what it was asked, and counts who came.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    elsewhere: Arc<OnceLock<u16>>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Self { port, connections: Arc::default(), elsewhere: Arc::default() };
        let (connections, elsewhere) = (server.connections.clone(), server.elsewhere.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (tls, elsewhere) = (tls.clone(), elsewhere.get().copied().unwrap_or_default());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, elsewhere).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, elsewhere).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    fn seen(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, elsewhere: u16) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let answer = match path {
        "/redirect" => {
            format!(
                "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{elsewhere}/\r\ncontent-length: 0\r\n\r\n"
            )
        }
        "/endless" => "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned(),
        "/cut" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned(),
        "/garbage" => "this is no HTTP\r\n\r\n".to_owned(),
        "/headers" => format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)),
        _ => {
            let body = format!("{path} of {host}");
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        }
    };
    let mut sent = stream.write_all(answer.as_bytes()).await;
    let piece = vec![b'x'; 1 << 20];
    while path == "/endless" && sent.is_ok() {
        sent = stream.write_all(&piece).await;
    }
    let _ = stream.shutdown().await;
}

/// Answers every name with the same addresses, and counts.
struct Says(Vec<IpAddr>, AtomicUsize);

impl Says {
    fn new(addresses: &[&str]) -> Arc<Self> {
        let parse = |text: &&str| text.parse().expect("an address");
        Arc::new(Self(addresses.iter().map(parse).collect(), AtomicUsize::new(0)))
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

impl Resolver for Says {
    fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(self.0.clone()) })
    }
}

fn access(http: &[String], resolver: Arc<Says>, roots: Vec<Vec<u8>>) -> Access {
    let http = http.iter().map(|text| text.parse().expect("a grant")).collect();
    let grants = Grants { http, ..Grants::default() };
    Access::new(AccessOptions { grants, network: Network::new(resolver, roots), ..AccessOptions::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_where_they_are_granted() {
    let server = Server::start(None).await;
    let port = server.port;
    let resolver = Says::new(&["127.0.0.1"]);
    let granted = [format!("localhost:{port}"), format!("127.0.0.1:{port}")];
    let asked = [format!("get http://localhost:{port}/a?b=c"), format!("get http://127.0.0.1:{port}/d")];
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let answers = ask(access(&granted, resolver.clone(), vec![]), &asked).await;
    assert_eq!(answers[0], format!("200 /a?b=c of localhost:{port}"));
    assert_eq!(answers[1], format!("200 /d of 127.0.0.1:{port}"));
    assert_eq!((server.seen(), resolver.asked()), (2, 0), "neither has to be looked up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_granted_is_neither_looked_up_nor_dialled() {
    let server = Server::start(None).await;
    let port = server.port;
    let resolver = Says::new(&["127.0.0.1"]);
    let granted = [format!("api.test:{port}"), format!("localhost:{}", port ^ 1)];
    let asked = [
        (format!("get http://localhost:{port}/"), "HttpRequestDenied"),
        (format!("get http://127.0.0.1:{port}/"), "HttpRequestDenied"),
        (format!("get http://[::ffff:127.0.0.1]:{port}/"), "HttpRequestDenied"),
        (format!("get http://other.test:{port}/"), "HttpRequestDenied"),
        (format!("get http://sub.api.test:{port}/"), "HttpRequestDenied"),
        ("get http://api.test/".to_owned(), "HttpRequestDenied"),
        (format!("get http://api.test:{port}@127.0.0.1:{port}/"), "error: "),
        (format!("get http://2130706433:{port}/"), "HttpRequestUriInvalid"),
        (format!("get http://api.test:{port}/ localhost:{port}"), "header: HeaderError::Forbidden"),
    ];
    let texts: Vec<&str> = asked.iter().map(|(text, _)| text.as_str()).collect();
    let answers = ask(access(&granted, resolver.clone(), vec![]), &texts).await;
    for ((asked, expected), answer) in asked.iter().zip(&answers) {
        assert!(answer.contains(expected), "{asked}: {answer}");
    }
    assert_eq!((server.seen(), resolver.asked()), (0, 0));
}

/// The name is granted; where it leads is not, until it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_inside_is_refused_unless_the_address_is_granted() {
    let server = Server::start(None).await;
    let port = server.port;
    let (url, name) = (format!("get http://api.test:{port}/x"), format!("api.test:{port}"));
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0"] {
        let answers = ask(access(std::slice::from_ref(&name), Says::new(&[address]), vec![]), &[&url]).await;
        assert!(answers[0].contains("DestinationIpProhibited"), "{address}: {}", answers[0]);
    }
    assert_eq!(server.seen(), 0);

    let resolver = Says::new(&["169.254.169.254", "127.0.0.1"]);
    let granted = [name, format!("127.0.0.0/8:{port}")];
    let answers = ask(access(&granted, resolver.clone(), vec![]), &[&url]).await;
    assert_eq!(answers[0], format!("200 /x of api.test:{port}"));
    assert_eq!((server.seen(), resolver.asked()), (1, 1), "what was checked is what was dialled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (server, other) = (Server::start(None).await, Server::start(None).await);
    server.elsewhere.set(other.port).expect("set once");
    let asked = [
        format!("get http://localhost:{}/redirect", server.port),
        format!("get http://127.0.0.1:{}/", other.port),
    ];
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let granted = [format!("localhost:{}", server.port)];
    let answers = ask(access(&granted, Says::new(&[]), vec![]), &asked).await;
    assert_eq!(answers[0], format!("302 http://127.0.0.1:{}/", other.port));
    assert!(answers[1].contains("HttpRequestDenied"), "{}", answers[1]);
    assert_eq!((server.seen(), other.seen()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_long_or_no_answer_is_an_error() {
    let server = Server::start(None).await;
    let port = server.port;
    let cases = [
        // Its limit, but for the last piece. The error has no code: the library tells none for a body.
        ("endless", "after 671"),
        ("cut", "after 4 bytes"),
        ("garbage", "HttpProtocolError"),
        ("headers", "HttpResponseHeaderSectionSize"),
    ];
    let granted = [format!("localhost:{port}")];
    for (path, expected) in cases {
        let asked = format!("get http://localhost:{port}/{path}");
        let answers = ask(access(&granted, Says::new(&[]), vec![]), &[&asked]).await;
        assert!(answers[0].contains(expected), "{path}: {}", answers[0]);
    }
    // Nobody listens on a port that was just given back.
    let free = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let asked = format!("get http://127.0.0.1:{port}/");
    let answers = ask(access(&[format!("127.0.0.1:{port}")], Says::new(&[]), vec![]), &[&asked]).await;
    assert!(answers[0].contains("ConnectionRefused"), "{}", answers[0]);
}

/// The certificate is for `localhost`, by an authority that is believed or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_checked_against_the_name_that_was_asked_for() {
    let certificate = CertificateDer::from(include_bytes!("tls/localhost.der").as_slice());
    let key = PrivateKeyDer::try_from(include_bytes!("tls/localhost.key.der").as_slice()).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate");
    let server = Server::start(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let port = server.port;
    let authority = || vec![include_bytes!("tls/ca.der").to_vec()];
    let granted = [format!("localhost:{port}"), format!("api.test:{port}"), format!("127.0.0.1:{port}")];
    let asked = [
        format!("get https://localhost:{port}/s"),
        format!("get https://api.test:{port}/s"),
        format!("get https://127.0.0.1:{port}/s"),
    ];
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let answers = ask(access(&granted, Says::new(&["127.0.0.1"]), authority()), &asked).await;
    assert_eq!(answers[0], format!("200 /s of localhost:{port}"));
    for answer in &answers[1..] {
        assert!(answer.contains("TlsCertificateError"), "{answer}");
    }
    let answers = ask(access(&granted, Says::new(&[]), vec![]), &asked[..1]).await;
    assert!(answers[0].contains("TlsCertificateError"), "{}", answers[0]);
}
