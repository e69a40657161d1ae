//! What all servers of a configuration have in common.

use std::sync::Arc;

use bytes::Bytes;
use gatepost_config::{Config, Credential, ServerKind, ServerUrl};
use gatepost_outbound::{system, trusting};
use gatepost_process::Supervisor;
use rustls::{ClientConfig, RootCertStore};

use super::{
    asking::Clients,
    credential::{SecretUse, StoredTokens},
};

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
    /// What principals have stored for servers.
    pub(crate) stored: Option<Arc<dyn StoredTokens>>,
    /// Who hears of every use of a secret.
    pub(crate) uses: Option<Arc<dyn SecretUse>>,
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
            ServerKind::Url { url, .. } => is_secure(url) || server.credentials.iter().any(asks_securely),
            ServerKind::Module { .. } | ServerKind::Command { .. } => false,
        });
        Ok(Self {
            tls: if needs_roots {
                system()?
            } else {
                trusting(RootCertStore::empty())?
            },
            supervisor,
            max_response: config.http.max_response.0,
            info: own_info(),
            clients: Some(clients),
            stored: None,
            uses: None,
        })
    }
}

fn is_secure(url: &ServerUrl) -> bool {
    url.uri().scheme_str() == Some("https")
}

fn asks_securely(credential: &Credential) -> bool {
    matches!(credential, Credential::ClientCredentials(settings) if is_secure(&settings.token_url))
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
