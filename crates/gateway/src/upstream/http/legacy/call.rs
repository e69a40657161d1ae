//! What a call on a legacy session needs besides its stream, until its answer is here or nobody waits for it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use gatepost_outbound::Body;
use gatepost_protocol::envelope::{Message, Request};
use tokio::{sync::mpsc, time::Instant};

use super::{
    super::super::{
        CallError, Cause, asking,
        level::InUse,
        outgoing::{Outgoing, Wish},
        pipe::{LEFT_FOR, cancelled},
        pool::Lease,
        session::Session,
    },
    LegacySession,
};

/// What may wait for one call that does not read what comes beside it, and how many of its questions are known to have come
/// so.
pub(super) const MAX_ASIDES: usize = 64;
/// Longer ids are nobody's counter, and not worth remembering.
const LONGEST_ID: usize = 1024;
/// How often a broken stream is taken up again.
const RESUMPTIONS: u32 = 5;

/// The right to use a session for a call.
pub(crate) struct Tenure {
    pub(crate) lease: Lease<Session>,
    /// No other call is on the session meanwhile.
    pub(crate) exclusive: bool,
}

/// What a call on a legacy session needs besides its stream. Dropped before the answer, it cancels if that was wished.
pub(crate) struct LegacyCall {
    session: Arc<LegacySession>,
    id: u64,
    asks: Option<mpsc::Receiver<Message>>,
    /// The ids of the questions that came so.
    asides: Vec<Bytes>,
    resumed: u32,
    open: bool,
    closing_cancels: bool,
    wish: Option<Arc<dyn Wish>>,
    /// It is a client's, not the gate's own.
    counted: bool,
    /// Kept for as long as the call.
    tenure: Option<Tenure>,
    _level: Option<InUse>,
}

impl LegacyCall {
    /// A call that is about to be sent as `id`.
    pub(super) fn new(
        session: &Arc<LegacySession>,
        id: u64,
        out: &Outgoing<'_>,
        tenure: Option<Tenure>,
        level: Option<InUse>,
    ) -> Self {
        let counted = !out.own();
        session.in_flight.fetch_add(usize::from(counted), Relaxed);
        Self {
            session: Arc::clone(session),
            id,
            asks: None,
            asides: Vec::new(),
            resumed: 0,
            open: true,
            closing_cancels: out.version.is_modern() && counted,
            wish: out.wish.clone(),
            counted,
            tenure,
            _level: level,
        }
    }

    /// From now on it gets what comes beside it.
    pub(super) fn hear(&mut self, asks: mpsc::Receiver<Message>) {
        self.asks = Some(asks);
    }

    /// The right to use its session.
    pub(crate) fn lease(&mut self) -> Option<&mut Lease<Session>> {
        Some(&mut self.tenure.as_mut()?.lease)
    }

    /// The id of its request.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn session(&self) -> &Arc<LegacySession> {
        &self.session
    }

    /// A question that came on the GET stream. Never ends while the call is open.
    pub(crate) async fn asked(&mut self) -> Option<Message> {
        let Some(asks) = &mut self.asks else {
            return std::future::pending().await;
        };
        let asked = asks.recv().await;
        if let Some(message) = &asked {
            self.note(message);
        }
        asked
    }

    pub(super) fn note(&mut self, message: &Message) {
        let Message::Request(question) = message else {
            return;
        };
        let id = question.id().bytes();
        if id.len() > LONGEST_ID {
            return;
        }
        // The oldest has been answered, if its server is in its senses.
        if self.asides.len() >= MAX_ASIDES {
            self.asides.remove(0);
        }
        self.asides.push(Bytes::copy_from_slice(id));
    }

    /// Takes back a question that this call leaves unanswered: it is for the next one, unless it came on this call's stream.
    pub(crate) fn put_back(&self, question: &Request) {
        let session = &self.session;
        if !session.asking.allowed {
            asking::unsupported(session, question);
        } else if self.asides.iter().any(|id| *id == question.id().bytes()) {
            self.give_back(question);
        } else {
            asking::refuse(session, question, "the call that this belongs to is over");
        }
    }

    /// What came beside the call may have been meant for no call at all.
    fn give_back(&self, question: &Request) {
        let session = &self.session;
        session.books().calls.retain(|(id, _)| *id != self.id);
        if session.has_owner() {
            // Another call of the same client may be what it is about.
            session.asked(question);
        } else {
            session.hold(question);
        }
    }

    /// The server is silent too long. Source: 2025-11-25 basic/lifecycle, Timeouts.
    pub(crate) fn stop_waiting(&mut self) {
        self.closing_cancels = true;
    }

    pub(super) fn timed_out(&mut self, error: &CallError) {
        if matches!(error.cause, Cause::Timeout(_)) {
            self.stop_waiting();
        }
    }

    /// Nothing that comes beside calls is about this one any more.
    pub(crate) fn retire(&mut self) {
        let counted = std::mem::take(&mut self.counted);
        self.session.in_flight.fetch_sub(usize::from(counted), Relaxed);
        self.session.books().calls.retain(|(id, _)| *id != self.id);
        let Some(mut asks) = self.asks.take() else { return };
        // A question that nobody has read would leave the server waiting.
        while let Ok(message) = asks.try_recv() {
            if let Message::Request(question) = message {
                self.give_back(&question);
            }
        }
    }

    /// The response is here: nothing to cancel any more.
    pub(crate) fn answered(&mut self) {
        self.open = false;
    }

    /// Something came: a server that closes its stream now and then on purpose may go on doing so.
    pub(crate) fn heard(&mut self) {
        self.resumed = 0;
    }

    /// Takes the stream up again after the event `id`; nothing if that cannot be done.
    pub(crate) fn resume(
        &mut self,
        id: Bytes,
        wait: Duration,
    ) -> impl Future<Output = Option<Body>> + Send + use<> {
        let tries = RESUMPTIONS.saturating_sub(self.resumed);
        self.resumed += 1;
        let session = Arc::clone(&self.session);
        async move {
            for _ in 0..tries {
                tokio::time::sleep(wait).await;
                match session.open_stream(Some(&id)).await {
                    Ok(Some(body)) => return Some(body),
                    Ok(None) => break,
                    Err(error) => tracing::debug!(%error, "resuming a stream"),
                }
            }
            None
        }
    }
}

impl Drop for LegacyCall {
    fn drop(&mut self) {
        if self.open && self.counted {
            self.session.books().left_until = Some(Instant::now() + LEFT_FOR);
        }
        self.retire();
        let wished = self.closing_cancels || self.wish.as_ref().is_some_and(|wish| wish.is_cancelled());
        if self.open && wished {
            self.session
                .send_later(cancelled(self.id, "the client no longer waits"));
        }
        // The server may still be at it, and ask: the next call must not be taken for this one.
        if self.open
            && let Some(tenure) = self.tenure.take().filter(|tenure| tenure.exclusive)
        {
            tenure.lease.discard();
        }
    }
}
