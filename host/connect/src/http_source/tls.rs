//! TLS of the listening side: rustls on ring, with a certificate and a key from files.

use std::path::Path;
use std::sync::Arc;

use flow::connector::ConnectError;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::SourceSpec;

pub(super) fn acceptor(spec: &SourceSpec, cert: &Path, key: &Path) -> Result<TlsAcceptor, ConnectError> {
    let read = |path: &Path| {
        let path = spec.base.join(path);
        let shown = path.display().to_string();
        let failed = |why: String| ConnectError::failed(&*shown, why, "name files in PEM under `tls`");
        let inside = spec.roots.check(&path).map_err(|error| failed(error.to_string()))?;
        let text = std::fs::read(inside).map_err(|error| failed(error.to_string()))?;
        Ok((shown, text))
    };
    let (cert_name, text) = read(cert)?;
    let certs = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certs = certs.map_err(|error| error.to_string()).and_then(|certs| match certs.is_empty() {
        true => Err("there is no certificate in it".to_owned()),
        false => Ok(certs),
    });
    let certs = certs.map_err(|why| ConnectError::failed(&*cert_name, why, "give a certificate in PEM"))?;
    let (key_name, text) = read(key)?;
    let key = PrivateKeyDer::from_pem_slice(&text);
    // What is wrong with a key is told without a word of what is in it.
    let key = key.map_err(|_| {
        ConnectError::failed(&*key_name, "there is no private key in it", "give a key in PEM")
    })?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring offers TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(certs, key);
    let config = config.map_err(|error| {
        ConnectError::failed(&*cert_name, error, format!("give a certificate that belongs to {key_name}"))
    })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
