//! A signed JSON Web Token (RFC 7519, RFC 7515 compact form), from text to what it says.
//!
//! Before its signature is known to be good only what is needed to check it is read: the header and `iss`. Everything that
//! a header can say of where its own key is (`jwk`, `jku`, `x5u`, `x5c`) is not even looked at.

mod claims;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatepost_config::{JwtIssuer, SignatureAlgorithm as Algorithm};
use gatepost_policy::Printable;
use serde_json::{Map, Value};

pub(crate) use claims::read;

use crate::{
    json,
    keys::{Key, LONGEST_KID, algorithm},
    refusal::Refusal,
};

/// The longest header, decoded.
const LONGEST_HEADER: usize = 4 * 1024;

/// A token whose signature nobody has checked yet.
pub(crate) struct Unverified<'a> {
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
    header: Header,
    issuer: String,
}

struct Header {
    algorithm: Algorithm,
    /// In lower case, without `application/`.
    typ: Option<String>,
    kid: Option<String>,
}

/// The claims of a token whose signature is good.
pub(crate) struct Signed(pub(crate) Map<String, Value>);

impl<'a> Unverified<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Refusal> {
        let parts: Vec<_> = text.splitn(4, '.').collect();
        let &[header, payload, signature] = &parts[..] else {
            return Err(malformed(match parts.len() {
                1 => "a bearer token that is neither an API key nor a JWT",
                _ => "a bearer token that is no JWT: it has not three parts",
            }));
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let (Some(header), Some(payload), Some(signature)) =
            (decode(header), decode(payload), decode(signature))
        else {
            return Err(malformed("a part of the token is not base64url"));
        };
        let header = Header::parse(&header)?;
        let issuer = json::member(&payload, "iss")
            .map_err(|error| malformed(format!("its claims: {error}")))?
            .ok_or_else(|| malformed("it has no `iss`"))?;
        let signed = &text[..text.rfind('.').unwrap_or_default()];
        Ok(Self {
            signed,
            payload,
            signature,
            header,
            issuer,
        })
    }

    /// Who it says has issued it.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.header.algorithm
    }

    /// Whether its header is one that `settings` allow.
    pub(crate) fn admit(&self, settings: &JwtIssuer) -> Result<(), Refusal> {
        if !settings.algorithms.contains(&self.header.algorithm) {
            return Err(Refusal::invalid(
                format!(
                    "{} is none of the algorithms allowed for {}",
                    self.header.algorithm.as_str(),
                    self.issuer
                ),
                "the token is signed in a way that is not accepted here",
            ));
        }
        let admitted = match &self.header.typ {
            None => settings.untyped,
            Some(typ) => settings.types.iter().any(|allowed| **allowed == **typ),
        };
        if !admitted {
            return Err(Refusal::invalid(
                match &self.header.typ {
                    None => "it has no `typ`".to_owned(),
                    Some(typ) => format!("its `typ` is `{}`", Printable(typ)),
                },
                "the token is of a type that is not accepted here: send an access token",
            ));
        }
        Ok(())
    }

    /// Its claims, if one of `keys` has signed it, and that key.
    pub(crate) fn verify<'k, K: AsRef<Key>>(&self, keys: &'k [K]) -> Result<(Signed, &'k K), Refusal> {
        let by = keys.iter().find(|key| {
            key.as_ref()
                .has_signed(self.header.algorithm, self.signed.as_bytes(), &self.signature)
        });
        let Some(by) = by else {
            return Err(Refusal::invalid("its signature is wrong", NOT_ACCEPTED));
        };
        let claims =
            json::object(&self.payload).map_err(|error| malformed(format!("its claims: {error}")))?;
        Ok((Signed(claims), by))
    }
}

/// What a client hears where more would help whoever makes tokens up.
pub(crate) const NOT_ACCEPTED: &str =
    "the token is not accepted here: get a new one from an issuer of this gate";

fn malformed(reason: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::invalid(
        reason,
        "the bearer token is neither an API key of this gate nor a JSON Web Token that can be read",
    )
}

// === impl Header ===

impl Header {
    fn parse(text: &[u8]) -> Result<Self, Refusal> {
        if text.len() > LONGEST_HEADER {
            return Err(malformed(format!("its header has {} bytes", text.len())));
        }
        let header = json::object(text).map_err(|error| malformed(format!("its header: {error}")))?;
        let member = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(malformed(format!("`{name}` of its header is no text"))),
        };
        // RFC 7515 4.1.11: what must be understood and is not makes a token invalid. Nothing of the kind is understood, not
        // even `b64` (RFC 7797), which changes what the signature is made of.
        for name in ["crit", "b64"] {
            if header.contains_key(name) {
                return Err(malformed(format!("its header has `{name}`")));
            }
        }
        let name = member("alg")?.ok_or_else(|| malformed("its header has no `alg`"))?;
        let algorithm = algorithm(name).ok_or_else(|| {
            Refusal::invalid(
                format!("its algorithm is `{}`", Printable(name)),
                "the token is signed in a way that is not accepted here",
            )
        })?;
        let kid = member("kid")?;
        if kid.is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(malformed("`kid` of its header is too long"));
        }
        let typ = member("typ")?.map(|typ| {
            let typ = typ.to_ascii_lowercase();
            // RFC 7515 4.1.9: it may be left out.
            typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ)
        });
        Ok(Self {
            algorithm,
            typ,
            kid: kid.map(str::to_owned),
        })
    }
}
