//! Why a request is from nobody that is known.
//!
//! A refusal has two texts. The log's says precisely what was wrong. The client's says what to do about it and nothing that
//! would help somebody who guesses.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::StatusCode;

/// A request that is not accepted. Cheap to clone; `Display` is what the client is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal(Arc<Detail>);

#[derive(PartialEq, Eq)]
struct Detail {
    ruling: Ruling,
    reason: Cow<'static, str>,
    message: Cow<'static, str>,
}

/// What a refusal amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing was presented: 401, with a challenge that names no error (RFC 6750 §3.1).
    Missing,
    /// More than one credential: 400, `invalid_request`.
    Ambiguous,
    /// A credential that is not accepted: 401, `invalid_token`.
    Invalid,
    /// Nobody can say at the moment, because the issuer's keys are not to be had: 503. It is not the client's fault.
    Unavailable {
        /// When asking again makes sense.
        retry_after: Duration,
    },
}

impl Refusal {
    pub(crate) fn of(
        ruling: Ruling,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Arc::new(Detail {
            ruling,
            reason: reason.into(),
            message: message.into(),
        }))
    }

    pub(crate) fn missing() -> Self {
        Self::of(
            Ruling::Missing,
            "no credential",
            "no credential was presented: send `Authorization: Bearer` with an access token or an API key",
        )
    }

    pub(crate) fn ambiguous(found: &'static str) -> Self {
        Self::of(
            Ruling::Ambiguous,
            found,
            "more than one credential was presented: send exactly one",
        )
    }

    pub(crate) fn invalid(
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::of(Ruling::Invalid, reason, message)
    }

    /// What it amounts to.
    pub fn ruling(&self) -> Ruling {
        self.0.ruling
    }

    /// The HTTP status that says so.
    pub fn status(&self) -> StatusCode {
        match self.0.ruling {
            Ruling::Missing | Ruling::Invalid => StatusCode::UNAUTHORIZED,
            Ruling::Ambiguous => StatusCode::BAD_REQUEST,
            Ruling::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The error code of RFC 6750 §3.1 that belongs into the challenge.
    pub fn code(&self) -> Option<&'static str> {
        match self.0.ruling {
            Ruling::Missing | Ruling::Unavailable { .. } => None,
            Ruling::Ambiguous => Some("invalid_request"),
            Ruling::Invalid => Some("invalid_token"),
        }
    }

    /// When to ask again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.ruling {
            Ruling::Unavailable { retry_after } => Some(retry_after),
            Ruling::Missing | Ruling::Ambiguous | Ruling::Invalid => None,
        }
    }

    /// For the log and the audit record: precise, in one line, and without any part of a credential.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// For the client.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("ruling", &self.0.ruling)
            .field("reason", &self.0.reason)
            .finish()
    }
}

impl std::error::Error for Refusal {}
