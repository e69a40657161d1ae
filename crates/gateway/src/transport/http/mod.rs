//! The HTTP front: listeners, connections, and which path is whose.

mod aside;
mod batch;
pub(crate) mod body;
mod cors;
mod events;
mod listener;
mod mcp;
pub(crate) mod old_sse;
mod origin;
mod protection;
pub(crate) mod resume;
mod watch;

use std::{convert::Infallible, net::IpAddr, panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll};

use futures_core::Stream;
use futures_util::{FutureExt, stream};
use gatepost_identity::{WELL_KNOWN, endpoint_of};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
};

use self::{
    aside::Aside,
    body::Outgoing,
    origin::Allowed,
    watch::{Activity, Patience, Verdict, Watched},
};
use crate::{gate::Gate, ops, refusal::Refusal, respond};

pub use listener::Listener;

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Clients: `/mcp…` and the probes; operators too while it is loopback and no listener of their own is configured.
    Main,
    /// Operators: `/health`, `/metrics` and the probes.
    Ops,
}

/// What every connection of one listener shares.
struct Front {
    gate: Arc<Gate>,
    audience: Audience,
    allowed: Allowed,
    /// Under which names `/health` and `/metrics` answer here, if they do.
    operators: Option<Allowed>,
    patience: Patience,
    body_limit: u64,
    body_patience: std::time::Duration,
    /// Clients reach this listener through TLS, by what `http.public_url` says.
    only_https: bool,
}

/// Serves a listener until the gate drains, then lets its connections finish what they have begun.
///
/// Returns when the listener is closed and the last connection is gone; drop the future to cut them.
pub async fn serve(gate: Arc<Gate>, mut listener: Listener, audience: Audience) {
    let snapshot = gate.snapshot();
    let config = &snapshot.config().http;
    let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let mut hosts = names(
        config
            .hosts
            .iter()
            .map(gatepost_config::HostName::as_str)
            .collect(),
    );
    hosts.extend(
        config
            .public_url
            .as_ref()
            .and_then(|url| url.authority())
            .map(ToString::to_string),
    );
    let origins = names(
        config
            .origins
            .iter()
            .map(gatepost_config::Origin::as_str)
            .collect(),
    );
    let own_ops = snapshot.config().ops.is_some();
    let front = Arc::new(Front {
        audience,
        allowed: Allowed::new(listener.address(), &hosts, &origins),
        operators: match audience {
            Audience::Ops => Some(Allowed::new(listener.address(), &hosts, &origins)),
            Audience::Main if own_ops || !listener.is_private() => None,
            // What clients elsewhere call the gate is not for operators: whatever stands in front passes it on from everybody.
            Audience::Main if listener.address().is_none() && !hosts.is_empty() => {
                Some(Allowed::new(None, &["localhost".to_owned()], &[]))
            }
            Audience::Main => Some(Allowed::new(listener.address(), &[], &[])),
        },
        patience: Patience {
            header: config.header_timeout,
            idle: config.idle_timeout,
        },
        body_limit: config.max_body.as_usize() as u64,
        body_patience: config.body_timeout,
        only_https: audience == Audience::Main
            && config.public_url.as_ref().and_then(http::Uri::scheme_str) == Some("https"),
        gate: Arc::clone(&gate),
    });
    let most = usize::try_from(config.max_connections.get())
        .unwrap_or(usize::MAX)
        .min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(most));
    let mut stopping = gate.stopping();
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let Ok(place) = place else { break };
        let socket = tokio::select! {
            socket = listener.accept() => socket,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            match socket {
                listener::Socket::Tcp(socket, from) => connection(&front, socket, Some(from)).await,
                #[cfg(unix)]
                listener::Socket::Unix(socket) => connection(&front, socket, None).await,
            }
            drop(place);
        });
    }
    drop(listener);
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    // All places free again: every connection has ended.
    let _ = places.acquire_many(all).await;
}

