//! What an endpoint tells clients of itself, so that they find whom to ask for a token (RFC 9728), and which tokens are for
//! it (RFC 8707).
//!
//! MCP 2026-07-28 basic/authorization/authorization-server-discovery, "Protected Resource Metadata Discovery Requirements":
//! the URL of the metadata stands in the challenge of every 401, and the metadata also lies at the well-known place of the
//! endpoint's path. Each endpoint is a resource of its own: a token for one is none for another.

use std::{fmt::Write, sync::Arc};

use http::{HeaderValue, Uri};
use serde_json::{Value, json};

use crate::refusal::Refusal;

/// Where metadata lies, before the path of the endpoint (RFC 9728 §3).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// An endpoint, as clients and issuers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its URL, the audience of tokens for it; `None` where nobody has said what clients see.
    url: Option<Arc<str>>,
    /// Where its metadata lies; `None` too where there is no issuer to be found there.
    metadata_url: Option<Arc<str>>,
    issuers: Arc<[Arc<str>]>,
    scopes: Arc<[Arc<str>]>,
}

impl Resource {
    /// The endpoint at `path`, which is `/mcp` or begins so, of a gate whose clients see `public_url`, where tokens of
    /// `issuers` are taken. `scopes` are those that somebody needs to see anything at all there.
    pub fn new(
        public_url: Option<&Uri>,
        path: &str,
        issuers: impl Into<Arc<[Arc<str>]>>,
        scopes: impl Into<Arc<[Arc<str>]>>,
    ) -> Self {
        let issuers = issuers.into();
        let base = public_url.and_then(|url| {
            let (scheme, authority) = (url.scheme_str()?, url.authority()?);
            Some((
                format!("{scheme}://{authority}"),
                url.path().trim_end_matches('/').to_owned(),
            ))
        });
        let (url, metadata_url) = match base {
            Some((origin, prefix)) => (
                Some(format!("{origin}{prefix}{path}").into()),
                Some(format!("{origin}{WELL_KNOWN}{prefix}{path}").into()),
            ),
            None => (None, None),
        };
        Self {
            url,
            metadata_url: metadata_url.filter(|_| !issuers.is_empty()),
            issuers,
            // 2026-07-28 basic/authorization, "Refresh Tokens": servers SHOULD NOT include `offline_access`.
            scopes: scopes
                .into()
                .iter()
                .filter(|scope| &***scope != "offline_access" && is_scope(scope))
                .cloned()
                .collect(),
        }
    }

    /// Its URL.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// Where its metadata lies.
    pub fn metadata_url(&self) -> Option<&str> {
        self.metadata_url.as_deref()
    }

    /// The metadata (RFC 9728 §2); `None` where there is none, which is a 404.
    pub fn metadata(&self) -> Option<Value> {
        self.metadata_url.as_ref()?;
        let mut document = json!({
            "resource": self.url,
            "authorization_servers": self.issuers,
            "bearer_methods_supported": ["header"],
            "resource_name": "Gatepost",
        });
        if !self.scopes.is_empty() {
            document["scopes_supported"] = json!(self.scopes);
        }
        Some(document)
    }

    /// Whether one of a token's audiences is this resource.
    pub(crate) fn is_among(&self, audiences: &[Box<str>]) -> bool {
        self.url
            .as_deref()
            .is_some_and(|url| audiences.iter().any(|audience| is_same(audience, url)))
    }

    /// `WWW-Authenticate` of a refusal; `None` where asking for another credential would not help.
    ///
    /// 2026-07-28 basic/authorization, "Scope Selection Strategy": `scope` says which are needed, where that is known.
    pub fn challenge(&self, refusal: &Refusal) -> Option<HeaderValue> {
        if refusal.retry_after().is_some() {
            return None;
        }
        let mut challenge = self.begin();
        if let Some(code) = refusal.code() {
            push(&mut challenge, "error", code);
            push(&mut challenge, "error_description", refusal.message());
        }
        if !self.scopes.is_empty() {
            push(&mut challenge, "scope", &self.scopes.join(" "));
        }
        HeaderValue::try_from(challenge).ok()
    }

