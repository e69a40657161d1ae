//! Who callers are: what proves it, and whose word is taken for it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{ServerUrl, settings::words};

/// How callers prove who they are. A configuration without it has one caller, [`gatepost_policy::Principal::local`].
#[derive(Clone, Debug)]
pub struct Identity {
    /// Whether keys made with `gatepost keys create` are taken.
    pub api_keys: bool,
    /// Whose tokens are taken, in the order of the configuration. No two have the same `issuer`.
    pub jwt: Vec<JwtIssuer>,
    /// How long a verified credential is believed without looking again, never beyond its own end; zero: not at all.
    pub cache: Duration,
}

impl Identity {
    /// The issuer whose `iss` is exactly this.
    pub fn issuer(&self, issuer: &str) -> Option<&JwtIssuer> {
        self.jwt.iter().find(|known| &*known.issuer == issuer)
    }
}

/// An issuer of JSON Web Tokens (RFC 7519, RFC 9068) that is believed.
#[derive(Clone, Debug)]
pub struct JwtIssuer {
    /// The exact `iss`: an absolute `https` URL, or `http` on a loopback address.
    pub issuer: Arc<str>,
    /// The values of `aud` of which a token must have one. Empty: the URL of the endpoint that is called, made from
    /// `http.public_url`, which then is there.
    pub audience: Vec<Arc<str>>,
    /// Where its keys come from.
    pub keys: IssuerKeys,
    /// The algorithms that its signatures may have: at least one, without repetition.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// The values of `typ` that a token may have, in lower case and without `application/` (RFC 7515 §4.1.9).
    pub types: Vec<Arc<str>>,
    /// Whether a token may have no `typ` at all.
    pub untyped: bool,
    /// How far its clock and this one may be apart, where `exp` and `nbf` are compared.
    pub leeway: Duration,
    /// Where the name of the bearer stands.
    pub subject: Claim,
    /// Where the bearer's groups stand.
    pub groups: Claim,
    /// Where the scopes stand. `None`: in `scope`, or where that is not there, in `scp`.
    pub scopes: Option<Claim>,
    /// Where the bearer's tenant stands; `None`: its tokens name none.
    pub tenant: Option<TenantClaim>,
    /// How old its keys may get before they are asked for again.
    pub refresh: Duration,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub enum IssuerKeys {
    /// From where its metadata says (RFC 8414, or OpenID Connect Discovery 1.0).
    Discovery,
    /// From a JSON Web Key Set at a URL: `https`, or `http` on a loopback address.
    Url(ServerUrl),
    /// From a JSON Web Key Set in a file, as absolute as the configuration's own path was.
    File(PathBuf),
}

/// Where in a token something stands: the names to go through, one for each object inside another. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(pub(crate) Vec<Arc<str>>);

impl Claim {
    /// A claim of the token itself.
    pub fn named(name: &str) -> Self {
        Self(vec![name.into()])
    }

    /// The names, from the outermost.
    pub fn path(&self) -> &[Arc<str>] {
        &self.0
    }
}

/// Where the bearer's tenant stands, and which tenants there are.
#[derive(Clone, Debug)]
pub struct TenantClaim {
    /// Where it stands.
    pub claim: Claim,
    /// The tenants there are: a token without one of them is refused. Never empty.
    pub allow: Vec<Arc<str>>,
}

words! {
    /// An algorithm of a signature that only its maker could have made (RFC 7518 §3.1, RFC 8037).
    pub enum SignatureAlgorithm {
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps256 = "PS256",
        Ps384 = "PS384",
        Ps512 = "PS512",
        Es256 = "ES256",
        Es384 = "ES384",
        EdDsa = "EdDSA",
    }
}