/// One connection, HTTP/1.1 or HTTP/2 by prior knowledge.
async fn connection<S>(front: &Arc<Front>, socket: S, from: Option<IpAddr>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let service = service_fn(|request| answer(Arc::clone(front), Arc::clone(&activity), from, request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(64)
        .max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(32 * 1024)
        .max_pending_accept_reset_streams(Some(32))
        .keep_alive_interval(Some(std::time::Duration::from_secs(30)));
    let io = TokioIo::new(Watched::new(socket, Arc::clone(&activity)));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut aside = Aside::new(stirrings(front));
    std::future::poll_fn(|cx| {
        // A broken connection is its client's affair; whatever it was doing has been told.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while let Poll::Ready(Some(stirring)) = aside.poll_next(cx) {
            match (stirring, activity.verdict(front.patience)) {
                (Stirring::Stop, _) | (_, Verdict::Idle) => {
                    connection.as_mut().graceful_shutdown();
                    // An idle connection ends at once, one in use when its answers have gone out.
                    if connection.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                // Calls see for themselves that they are to end.
                (Stirring::Cut, _) => {
                    if connection.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                (Stirring::Look, Verdict::SlowHead) => {
                    tracing::debug!(target: "gatepost::http", "closed a connection whose request head did not arrive in time");
                    return Poll::Ready(());
                }
                (Stirring::Look, Verdict::Fine) => {}
            }
        }
        Poll::Pending
    })
    .await;
}

/// What stirs a connection from outside.
enum Stirring {
    /// The gate drains.
    Stop,
    /// It waits no longer for its servers.
    Cut,
    /// Time to look how it is.
    Look,
}

/// The time to look at a connection again and again, and once each the wish to stop and the end of all patience.
fn stirrings(front: &Front) -> impl Stream<Item = Stirring> + use<> {
    let tick = tokio::time::interval(front.patience.tick());
    let ends = [
        (Stirring::Stop, front.gate.stopping()),
        (Stirring::Cut, front.gate.cutting()),
    ];
    let ends = ends.map(|(stirring, mut end)| {
        stream::once(async move {
            // The sender lives as long as the gate, which outlives its connections.
            let _ = end.wait_for(|over| *over).await;
            stirring
        })
    });
    let looks = stream::unfold(tick, |mut tick| async move {
        tick.tick().await;
        Some((Stirring::Look, tick))
    });
    let [stop, cut] = ends;
    stream::select(stream::select(stop, cut), looks)
}

/// One request. A panic in it is answered like any other failure of ours, and hurts nobody else.
async fn answer(
    front: Arc<Front>,
    activity: Arc<Activity>,
    from: Option<IpAddr>,
    request: Request<Incoming>,
) -> Result<Response<Outgoing>, Infallible> {
    let busy = activity.request();
    let response = AssertUnwindSafe(Box::pin(route(&front, from, request)))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            front.gate.metrics.panicked();
            refused(&Refusal::Internal("a bug; the gate's log has the details".into()))
        });
    let mut response = response.map(|body| body.busy(busy));
    protection::protect(response.headers_mut(), front.only_https);
    Ok(response)
}

/// Which path is whose.
async fn route(front: &Front, from: Option<IpAddr>, request: Request<Incoming>) -> Response<Outgoing> {
    let path = request.uri().path();
    if let Some(rest) = path.strip_prefix("/mcp")
        && (rest.is_empty() || rest.starts_with('/'))
        && front.audience == Audience::Main
    {
        return mcp::answer(front, from, request).await;
    }
    if old_sse::owns(path) && front.audience == Audience::Main {
        return match Box::pin(old_sse::answer(front, from, request)).await {
            Ok(old_sse::Reply::Stream(chunks)) => mcp::event_stream(chunks),
            Ok(old_sse::Reply::Taken(answer)) => mcp::render(&front.gate, answer),
            Err(refusal) => refused(&refusal),
        };
    }
    if path.starts_with(WELL_KNOWN) && front.audience == Audience::Main {
        return metadata(front, &request);
    }
    if let Some(probe) = ops::Probe::at(path) {
        return if matches!(*request.method(), Method::GET | Method::HEAD) {
            plain(probe.answer(&front.gate))
        } else {
            refused(&Refusal::Verb {
                method: request.method().to_string(),
                allowed: "GET, HEAD",
            })
        };
    }
    if let Some(allowed) = &front.operators
        && matches!(path, "/health" | "/metrics")
        && let Some(answers) = for_operators(front, allowed, &request)
    {
        if let Err(refusal) = answers {
            return refused(&refusal);
        }
        return plain(if path == "/health" {
            ops::health(&front.gate)
        } else {
            ops::metrics(&front.gate)
        });
    }
    refused(&Refusal::NoEndpoint(gatepost_policy::Printable(path).to_string()))
}

/// Whether an operator asks; `None` where a client elsewhere does, for whom there is nothing. The same guard as for clients: a
/// web page must not read it either.
fn for_operators(
    front: &Front,
    operators: &Allowed,
    request: &Request<Incoming>,
) -> Option<Result<(), Refusal>> {
    let (uri, headers) = (request.uri(), request.headers());
    match front.allowed.check(uri, headers) {
        Ok(()) if operators.check(uri, headers).is_err() => None,
        checked => Some(checked),
    }
}

/// Where tokens for an endpoint come from. It says the same of an endpoint that does not exist, since nobody has said yet who
/// they are. Source: RFC 9728 3; MCP 2026-07-28, basic/authorization/authorization-server-discovery.
fn metadata(front: &Front, request: &Request<Incoming>) -> Response<Outgoing> {
    let path = request.uri().path();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refused(&Refusal::Verb {
            method: request.method().to_string(),
            allowed: "GET, HEAD",
        });
    }
    if let Err(refusal) = front.allowed.check(request.uri(), request.headers()) {
        return refused(&refusal);
    }
    let snapshot = front.gate.snapshot();
    let endpoint = endpoint_of(path, snapshot.config().http.public_url.as_ref());
    let Some(document) = endpoint.and_then(|endpoint| front.gate.resource(endpoint).metadata()) else {
        return refused(&Refusal::NoEndpoint(gatepost_policy::Printable(path).to_string()));
    };
    let mut response = json(StatusCode::OK, smallvec::smallvec![document.to_string().into()]);
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=300"),
    );
    if let Some(origin) = cors::origin(request.headers()) {
        cors::welcome(origin, headers);
    }
    response
}

