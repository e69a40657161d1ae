//! Why a server could not answer: which server, what went wrong, and whether asking again is safe.

use std::{sync::Arc, time::Duration};

/// A call that a server did not answer as it should; always names the server.
#[derive(Debug, Clone, thiserror::Error)]
#[error("server `{server}` {cause}")]
pub struct CallError {
    /// The name from the configuration.
    pub server: Arc<str>,
    /// What went wrong.
    pub cause: Cause,
    /// True when the server provably did not process the request, so that repeating it changes nothing.
    pub retry_safe: bool,
}

/// What went wrong between the gate and a server; each message continues "server `x` …".
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// No connection could be made.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The program could not be started.
    #[error("could not be started: {0}")]
    NotStarted(String),
    /// Silence for longer than the server's `timeout`.
    #[error("did not answer within {}", seconds(*.0))]
    Timeout(Duration),
    /// The process or connection ended before the answer.
    #[error("ended before it answered: {0}")]
    Ended(String),
    /// The answer is not JSON-RPC.
    #[error("answered something that is not JSON-RPC: {0}")]
    Nonsense(String),
    /// The answer is larger than `http.max_response`.
    #[error("answered more than the allowed {limit} bytes (`http.max_response`)")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// An HTTP status without a usable JSON-RPC body.
    #[error("answered HTTP {status}: {detail}")]
    Http {
        /// The HTTP status code.
        status: u16,
        /// The first words of the body, or the reason phrase.
        detail: String,
    },
    /// `server/discover` and `initialize` both failed.
    #[error("could not be greeted: {0}")]
    Handshake(String),
    /// The server broke the protocol, such as a request on a modern stream.
    // Names of the server's choosing are in it, of any length; it goes to the log.
    #[error("broke the protocol: {0:.1000}")]
    Violation(String),
    /// The server does not do what its client asks for, which is its right.
    #[error("does not offer this: {0}")]
    NotOffered(String),
    /// The server answered in a way that its client's version has no words for.
    #[error("gave an answer that this client cannot take: {0:.1000}")]
    BeyondClient(String),
    /// The server's session is gone and belonged to one client, who must start anew.
    #[error("no longer has this client's session and what it held; send `initialize` to begin a new one")]
    SessionGone,
    /// There is nothing to present to the server, or it cannot be had; the server was not asked.
    #[error("was not asked: {0}")]
    NoCredential(String),
    /// Every place in the pool is taken.
    #[error("is busy: {0}")]
    Busy(String),
    /// The gate is shutting down.
    #[error("is being stopped")]
    Stopping,
}

impl CallError {
    /// The same, with `edit` applied to what others said or may have said.
    pub(crate) fn edited(mut self, edit: impl FnOnce(String) -> String) -> Self {
        match &mut self.cause {
            Cause::Unreachable(text)
            | Cause::NotStarted(text)
            | Cause::Ended(text)
            | Cause::Nonsense(text)
            | Cause::Http { detail: text, .. }
            | Cause::Handshake(text)
            | Cause::Violation(text)
            | Cause::NotOffered(text)
            | Cause::BeyondClient(text)
            | Cause::NoCredential(text)
            | Cause::Busy(text) => *text = edit(std::mem::take(text)),
            Cause::Timeout(_) | Cause::TooLarge { .. } | Cause::SessionGone | Cause::Stopping => {}
        }
        self
    }
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_does_not_choose_how_long_the_log_gets() {
        let long = "é".repeat(1 << 20);
        assert!(Cause::Violation(long.clone()).to_string().chars().count() < 1100);
        assert!(Cause::BeyondClient(long).to_string().chars().count() < 1100);
    }
}
