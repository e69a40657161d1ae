//! What goes back to a client, before the transport gives it a form.

use std::pin::Pin;

use bytes::Bytes;
use futures_core::Stream;
use gatepost_policy::Principal;
use gatepost_protocol::version::Version;
use http::StatusCode;
use smallvec::{SmallVec, smallvec};

use crate::{session::ConversationId, transport::Chunks};

/// JSON-RPC messages as they come.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// Who may come back for the rest of a stream.
pub(crate) struct Resume {
    /// Whose it is.
    pub(crate) owner: Principal,
    /// Their session.
    pub(crate) session: ConversationId,
    /// What it speaks.
    pub(crate) version: Version,
}

/// The answer to one message.
pub(crate) enum Answer {
    /// One complete JSON-RPC message.
    Whole {
        /// For HTTP.
        status: StatusCode,
        /// The message, in pieces that are sent one after the other.
        body: SmallVec<[Bytes; 3]>,
        /// A new session's id, for the `Mcp-Session-Id` header.
        session: Option<String>,
    },
    /// One large JSON-RPC message that is still arriving from the server.
    Chunks(Chunks),
    /// Several messages; the last one, if any, is the response.
    Messages(Messages),
    /// The same for a legacy session over HTTP, whose client may lose the stream and come back for the rest.
    Resumable(Box<Resume>, Messages),
    /// The rest of a stream that had begun earlier, already in its HTTP form.
    Resumed(Chunks),
    /// Nothing to say: a notification or a client's response was taken.
    Accepted,
    /// Nothing to say: a session was ended.
    Ended,
    /// Nothing to say any more: the client cancelled the request.
    Cancelled,
}

impl Answer {
    /// A successful response.
    pub(crate) fn whole(message: Bytes) -> Self {
        Self::with_status(StatusCode::OK, message)
    }

    /// A response with a status of its own.
    pub(crate) fn with_status(status: StatusCode, message: Bytes) -> Self {
        Self::Whole {
            status,
            body: smallvec![message],
            session: None,
        }
    }

    /// A response around a result that many clients share, which is not copied for each.
    pub(crate) fn result(id: &[u8], result: Bytes) -> Self {
        let mut head = Vec::with_capacity(32 + id.len());
        head.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        head.extend_from_slice(id);
        head.extend_from_slice(br#","result":"#);
        let body = smallvec![Bytes::from(head), result, Bytes::from_static(b"}")];
        Self::Whole {
            status: StatusCode::OK,
            body,
            session: None,
        }
    }
}