fn plain(page: ops::Page) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::whole(smallvec::smallvec![page.body]));
    *response.status_mut() = page.status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    response
}

/// A refusal of something that is no MCP message, or not yet.
fn refused(refusal: &Refusal) -> Response<Outgoing> {
    let (status, message) = respond::render(refusal, &respond::About::default());
    obliged(refusal, json(status, smallvec::smallvec![message]))
}

/// Adds what a refusal's status obliges to say in headers.
fn obliged(refusal: &Refusal, mut response: Response<Outgoing>) -> Response<Outgoing> {
    if let Refusal::Verb { allowed, .. } = refusal {
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    let challenge = match refusal {
        Refusal::Unidentified(unidentified) => unidentified.challenge(),
        Refusal::Scopes { challenge, .. } => Some(challenge),
        _ => None,
    };
    if let Some(challenge) = challenge {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge.clone());
    }
    if let Refusal::Unidentified(unidentified) = refusal
        && let Some(after) = unidentified.refusal().retry_after()
    {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        return response;
    }
    if let Refusal::Limited { exceeded, .. } = refusal
        && response.status() == StatusCode::TOO_MANY_REQUESTS
    {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(exceeded.seconds()));
    }
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn json(status: StatusCode, body: smallvec::SmallVec<[bytes::Bytes; 3]>) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::whole(body));
    *response.status_mut() = status;
    // Room for all that an answer gets, at once.
    *response.headers_mut() = HeaderMap::with_capacity(8);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
