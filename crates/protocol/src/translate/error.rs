//! An error on its way to the client.

use std::borrow::Cow;

use bytes::Bytes;

use crate::envelope::{Outcome, Response};
use crate::error::{
    HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_REQUIRED_CLIENT_CAPABILITY,
    RESOURCE_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION, URL_ELICITATION_REQUIRED, error_response,
};
use crate::json::{self, Kind, ObjectWriter, Span, quote};
use crate::method::Method;
use crate::rewrite::Rewrite;
use crate::version::Version;

/// What is known about the call that failed.
#[derive(Debug, Clone, Copy)]
pub struct ErrorFacts<'a> {
    /// The method that was called.
    pub method: Option<Method>,
    /// The `uri` that was asked for, if any.
    pub uri: Option<&'a str>,
    /// The server's name, for messages.
    pub server_name: &'a str,
    /// The version the server speaks.
    pub server: Version,
    /// The version the client speaks.
    pub client: Version,
    /// The capabilities the client declared, raw JSON.
    pub client_capabilities: &'a [u8],
}

/// An error response for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorDown {
    /// The message, with the client's id.
    pub body: Bytes,
    /// The HTTP status, where the answer has not begun to stream. Always 200 for legacy clients: to them 404 means that
    /// the session is gone.
    pub status: u16,
}

/// Whether an error from a modern server says that the gate got something wrong (its headers, its idea of the version):
/// refresh, send again once, and only then tell the client.
fn is_our_fault(code: i64) -> bool {
    matches!(code, HEADER_MISMATCH | UNSUPPORTED_PROTOCOL_VERSION)
}

/// The error response as the client gets it, with the client's id. A result response is handed back with nothing but the
/// id changed and status 200.
pub fn error_down(response: &Response, id: &[u8], facts: &ErrorFacts<'_>) -> ErrorDown {
    let raw = response.raw();
    let pass = |status| ErrorDown {
        body: response.rewrite().id(id).finish(),
        status,
    };
    let Outcome::Error { span, code, data, .. } = response.outcome() else {
        return pass(200);
    };
    let internal = |message: String| ErrorDown {
        body: error_response(
            Some(id),
            INTERNAL_ERROR,
            &message,
            Some(&wrapped(response, facts.server_name)),
        ),
        status: 200,
    };
    let server = facts.server_name;

    if !facts.client.is_modern() {
        return match code {
            // 2025-11-25 server/resources, Error Handling: "Resource not found: -32002".
            INVALID_PARAMS
                if facts.server.is_modern()
                    && facts.method == Some(Method::ResourcesRead)
                    && facts.uri.is_some()
                    && data_uri(raw, data).as_deref() == facts.uri =>
            {
                recoded(response, id, span, RESOURCE_NOT_FOUND, None)
            }
            _ if facts.server.is_modern() && is_our_fault(code) => internal(format!(
                "server {server} and the gate disagree about the protocol (code {code})"
            )),
            // Only 2025-11-25 has it; to others it can only be told.
            URL_ELICITATION_REQUIRED if facts.client < Version::V2025_11_25 => {
                let urls = elicitation_urls(raw, data).join(" ");
                internal(format!(
                    "server {server} wants the user to visit a page first: {urls}"
                ))
            }
            _ => pass(200),
        };
    }
    match code {
        // 2026-07-28 streamable-http, Protocol Version Header: 404 for a method that is not implemented.
        METHOD_NOT_FOUND => pass(404),
        // 2026-07-28 basic/index, Error Codes: -32002 MUST NOT be emitted any more; server/resources, Error Handling.
        RESOURCE_NOT_FOUND if facts.method == Some(Method::ResourcesRead) => {
            recoded(response, id, span, INVALID_PARAMS, facts.uri)
        }
        RESOURCE_NOT_FOUND => internal(format!("server {server} answered with code {code}")),
        MISSING_REQUIRED_CLIENT_CAPABILITY => match required(raw, data) {
            None => internal(format!(
                "server {server} answered with code {code}, without saying what it requires"
            )),
            Some(required) if declares(facts.client_capabilities, raw, required) => internal(format!(
                "server {server} requires a capability that the client has declared"
            )),
            Some(_) => pass(400),
        },
        _ if is_our_fault(code) => internal(format!(
            "server {server} and the gate disagree about the protocol (code {code})"
        )),
        // 2026-07-28 basic/index, Error Codes: MUST NOT be emitted any more. A legacy server's becomes a question before it
        // gets here, if its client can be sent to a page.
        URL_ELICITATION_REQUIRED => internal(format!(
            "server {server} wants the user to visit a page first: {}",
            elicitation_urls(raw, data).join(" ")
        )),
        // 2026-07-28 basic/index, Error Codes: reserved for the specification.
        -32099..=-32023 => internal(format!("server {server} answered with the reserved code {code}")),
        _ => pass(200),
    }
}

