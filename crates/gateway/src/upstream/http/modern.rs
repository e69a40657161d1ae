//! Streamable HTTP as of 2026-07-28: every request stands alone, nothing is kept between two of them but connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gatepost_outbound::{Body, Request};
use gatepost_protocol::{envelope::Message, headers::encode_value, version::Version};
use http::{HeaderValue, StatusCode};

use super::{
    super::{
        CallError, Cause,
        change::Announcer,
        incoming::{Events, Incoming, Partial, Source},
        outgoing::Outgoing,
    },
    Endpoint, METHOD, NAME, PROTOCOL_VERSION, Reply,
    reply::{answering, read_reply},
    stream::EventStream,
    version_header,
};

/// A modern server behind a URL.
pub(crate) struct ModernServer {
    endpoint: Endpoint,
    next: AtomicU64,
    announcer: Announcer,
}

/// An open `subscriptions/listen`.
pub(crate) struct Listening {
    events: EventStream,
}

impl ModernServer {
    pub(crate) fn new(endpoint: Endpoint, announcer: Announcer) -> Self {
        Self {
            endpoint,
            next: AtomicU64::new(1),
            announcer,
        }
    }

    /// Sends a call. Dropping the future, or what it gives, closes the connection, which is cancellation
    /// (basic/utilities/cancellation, Transport-Specific).
    pub(crate) async fn call(&self, out: &Outgoing<'_>, version: Version) -> Result<Incoming, CallError> {
        let id = self.next.fetch_add(1, Relaxed);
        let context = &self.endpoint.context;
        let response = self
            .endpoint
            .send_as(self.request(out, version, id), out.personal.as_ref())
            .await?;
        match read_reply(response, context).await? {
            Reply::Response(status, response) => {
                answering(response, id, status, context).map(Incoming::Whole)
            }
            Reply::Partial(partial) => Ok(Incoming::Partial(Partial {
                asked: Some(id),
                ..partial
            })),
            Reply::Events(body) => Box::pin(self.stream(body, id, out)).await,
            Reply::Empty => Err(context.error(Cause::Nonsense("an empty body".to_owned()), false)),
            Reply::Failed { status, detail } => Err(failed(&self.endpoint, status, detail)),
        }
    }

    /// An answer in events. Most hold nothing but the response, and there is nothing to pass on before the first message.
    async fn stream(&self, body: Body, id: u64, out: &Outgoing<'_>) -> Result<Incoming, CallError> {
        let context = &self.endpoint.context;
        let mut stream = EventStream::live(body, id, context.clone(), self.announcer_of(out), None);
        match context.within(stream.next()).await?? {
            Message::Response(response) => Ok(Incoming::Whole(response)),
            first => Ok(Incoming::Events(Events {
                first: Some(first),
                source: Source::Http(Box::new(stream)),
                context: context.clone(),
                unanswered: 0,
                guard: None,
            })),
        }
    }

    /// Opens the stream of change notices for the filter in `out`.
    pub(crate) async fn listen(&self, out: &Outgoing<'_>, version: Version) -> Result<Listening, CallError> {
        let id = self.next.fetch_add(1, Relaxed);
        let context = &self.endpoint.context;
        let response = self
            .endpoint
            .send_as(self.request(out, version, id), out.personal.as_ref())
            .await?;
        match read_reply(response, context).await? {
            Reply::Events(body) => Ok(Listening {
                events: EventStream::live(body, id, context.clone(), self.announcer_of(out), None),
            }),
            Reply::Response(_, response) => {
                let text = response.error_message().unwrap_or_default().into_owned();
                Err(context.error(
                    Cause::Handshake(format!("it opens no change stream: {text}")),
                    true,
                ))
            }
            Reply::Failed { status, detail } => Err(failed(&self.endpoint, status, detail)),
            Reply::Empty | Reply::Partial(_) => {
                Err(context.error(Cause::Nonsense("no event stream".to_owned()), true))
            }
        }
    }

    fn announcer_of(&self, out: &Outgoing<'_>) -> Announcer {
        self.announcer
            .of(out.personal.as_ref().and_then(|own| own.fingerprint()))
    }

    fn request(&self, out: &Outgoing<'_>, version: Version, id: u64) -> Request {
        let mut request = self.endpoint.post(out.compose(version, id));
        request.field(&PROTOCOL_VERSION, &version_header(version));
        let method = match out.method() {
            Some(method) => Some(HeaderValue::from_static(method.name())),
            None => HeaderValue::from_str(&encode_value(out.request.method())).ok(),
        };
        if let Some(method) = method {
            request.field(&METHOD, &method);
        }
        // The server's own name, not the public one: the server compares it with the body it gets.
        if let Some(name) = out.target()
            && let Ok(name) = HeaderValue::from_str(&encode_value(&name))
        {
            request.field(&NAME, &name);
        }
        for (name, value) in out.headers.iter().chain(&out.params) {
            request.field(name, value);
        }
        request
    }
}

impl Listening {
    /// The next message on the stream that is no change notice: the acknowledgement, or the response that ends it.
    /// Change notices are announced meanwhile.
    pub(crate) async fn next(&mut self) -> Result<Message, CallError> {
        self.events.next().await
    }
}

/// A status without a JSON-RPC body, as an error. What was refused before the method was looked at may be repeated.
pub(crate) fn failed(endpoint: &Endpoint, status: StatusCode, detail: String) -> CallError {
    let untouched =
        matches!(status.as_u16(), 401 | 403 | 404 | 405 | 407 | 413 | 415 | 429) || status.is_redirection();
    if status.is_success() {
        return endpoint.context.error(Cause::Nonsense(detail), false);
    }
    endpoint.context.error(
        Cause::Http {
            status: status.as_u16(),
            detail: endpoint.cleaned(detail, None),
        },
        untouched,
    )
}
