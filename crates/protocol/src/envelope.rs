//! The JSON-RPC envelope: what kind of message it is, and where its parts are.
//!
//! A [`Message`] owns its bytes (cheaply, they are shared) and remembers spans into them. Parsing is one pass, and the
//! message is never turned into a tree: what is forwarded is what was received.

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::{INVALID_REQUEST, PARSE_ERROR};
use crate::json::{self, JsonError, Members, Span, Strictness};
use crate::method::Method;
use crate::rewrite::{RequestRewrite, ResponseRewrite};

mod classify;
mod id;

use classify::classify;
pub use id::{Id, RawId};

/// One JSON-RPC message.
#[derive(Debug, Clone)]
pub enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// Is one.
    Response(Response),
}

/// A request or notification: everything they share.
#[derive(Debug, Clone)]
struct Invocation {
    raw: Bytes,
    root: Members,
    method: MethodText,
    params: Option<Members>,
    meta: Option<Members>,
}

/// The method's text: in place where it is written without escapes, which is always but for curiosities.
#[derive(Debug, Clone)]
enum MethodText {
    InPlace(Span),
    Decoded(Box<str>),
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    inner: Invocation,
    id: Span,
}

/// A notification.
#[derive(Debug, Clone)]
pub struct Notification {
    inner: Invocation,
}

macro_rules! invocation_methods {
    ($type:ident) => {
        impl $type {
            /// The message as it was received.
            pub fn raw(&self) -> &Bytes {
                &self.inner.raw
            }

            /// The method's name.
            pub fn method(&self) -> &str {
                match &self.inner.method {
                    MethodText::InPlace(span) => {
                        std::str::from_utf8(span.of(&self.inner.raw)).unwrap_or_default()
                    }
                    MethodText::Decoded(text) => text,
                }
            }

            /// The method's row in the table, if any version of MCP has it.
            pub fn known_method(&self) -> Option<Method> {
                Method::parse(self.method())
            }

            /// Where `params` is, if it was sent.
            pub fn params(&self) -> Option<Span> {
                self.inner.params.as_ref().map(Members::span)
            }

            /// The members of `params`.
            pub fn params_members(&self) -> Option<&Members> {
                self.inner.params.as_ref()
            }

            /// Where `params.<name>` is, if it was sent.
            pub fn param(&self, name: &str) -> Option<Span> {
                self.inner.params.as_ref()?.get(&self.inner.raw, name)
            }

            /// The raw JSON of `params.<name>`.
            pub fn param_raw(&self, name: &str) -> Option<&[u8]> {
                self.param(name).map(|span| span.of(&self.inner.raw))
            }

            /// The text of `params.<name>`, if it is a string.
            pub fn param_text(&self, name: &str) -> Option<Cow<'_, str>> {
                json::text(&self.inner.raw, self.param(name)?)
            }

            /// The members of `params._meta`.
            pub fn meta_members(&self) -> Option<&Members> {
                self.inner.meta.as_ref()
            }

            /// Where `params._meta.<key>` is, if it was sent.
            pub fn meta(&self, key: &str) -> Option<Span> {
                self.inner.meta.as_ref()?.get(&self.inner.raw, key)
            }

            /// The raw JSON of `params._meta.<key>`.
            pub fn meta_raw(&self, key: &str) -> Option<&[u8]> {
                self.meta(key).map(|span| span.of(&self.inner.raw))
            }

            /// The text of `params._meta.<key>`, if it is a string.
            pub fn meta_text(&self, key: &str) -> Option<Cow<'_, str>> {
                json::text(&self.inner.raw, self.meta(key)?)
            }

            /// The members of the envelope itself.
            pub fn members(&self) -> &Members {
                &self.inner.root
            }

            /// Starts editing the message.
            pub fn rewrite(&self) -> RequestRewrite<'_> {
                let inner = &self.inner;
                RequestRewrite::new(
                    &inner.raw,
                    &inner.root,
                    inner.params.as_ref(),
                    inner.meta.as_ref(),
                )
            }
        }
    };
}

invocation_methods!(Request);
invocation_methods!(Notification);

impl Request {
    /// The id as it was sent.
    pub fn id(&self) -> RawId<'_> {
        RawId::new(self.id.of(&self.inner.raw))
    }

    /// Where the id is.
    pub fn id_span(&self) -> Span {
        self.id
    }
}

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    raw: Bytes,
    root: Members,
    id: Option<Span>,
    outcome: Outcome,
    body: Option<Members>,
    meta: Option<Members>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a result.
    Result(Span),
    /// With an error.
    Error {
        /// The error object.
        span: Span,
        /// Its `code`. A code that is no integer of 64 bits reads as -32603.
        code: i64,
        /// Its `message`, a JSON string or whatever the server put there; empty span if absent.
        message: Span,
        /// Its `data`.
        data: Option<Span>,
    },
}

