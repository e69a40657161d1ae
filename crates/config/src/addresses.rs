//! How addresses, URLs, hosts and origins are read, and what is said when they cannot be.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use serde_json::{Value as Json, json};

use crate::{
    HostName, Listen, Origin, ServerUrl, listen,
    reader::{Findings, Setting, or_expansion},
    tree::{Node, Value},
    values::{beside, parsed, shown, spelled},
};

impl Setting for Listen {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let text = spelled(node, path, findings, "an address", "`127.0.0.1:8080`")?;
        let parsed = text.text.parse::<Self>();
        match parsed {
            Ok(Self::Unix(socket)) => Some(Self::Unix(match socket.to_str() {
                Some(socket) => beside(&node.place, socket),
                None => socket,
            })),
            Ok(tcp) => Some(tcp),
            Err(error) => {
                findings.problem(
                    &node.place,
                    path,
                    format!("{} {}", shown(&text), error),
                    listen::remedy(error),
                );
                None
            }
        }
    }

    fn schema() -> Json {
        or_expansion(&json!({ "type": "string", "pattern": "^(unix:.+|.+:[0-9]+)$" }))
    }
}

/// An absolute http(s) URL without a user, or what is wrong with it. The messages never repeat the URL.
pub(crate) fn absolute_url(text: &str) -> Result<http::Uri, (String, String)> {
    let wrong = |message: &str, remedy: &str| Err((message.to_owned(), remedy.to_owned()));
    // The parser drops a fragment silently.
    if text.contains('#') {
        return wrong(
            "has a fragment, which is never sent",
            "remove `#` and what follows",
        );
    }
    let Ok(uri) = http::Uri::from_str(text) else {
        return wrong(
            "is no URL",
            "write it like `https://host/mcp`, special characters percent-encoded",
        );
    };
    let Some(authority) = uri
        .authority()
        .filter(|_| matches!(uri.scheme_str(), Some("http" | "https")))
    else {
        return wrong(
            "is no absolute http or https URL",
            "write it like `https://host/mcp`",
        );
    };
    if authority.as_str().contains('@') {
        return wrong(
            "holds a user",
            "remove it; where it is needed, a header can say it",
        );
    }
    if authority.host().is_empty() {
        return wrong("has no host", "write it like `https://host/mcp`");
    }
    if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none() {
        return wrong("has no valid port", "write a port between 1 and 65535, or none");
    }
    Ok(uri)
}

impl Setting for http::Uri {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let text = spelled(node, path, findings, "a URL", "`https://host`")?;
        let url = absolute_url(&text.text);
        url.map_err(|(message, remedy)| findings.problem(&node.place, path, message, remedy))
            .ok()
    }

    fn schema() -> Json {
        or_expansion(&json!({ "type": "string", "pattern": "^https?://" }))
    }
}

impl Setting for ServerUrl {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let uri = http::Uri::read(node, path, findings)?;
        let hidden = matches!(&node.value, Value::Text(text) if text.expanded);
        Some(Self { uri, hidden })
    }

    fn schema() -> Json {
        http::Uri::schema()
    }
}

/// A URL that secrets and keys may travel to: `https`, or `http` on this machine.
#[derive(Clone, Debug)]
pub(crate) struct SecureUrl(pub(crate) ServerUrl);

impl Setting for SecureUrl {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let url = ServerUrl::read(node, path, findings)?;
        if !is_secure(&url.uri) {
            findings.problem(&node.place, path, NOT_SECURE, "write an `https` URL");
            return None;
        }
        Some(Self(url))
    }

    fn schema() -> Json {
        ServerUrl::schema()
    }
}

const NOT_SECURE: &str = "is plain http to another machine, where anybody on the way could answer";

fn is_secure(url: &http::Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    url.scheme_str() == Some("https")
        || host.eq_ignore_ascii_case("localhost")
        || bare
            .parse()
            .is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

/// The URL of an issuer, kept as it is written, since `iss` must be the same to the letter.
///
/// RFC 8414 §2: `https`, without query and fragment.
#[derive(Clone, Debug)]
pub(crate) struct IssuerUrl(pub(crate) Arc<str>);

impl Setting for IssuerUrl {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let text = spelled(node, path, findings, "a URL", "`https://id.example.com`")?.text;
        let checked = absolute_url(&text).and_then(|url| {
            let wrong = |message: &str, remedy: &str| Err((message.to_owned(), remedy.to_owned()));
            if url.query().is_some() {
                return wrong("has a query, which no issuer has", "remove `?` and what follows");
            }
            if !is_secure(&url) {
                return wrong(NOT_SECURE, "write an `https` URL");
            }
            Ok(())
        });
        match checked {
            Ok(()) => Some(Self(text.into())),
            Err((message, remedy)) => {
                findings.problem(&node.place, path, message, remedy);
                None
            }
        }
    }

    fn schema() -> Json {
        http::Uri::schema()
    }
}

impl Setting for HostName {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        parsed(
            node,
            path,
            findings,
            ("a host name", "`gate.example.com`"),
            |text| {
                let remedy =
                    || "write a name or address, with a port or without, such as `gate.example.com:8443`";
                let authority = http::uri::Authority::from_str(text)
                    .map_err(|_| ("is no host name".to_owned(), remedy().to_owned()))?;
                if text.contains(['@', '*']) || authority.host().is_empty() {
                    return Err(("is no single host name".to_owned(), remedy().to_owned()));
                }
                Ok(Self(text.to_ascii_lowercase().into()))
            },
        )
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[^/@*]+$" })
    }
}

impl Setting for Origin {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        parsed(
            node,
            path,
            findings,
            ("an origin", "`https://app.example.com`"),
            |text| {
                let remedy = "write scheme and host, and the port where it is not the usual one, such as \
                          `https://app.example.com`";
                if text == "null" || text == "*" {
                    return Err(("would let any web page in".to_owned(), remedy.to_owned()));
                }
                let origin = match text.split_once("://") {
                    Some((scheme, authority)) => {
                        let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                            && scheme
                                .chars()
                                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                        scheme_fits
                            && http::uri::Authority::from_str(authority).is_ok()
                            && !authority.contains(['@', '*'])
                    }
                    None => false,
                };
                if !origin {
                    return Err(("is no origin".to_owned(), remedy.to_owned()));
                }
                Ok(Self(text.to_ascii_lowercase().into()))
            },
        )
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*://[^/@*]+$" })
    }
}
