//! What a server says on a pipe, and whom it is for.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use bytes::Bytes;
use gatepost_protocol::{
    envelope::{Batch, Invalid, Message, Notification, Request, Response},
    json::Strictness,
    method::Method,
};

use super::{
    super::{asking, change::change_of},
    Fault, LOGGED_BYTES, Pipe,
};

/// The receiving half: whoever reads the connection hands the messages in.
pub(crate) struct Inlet {
    pub(super) pipe: Arc<Pipe>,
}

impl Inlet {
    /// Takes one received message.
    pub(crate) fn receive(&self, raw: &Bytes) {
        if raw.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match Message::parse(raw.clone(), Strictness::Server) {
            Ok(Message::Response(response)) => self.answer(response),
            Ok(Message::Notification(notification)) => self.notice(notification),
            Ok(Message::Request(request)) => self.ask(&request),
            Err(problem) if problem.reason == Invalid::Batch => match Batch::split(raw, Strictness::Server) {
                Ok(parts) => parts.into_iter().for_each(|part| self.receive(&part)),
                Err(_) => self.nonsense(raw),
            },
            Err(_) => self.nonsense(raw),
        }
    }

    /// The connection is over; every call learns why.
    pub(crate) fn end(self, reason: &str) {
        self.pipe.finish(reason);
    }

    /// Something that is no message: skipped and counted, said once.
    pub(crate) fn nonsense(&self, raw: &[u8]) {
        let shown = String::from_utf8_lossy(&raw[..raw.len().min(LOGGED_BYTES)]);
        let server = &*self.pipe.server;
        if self.pipe.nonsense.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(target: "gatepost::server", server, line = %shown.trim_end(),
                "wrote something that is not JSON-RPC; it is skipped, and so will be more of its kind");
        } else {
            tracing::debug!(target: "gatepost::server", server, line = %shown.trim_end(), "not JSON-RPC, skipped");
        }
    }

    /// A message over the limit, of which this is the beginning. Fails the call it answers, if that can be told.
    pub(crate) fn oversized(&self, head: &[u8], limit: u64) {
        let named = leading_id(head);
        tracing::warn!(target: "gatepost::server", server = &*self.pipe.server, limit, id = named,
            "wrote a message over `http.max_response`; it is skipped");
        let call = match named {
            Some(id) => self.pipe.books().calls.remove(&id),
            None => self.pipe.only_call(),
        };
        if let Some(call) = call {
            call.fail(Fault::TooLarge(limit));
        }
    }

    fn answer(&self, response: Response) {
        let id = response.id().map(gatepost_protocol::envelope::RawId::as_u64);
        let call = match id {
            Some(Some(id)) => {
                let mut books = self.pipe.books();
                books.left.remove(&id);
                books.calls.remove(&id)
            }
            Some(None) => None,
            // An error without an id: the server could not read what we sent.
            None => {
                let only = self.pipe.only_call();
                if only.is_none() {
                    tracing::warn!(target: "gatepost::server", server = &*self.pipe.server,
                        error = %response.error_message().unwrap_or_default(), "answered with an error that names no request");
                }
                only
            }
        };
        match call {
            Some(call) => {
                call.push(Message::Response(response), true);
            }
            // The usual end of a call that nobody waits for any more.
            None => tracing::debug!(server = &*self.pipe.server, "an answer to no open call"),
        }
    }

    fn notice(&self, notification: Notification) {
        let pipe = &self.pipe;
        if let Some(change) = change_of(&notification) {
            pipe.announcer.announce(change);
            return;
        }
        match notification.known_method() {
            Some(Method::Progress) => {
                let call = notification
                    .param_raw("progressToken")
                    .and_then(|token| pipe.call_of(token));
                pipe.deliver(call.as_deref(), notification);
            }
            Some(Method::SubscriptionsAcknowledged | Method::TasksNotice) => {
                let id = notification.meta_raw("io.modelcontextprotocol/subscriptionId");
                let call = id.and_then(|id| pipe.call_of(id));
                pipe.deliver(call.as_deref(), notification);
            }
            method => {
                let call = pipe.only_call();
                if call.is_none() && method == Some(Method::LogMessage) {
                    let text = notification.param_raw("data").unwrap_or_default();
                    let shown = String::from_utf8_lossy(&text[..text.len().min(LOGGED_BYTES)]);
                    tracing::info!(target: "gatepost::server", server = &*pipe.server, data = %shown, "log message");
                }
                pipe.deliver(call.as_deref(), notification);
            }
        }
    }

    fn ask(&self, request: &Request) {
        match asking::pong(request) {
            Some(answer) => self.pipe.send_now(answer),
            None => self.pipe.asked(request),
        }
    }
}

/// The number in the first `"id":` of a message's beginning. A guess, good enough to say which call has failed: every SDK
/// writes the id before the result.
pub(super) fn leading_id(head: &[u8]) -> Option<u64> {
    let place = head.windows(4).position(|window| window == b"\"id\"")?;
    let rest = head
        .get(place + 4..)?
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}
