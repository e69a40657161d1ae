//! JSON-RPC messages as server-sent events.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use gatepost_protocol::framing::sse::sse_event;

use super::body::{Broken, Chunks};
use crate::answer::Messages;

/// Above this many bytes an event's frame is sent around its message instead of being copied together with it.
const COPY_UP_TO: usize = 16 * 1024;

/// Wraps each message into an event.
pub(crate) fn stream(messages: Messages) -> Chunks {
    Box::pin(messages.flat_map(|message| stream::iter(event(message).into_iter().map(Ok::<_, Broken>))))
}

fn event(message: Bytes) -> smallvec::SmallVec<[Bytes; 3]> {
    if message.len() <= COPY_UP_TO || memchr::memchr2(b'\n', b'\r', &message).is_some() {
        smallvec::smallvec![sse_event(&message, None, None)]
    } else {
        smallvec::smallvec![Bytes::from_static(b"data: "), message, Bytes::from_static(b"\n\n")]
    }
}
