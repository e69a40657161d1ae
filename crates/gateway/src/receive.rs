//! Bytes become a message, and the message finds its client: by what it carries (modern), by its session (legacy), or by
//! its connection (stdio).
//!
//! The order of the checks is part of the protocol's conformance: `eras.md` 1.1.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use gatepost_policy::Caller;
use gatepost_protocol::{
    envelope::{Invalid, Message, Notification, Request, Response},
    headers::{self, Sent},
    json::{self, Kind, Strictness},
    logging::LogLevel,
    method::{Direction, Method},
    translate::{META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_LOG_LEVEL, META_PROTOCOL_VERSION},
    version::{ClientEra, ClientFacts, Era, HttpVerb, Version, negotiate_initialize},
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    admit::Admitted,
    gate::Gate,
    inbound::{Client, Inbound},
    refusal::Refusal,
    respond::About,
    session::{ConversationId, Session},
    upstream::Asker,
};

/// The header of a legacy session.
pub(crate) const SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");
/// The header of the protocol's version.
pub(crate) const VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// What a client sent.
pub(crate) enum Received {
    /// Wants an answer.
    Request(Arc<Inbound>),
    /// Wants none.
    Notification(Box<Admitted>, Client, Notification),
    /// Answers a question of a server.
    Response(Client, Response),
}

/// A refusal and what it is about.
pub(crate) type Refused = (Refusal, About);

/// Parses one message as strictly as the edge demands.
pub(crate) fn parse(body: Bytes) -> Result<Message, Refused> {
    Message::parse(body, Strictness::Edge).map_err(|error| {
        let about = About {
            id: error.id.clone(),
            era: None,
        };
        let refusal = if matches!(error.reason, Invalid::Batch) {
            Refusal::Batch
        } else {
            Refusal::Malformed(error)
        };
        (refusal, about)
    })
}

/// Finds the client of a message that came in an HTTP POST.
pub(crate) async fn from_http(
    gate: &Gate,
    admitted: Admitted,
    message: Message,
) -> Result<Received, Refused> {
    let headers = &admitted.arrival().headers;
    let (method, modern_meta, id) = match &message {
        Message::Request(request) => (
            Some(request.method()),
            request.meta(META_PROTOCOL_VERSION).is_some(),
            Some(request_id(request)),
        ),
        Message::Notification(notification) => (
            Some(notification.method()),
            notification.meta(META_PROTOCOL_VERSION).is_some(),
            None,
        ),
        Message::Response(_) => (None, false, None),
    };
    let era = ClientEra::classify(&ClientFacts {
        verb: HttpVerb::Post,
        method,
        version_header: headers.get(&VERSION_HEADER).and_then(|value| value.to_str().ok()),
        modern_meta,
        session: headers.contains_key(&SESSION_HEADER),
        accepts_events: false,
        old_sse: false,
    });
    let about = |era| About { id: id.clone(), era };
    match era {
        ClientEra::Modern => {
            let refused = |refusal| (refusal, about(Some(Era::Modern)));
            match message {
                Message::Request(request) => {
                    let client = modern(&request, admitted.caller(), Some(headers)).map_err(refused)?;
                    inbound(admitted, request, client).await.map_err(refused)
                }
                // No notification is defined for this transport; taken and dropped.
                Message::Notification(notification) => {
                    let client = nobody(admitted.caller(), None);
                    Ok(Received::Notification(Box::new(admitted), client, notification))
                }
                // 2026-07-28 streamable-http#Sending Messages 4: "The client MUST NOT send JSON-RPC responses".
                Message::Response(_) => Err(refused(Refusal::params(
                    "responses are not part of this protocol version",
                ))),
            }
        }
        ClientEra::Handshake => {
            let refused = |refusal| (refusal, about(Some(Era::Legacy)));
            let Message::Request(request) = message else {
                return Err(refused(Refusal::NoSession));
            };
            let conversation = ConversationId::new().map_err(|error| refused(internal(&error)))?;
            let client = handshake(&request, admitted.caller(), conversation).map_err(refused)?;
            inbound(admitted, request, client).await.map_err(refused)
        }
        ClientEra::Session => {
            let refused = |refusal| (refusal, about(Some(Era::Legacy)));
            let session = open_session(gate, &admitted).map_err(refused)?;
            let client = session_client(gate, session, admitted.caller());
            received(admitted, message, client).await.map_err(refused)
        }
        _ => Err((Refusal::NoSession, about(None))),
    }
}

/// Joins a message with a client that is already known: the one of a session or a connection.
pub(crate) async fn received(
    admitted: Admitted,
    message: Message,
    client: Client,
) -> Result<Received, Refusal> {
    match message {
        Message::Request(request) => inbound(admitted, request, client).await,
        Message::Notification(notification) => {
            Ok(Received::Notification(Box::new(admitted), client, notification))
        }
        Message::Response(response) => Ok(Received::Response(client, response)),
    }
}

/// The session that the request's header names.
pub(crate) fn open_session(gate: &Gate, admitted: &Admitted) -> Result<Session, Refusal> {
    let arrival = admitted.arrival();
    let token = arrival
        .headers
        .get(SESSION_HEADER)
        .and_then(|value| value.to_str().ok());
    token
        .and_then(|token| {
            gate.sessions
                .open(token, &arrival.endpoint.path, admitted.principal())
        })
        .ok_or(Refusal::SessionGone)
}

/// The client of a session.
pub(crate) fn session_client(gate: &Gate, session: Session, caller: &Arc<Caller>) -> Client {
    Client {
        version: session.version,
        capabilities: session.capabilities,
        info: session.info,
        log_level: gate.sessions.level(session.id),
        conversation: Some(session.id),
        caller: Arc::clone(caller),
    }
}

