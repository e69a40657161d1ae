//! An answer: what its head said, and a body that reads its own connection.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use gatepost_protocol::framing::http1::{BodyDecoder, Framing, Head, MAX_FIELDS, Piece};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{HttpError, IDLE_FOR, Link, Pool};

/// An answer whose head is here.
#[derive(Debug)]
pub struct Response {
    /// The status; never an interim one.
    pub status: StatusCode,
    /// What the body is.
    pub media: Media,
    /// Where a redirection leads.
    pub location: Option<String>,
    /// `Mcp-Session-Id`.
    pub session_id: Option<HeaderValue>,
    /// What follows the head.
    pub body: Body,
}

/// What a `Content-Type` says, as far as MCP cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/json`.
    Json,
    /// `text/event-stream`.
    Events,
    /// Anything else, or nothing.
    Other,
}

/// The body of an answer. Dropped before its end, it closes the connection.
pub struct Body {
    decoder: BodyDecoder,
    /// The connection; `None` when it went back to the pool or is closed.
    link: Option<Box<Link>>,
    /// How long the connection may wait for another request; zero if it cannot carry one.
    keep_for: Duration,
    pool: Arc<Pool>,
}

/// What is known of an answer when its head has been read.
pub(super) struct Facts {
    status: StatusCode,
    media: Media,
    location: Option<String>,
    session_id: Option<HeaderValue>,
    framing: Framing,
    keep_for: Duration,
}

// === impl Media ===

impl Media {
    /// What `content_type` is, its parameters aside.
    pub fn of(content_type: Option<&[u8]>) -> Self {
        let essence = content_type
            .and_then(|value| value.split(|byte| *byte == b';').next())
            .unwrap_or_default()
            .trim_ascii();
        if essence.eq_ignore_ascii_case(b"application/json") {
            Self::Json
        } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
            Self::Events
        } else {
            Self::Other
        }
    }
}

// === impl Facts ===

impl Facts {
    pub(super) fn of(head: &Head<'_>) -> Result<Self, HttpError> {
        let status = StatusCode::from_u16(head.status)
            .map_err(|_| HttpError::Broken(format!("the answer has the status {}", head.status)))?;
        Ok(Self {
            status,
            media: Media::of(head.content_type),
            location: head
                .location
                .filter(|_| status.is_redirection())
                .map(|to| String::from_utf8_lossy(to).into_owned()),
            session_id: head.session_id.and_then(|id| HeaderValue::from_bytes(id).ok()),
            framing: head.framing,
            keep_for: if head.reusable {
                keep_for(head.keep_alive)
            } else {
                Duration::ZERO
            },
        })
    }

    /// The answer that these facts and the rest of the connection are.
    pub(super) fn into_response(self, link: Box<Link>, pool: &Arc<Pool>) -> Response {
        let mut body = Body {
            decoder: BodyDecoder::new(self.framing),
            link: Some(link),
            keep_for: self.keep_for,
            pool: Arc::clone(pool),
        };
        if body.decoder.is_done() {
            body.give_back();
        }
        Response {
            status: self.status,
            media: self.media,
            location: self.location,
            session_id: self.session_id,
            body,
        }
    }
}

/// How long the server lets a connection idle, one second taken off for the way. Node's default is five seconds, and it
/// says so; reusing such a connection later would lose a call now and then.
pub(super) fn keep_for(timeout: Option<u64>) -> Duration {
    timeout.map_or(IDLE_FOR, |seconds| {
        Duration::from_secs(seconds.saturating_sub(1)).min(IDLE_FOR)
    })
}

/// All fields of a head that could be parsed. Those whose values are no text are left out.
pub(super) fn fields(head: &[u8]) -> Result<HeaderMap, HttpError> {
    let start = memchr::memchr(b'\n', head).map_or(head.len(), |end| end + 1);
    let mut room = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let found = match httparse::parse_headers(&head[start..], &mut room) {
        Ok(httparse::Status::Complete((_, found))) => found,
        Ok(httparse::Status::Partial) | Err(_) => {
            return Err(HttpError::Broken(
                "the fields of the answer cannot be read".to_owned(),
            ));
        }
    };
    let mut fields = HeaderMap::with_capacity(found.len());
    for field in found {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name.as_bytes()),
            HeaderValue::from_bytes(field.value),
        ) {
            fields.append(name, value);
        }
    }
    Ok(fields)
}

// === impl Body ===

impl Body {
    /// The next piece of the body; `None` at its end.
    pub async fn data(&mut self) -> Option<Result<Bytes, HttpError>> {
        std::future::poll_fn(|cx| self.poll_data(cx)).await
    }

    /// The next piece of the body; trailers are dropped.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, HttpError>>> {
        let Some(link) = self.link.as_mut() else {
            return Poll::Ready(
                (!self.decoder.is_done())
                    .then(|| Err(HttpError::Broken("the connection was closed".to_owned()))),
            );
        };
        // A server may begin to answer before it has read everything.
        link.poll_send(cx);
        let error = loop {
            match self.decoder.next(&mut link.input) {
                Ok(Piece::Data(data)) => {
                    if self.decoder.is_done() {
                        self.give_back();
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Piece::End) => {
                    self.give_back();
                    return Poll::Ready(None);
                }
                Ok(Piece::More) => {}
                Err(error) => break error.into(),
            }
            match ready!(link.poll_fill(cx)) {
                Ok(0) if self.decoder.may_end() => {
                    self.decoder = BodyDecoder::new(Framing::Length(0));
                    self.link = None;
                    return Poll::Ready(None);
                }
                Ok(0) => break link.cut_off(),
                Ok(_) => {}
                Err(error) => break link.broken(&error),
            }
        };
        self.link = None;
        Poll::Ready(Some(Err(error)))
    }

    /// Reads up to `limit` bytes; `Ok(None)` when there are more.
    pub async fn collect(mut self, limit: u64) -> Result<Option<Bytes>, HttpError> {
        let Some(first) = self.data().await.transpose()? else {
            return Ok(Some(Bytes::new()));
        };
        let Some(second) = self.data().await.transpose()? else {
            return Ok((first.len() as u64 <= limit).then_some(first));
        };
        let mut whole = BytesMut::from(&first[..]);
        whole.extend_from_slice(&second);
        while whole.len() as u64 <= limit {
            match self.data().await.transpose()? {
                Some(data) => whole.extend_from_slice(&data),
                None => return Ok(Some(whole.freeze())),
            }
        }
        Ok(None)
    }

    /// How many bytes are still to come, if the head said so.
    pub fn announced(&self) -> Option<u64> {
        self.decoder.left()
    }

    fn give_back(&mut self) {
        if let Some(mut link) = self.link.take()
            && !self.keep_for.is_zero()
            && link.rest()
        {
            self.pool.give_back(link, self.keep_for);
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("decoder", &self.decoder)
            .finish_non_exhaustive()
    }
}
