//! What the transport hands to the pipeline: where a message arrived, and what it is once it has been read.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use gatepost_policy::{Caller, Principal};
use gatepost_protocol::{
    envelope::Request,
    logging::LogLevel,
    version::{Era, Version},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Notify;

use crate::{admit::Admitted, catalog::View, gate::Endpoint, session::ConversationId, upstream::Asker};

/// A message's place of arrival, before anybody looked at its body.
#[derive(Clone)]
pub struct Arrival {
    pub(crate) endpoint: Arc<Endpoint>,
    /// HTTP's request head; empty on stdio.
    pub(crate) headers: HeaderMap,
    /// Where it came from; `None` on a Unix socket and on stdio.
    pub(crate) address: Option<IpAddr>,
    pub(crate) carrier: Carrier,
    pub(crate) request_id: RequestId,
}

/// What carried a message here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// An HTTP request of its own.
    Http,
    /// A connection that carries many.
    Connection,
}

/// Names one request in logs, errors and the `x-request-id` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId(u64);

impl RequestId {
    /// The next one. They are unique within this process; the seed keeps those of two processes apart.
    pub(crate) fn next(seed: u64) -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(1);
        Self(seed.wrapping_add(COUNTER.fetch_add(1, Relaxed)))
    }

    /// As a header.
    pub(crate) fn header(self) -> HeaderValue {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 16];
        for (at, digit) in text.iter_mut().enumerate() {
            *digit = HEX[(self.0 >> (60 - 4 * at)) as usize & 15];
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Who the client is in protocol terms: of one request if it is modern, of its session if it is legacy.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) version: Version,
    /// A raw JSON object.
    pub(crate) capabilities: Bytes,
    /// A raw JSON object.
    pub(crate) info: Option<Bytes>,
    pub(crate) log_level: Option<LogLevel>,
    /// The legacy session or stdio connection, where there is one.
    pub(crate) conversation: Option<ConversationId>,
    /// Whose message it is.
    pub(crate) caller: Arc<Caller>,
}

impl Client {
    /// Who is calling.
    pub(crate) fn principal(&self) -> &Principal {
        self.caller.principal()
    }

    /// Modern or legacy.
    pub(crate) fn era(&self) -> Era {
        self.version.era()
    }

    /// Whether the client can be asked anything at all (elicitation, sampling, roots).
    pub(crate) fn capabilities(&self) -> &[u8] {
        &self.capabilities
    }
}

/// The W3C trace context that came in HTTP headers; what came in `_meta` travels with the message itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace<'a> {
    headers: &'a HeaderMap,
}

impl<'a> Trace<'a> {
    /// The header names that are passed on, which are also the `_meta` keys (2026-07-28, basic/index#_meta).
    pub(crate) const NAMES: [HeaderName; 3] = [
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("tracestate"),
        HeaderName::from_static("baggage"),
    ];

    /// For logs: which trace a message belongs to.
    pub(crate) fn parent(self) -> Option<&'a str> {
        self.headers.get(&Self::NAMES[0])?.to_str().ok()
    }

    /// The context's parts that are there.
    pub(crate) fn parts(self) -> impl Iterator<Item = (HeaderName, &'a HeaderValue)> {
        Self::NAMES
            .into_iter()
            .filter_map(move |name| self.headers.get(&name).map(|value| (name, value)))
    }
}

/// The client's explicit wish to have no answer any more.
#[derive(Debug, Default)]
pub(crate) struct Cancellation {
    wished: AtomicBool,
    notify: Notify,
}

impl Cancellation {
    /// The client sent `notifications/cancelled`.
    pub(crate) fn cancel(&self) {
        self.wished.store(true, Relaxed);
        self.notify.notify_waiters();
        self.notify.notify_one();
    }

    /// Wakes whoever waits for that, without any wish.
    pub(crate) fn stir(&self) {
        self.notify.notify_waiters();
    }

    /// Whether it did.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.wished.load(Relaxed)
    }

    /// Waits until it does.
    pub(crate) async fn cancelled(&self) {
        while !self.is_cancelled() {
            self.notify.notified().await;
        }
    }
}

/// A request that was read and belongs to a known client.
pub struct Inbound {
    pub(crate) admitted: Admitted,
    pub(crate) request: Request,
    pub(crate) client: Client,
    /// The endpoint's lists as they were when the request arrived; it sees no other for as long as it lives.
    pub(crate) view: Arc<View>,
    pub(crate) cancellation: Arc<Cancellation>,
}

impl Inbound {
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.admitted.arrival().endpoint
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.admitted.arrival().headers
    }

    /// Where it came from, where that is an address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.admitted.arrival().address
    }

    pub(crate) fn request_id(&self) -> RequestId {
        self.admitted.arrival().request_id
    }

    pub(crate) fn carrier(&self) -> Carrier {
        self.admitted.arrival().carrier
    }

    /// Who asks, with what it came with.
    pub(crate) fn asker(&self) -> Asker<'_> {
        Asker::of(&self.client.caller, self.headers())
    }

    pub(crate) fn trace(&self) -> Trace<'_> {
        Trace {
            headers: self.headers(),
        }
    }
}
