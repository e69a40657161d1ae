//! What all servers of a configuration have in common.

use std::sync::Arc;

use bytes::Bytes;
use gatepost_config::{Config, ServerKind};
use gatepost_process::Supervisor;
use rustls::{ClientConfig, RootCertStore};

use super::asking::Clients;

/// What servers need besides their own configuration; made once.
#[derive(Clone)]
pub(crate) struct Context {
    /// For `https` servers.
    pub(crate) tls: Arc<ClientConfig>,
    /// Under which processes run.
    pub(crate) supervisor: Supervisor,
    /// `http.max_response`, in bytes.
    pub(crate) max_response: u64,
    /// The gate's own `clientInfo`, a raw JSON object.
    pub(crate) info: Bytes,
    /// The clients that can be asked outside a call.
    pub(crate) clients: Option<Arc<dyn Clients>>,
}

/// Why the gate cannot talk to servers at all.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Context {
    /// For the servers of `config`. Trusts what the operating system trusts.
    pub(crate) fn new(
        config: &Config,
        supervisor: Supervisor,
        clients: Arc<dyn Clients>,
    ) -> Result<Self, ContextError> {
        // Reading the system's certificates opens some 150 files: longer than all the rest of a start takes.
        let needs_roots = config.servers.iter().any(|server| match &server.kind {
            ServerKind::Url { url, .. } => url.uri().scheme_str() == Some("https"),
            ServerKind::Module { .. } | ServerKind::Command { .. } => false,
        });
        Ok(Self {
            tls: trusting(if needs_roots {
                system_roots()
            } else {
                RootCertStore::empty()
            })?,
            supervisor,
            max_response: config.http.max_response.0,
            info: own_info(),
            clients: Some(clients),
        })
    }
}

/// The gate's own `clientInfo`.
pub(crate) fn own_info() -> Bytes {
    Bytes::from_static(
        concat!(
            r#"{"name":"gatepost","title":"Gatepost","version":""#,
            env!("CARGO_PKG_VERSION"),
            r#""}"#
        )
        .as_bytes(),
    )
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
pub(crate) fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