    /// `WWW-Authenticate` of a 403: the token is good, but it lacks some of `scopes`, which are all that the request needs.
    ///
    /// 2026-07-28 basic/authorization, "Runtime Insufficient Scope Errors": all of them in one challenge, so that one round
    /// is enough.
    pub fn insufficient_scope<'a>(&self, scopes: impl IntoIterator<Item = &'a str>) -> HeaderValue {
        let scopes: Vec<_> = scopes.into_iter().filter(|scope| is_scope(scope)).collect();
        let mut challenge = self.begin();
        push(&mut challenge, "error", "insufficient_scope");
        push(&mut challenge, "scope", &scopes.join(" "));
        push(
            &mut challenge,
            "error_description",
            "the token lacks scopes that this needs: ask its issuer for one with all of them",
        );
        HeaderValue::try_from(challenge)
            .unwrap_or_else(|_| HeaderValue::from_static("Bearer realm=\"gatepost\""))
    }

    fn begin(&self) -> String {
        let mut challenge = "Bearer".to_owned();
        match &self.metadata_url {
            Some(url) => push(&mut challenge, "resource_metadata", url),
            // RFC 6750 3: at least one parameter.
            None => push(&mut challenge, "realm", "gatepost"),
        }
        challenge
    }
}

/// The endpoint whose metadata lies at `path`, as the path of the endpoint: `/mcp/x` for
/// `/.well-known/oauth-protected-resource/mcp/x`. `public_url` is what clients see.
pub fn endpoint_of<'a>(path: &'a str, public_url: Option<&Uri>) -> Option<&'a str> {
    let rest = path.strip_prefix(WELL_KNOWN)?;
    let prefix = public_url.map_or("", |url| url.path().trim_end_matches('/'));
    // A proxy that takes the prefix off the paths of endpoints may do so here too.
    [rest.strip_prefix(prefix), Some(rest)]
        .into_iter()
        .flatten()
        .find(|rest| *rest == "/mcp" || rest.starts_with("/mcp/"))
}

/// Adds a parameter. RFC 6750 3 allows `%x20-21 / %x23-5B / %x5D-7E` in its values: anything else becomes an apostrophe.
fn push(challenge: &mut String, name: &str, value: &str) {
    challenge.push_str(if challenge.contains('=') { ", " } else { " " });
    // Writing to a string does not fail.
    let _ = write!(challenge, "{name}=\"");
    challenge.extend(value.chars().map(|character| match character {
        '"' | '\\' => '\'',
        ' '..='~' => character,
        _ => '\'',
    }));
    challenge.push('"');
}

/// RFC 6749 3.3, `scope-token`.
fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope
            .bytes()
            .all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'))
}

