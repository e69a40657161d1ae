//! Whom the gate believes when it connects to others over TLS.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use rustls::{CertificateError, ClientConfig, InvalidMessage, RootCertStore};

/// A TLS client that trusts what the operating system trusts and speaks HTTP/1.1.
///
/// The certificates are read when this is called for the first time in a process and never again: they are some 150
/// files, which takes longer than all the rest of a start.
///
/// # Errors
///
/// When the TLS library refuses its own defaults.
pub fn system() -> Result<Arc<ClientConfig>, rustls::Error> {
    static SYSTEM: OnceLock<Result<Arc<ClientConfig>, rustls::Error>> = OnceLock::new();
    SYSTEM.get_or_init(|| trusting(system_roots())).clone()
}

/// The operating system's certificates. None at all is no error here: only an `https` server needs them, and its
/// handshake then says that its issuer is unknown.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's certificates cannot be read");
    }
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::debug!(ignored, "certificates of the system that cannot be parsed");
    }
    roots
}

/// A TLS client that trusts `roots` and speaks HTTP/1.1.
///
/// # Errors
///
/// When the TLS library refuses its own defaults.
pub fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What to do about a handshake that failed, where the reason is a usual one and its words are for experts.
pub(crate) fn hint(error: &io::Error) -> &'static str {
    match error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "; it does not answer in TLS, so perhaps its URL begins with `http://`"
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "; this system does not know who signed its certificate: add that authority to the system's, or name a file with it in \
             the environment variable SSL_CERT_FILE"
        }
        _ => "",
    }
}
