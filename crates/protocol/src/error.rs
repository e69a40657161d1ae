//! Error codes, and the two messages the gate makes itself: an error response and a result response.

use bytes::Bytes;

use crate::json;

/// Not JSON. JSON-RPC 2.0 §5.1.
pub const PARSE_ERROR: i64 = -32700;
/// JSON, but no valid JSON-RPC message. JSON-RPC 2.0 §5.1.
pub const INVALID_REQUEST: i64 = -32600;
/// No such method, or not in this version. JSON-RPC 2.0 §5.1.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// Parameters missing or wrong; in 2026-07-28 also: unknown resource. JSON-RPC 2.0 §5.1.
pub const INVALID_PARAMS: i64 = -32602;
/// Anything that went wrong inside. JSON-RPC 2.0 §5.1.
pub const INTERNAL_ERROR: i64 = -32603;
/// Resource not found, up to 2025-11-25 (server/resources, Error Handling). Must not be sent to modern clients.
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// `HeaderMismatch`: headers and body disagree (2026-07-28 schema, `HEADER_MISMATCH`).
pub const HEADER_MISMATCH: i64 = -32020;
/// `MissingRequiredClientCapability` (2026-07-28 schema, `MISSING_REQUIRED_CLIENT_CAPABILITY`).
pub const MISSING_REQUIRED_CLIENT_CAPABILITY: i64 = -32021;
/// `UnsupportedProtocolVersion` (2026-07-28 schema, `UNSUPPORTED_PROTOCOL_VERSION`).
pub const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32022;
/// `UrlElicitationRequired`, only in 2025-11-25 (its schema, `URL_ELICITATION_REQUIRED`).
pub const URL_ELICITATION_REQUIRED: i64 = -32042;

/// An error response. `id` is the raw id of the request as it was sent; `data` is raw JSON.
///
/// Where no id is known, the member is left out: `JSONRPCErrorResponse.id` is optional since 2025-11-25, and no version
/// of MCP allows `null` there.
pub fn error_response(id: Option<&[u8]>, code: i64, message: &str, data: Option<&[u8]>) -> Bytes {
    let capacity = 80 + id.map_or(0, <[u8]>::len) + message.len() + data.map_or(0, <[u8]>::len);
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","#);
    if let Some(id) = id {
        out.extend_from_slice(br#""id":"#);
        out.extend_from_slice(id);
        out.push(b',');
    }
    out.extend_from_slice(br#""error":{"code":"#);
    out.extend_from_slice(code.to_string().as_bytes());
    out.extend_from_slice(br#","message":"#);
    json::quote_into(&mut out, message);
    if let Some(data) = data {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data);
    }
    out.extend_from_slice(b"}}");
    out.into()
}

/// A result response. `id` is the raw id of the request as it was sent, `result` is raw JSON.
pub fn result_response(id: &[u8], result: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(40 + id.len() + result.len());
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id);
    out.extend_from_slice(br#","result":"#);
    out.extend_from_slice(result);
    out.push(b'}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_spelled_out() {
        assert_eq!(
            &error_response(Some(b"\"a\""), INTERNAL_ERROR, "no \"x\"", Some(b"{}"))[..],
            br#"{"jsonrpc":"2.0","id":"a","error":{"code":-32603,"message":"no \"x\"","data":{}}}"#
        );
        assert_eq!(
            &error_response(None, PARSE_ERROR, "not JSON", None)[..],
            br#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"not JSON"}}"#
        );
        assert_eq!(
            &result_response(b"7", b"{}")[..],
            br#"{"jsonrpc":"2.0","id":7,"result":{}}"#
        );
    }
}
