//! JSON-RPC messages as server-sent events.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use gatepost_protocol::framing::sse::{SSE_TAIL, sse_event, sse_head};

use super::body::{Broken, Chunks};
use crate::answer::Messages;

/// Above this many bytes an event's frame is sent around its message instead of being copied together with it.
const COPY_UP_TO: usize = 16 * 1024;

/// Wraps each message into an event.
pub(crate) fn stream(messages: Messages) -> Chunks {
    wrap(messages, None)
}

/// Wraps each message into an event of this name; the 2024-11-05 transport asks for it.
pub(crate) fn named_stream(messages: Messages, name: &'static str) -> Chunks {
    wrap(messages, Some(name))
}

fn wrap(messages: Messages, name: Option<&'static str>) -> Chunks {
    Box::pin(
        messages.flat_map(move |message| stream::iter(event(message, name).into_iter().map(Ok::<_, Broken>))),
    )
}

fn event(message: Bytes, name: Option<&str>) -> smallvec::SmallVec<[Bytes; 3]> {
    if message.len() <= COPY_UP_TO || memchr::memchr2(b'\n', b'\r', &message).is_some() {
        smallvec::smallvec![sse_event(&message, None, name)]
    } else {
        smallvec::smallvec![sse_head(None, name), message, Bytes::from_static(SSE_TAIL)]
    }
}