/// Whether two URLs are the same but for the case of scheme and host (2026-07-28 basic/authorization, "Canonical Server
/// URI": uppercase SHOULD be accepted there) and a slash at the end.
fn is_same(audience: &str, url: &str) -> bool {
    if audience == url {
        return true;
    }
    let origin_of = |text: &str| {
        let after = text.find("://").map_or(0, |at| at + 3);
        text[after..].find('/').map_or(text.len(), |at| after + at)
    };
    let (theirs, ours) = (
        audience.split_at(origin_of(audience)),
        url.split_at(origin_of(url)),
    );
    theirs.0.eq_ignore_ascii_case(ours.0)
        && theirs.1.strip_suffix('/').unwrap_or(theirs.1) == ours.1.strip_suffix('/').unwrap_or(ours.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ruling;

    const GATE: &str = "https://gate.example.com";

    fn at(public_url: Option<&str>, path: &str, issuers: &[&str], scopes: &[&str]) -> Resource {
        let shared = |texts: &[&str]| texts.iter().map(|text| Arc::from(*text)).collect::<Vec<_>>();
        let public_url = public_url.map(|url| url.parse().unwrap());
        Resource::new(public_url.as_ref(), path, shared(issuers), shared(scopes))
    }

    fn invalid() -> Refusal {
        Refusal::invalid("secret reason", "the \"token\" has\nexpired")
    }

    #[test]
    fn an_endpoint_has_metadata_of_its_own() {
        let resource = at(
            Some(GATE),
            "/mcp/crm",
            &["https://id", "https://other"],
            &["a", "offline_access", "b c", "d"],
        );
        assert_eq!(resource.url(), Some("https://gate.example.com/mcp/crm"));
        assert_eq!(
            resource.metadata_url(),
            Some("https://gate.example.com/.well-known/oauth-protected-resource/mcp/crm")
        );
        assert_eq!(
            resource.metadata().unwrap(),
            json!({
                "resource": "https://gate.example.com/mcp/crm",
                "authorization_servers": ["https://id", "https://other"],
                "bearer_methods_supported": ["header"],
                "resource_name": "Gatepost",
                "scopes_supported": ["a", "d"],
            })
        );
        let below = at(Some("https://x/gate/"), "/mcp", &["https://id"], &[]);
        assert_eq!(below.url(), Some("https://x/gate/mcp"));
        assert_eq!(
            below.metadata_url(),
            Some("https://x/.well-known/oauth-protected-resource/gate/mcp")
        );
        assert_eq!(below.metadata().unwrap().get("scopes_supported"), None);
        // Nothing to be found there.
        assert_eq!(at(Some(GATE), "/mcp", &[], &[]).metadata(), None);
        assert_eq!(at(None, "/mcp", &["https://id"], &[]).metadata(), None);
    }

    #[test]
    fn the_place_of_metadata_names_the_endpoint() {
        let check = |path, public_url: Option<&str>, expected: Option<&str>| {
            let public_url = public_url.map(|url| url.parse().unwrap());
            assert_eq!(endpoint_of(path, public_url.as_ref()), expected, "{path}");
        };
        let place = |rest: &str| -> &'static str { format!("{WELL_KNOWN}{rest}").leak() };
        check(place("/mcp"), None, Some("/mcp"));
        check(place("/mcp/crm"), Some(GATE), Some("/mcp/crm"));
        check(place("/gate/mcp/crm"), Some("https://x/gate"), Some("/mcp/crm"));
        check(place("/mcp/crm"), Some("https://x/gate/"), Some("/mcp/crm"));
        check(place(""), None, None);
        check(place("/"), None, None);
        check(place("/mcpx"), None, None);
        check(place("x/mcp"), None, None);
        check("/mcp", None, None);
        // A prefix that ends in the middle of a name.
        check(place("/gatemcp"), Some("https://x/gate"), None);
    }

    #[test]
    fn challenges_say_where_to_go_and_what_to_ask_for() {
        let metadata =
            "Bearer resource_metadata=\"https://gate.example.com/.well-known/oauth-protected-resource/mcp\"";
        let plain = at(Some(GATE), "/mcp", &["https://id"], &[]);
        let scoped = at(Some(GATE), "/mcp", &["https://id"], &["a", "b"]);
        let missing = Refusal::missing();
        assert_eq!(plain.challenge(&missing).unwrap(), metadata);
        assert_eq!(
            scoped.challenge(&missing).unwrap(),
            format!("{metadata}, scope=\"a b\"")
        );
        assert_eq!(
            plain.challenge(&invalid()).unwrap(),
            format!("{metadata}, error=\"invalid_token\", error_description=\"the 'token' has'expired\"")
        );
        let both = plain.challenge(&Refusal::ambiguous("two")).unwrap();
        assert!(both.to_str().unwrap().contains("error=\"invalid_request\""));
        let keys_only = at(None, "/mcp", &[], &[]);
        assert_eq!(
            keys_only.challenge(&missing).unwrap(),
            "Bearer realm=\"gatepost\""
        );
        let away = Ruling::Unavailable {
            retry_after: std::time::Duration::from_secs(1),
        };
        assert_eq!(plain.challenge(&Refusal::of(away, "", "")), None);

        let more = plain.insufficient_scope(["orders:read", "orders:write", "bad\"\r\n"]);
        assert_eq!(
            more,
            format!(
                "{metadata}, error=\"insufficient_scope\", scope=\"orders:read orders:write\", \
                 error_description=\"the token lacks scopes that this needs: ask its issuer for one with all of them\""
            )
        );
    }

    #[test]
    fn a_token_is_for_one_endpoint() {
        let resource = at(Some(GATE), "/mcp/crm", &["https://id"], &[]);
        let check = |audience: &str, expected: bool| {
            let audiences = ["other".into(), audience.into()];
            assert_eq!(resource.is_among(&audiences), expected, "{audience}");
        };
        check("https://gate.example.com/mcp/crm", true);
        check("HTTPS://Gate.Example.COM/mcp/crm", true);
        check("https://gate.example.com/mcp/crm/", true);
        check("https://gate.example.com/mcp", false);
        check("https://gate.example.com/mcp/CRM", false);
        check("https://gate.example.com/mcp/crm//", false);
        check("https://gate.example.com/mcp/crm?x", false);
        check("https://gate.example.com/", false);
        check("https://gate.example.com.evil/mcp/crm", false);
        check("http://gate.example.com/mcp/crm", false);
        check("", false);
        assert!(!at(None, "/mcp", &["https://id"], &[]).is_among(&["".into(), "/mcp".into()]));
    }
}