impl Response {
    /// The message as it was received.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The id of the request this answers. `None` (absent or `null`) when the other side could not read it.
    pub fn id(&self) -> Option<RawId<'_>> {
        self.id.map(|span| RawId::new(span.of(&self.raw)))
    }

    /// Result or error.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Where the result is, if this is one.
    pub fn result(&self) -> Option<Span> {
        match self.outcome {
            Outcome::Result(span) => Some(span),
            Outcome::Error { .. } => None,
        }
    }

    /// The members of the result, if it is an object.
    pub fn result_members(&self) -> Option<&Members> {
        self.result().and(self.body.as_ref())
    }

    /// Where `result.<name>` is.
    pub fn result_member(&self, name: &str) -> Option<Span> {
        self.result_members()?.get(&self.raw, name)
    }

    /// The members of `result._meta`.
    pub fn result_meta_members(&self) -> Option<&Members> {
        self.result().and(self.meta.as_ref())
    }

    /// The message of the error, decoded. `None` if this is a result.
    pub fn error_message(&self) -> Option<Cow<'_, str>> {
        match self.outcome {
            Outcome::Result(_) => None,
            Outcome::Error { message, .. } => Some(json::text(&self.raw, message).unwrap_or_default()),
        }
    }

    /// The members of the envelope itself.
    pub fn members(&self) -> &Members {
        &self.root
    }

    /// Starts editing the message.
    pub fn rewrite(&self) -> ResponseRewrite<'_> {
        ResponseRewrite::new(
            &self.raw,
            &self.root,
            self.result_members(),
            self.result_meta_members(),
        )
    }
}

/// Why bytes are no message, in the caller's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not JSON, or JSON that is refused whatever it says.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// A JSON array: a batch, which only 2025-03-26 has. See [`Batch::split`].
    #[error("a JSON array (batch) is not accepted here; send one message at a time")]
    Batch,
    /// JSON but not a JSON-RPC message.
    #[error("invalid JSON-RPC message: {0}")]
    Envelope(&'static str),
}

/// Why bytes are no message, and what an error response needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ParseError {
    /// What is wrong.
    pub reason: Invalid,
    /// The id of the message as raw JSON, if it has a valid one that was reached: an error response echoes it.
    pub id: Option<Bytes>,
}

impl ParseError {
    /// The JSON-RPC code: -32700 for what is not JSON, -32600 for the rest.
    pub fn code(&self) -> i64 {
        match self.reason {
            Invalid::Json(JsonError::Syntax { .. } | JsonError::Utf8 { .. }) => PARSE_ERROR,
            _ => INVALID_REQUEST,
        }
    }

    /// The error response to send.
    pub fn response(&self) -> Bytes {
        crate::error::error_response(self.id.as_deref(), self.code(), &self.reason.to_string(), None)
    }
}

impl Message {
    /// Reads one message.
    ///
    /// # Errors
    /// A [`ParseError`] with the code, the reason, and the id if there is one to echo.
    pub fn parse(raw: Bytes, strictness: Strictness) -> Result<Self, ParseError> {
        if raw.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(ParseError {
                reason: Invalid::Batch,
                id: None,
            });
        }
        match json::scan_envelope(&raw, strictness) {
            (Ok(()), found) => classify(raw, found, strictness),
            (Err(error), found) => {
                // What is not JSON has no id one could trust; what is refused for its shape has.
                let broken = matches!(error, JsonError::Syntax { .. } | JsonError::Utf8 { .. });
                let id = found
                    .root
                    .filter(|_| !broken)
                    .and_then(|root| valid_id(&raw, &root));
                Err(ParseError {
                    reason: error.into(),
                    id: id.map(|span| raw.slice_ref(span.of(&raw))),
                })
            }
        }
    }

    /// The message as it was received.
    pub fn raw(&self) -> &Bytes {
        match self {
            Self::Request(request) => request.raw(),
            Self::Notification(notification) => notification.raw(),
            Self::Response(response) => response.raw(),
        }
    }
}

fn valid_id(raw: &[u8], root: &Members) -> Option<Span> {
    root.get(raw, "id").filter(|span| id::is_valid(span.of(raw)))
}

/// A JSON array of messages, which sessions at 2025-03-26 must accept (2025-03-26 basic/index, Batching).
#[derive(Debug, Clone, Copy)]
pub struct Batch;

impl Batch {
    /// Takes the array apart. The parts share the batch's bytes and are parsed one by one with [`Message::parse`].
    ///
    /// # Errors
    /// If the bytes are not JSON by `strictness`, no array, or an empty one (JSON-RPC 2.0 §6).
    pub fn split(raw: &Bytes, strictness: Strictness) -> Result<Vec<Bytes>, ParseError> {
        let refuse = |reason: Invalid| ParseError { reason, id: None };
        let span = json::validate(raw, strictness).map_err(|error| refuse(error.into()))?;
        if json::kind(raw, span) != Some(json::Kind::Array) {
            return Err(refuse(Invalid::Envelope("a batch must be an array")));
        }
        let parts: Vec<Bytes> = json::items(raw, span)
            .map(|item| raw.slice_ref(item.of(raw)))
            .collect();
        if parts.is_empty() {
            return Err(refuse(Invalid::Envelope("a batch must not be empty")));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests;
