//! TLS for requests to servers: rustls on ring, with the public roots that Mozilla keeps.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How servers are believed: those with a certificate under the public roots, or under one of `extra_roots`.
pub fn tls_client(extra_roots: &[CertificateDer<'static>]) -> ClientConfig {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    // One that cannot be read is not believed, and nothing else comes of it.
    roots.add_parsable_certificates(extra_roots.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring offers TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Made once per network.
#[derive(Clone)]
pub(crate) struct Connector(TlsConnector);

impl Connector {
    pub fn new(extra_roots: &[CertificateDer<'static>]) -> Self {
        Self(TlsConnector::from(Arc::new(tls_client(extra_roots))))
    }

    /// The server has to be `name`, whatever address it was found at.
    pub async fn connect(
        &self,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.0.connect(name, stream).await
    }
}
