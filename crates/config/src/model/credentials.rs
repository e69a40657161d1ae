//! What the gate presents to servers.

use crate::{Secret, ServerUrl, Text};

/// A way to be let in by a server that is reached over HTTP. A server has a list of them: the first that there is something
/// to present for, is presented.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The caller's own token, if it is meant for this audience too.
    PassThrough {
        /// The value of `aud` that the token must have: an absolute URL with the origin of the server's own.
        audience: String,
    },
    /// What `gatepost credentials set` has stored for the caller and this server, as a bearer token.
    Principal,
    /// A token that the gate gets for itself (RFC 6749 §4.4).
    ClientCredentials(ClientCredentials),
    /// Headers.
    Header(Vec<(http::HeaderName, Secret)>),
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    Bearer(Secret),
    /// `Authorization: Basic` (RFC 7617).
    Basic {
        /// The user; without a colon.
        username: Text,
        /// The password.
        password: Secret,
    },
}

/// How the gate gets a token for itself.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// Where tokens are asked for: `https`, or `http` on a loopback address.
    pub token_url: ServerUrl,
    /// The gate's name there.
    pub client_id: Text,
    /// The gate's secret there.
    pub client_secret: Secret,
    /// The scopes to ask for; empty: whatever the issuer gives.
    pub scopes: Vec<String>,
    /// The `audience` to ask for, with issuers that want one.
    pub audience: Option<String>,
    /// The `resource` to ask for (RFC 8707), with issuers that want one.
    pub resource: Option<String>,
}
