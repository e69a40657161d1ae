//! Which credential a request presents.
//!
//! Exactly one is looked at. Two are a mistake of the client at best, and at worst an attempt to have one checked and the
//! other one used, so they are refused whatever they are.

use gatepost_store::KEY_PREFIX;
use http::{HeaderMap, HeaderName, header};

use crate::refusal::{Refusal, Ruling};

/// The longest credential that is looked at.
pub(crate) const LONGEST: usize = 16 * 1024;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The one credential of a request. Neither `Debug` nor `Display`: it must not print.
#[derive(Clone, Copy)]
pub(crate) enum Presented<'a> {
    /// Begins with [`KEY_PREFIX`]: never taken for a token, and never sent to anybody.
    ApiKey(&'a str),
    /// Anything else that came as a bearer token.
    Bearer(&'a str),
}

impl<'a> Presented<'a> {
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
            (Some(value), None) | (None, Some(value)) => value,
        };
        if value.len() > LONGEST + "Bearer ".len() {
            return Err(Refusal::invalid(
                format!("a credential of {} bytes", value.len()),
                "the credential is longer than any that is issued",
            ));
        }
        let text = value.to_str().map_err(|_| malformed())?;
        if key.is_some() {
            return match text {
                key if key.starts_with(KEY_PREFIX) && is_token68(key) => Ok(Self::ApiKey(key)),
                _ => Err(Refusal::invalid(
                    "X-API-Key holds something that is no API key",
                    "what X-API-Key holds is no API key of this gate",
                )),
            };
        }
        // RFC 9110 11.4: the scheme is case-insensitive, at least one space follows.
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::of(
                Ruling::Invalid,
                "Authorization has another scheme than Bearer",
                "the scheme of Authorization must be Bearer",
            ));
        }
        match rest.trim_start_matches(' ') {
            token if !is_token68(token) => Err(malformed()),
            key if key.starts_with(KEY_PREFIX) => Ok(Self::ApiKey(key)),
            token => Ok(Self::Bearer(token)),
        }
    }

    /// The credential itself.
    pub(crate) fn expose(&self) -> &'a str {
        match self {
            Self::ApiKey(text) | Self::Bearer(text) => text,
        }
    }
}

fn malformed() -> Refusal {
    Refusal::invalid(
        "the credential has characters that none has",
        "the credential is malformed: send `Authorization: Bearer`, a space, and the token as it was issued",
    )
}

/// RFC 9110 11.2, `token68`.
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
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
            assert_eq!(presented.expose(), expected);
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
            let Err(refusal) = Presented::of(&headers) else {
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
