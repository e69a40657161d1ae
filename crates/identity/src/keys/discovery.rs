//! Where an issuer's metadata lies, and what is believed of it.
//!
//! MCP 2026-07-28 basic/authorization/authorization-server-discovery, "Authorization Server Metadata Discovery", says the
//! places and their order to clients; the gate looks where they look.

use gatepost_outbound::is_loopback;
use gatepost_policy::Printable;
use http::Uri;
use serde_json::Value;

use super::source::KeysError;
use crate::json;

/// The longest text of metadata.
pub(crate) const MAX_BYTES: u64 = 256 * 1024;

/// The places of `issuer`'s metadata, the likeliest first.
pub(crate) fn places(issuer: &str) -> Vec<String> {
    let after = issuer.find("://").map_or(0, |at| at + 3);
    let (origin, path) = issuer.split_at(issuer[after..].find('/').map_or(issuer.len(), |at| after + at));
    // RFC 8414 3.1: a `/` at the end is removed before anything is put in.
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    places
}

/// Where the keys are that the metadata found at `place` speaks of.
pub(crate) fn jwks_uri(text: &[u8], place: &str, issuer: &str) -> Result<String, KeysError> {
    let document = json::object(text).map_err(|error| KeysError::Json {
        place: place.to_owned(),
        reason: error.to_string(),
    })?;
    // RFC 8414 3.3, OpenID Connect Discovery 4.3: identical, or the document MUST NOT be used.
    match document.get("issuer").and_then(Value::as_str) {
        Some(said) if said == issuer => {}
        said => {
            return Err(KeysError::Issuer {
                place: place.to_owned(),
                said: said.map_or_else(|| "nobody".to_owned(), |said| format!("`{}`", Printable(said))),
            });
        }
    }
    let uri = document.get("jwks_uri").and_then(Value::as_str);
    match uri {
        Some(uri) if may_lead_to(issuer, uri) => Ok(uri.to_owned()),
        Some(uri) => Err(KeysError::JwksUri {
            place: place.to_owned(),
            uri: Printable(uri).to_string(),
        }),
        None => Err(KeysError::NoJwksUri {
            place: place.to_owned(),
        }),
    }
}

/// Keys come over TLS, unless issuer and keys are both on this machine. That an issuer out there sends the gate to a plain
/// address of its own machine is an attack.
fn may_lead_to(issuer: &str, uri: &str) -> bool {
    let plain_here = |text: &str| {
        text.parse::<Uri>()
            .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(is_loopback))
    };
    uri.parse::<Uri>()
        .is_ok_and(|uri| uri.scheme_str() == Some("https"))
        || plain_here(uri) && plain_here(issuer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_the_specification_says() {
        assert_eq!(
            places("https://auth.example.com/tenant1"),
            [
                "https://auth.example.com/.well-known/oauth-authorization-server/tenant1",
                "https://auth.example.com/.well-known/openid-configuration/tenant1",
                "https://auth.example.com/tenant1/.well-known/openid-configuration",
            ]
        );
        for issuer in ["https://auth.example.com", "https://auth.example.com/"] {
            assert_eq!(
                places(issuer),
                [
                    "https://auth.example.com/.well-known/oauth-authorization-server",
                    "https://auth.example.com/.well-known/openid-configuration",
                ]
            );
        }
        assert_eq!(
            places("https://a:8443/x/y/")[2],
            "https://a:8443/x/y/.well-known/openid-configuration"
        );
    }

    #[test]
    fn only_the_issuers_own_metadata_is_believed() {
        let check = |issuer: &str, text: &str| {
            jwks_uri(text.as_bytes(), "https://place", issuer).map_err(|error| error.to_string())
        };
        let id = "https://id";
        assert_eq!(
            check(id, r#"{"issuer":"https://id","jwks_uri":"https://keys/x"}"#).unwrap(),
            "https://keys/x"
        );
        for (text, expected) in [
            (
                r#"{"issuer":"https://id/","jwks_uri":"https://k"}"#,
                "`https://id/`",
            ),
            (
                r#"{"issuer":"https://ID","jwks_uri":"https://k"}"#,
                "`https://ID`",
            ),
            (r#"{"jwks_uri":"https://k"}"#, "nobody"),
            (r#"{"issuer":["https://id"],"jwks_uri":"https://k"}"#, "nobody"),
            (r#"{"issuer":"https://id"}"#, "jwks_uri"),
            (r#"{"issuer":"https://id","jwks_uri":"http://k"}"#, "http://k"),
            (
                r#"{"issuer":"https://id","jwks_uri":"http://127.0.0.1/k"}"#,
                "http://127.0.0.1/k",
            ),
            (
                r#"{"issuer":"https://id","jwks_uri":"file:///etc/passwd"}"#,
                "file:",
            ),
            (
                r#"{"issuer":"https://evil","issuer":"https://id","jwks_uri":"https://k"}"#,
                "twice",
            ),
            ("<html>", "did not answer with metadata"),
        ] {
            let error = check(id, text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let here = "http://127.0.0.1:9/";
        let text = |uri: &str| format!(r#"{{"issuer":"{here}","jwks_uri":"{uri}"}}"#);
        assert!(check(here, &text("http://[::1]:9/k")).is_ok());
        assert!(check(here, &text("https://keys/k")).is_ok());
        assert!(check(here, &text("http://10.0.0.1/k")).is_err());
    }
}
