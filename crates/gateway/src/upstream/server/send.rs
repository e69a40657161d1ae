//! How a call gets to a server: on which session, and what is healed on the way. A session that is gone is opened anew, a
//! server that turned out to be another one is greeted again, and what was certainly not done is sent once more.

use std::sync::Arc;

use gatepost_protocol::{
    envelope::Outcome,
    error::{HEADER_MISMATCH, UNSUPPORTED_PROTOCOL_VERSION},
    logging::LogLevel,
    version::Era,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    super::{
        CallError, Cause, Partial, awaited,
        change::Change,
        health::Guard,
        incoming::Incoming,
        outgoing::{AsTask, Outgoing},
        pool::{Key, Use},
        session,
    },
    Manner, Server,
};

impl Server {
    /// Sends a call and gives what comes back as soon as there is something.
    pub(crate) async fn send(&self, out: &Outgoing<'_>) -> Result<Incoming, CallError> {
        let permit = match &self.concurrency {
            None => None,
            Some(places) => Some(self.place(places).await?),
        };
        if out.personal.is_none() && self.credentials.are_personal() {
            return Err(self.credentials.nothing_of_the_gates());
        }
        self.credentials
            .note_use(out.personal.as_ref(), out.principal, out.call);
        let guard = self.pulse.begin(permit);
        let mut outcome = self.send_once(out).await;
        if self.must_greet_again(&outcome) {
            self.forget();
            outcome = self.send_again(out).await;
        } else if was_not_processed(&outcome) || out.repeatable && was_lost(&outcome) {
            let again = self.send_again(out).await;
            // A second attempt that did not get as far as the server tells less than the first.
            if was_not_processed(&outcome) || !again.as_ref().is_err_and(|error| error.retry_safe) {
                outcome = again;
            }
        }
        match outcome {
            Ok(incoming) => {
                self.pulse.well();
                Ok(guarded(incoming, guard))
            }
            Err(error) => {
                let error = self.cleaned(error, out.personal.as_ref());
                // What one caller has to present says nothing of the server.
                if out.personal.is_none() || !is_refusal(&error) {
                    self.pulse.ill(&error);
                }
                Err(error)
            }
        }
    }

    /// Rare, so it must not make room in every call's future (and on every worker's stack).
    async fn send_again(&self, out: &Outgoing<'_>) -> Result<Incoming, CallError> {
        Box::pin(self.send_once(out)).await
    }

