//! Every refusal becomes an HTTP status and a JSON-RPC error here, in one exhaustive match: a new refusal does not compile
//! until somebody has decided what its caller sees.

use bytes::Bytes;
use gatepost_protocol::{
    error::{
        HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND,
        MISSING_REQUIRED_CLIENT_CAPABILITY, RESOURCE_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION, error_response,
    },
    translate::TASKS_EXTENSION,
    version::{Era, SUPPORTED_MODERN},
};
use http::StatusCode;
use serde_json::json;

use crate::{
    answer::Answer,
    limits::Scope,
    refusal::Refusal,
    upstream::{CallError, Cause},
};

/// What is known about the refused message.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    /// The raw id to echo.
    pub(crate) id: Option<Bytes>,
    /// The client's era, once known.
    pub(crate) era: Option<Era>,
}

/// The answer to a refused message.
pub(crate) fn refuse(refusal: &Refusal, about: &About) -> Answer {
    if matches!(refusal, Refusal::Cancelled) {
        return Answer::Cancelled;
    }
    let (status, message) = render(refusal, about);
    Answer::with_status(status, message)
}

/// Status and JSON-RPC error of a refusal.
pub(crate) fn render(refusal: &Refusal, about: &About) -> (StatusCode, Bytes) {
    let legacy = about.era == Some(Era::Legacy);
    if says_so_itself(refusal)
        && let Some(id) = &about.id
    {
        return (StatusCode::OK, tool_error(id, about, &refusal.to_string()));
    }
    // To a legacy client any 4xx but these few breaks the session; what its server side says is HTTP 200.
    let (status, code, data) = match refusal {
        Refusal::Host(_) | Refusal::Origin(_) | Refusal::CrossSite => {
            (StatusCode::FORBIDDEN, INVALID_REQUEST, None)
        }
        // 2026-07-28 basic/authorization, Error Handling.
        Refusal::Unidentified(unidentified) => (unidentified.refusal().status(), INVALID_REQUEST, None),
        Refusal::NoEndpoint(_) => (StatusCode::NOT_FOUND, INVALID_REQUEST, None),
        Refusal::Verb { .. } => (StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST, None),
        Refusal::ContentType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST, None),
        Refusal::Accept => (StatusCode::NOT_ACCEPTABLE, INVALID_REQUEST, None),
        Refusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, None),
        Refusal::SlowBody(_) => (StatusCode::REQUEST_TIMEOUT, INVALID_REQUEST, None),
        Refusal::BrokenBody(_) => (StatusCode::BAD_REQUEST, INVALID_REQUEST, None),
        Refusal::Malformed(error) => (StatusCode::BAD_REQUEST, error.code(), None),
        Refusal::Batch | Refusal::NoSession => (StatusCode::BAD_REQUEST, INVALID_REQUEST, None),
        // 2025-11-25 basic/transports#Session Management 3: 404, which only ever means this to a legacy client.
        Refusal::SessionGone => (StatusCode::NOT_FOUND, INVALID_REQUEST, None),
        // 2025-11-25 basic/transports#Sending Messages to the Server 4: a response that "the server cannot accept" gets an
        // HTTP error status. Neither is a 404, which would end the session.
        Refusal::UnknownQuestion | Refusal::UnknownStream => (StatusCode::BAD_REQUEST, INVALID_REQUEST, None),
        // 2026-07-28 basic/index#_meta: "MUST reject it with -32602 … MUST be 400 Bad Request".
        Refusal::Meta(_) => (StatusCode::BAD_REQUEST, INVALID_PARAMS, None),
        Refusal::HeaderMismatch(_) => (StatusCode::BAD_REQUEST, HEADER_MISMATCH, None),
        Refusal::Version { requested } => {
            let supported: Vec<_> = SUPPORTED_MODERN.iter().map(|version| version.as_str()).collect();
            let data = json!({ "supported": supported, "requested": requested });
            (StatusCode::BAD_REQUEST, UNSUPPORTED_PROTOCOL_VERSION, Some(data))
        }
        // 2026-07-28 basic/transports/streamable-http#Protocol Version Header; eras.md section 4 for legacy clients.
        Refusal::UnknownMethod(_) if legacy => (StatusCode::OK, METHOD_NOT_FOUND, None),
        Refusal::UnknownMethod(_) => (StatusCode::NOT_FOUND, METHOD_NOT_FOUND, None),
        Refusal::Hidden(hidden) => return render(&hidden.told, about),
        Refusal::UnknownName { .. } | Refusal::Denied { .. } => (StatusCode::OK, INVALID_PARAMS, None),
        // 2026-07-28 basic/authorization, Runtime Insufficient Scope Errors.
        Refusal::Scopes { needed, .. } => {
            let data = json!({ "scopes": needed });
            (StatusCode::FORBIDDEN, INVALID_REQUEST, Some(data))
        }
        Refusal::TasksUndeclared => {
            let data = json!({ "requiredCapabilities": { "extensions": { TASKS_EXTENSION: {} } } });
            (
                StatusCode::BAD_REQUEST,
                MISSING_REQUIRED_CLIENT_CAPABILITY,
                Some(data),
            )
        }
        // 2025-11-25 server/resources#Error Handling; 2026-07-28 server/resources#Error Handling.
        Refusal::UnknownResource(uri) if legacy => {
            (StatusCode::OK, RESOURCE_NOT_FOUND, Some(json!({ "uri": uri })))
        }
        Refusal::UnknownResource(uri) => (StatusCode::OK, INVALID_PARAMS, Some(json!({ "uri": uri }))),
        Refusal::Params(_) | Refusal::StaleState => (StatusCode::OK, INVALID_PARAMS, None),
        Refusal::UnderWay => (
            StatusCode::OK,
            INTERNAL_ERROR,
            Some(json!({ "retry_safe": true })),
        ),
        Refusal::Declined(server) => (
            StatusCode::OK,
            INTERNAL_ERROR,
            Some(json!({ "server": &**server })),
        ),
        // RFC 6585 4. Where only a server or some tools are over, their caller is fine.
        Refusal::Limited { exceeded, target } => {
            let status = match exceeded.scope {
                Scope::Caller => StatusCode::TOO_MANY_REQUESTS,
                Scope::Target => StatusCode::OK,
            };
            let mut data = json!({ "limit": &*exceeded.words, "retry_after_s": exceeded.seconds() });
            if let Some(limited) = target {
                data["server"] = (*limited.server).into();
                data["name"] = (*limited.name).into();
            }
            (status, INTERNAL_ERROR, Some(data))
        }
        Refusal::TooManyStreams { .. } => (StatusCode::TOO_MANY_REQUESTS, INTERNAL_ERROR, None),
        Refusal::Unrecorded => (StatusCode::SERVICE_UNAVAILABLE, INTERNAL_ERROR, None),
        // Not a 5xx: something before the gate might send it again.
        Refusal::OutcomeUnrecorded => (StatusCode::OK, INTERNAL_ERROR, None),
        Refusal::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, INTERNAL_ERROR, None),
        Refusal::Cancelled => (StatusCode::OK, INTERNAL_ERROR, None),
        // The session was this client's own on the server (`isolation: session`), and what it held is gone: 404, so that the
        // client begins anew (eras.md section 4). A connection has no status, so the error says whose fault it is too.
        Refusal::Call(error) if legacy && matches!(error.cause, Cause::SessionGone) => {
            let data = call_data(error);
            (StatusCode::NOT_FOUND, INTERNAL_ERROR, Some(data))
        }
        // A bare 5xx would make a dual-era client doubt the era: 200, and the error says whose fault it is.
        Refusal::Call(error) => {
            let data = call_data(error);
            (StatusCode::OK, INTERNAL_ERROR, Some(data))
        }
        Refusal::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR, None),
    };
    let data = data.map(|data| data.to_string());
    let message = refusal.to_string();
    (
        status,
        error_response(
            about.id.as_deref(),
            code,
            &message,
            data.as_deref().map(str::as_bytes),
        ),
    )
}

/// Whether a tool's result can say why: the caller may well call another, or the same otherwise.
fn says_so_itself(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Denied { tool, .. } => *tool,
        Refusal::Limited { exceeded, target } => {
            exceeded.scope == Scope::Target && target.as_ref().is_some_and(|limited| limited.tool)
        }
        _ => false,
    }
}

/// A tool's result that says what went wrong, for a model that may do better next time.
/// Source: MCP 2026-07-28, server/tools#Error Handling.
fn tool_error(id: &[u8], about: &About, text: &str) -> Bytes {
    let mut result = json!({ "content": [{ "type": "text", "text": text }], "isError": true });
    if about.era == Some(Era::Modern) {
        result["resultType"] = "complete".into();
    }
    let mut message = br#"{"jsonrpc":"2.0","id":"#.to_vec();
    message.extend_from_slice(id);
    message.extend_from_slice(format!(r#","result":{result}}}"#).as_bytes());
    message.into()
}

/// Which server failed, why, and whether asking again is safe.
fn call_data(error: &CallError) -> serde_json::Value {
    json!({
        "server": &*error.server,
        "cause": error.cause.to_string(),
        "retry_safe": error.retry_safe,
    })
}

#[cfg(test)]
mod tests;
