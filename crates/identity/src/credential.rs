//! Which credential a request presents.
//!
//! Exactly one is looked at. Two are a mistake of the client at best, and at worst an attempt to have one checked and the
//! other one used, so they are refused whatever they are.

use gatepost_store::KEY_PREFIX;
use http::{HeaderMap, HeaderName, header};

use crate::refusal::Refusal;

/// The longest credential that is looked at.
pub(crate) const LONGEST: usize = 16 * 1024;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The one credential of a request, as it came. Neither `Debug` nor `Display`: it must not print.
#[derive(Clone, Copy)]
pub(crate) enum Presented<'a> {
    /// Begins with [`KEY_PREFIX`]: never taken for a token, and never sent to anybody.
    ApiKey(&'a [u8]),
    /// Anything else that came as a bearer token.
    Bearer(&'a [u8]),
}

impl<'a> Presented<'a> {
    /// Finds it, and looks at no more of it than its beginning: most are known already.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let one = |name: &HeaderName| {
            let mut all = headers.get_all(name).iter();
            (all.next(), all.next().is_some())
        };
        let (authorization, several) = one(&header::AUTHORIZATION);
        let (key, several_keys) = one(&X_API_KEY);
        let value = match (authorization, key) {
            (None, None) => return Err(Refusal::missing()),
            (Some(_), Some(_)) => return Err(Refusal::ambiguous("both Authorization and X-API-Key")),
            _ if several => return Err(Refusal::ambiguous("several Authorization fields")),
            _ if several_keys => return Err(Refusal::ambiguous("several X-API-Key fields")),
            (Some(value), None) | (None, Some(value)) => value.as_bytes(),
        };
        if value.len() > LONGEST + "Bearer ".len() {
            return Err(Refusal::invalid(
                format!("a credential of {} bytes", value.len()),
                "the credential is longer than any that is issued",
            ));
        }
        let is_key = |credential: &[u8]| credential.starts_with(KEY_PREFIX.as_bytes());
        if key.is_some() {
            return if is_key(value) {
                Ok(Self::ApiKey(value))
            } else {
                Err(Refusal::invalid(
                    "X-API-Key holds something that is no API key",
                    "what X-API-Key holds is no API key of this gate",
                ))
            };
        }
        // RFC 9110 11.4: the scheme is case-insensitive, at least one space follows.
        let space = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, rest) = value.split_at(space);
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Err(Refusal::invalid(
                "Authorization has another scheme than Bearer",
                "the scheme of Authorization must be Bearer",
            ));
        }
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        let credential = &rest[spaces..];
        Ok(if is_key(credential) {
            Self::ApiKey(credential)
        } else {
            Self::Bearer(credential)
        })
    }

    /// As it came.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self {
            Self::ApiKey(bytes) | Self::Bearer(bytes) => bytes,
        }
    }

    /// The credential itself, if it has only such characters as credentials have (RFC 9110 11.2, `token68`).
    pub(crate) fn expose(&self) -> Result<&'a str, Refusal> {
        let bytes = self.bytes();
        let end = bytes
            .iter()
            .rposition(|byte| *byte != b'=')
            .map_or(0, |last| last + 1);
        let fits = end > 0
            && bytes[..end]
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte));
        match std::str::from_utf8(bytes) {
            Ok(text) if fits => Ok(text),
            Ok(_) | Err(_) => Err(Refusal::invalid(
                "the credential has characters that none has",
                "the credential is malformed: send `Authorization: Bearer`, a space, and the token as it was issued",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn one_credential_is_taken() {
        for (fields, expected, is_key) in [
            (&[("authorization", "Bearer a.b.c")][..], "a.b.c", false),
            (&[("authorization", "bearer a.b.c")], "a.b.c", false),
            (&[("authorization", "BEARER   a~+/-_9==")], "a~+/-_9==", false),
            (&[("authorization", "Bearer gp_x_y")], "gp_x_y", true),
            (&[("x-api-key", "gp_x_y")], "gp_x_y", true),
        ] {
            let headers = headers(fields);
            let Ok(presented) = Presented::of(&headers) else {
                panic!("{fields:?} is refused")
            };
            assert_eq!(presented.expose().unwrap(), expected);
            assert_eq!(matches!(presented, Presented::ApiKey(_)), is_key, "{expected}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("Bearer {}", "x".repeat(LONGEST + 1));
        for (fields, status) in [
            (&[][..], 401),
            (
                &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
                400,
            ),
            (&[("authorization", "Bearer a"), ("x-api-key", "gp_a")], 400),
            (&[("authorization", "Bearer gp_a"), ("x-api-key", "gp_a")], 400),
            (&[("authorization", "Basic a"), ("x-api-key", "gp_a")], 400),
            (&[("authorization", "Bearer a"), ("x-api-key", "")], 400),
            (&[("x-api-key", "gp_a"), ("x-api-key", "gp_a")], 400),
            (&[("authorization", "Basic YTpi")], 401),
            (&[("authorization", "DPoP a.b.c")], 401),
            (&[("authorization", "")], 401),
            (&[("authorization", "Bearer")], 401),
            (&[("authorization", "Bearer ")], 401),
            (&[("authorization", "Bearer a b")], 401),
            (&[("authorization", "Bearer a, Bearer b")], 401),
            (&[("authorization", "Bearer a\tb")], 401),
            (&[("authorization", "Bearer\ta")], 401),
            (&[("authorization", "Bearer \ta")], 401),
            (&[("authorization", "Bearer a\u{e9}")], 401),
            (&[("authorization", "Bearer \"a\"")], 401),
            (&[("authorization", "Bearer =")], 401),
            (&[("authorization", "Bearer a=b")], 401),
            (&[("authorization", long.as_str())], 401),
            (&[("x-api-key", "a.b.c")], 401),
            (&[("x-api-key", "Bearer gp_a")], 401),
            (&[("x-api-key", "gp_a ")], 401),
            (&[("x-api-key", "")], 401),
        ] {
            let headers = headers(fields);
            let Err(refusal) = Presented::of(&headers).and_then(|presented| presented.expose()) else {
                panic!("{fields:?} is taken")
            };
            assert_eq!(
                refusal.status(),
                StatusCode::from_u16(status).unwrap(),
                "{fields:?}"
            );
        }
    }
}