    async fn place(&self, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, CallError> {
        let busy = |why: &str| self.context.error(Cause::Busy(why.to_owned()), true);
        match tokio::time::timeout(self.context.silence, Arc::clone(places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(self.context.error(Cause::Stopping, true)),
            Err(_) => Err(busy(
                "`concurrency` calls are in flight, and none of them ended in time",
            )),
        }
    }

    /// Whether the answer means that we speak to the server wrongly, and that it did nothing.
    fn must_greet_again(&self, outcome: &Result<Incoming, CallError>) -> bool {
        match outcome {
            Ok(Incoming::Whole(response)) => {
                let modern = self.known().is_some_and(|facts| facts.era() == Era::Modern);
                match response.outcome() {
                    Outcome::Error {
                        code: HEADER_MISMATCH,
                        ..
                    } if modern => {
                        // The headers follow the tool's schema, which must have changed.
                        self.announcer.announce(Change::Tools);
                        true
                    }
                    Outcome::Error {
                        code: UNSUPPORTED_PROTOCOL_VERSION,
                        ..
                    } => modern,
                    _ => false,
                }
            }
            // A modern server has no sessions, so this 404 says that there is no such server any more, or another one.
            Err(CallError {
                cause: Cause::Http { status: 404, .. },
                ..
            }) => {
                matches!(self.manner.load().as_deref(), Some(Manner::Modern(_)))
            }
            _ => false,
        }
    }

    async fn send_once(&self, out: &Outgoing<'_>) -> Result<Incoming, CallError> {
        if *self.stopping.borrow() {
            return Err(self.context.error(Cause::Stopping, true));
        }
        let facts = self.greet(out.personal.as_ref()).await?;
        if let Some(manner) = self.manner.load_full()
            && let Manner::Modern(server) = &*manner
        {
            return server.call(out, facts.version).await;
        }
        let (key, how) = self.key(out, &facts);
        if key.conversation.is_some() && key.credential.is_some() {
            self.part_with_old_credentials(&key)?;
        }
        let first = Box::pin(self.send_on_session(out, &key, how)).await;
        match first {
            Err(error) if matches!(error.cause, Cause::SessionGone) => {
                Box::pin(self.start_anew(error, out, &key, how)).await
            }
            other => other,
        }
    }

    /// A session belongs to one credential, also where it is one client's own. One that comes with another must learn that what
    /// the server held for it is not there any more.
    fn part_with_old_credentials(&self, key: &Key) -> Result<(), CallError> {
        let is_old =
            |other: &Key| other.conversation == key.conversation && other.credential != key.credential;
        match self.pool.peek_any(is_old) {
            None => Ok(()),
            Some(old) => {
                self.pool.discard(&old);
                Err(self.context.error(Cause::SessionGone, true))
            }
        }
    }

    /// The session is gone, and the server did nothing. Where its state is nobody's, the gate starts anew behind the
    /// client's back; a client with a session of its own must learn of it.
    async fn start_anew(
        &self,
        gone: CallError,
        out: &Outgoing<'_>,
        key: &Key,
        how: Use,
    ) -> Result<Incoming, CallError> {
        if key.conversation.is_some() {
            self.pool.forget_lost(key);
            return Err(gone);
        }
        match self.send_on_session(out, key, how).await {
            Err(CallError {
                cause: Cause::SessionGone,
                ..
            }) => {
                let text = "it forgot a session that it had just opened".to_owned();
                Err(self.context.error(Cause::Violation(text), true))
            }
            other => other,
        }
    }

    async fn send_on_session(&self, out: &Outgoing<'_>, key: &Key, how: Use) -> Result<Incoming, CallError> {
        let lease = self.lease(key, how, out.personal.as_ref()).await?;
        let exclusive = how == Use::Exclusive;
        let level = match out.log_level.and_then(LogLevel::parse) {
            None => None,
            Some(level) => {
                let alone = exclusive || key.conversation.is_some();
                Box::pin(self.tell_level(lease.session(), level, alone)).await
            }
        };
        if out.task == AsTask::Param {
            return Box::pin(awaited::call(lease, exclusive, level, out, &self.context)).await;
        }
        session::call(lease, exclusive, level, out, &self.context).await
    }
}

/// Whether the server had ended before it could read the request, as a process does that was killed while it was idle.
fn was_not_processed(outcome: &Result<Incoming, CallError>) -> bool {
    let ended = |error: &CallError| error.retry_safe && matches!(error.cause, Cause::Ended(_));
    outcome.as_ref().err().is_some_and(ended)
}

/// Whether a call was lost on the way, and nobody knows whether the server acted on it: the connection broke, the program
/// ended, something before the server gave up on it. Only what changes nothing is sent again then (`eras.md` 4).
fn was_lost(outcome: &Result<Incoming, CallError>) -> bool {
    matches!(
        outcome,
        Err(CallError {
            cause: Cause::Ended(_)
                | Cause::Http {
                    status: 500..=599,
                    ..
                },
            ..
        })
    )
}

/// Whether a server does not take what it was presented with.
pub(crate) fn is_refusal(error: &CallError) -> bool {
    matches!(
        error.cause,
        Cause::Http {
            status: 401 | 403,
            ..
        }
    )
}

/// Ties the call's place to what is still to come of it.
fn guarded(incoming: Incoming, guard: Guard) -> Incoming {
    match incoming {
        Incoming::Whole(response) => Incoming::Whole(response),
        Incoming::Partial(partial) => Incoming::Partial(Partial {
            guard: Some(guard),
            ..partial
        }),
        Incoming::Events(mut events) => {
            events.guard = Some(guard);
            Incoming::Events(events)
        }
    }
}