/// The same error under another code; `uri` is added to its data unless it has one.
fn recoded(response: &Response, id: &[u8], error: Span, code: i64, uri: Option<&str>) -> ErrorDown {
    let raw = response.raw();
    let error = json::object(raw, error).unwrap_or_default();
    let data = error
        .get(raw, "data")
        .and_then(|span| json::object(raw, span).ok());
    let mut edits = Rewrite::new(raw);
    edits.set_member(response.members(), "id", id);
    edits.set_member(&error, "code", code.to_string().into_bytes());
    match (&data, uri) {
        (_, None) => {}
        (Some(data), Some(uri)) => {
            if data.get(raw, "uri").is_none() {
                edits.set_member(data, "uri", quote(uri));
            }
        }
        (None, Some(uri)) => edits.set_member(&error, "data", ObjectWriter::new().text("uri", uri).finish()),
    }
    ErrorDown {
        body: edits.finish(),
        status: 200,
    }
}

/// The original error, for the `data` of the one that takes its place.
fn wrapped(response: &Response, server: &str) -> Vec<u8> {
    let raw = response.raw();
    let mut out = ObjectWriter::new();
    out.text("server", server);
    if let Outcome::Error { code, data, .. } = response.outcome() {
        out.number("code", code);
        out.text("message", &response.error_message().unwrap_or_default());
        if let Some(data) = data {
            out.raw("data", data.of(raw));
        }
    }
    out.finish()
}

fn data_uri(raw: &[u8], data: Option<Span>) -> Option<String> {
    let data = json::object(raw, data?).ok()?;
    json::text(raw, data.get(raw, "uri")?).map(Cow::into_owned)
}

fn elicitation_urls(raw: &[u8], data: Option<Span>) -> Vec<String> {
    let list = data.and_then(|span| json::object(raw, span).ok()?.get(raw, "elicitations"));
    list.into_iter()
        .flat_map(|list| json::items(raw, list))
        .filter_map(|item| {
            json::text(raw, json::object(raw, item).ok()?.get(raw, "url")?).map(Cow::into_owned)
        })
        .collect()
}

fn required(raw: &[u8], data: Option<Span>) -> Option<Span> {
    let span = json::object(raw, data?).ok()?.get(raw, "requiredCapabilities")?;
    (json::kind(raw, span) == Some(Kind::Object)).then_some(span)
}

/// Whether `declared` has every capability, and every capability inside, that `required` names. Capabilities nest two
/// or three levels; what is deeper is not looked at.
fn declares(declared: &[u8], raw: &[u8], required: Span) -> bool {
    fn within(declared: &[u8], at: Span, raw: &[u8], required: Span, levels: u8) -> bool {
        let Ok(wanted) = json::object(raw, required) else {
            return true;
        };
        let Ok(given) = json::object(declared, at) else {
            return wanted.is_empty();
        };
        wanted.iter().all(|member| {
            let name = json::text(raw, member.key).unwrap_or_default();
            given
                .get(declared, &name)
                .is_some_and(|value| levels == 0 || within(declared, value, raw, member.value, levels - 1))
        })
    }
    within(declared, Span::all(declared), raw, required, 4)
}