/// The client of one modern request. `headers` are HTTP's; stdio has none to compare.
pub(crate) fn modern(
    request: &Request,
    caller: &Arc<Caller>,
    headers: Option<&HeaderMap>,
) -> Result<Client, Refusal> {
    let raw = request.raw();
    let requested = request
        .meta_text(META_PROTOCOL_VERSION)
        .ok_or(Refusal::Meta(META_PROTOCOL_VERSION))?;
    let capabilities = request
        .meta(META_CLIENT_CAPABILITIES)
        .filter(|span| json::kind(raw, *span) == Some(Kind::Object))
        .ok_or(Refusal::Meta(META_CLIENT_CAPABILITIES))?;
    if let Some(headers) = headers {
        let sent = Sent::collect(headers.get_all(&VERSION_HEADER).iter().map(HeaderValue::as_bytes));
        headers::validate_version(sent, &requested)
            .map_err(|mismatch| Refusal::HeaderMismatch(mismatch.to_string()))?;
    }
    let version = Version::parse(&requested)
        .filter(|version| version.is_modern())
        .ok_or_else(|| Refusal::Version {
            requested: requested.clone().into_owned(),
        })?;
    known(request, version)?;
    if let Some(headers) = headers {
        mirrored(request, headers).map_err(|mismatch| Refusal::HeaderMismatch(mismatch.to_string()))?;
    }
    Ok(Client {
        version,
        capabilities: raw.slice(capabilities.start()..capabilities.end()),
        info: request
            .meta(META_CLIENT_INFO)
            .map(|span| raw.slice(span.start()..span.end())),
        log_level: log_level(request)?,
        conversation: None,
        caller: Arc::clone(caller),
    })
}

/// The client that an `initialize` introduces.
pub(crate) fn handshake(
    request: &Request,
    caller: &Arc<Caller>,
    conversation: ConversationId,
) -> Result<Client, Refusal> {
    let raw = request.raw();
    let object = |name| {
        let span = request
            .param(name)
            .filter(|span| json::kind(raw, *span) == Some(Kind::Object));
        span.map(|span| raw.slice(span.start()..span.end()))
    };
    let requested = request.param_text("protocolVersion");
    let requested =
        requested.ok_or_else(|| Refusal::params("`initialize` needs the string `params.protocolVersion`"))?;
    Ok(Client {
        version: negotiate_initialize(&requested),
        capabilities: object("capabilities").unwrap_or_else(|| Bytes::from_static(b"{}")),
        info: object("clientInfo"),
        log_level: None,
        conversation: Some(conversation),
        caller: Arc::clone(caller),
    })
}

async fn inbound(admitted: Admitted, request: Request, client: Client) -> Result<Received, Refusal> {
    if client.era() == Era::Legacy {
        known(&request, client.version)?;
    }
    let endpoint = &admitted.arrival().endpoint;
    let gone = || Refusal::NoEndpoint(endpoint.url_path());
    let asker = Asker::of(&client.caller, &admitted.arrival().headers);
    let view = endpoint.view(asker).ok_or_else(gone)?;
    Ok(Received::Request(Arc::new(Inbound {
        admitted,
        request,
        client,
        view,
        cancellation: Arc::default(),
    })))
}

/// Whether a client of this version may send this request at all. A method in nobody's table may still be a vendor's.
fn known(request: &Request, version: Version) -> Result<(), Refusal> {
    let unknown = || Refusal::UnknownMethod(request.method().to_owned());
    let Some(method) = request.known_method() else {
        return Ok(());
    };
    let asked_by_client = method.is_request() && method.facts().direction != Direction::ToClient;
    // Tasks are never declared to a legacy client, so none of their methods exist for it (eras.md, section 8).
    let tasks = matches!(
        method,
        Method::TasksGet | Method::TasksCancel | Method::TasksResult | Method::TasksList
    );
    if asked_by_client && method.known_to(version) && (version.is_modern() || !tasks) {
        Ok(())
    } else {
        Err(unknown())
    }
}

/// 2026-07-28 basic/transports/streamable-http#Server Validation: `Mcp-Method` and `Mcp-Name` say what the body says.
fn mirrored(request: &Request, headers: &HeaderMap) -> Result<(), headers::HeaderMismatch> {
    const METHOD: HeaderName = HeaderName::from_static("mcp-method");
    const NAME: HeaderName = HeaderName::from_static("mcp-name");
    let sent = |name| Sent::collect(headers.get_all(name).iter().map(HeaderValue::as_bytes));
    headers::validate_request(request, sent(&METHOD), sent(&NAME))
}

fn log_level(request: &Request) -> Result<Option<LogLevel>, Refusal> {
    let Some(span) = request.meta(META_LOG_LEVEL) else {
        return Ok(None);
    };
    let text = json::text(request.raw(), span).unwrap_or(Cow::Borrowed(""));
    // eras.md section 7: "Unknown level -32602".
    LogLevel::parse(&text)
        .map(Some)
        .ok_or_else(|| Refusal::params(format!("`{text}` is not a log level")))
}

/// Where a notification or response comes from nobody in particular.
pub(crate) fn nobody(caller: &Arc<Caller>, conversation: Option<ConversationId>) -> Client {
    Client {
        version: Version::LATEST,
        capabilities: Bytes::from_static(b"{}"),
        info: None,
        log_level: None,
        conversation,
        caller: Arc::clone(caller),
    }
}

pub(crate) fn request_id(request: &Request) -> Bytes {
    let span = request.id_span();
    request.raw().slice(span.start()..span.end())
}

pub(crate) fn internal(error: &dyn std::error::Error) -> Refusal {
    Refusal::Internal(error.to_string().into())
}

#[cfg(test)]
mod tests;
