//! The way from a method to whatever carries its answer: what is to be sent, not how it is framed.

use bytes::Bytes;
use tokio::sync::mpsc;

/// How an HTTP answer is framed; stdio and old SSE have only one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// One JSON document.
    Json,
    /// A stream of events.
    Sse,
}

/// One thing to send. The first one decides the head of an HTTP answer.
#[derive(Debug)]
pub(super) enum Op {
    /// Begin the answer in this framing, before there is anything to say.
    Open(Framing),
    /// A JSON-RPC message that others follow: the answer becomes a stream.
    Message(Bytes),
    /// The JSON-RPC message that ends the answer.
    Last(Bytes),
    /// The beginning of a message: framed at the front only.
    Begin(Bytes),
    /// Bytes without any frame.
    Raw(Bytes),
    /// A whole HTTP answer; on other transports its body, on a line.
    Reply {
        status: u16,
        content_type: &'static str,
        body: Bytes,
    },
    /// Bytes for stderr; dropped where there is none.
    Stderr(Bytes),
    /// Break off here: the connection is cut, the process exits.
    Die,
}

/// Where a method sends its answer. Sending waits for the reader.
#[derive(Debug, Clone)]
pub(super) struct Out(pub(super) mpsc::Sender<Op>);

impl Out {
    pub(super) fn new() -> (Self, mpsc::Receiver<Op>) {
        // Short, so that an endless answer fills the reader's memory, not ours.
        let (sender, receiver) = mpsc::channel(4);
        (Self(sender), receiver)
    }

    /// Sends to the reader of a call's answer. Never returns once that has gone: the call ends by `closed`.
    pub(super) async fn send(&self, op: Op) {
        if self.0.send(op).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends to somebody who may have gone.
    pub(super) async fn offer(&self, op: Op) {
        _ = self.0.send(op).await;
    }

    /// Waits until nobody reads any more.
    pub(super) async fn closed(&self) {
        self.0.closed().await;
    }

    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// `json` as one event.
pub(super) fn event(json: &[u8]) -> Bytes {
    [EVENT_FRONT, json, b"\n\n"].concat().into()
}

/// What stands before the JSON of an event.
pub(super) const EVENT_FRONT: &[u8] = b"event: message\ndata: ";
