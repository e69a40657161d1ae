//! An MCP endpoint over HTTP: which era a request is, and the HTTP form of what comes back.

use std::net::IpAddr;

use futures_util::StreamExt;
use gatepost_protocol::{
    envelope::Batch,
    json::Strictness,
    version::{ClientEra, ClientFacts, HttpVerb, Version},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use smallvec::smallvec;

use super::{
    Front, batch,
    body::{Chunks, Outgoing, collect},
    cors, events, json, obliged,
};
use crate::{
    admit::Admitted,
    answer::Answer,
    gate::Gate,
    here,
    identify::{lapse, stranger},
    inbound::{Arrival, Carrier, RequestId},
    listen, path,
    receive::{self, Refused, SESSION_HEADER, VERSION_HEADER},
    refusal::Refusal,
    respond::{self, About},
    upstream::Asker,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a path under `/mcp` allows.
const ALLOWED: &str = "POST, GET, DELETE";

/// Answers one HTTP request to an MCP endpoint.
pub(super) async fn answer(
    front: &Front,
    from: Option<IpAddr>,
    request: Request<Incoming>,
) -> Response<Outgoing> {
    let id = RequestId::next(front.gate.id_seed);
    let mut origin = cors::origin(request.headers());
    if cors::is_preflight(&request)
        && let Some(origin) = &origin
        && front.allowed.check(request.uri(), request.headers()).is_ok()
    {
        let mut response = cors::preflight(request.headers());
        cors::welcome(origin.clone(), response.headers_mut());
        return response;
    }
    let mut response = match arrive(front, from, request, id).await {
        Ok(answer) => render(&front.gate, answer),
        Err((refusal, about)) => {
            front.gate.metrics.refused(&refusal);
            tracing::debug!(target: "gatepost::http", request = %id, %refusal, "refused");
            if matches!(
                refusal,
                Refusal::Host(_) | Refusal::Origin(_) | Refusal::CrossSite
            ) {
                origin = None;
            }
            obliged(&refusal, render(&front.gate, respond::refuse(&refusal, &about)))
        }
    };
    response.headers_mut().insert(REQUEST_ID, id.header());
    // A refused origin is not welcome; everybody else who names one was checked.
    if let Some(origin) = origin {
        cors::welcome(origin, response.headers_mut());
    }
    response
}

async fn arrive(
    front: &Front,
    from: Option<IpAddr>,
    mut request: Request<Incoming>,
    request_id: RequestId,
) -> Result<Answer, Refused> {
    let unread = |refusal| (refusal, About::default());
    // Whether a browser may speak to us comes before everything, even before who asks (eras.md 1.1, row 1).
    front
        .allowed
        .check(request.uri(), request.headers())
        .map_err(unread)?;
    // Once, and no more: `/mcp/mcp` is not `/mcp`, or what stands in front would not know which it lets through.
    let rest = request.uri().path().strip_prefix("/mcp").unwrap_or_default();
    let name = rest.strip_prefix('/').unwrap_or(rest);
    let Some(endpoint) = front.gate.endpoint(name) else {
        let path = request.uri().path();
        return Err(unread(
            Box::pin(stranger(&front.gate, request.headers(), from, path)).await,
        ));
    };
    let headers = std::mem::take(request.headers_mut());
    // The body's length is still needed to refuse it before it is read.
    if let Some(length) = headers.get(header::CONTENT_LENGTH) {
        request
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.clone());
    }
    let admitted = path::enter(
        &front.gate,
        Arrival {
            endpoint,
            headers,
            address: from,
            carrier: Carrier::Http,
            request_id,
        },
    )
    .await?;
    match *request.method() {
        Method::POST => post(front, admitted, request).await,
        Method::GET | Method::DELETE => Box::pin(sessions(front, &admitted, request.method()))
            .await
            .map_err(unread),
        _ => Err(unread(Refusal::Verb {
            method: request.method().to_string(),
            allowed: ALLOWED,
        })),
    }
}

async fn post(front: &Front, admitted: Admitted, request: Request<Incoming>) -> Result<Answer, Refused> {
    let unread = |refusal| (refusal, About::default());
    let headers = &admitted.arrival().headers;
    content_type(headers).map_err(unread)?;
    accept(headers).map_err(unread)?;
    let body = collect(request, front.body_limit, front.body_patience)
        .await
        .map_err(unread)?;
    if !starts_like_a_batch(&body) {
        return path::posted(&front.gate, admitted, body).await;
    }
    // 2025-03-26 basic/index#Batching: receivers must take them; no version before or after has them.
    let session = admitted.arrival().headers.contains_key(&SESSION_HEADER);
    if !session
        || receive::open_session(&front.gate, &admitted)
            .map_err(unread)?
            .version
            != Version::V2025_03_26
    {
        return Err(unread(Refusal::Batch));
    }
    let messages =
        Batch::split(&body, Strictness::Edge).map_err(|error| unread(Refusal::Malformed(error)))?;
    batch::answer(&front.gate, &admitted, messages).await
}

fn starts_like_a_batch(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// GET and DELETE exist for sessions only.
async fn sessions(front: &Front, admitted: &Admitted, method: &Method) -> Result<Answer, Refusal> {
    let headers = &admitted.arrival().headers;
    let endpoint = &admitted.arrival().endpoint;
    let era = ClientEra::classify(&ClientFacts {
        verb: if method == Method::GET {
            HttpVerb::Get
        } else {
            HttpVerb::Delete
        },
        method: None,
        version_header: headers.get(&VERSION_HEADER).and_then(|value| value.to_str().ok()),
        modern_meta: false,
        session: headers.contains_key(&SESSION_HEADER),
        accepts_events: true,
        old_sse: false,
    });
    match era {
        ClientEra::SessionStream => {
            let session = receive::open_session(&front.gate, admitted)?;
            if let Some(last) = headers.get("last-event-id").filter(|value| !value.is_empty()) {
                // Another stream in its place would leave the client waiting for what never comes.
                let rest = last
                    .to_str()
                    .ok()
                    .and_then(|last| front.gate.resumable.resume(session.id, last));
                return rest.map(Answer::Resumed).ok_or(Refusal::UnknownStream);
            }
            let messages = listen::session_stream(
                &front.gate,
                endpoint,
                Asker::of(admitted.caller(), &admitted.arrival().headers),
                &session,
            );
            let lapse = lapse(&front.gate, admitted.identified())?;
            Ok(Answer::Messages(Box::pin(messages.take_until(lapse))))
        }
        ClientEra::SessionEnd => {
            let session = receive::open_session(&front.gate, admitted)?;
            here::end_session(&front.gate, session.id).await;
            Ok(Answer::Ended)
        }
        _ => Err(Refusal::Verb {
            method: method.to_string(),
            allowed: "POST",
        }),
    }
}

/// A page of another site can send a form or plain text without asking; it cannot send JSON.
pub(super) fn content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let essence = value
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    Err(Refusal::ContentType(
        gatepost_policy::Printable(&String::from_utf8_lossy(value)).to_string(),
    ))
}

/// Both forms of an answer must be welcome, for it is the server that chooses. A client that says nothing takes all.
fn accept(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let welcome = values.any(|value| {
        let ranges = value.as_bytes().split(|byte| *byte == b',');
        ranges
            .map(|range| {
                range
                    .split(|byte| *byte == b';')
                    .next()
                    .unwrap_or_default()
                    .trim_ascii()
            })
            .any(|range| {
                [
                    &b"application/json"[..],
                    b"text/event-stream",
                    b"*/*",
                    b"application/*",
                    b"text/*",
                ]
                .iter()
                .any(|known| range.eq_ignore_ascii_case(known))
            })
    });
    if welcome { Ok(()) } else { Err(Refusal::Accept) }
}

/// The HTTP form of an answer.
pub(super) fn render(gate: &Gate, answer: Answer) -> Response<Outgoing> {
    match answer {
        Answer::Whole {
            status,
            body,
            session,
        } => {
            let mut response = json(status, body);
            if let Some(session) = session.and_then(|session| HeaderValue::try_from(session).ok()) {
                response.headers_mut().insert(SESSION_HEADER, session);
            }
            response
        }
        Answer::Chunks(chunks) => {
            let mut response = json(StatusCode::OK, smallvec![]);
            *response.body_mut() = Outgoing::chunks(chunks);
            response
        }
        Answer::Messages(messages) => event_stream(events::stream(messages)),
        Answer::Resumable(resume, messages) => event_stream(gate.resumable.record(*resume, messages)),
        Answer::Resumed(chunks) => event_stream(chunks),
        Answer::Accepted => empty(StatusCode::ACCEPTED),
        Answer::Ended => empty(StatusCode::NO_CONTENT),
        // 2025-11-25 basic/utilities/cancellation: no response is sent; the stream it would have come on just ends.
        Answer::Cancelled => {
            let mut response = empty(StatusCode::OK);
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/event-stream"),
            );
            response
        }
    }
}

/// The HTTP form of an event stream.
pub(super) fn event_stream(chunks: Chunks) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::events(chunks));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    // Not to be kept, and not to be changed on the way either: some proxies collect a stream to compress it.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-transform"),
    );
    // 2026-07-28 streamable-http#Receiving Messages: tells nginx and its kin not to hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn empty(status: StatusCode) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::empty());
    *response.status_mut() = status;
    response
}
