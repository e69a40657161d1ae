//! What a server says of itself when it is greeted.

use bytes::Bytes;
use gatepost_protocol::{
    envelope::Response,
    json::{self, Span},
    version::{Era, Version},
};

const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// A server's version, capabilities and words about itself, as raw JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The version it is spoken to in.
    pub(crate) version: Version,
    /// Its `capabilities`, an object.
    pub(crate) capabilities: Bytes,
    /// Its `serverInfo`, an object.
    pub(crate) server_info: Option<Bytes>,
    /// Its `instructions`, decoded.
    pub(crate) instructions: Option<String>,
    /// Members of the result that no version defines, as (name, raw JSON).
    pub(crate) extra: Vec<(String, Bytes)>,
}

impl Facts {
    /// Modern or legacy.
    pub(crate) fn era(&self) -> Era {
        self.version.era()
    }

    /// Whether it has a log whose level can be set.
    pub(crate) fn has_logging(&self) -> bool {
        json::object(&self.capabilities, Span::all(&self.capabilities))
            .is_ok_and(|members| members.get(&self.capabilities, "logging").is_some())
    }

    /// Whether it declares that it tells of any change.
    pub(crate) fn announces(&self) -> bool {
        let raw = &self.capabilities;
        let declares = |of: &str, what: &str| {
            let members = json::object(raw, Span::all(raw)).ok();
            let of = members.and_then(|members| members.get(raw, of));
            let members = of.and_then(|of| json::object(raw, of).ok());
            let what = members.and_then(|members| members.get(raw, what));
            what.is_some_and(|what| what.of(raw) == b"true")
        };
        ["tools", "prompts", "resources"]
            .into_iter()
            .any(|list| declares(list, "listChanged"))
            || declares("resources", "subscribe")
    }

    /// A server that is known to speak `version` and has said nothing else.
    pub(crate) fn bare(version: Version) -> Self {
        Self {
            version,
            capabilities: Bytes::from_static(b"{}"),
            server_info: None,
            instructions: None,
            extra: Vec::new(),
        }
    }

    /// What of this is about the server, not about whom it was said to.
    pub(crate) fn impersonal(&self) -> Self {
        Self {
            capabilities: self.capabilities.clone(),
            ..Self::bare(self.version)
        }
    }

    /// From the result of `server/discover` or `initialize`.
    pub(crate) fn of(version: Version, result: &Response) -> Self {
        let raw = result.raw();
        let slice = |span: Span| raw.slice_ref(span.of(raw));
        let object = |span: &Span| json::kind(raw, *span) == Some(json::Kind::Object);
        let info = match version.era() {
            Era::Modern => result
                .result_meta_members()
                .and_then(|meta| meta.get(raw, SERVER_INFO)),
            Era::Legacy => result.result_member("serverInfo"),
        };
        let known = [
            "protocolVersion",
            "supportedVersions",
            "capabilities",
            "serverInfo",
            "instructions",
            "_meta",
            "resultType",
            "ttlMs",
            "cacheScope",
        ];
        let extra = result
            .result_members()
            .into_iter()
            .flatten()
            .filter_map(|member| {
                let name = json::text(raw, member.key)?;
                (!known.contains(&&*name)).then(|| (name.into_owned(), slice(member.value)))
            });
        Self {
            version,
            capabilities: result
                .result_member("capabilities")
                .filter(object)
                .map_or_else(|| Bytes::from_static(b"{}"), slice),
            server_info: info.filter(object).map(slice),
            instructions: result
                .result_member("instructions")
                .and_then(|span| json::text(raw, span))
                .map(std::borrow::Cow::into_owned),
            extra: extra.collect(),
        }
    }
}

/// The client capabilities that a legacy server is told in `initialize`, in one canonical form, so that equal sets share
/// sessions; empty bytes for the empty set. `roots.listChanged` and tasks are the gate's own affair (`eras.md` 2).
pub(crate) fn offered(capabilities: &[u8], version: Version) -> Bytes {
    use serde_json::{Map, Value};
    if matches!(capabilities.trim_ascii(), b"" | b"{}") {
        return Bytes::new();
    }
    let Ok(mut set) = serde_json::from_slice::<Map<String, Value>>(capabilities) else {
        return Bytes::new();
    };
    set.remove("tasks");
    if let Some(Value::Object(roots)) = set.get_mut("roots") {
        roots.remove("listChanged");
    }
    if let Some(Value::Object(extensions)) = set.get_mut("extensions") {
        extensions.remove("io.modelcontextprotocol/tasks");
        if extensions.is_empty() {
            set.remove("extensions");
        }
    }
    // Before 2025-11-25 there was only the form mode, and it had no name.
    if version < Version::V2025_11_25
        && let Some(elicitation) = set.get_mut("elicitation")
    {
        let form = elicitation
            .as_object()
            .is_none_or(|modes| modes.is_empty() || modes.contains_key("form"));
        if form {
            *elicitation = Value::Object(Map::new());
        } else {
            set.remove("elicitation");
        }
    }
    if set.is_empty() {
        Bytes::new()
    } else {
        serde_json::to_vec(&set).unwrap_or_default().into()
    }
}

/// Whether a client's word for itself is one that a legacy server takes: `name` and `version` are required there
/// (2025-11-25 schema, `Implementation`).
pub(crate) fn is_implementation(info: &[u8]) -> bool {
    json::object(info, Span::all(info)).is_ok_and(|members| {
        ["name", "version"].into_iter().all(|name| {
            members
                .get(info, name)
                .is_some_and(|span| json::kind(info, span) == Some(json::Kind::String))
        })
    })
}

/// Whether a client with this set can be asked anything.
pub(crate) fn can_be_asked(set: &[u8]) -> bool {
    json::object(set, Span::all(set)).is_ok_and(|members| {
        ["roots", "sampling", "elicitation"]
            .into_iter()
            .any(|name| members.get(set, name).is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_capabilities_are_offered_alike() {
        let check = |given: &str, version, expected: &str| {
            assert_eq!(offered(given.as_bytes(), version), expected.as_bytes(), "{given}");
        };
        use Version::{V2025_06_18, V2025_11_25};
        check("{}", V2025_11_25, "");
        check(" {} ", V2025_11_25, "");
        check(
            r#"{"tasks":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
            V2025_11_25,
            "",
        );
        check(
            r#"{"sampling":{},"roots":{"listChanged":true}}"#,
            V2025_11_25,
            r#"{"roots":{},"sampling":{}}"#,
        );
        check(
            r#"{"elicitation":{"form":{},"url":{}}}"#,
            V2025_11_25,
            r#"{"elicitation":{"form":{},"url":{}}}"#,
        );
        check(
            r#"{"elicitation":{"form":{},"url":{}}}"#,
            V2025_06_18,
            r#"{"elicitation":{}}"#,
        );
        check(r#"{"elicitation":{"url":{}}}"#, V2025_06_18, "");
        assert!(is_implementation(br#"{"name":"c","version":"1","x":[]}"#));
        assert!(!is_implementation(br#"{"name":"c"}"#) && !is_implementation(b"7"));
        assert!(
            can_be_asked(br#"{"roots":{}}"#)
                && !can_be_asked(br#"{"experimental":{}}"#)
                && !can_be_asked(b"")
        );
    }
}
