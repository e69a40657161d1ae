//! What the gate presents to servers.

use http::header::AUTHORIZATION;

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

impl Credential {
    /// What it is called in the configuration.
    pub fn key(&self) -> &'static str {
        match self {
            Self::PassThrough { .. } => "pass_through",
            Self::Principal => "principal",
            Self::ClientCredentials(_) => "client_credentials",
            Self::Header(_) => "header",
            Self::Bearer(_) => "bearer",
            Self::Basic { .. } => "basic",
        }
    }

    /// Whether there is something to present whoever calls, so that none after it is ever tried.
    pub(crate) fn is_always_there(&self) -> bool {
        !matches!(self, Self::PassThrough { .. } | Self::Principal)
    }

    /// The headers that it is presented in.
    pub fn headers(&self) -> impl Iterator<Item = &http::HeaderName> {
        let (own, authorization) = match self {
            Self::Header(headers) => (&headers[..], None),
            _ => (&[][..], Some(&AUTHORIZATION)),
        };
        own.iter().map(|(name, _)| name).chain(authorization)
    }
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
