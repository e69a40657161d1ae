//! Which era a client's HTTP request belongs to.

use super::{Era, Version};

/// The HTTP methods an MCP endpoint knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVerb {
    /// POST: one message.
    Post,
    /// GET: a stream.
    Get,
    /// DELETE: the end of a session.
    Delete,
    /// Anything else.
    Other,
}

/// What the decision rests on. `Origin` and `Host` have been checked before.
#[derive(Debug, Clone, Copy)]
pub struct ClientFacts<'a> {
    /// The HTTP method.
    pub verb: HttpVerb,
    /// The JSON-RPC method in the body, if there is one (a POSTed response has none).
    pub method: Option<&'a str>,
    /// The `MCP-Protocol-Version` header.
    pub version_header: Option<&'a str>,
    /// Whether `params._meta` has `io.modelcontextprotocol/protocolVersion`.
    pub modern_meta: bool,
    /// Whether there is an `Mcp-Session-Id` header.
    pub session: bool,
    /// Whether `Accept` names `text/event-stream`.
    pub accepts_events: bool,
    /// Whether this endpoint also serves the 2024-11-05 transport.
    pub old_sse: bool,
}

/// How to serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEra {
    /// By itself, at the version its `_meta` names. Session and `Last-Event-ID` headers are ignored.
    Modern,
    /// As the beginning of a session.
    Handshake,
    /// Within the session it names; version and capabilities are the session's.
    Session,
    /// 400, -32600: neither a session nor modern `_meta`.
    Homeless,
    /// As the session's stream of server messages (GET).
    SessionStream,
    /// As the end of the session (DELETE).
    SessionEnd,
    /// As the stream of the 2024-11-05 transport: first event `endpoint`.
    OldSse,
    /// 405 with `Allow`.
    NotAllowed,
}

impl ClientEra {
    /// Decides; the first row that matches counts.
    pub fn classify(facts: &ClientFacts<'_>) -> Self {
        let modern_header = facts
            .version_header
            .is_some_and(|header| Version::parse(header).is_none_or(|v| v.era() == Era::Modern));
        match facts.verb {
            // 2026-07-28 basic/versioning, Backward Compatibility: "a request that carries per-request metadata is
            // modern"; streamable-http, Earlier Streamable HTTP Revisions: an unknown header version is answered in
            // the modern way, with the versions that are supported.
            HttpVerb::Post if facts.modern_meta || modern_header => Self::Modern,
            // 2026-07-28 basic/versioning, Compatibility Matrix.
            HttpVerb::Post if facts.method == Some("initialize") => Self::Handshake,
            // 2025-11-25 basic/transports, Session Management and Protocol Version Header.
            HttpVerb::Post if facts.session => Self::Session,
            // 2025-11-25 basic/transports, Session Management: "SHOULD respond to requests without an
            // Mcp-Session-Id header (other than initialization) with HTTP 400 Bad Request".
            HttpVerb::Post => Self::Homeless,
            // 2025-11-25 basic/transports, Listening for Messages from the Server.
            HttpVerb::Get if facts.session => Self::SessionStream,
            // 2025-11-25 basic/transports, Session Management 5.
            HttpVerb::Delete if facts.session => Self::SessionEnd,
            // 2024-11-05 basic/transports, HTTP with SSE.
            HttpVerb::Get if facts.accepts_events && facts.old_sse => Self::OldSse,
            // 2026-07-28 streamable-http, Earlier Streamable HTTP Revisions.
            HttpVerb::Get | HttpVerb::Delete | HttpVerb::Other => Self::NotAllowed,
        }
    }
}
