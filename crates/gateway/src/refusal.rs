//! Everything the gate itself can say no to. Stages return a [`Refusal`]; `respond.rs` turns each into its HTTP status
//! and JSON-RPC error in one exhaustive match.

use std::{sync::Arc, time::Duration};

use gatepost_policy::{Printable, Reason};
use gatepost_protocol::envelope::ParseError;

use http::HeaderValue;

use crate::{identify::Unidentified, limits::Exceeded, upstream::CallError};

/// A call for which there is no room now.
#[derive(Debug)]
pub struct Limited {
    /// Where it would go.
    pub(crate) server: Arc<str>,
    /// What the thing is called there.
    pub(crate) original: Arc<str>,
    /// What its caller calls it.
    pub(crate) name: Box<str>,
    /// Whether it is a tool, whose result can say so.
    pub(crate) tool: bool,
}

fn for_whom(target: Option<&Limited>) -> String {
    target.map_or_else(String::new, |limited| {
        let (name, server) = (Printable(&limited.name), Printable(&limited.server));
        format!("`{name}` of server `{server}`: ")
    })
}

/// Why a message got no answer from a server.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// `Host` is none of ours: a DNS rebinding attempt or a missing `http.hosts` entry.
    #[error("the Host `{0}` is not served here; add it to `http.hosts` if it should be")]
    Host(String),
    /// `Origin` is not allowed.
    #[error("the Origin `{0}` is not allowed; add it to `http.origins` if it should be")]
    Origin(String),
    /// `Sec-Fetch-Site: cross-site`.
    #[error("a page of another site may not call this endpoint")]
    CrossSite,
    /// No such path, view or server; says nothing about what exists.
    #[error("there is nothing at `{0}`; endpoints are /mcp, /mcp/<server> and /mcp/<view>")]
    NoEndpoint(String),
    /// No credential, or one that is not accepted.
    #[error(transparent)]
    Unidentified(#[from] Box<Unidentified>),
    /// A method that the path does not have.
    #[error("{method} is not possible here; allowed: {allowed}")]
    Verb {
        /// What was tried.
        method: String,
        /// The `Allow` header.
        allowed: &'static str,
    },
    /// A body that does not claim to be JSON.
    #[error("the Content-Type must be application/json, not `{0}`")]
    ContentType(String),
    /// The client accepts neither JSON nor an event stream.
    #[error("the Accept header must allow application/json and text/event-stream")]
    Accept,
    /// Over `http.max_body`.
    #[error("the body is larger than the allowed {limit} bytes (`http.max_body`)")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// The body stopped arriving.
    #[error("the body did not arrive within {} s (`http.body_timeout`)", .0.as_secs())]
    SlowBody(Duration),
    /// The connection broke while the body was read.
    #[error("the body could not be read: {0}")]
    BrokenBody(String),
    /// Not a JSON-RPC message.
    #[error("{0}")]
    Malformed(ParseError),
    /// A batch where none may be.
    #[error("batches are not part of this protocol version; send each message by itself")]
    Batch,
    /// A request without a session, and not modern either.
    #[error(
        "this request belongs to no session: send `initialize` first and then its Mcp-Session-Id, or send the 2026-07-28 `_meta`"
    )]
    NoSession,
    /// A session that ended, expired, or never was.
    #[error("the session is gone; send `initialize` to begin a new one")]
    SessionGone,
    /// An answer to a question that this gate never asked.
    #[error(
        "no question with this id is open here; if another gate behind this address asked it, its answer must reach that gate: route all requests of one Mcp-Session-Id to one gate"
    )]
    UnknownQuestion,
    /// A `Last-Event-ID` of a stream that is not kept here.
    #[error(
        "the stream of this Last-Event-ID is not kept here: it has ended, nobody came back for it in time, or another gate behind this address has it. Send the request again, or a GET without Last-Event-ID; to resume streams, route all requests of one Mcp-Session-Id to one gate"
    )]
    UnknownStream,
    /// A required `_meta` member of a modern request is missing or has the wrong type.
    #[error("`params._meta` must hold `{0}`")]
    Meta(&'static str),
    /// Headers and body disagree (-32020).
    #[error("{0}")]
    HeaderMismatch(String),
    /// A version that is not spoken in this form (-32022).
    #[error("protocol version `{requested}` is not supported")]
    Version {
        /// What the client asked for.
        requested: String,
    },
    /// No such method, or not in this era.
    #[error("the method `{0}` is not known here")]
    UnknownMethod(String),
    /// Shown to this caller, and not allowed with these arguments or at this time.
    #[error("{reason}; other arguments, or another time, may be allowed")]
    Denied {
        /// Every role that was looked at, and what it lacks.
        reason: Box<Reason>,
        /// Whether it was a tool that was called, whose result can say so.
        tool: bool,
    },
    /// Neither allowed nor shown: what its caller is told is that there is no such thing.
    #[error("{}", .0.told)]
    Hidden(Box<Hidden>),
    /// Allowed to a token with more scopes.
    #[error("this needs a token with the scopes {}", words(needed))]
    Scopes {
        /// All of them, also those that the token has.
        needed: Arc<[Arc<str>]>,
        /// `WWW-Authenticate`.
        challenge: HeaderValue,
    },
    /// A limit or quota of the configuration is reached.
    #[error("{}{exceeded}", for_whom(target.as_deref()))]
    Limited {
        /// Which, and until when.
        exceeded: Box<Exceeded>,
        /// What was called, where that was known already.
        target: Option<Box<Limited>>,
    },
    /// The audit log cannot be written, and the configuration wants no call without it. The call was not made.
    #[error(
        "the call was not made, because it could not be recorded; the gate takes no calls until its audit log is mended"
    )]
    Unrecorded,
    /// The call was made, and then its outcome could not be written.
    #[error(
        "the call was made, but its outcome could not be recorded; do not make it again before you know what it did. The gate takes no calls until its audit log is mended"
    )]
    OutcomeUnrecorded,
    /// A tool or prompt that is not in this endpoint's lists.
    #[error("unknown {kind}: {name}")]
    UnknownName {
        /// "tool", "prompt" or "task".
        kind: &'static str,
        /// As the client wrote it.
        name: String,
    },
    /// A task's method from a client that does not declare tasks (-32021).
    #[error("the client must declare the extension `io.modelcontextprotocol/tasks` to use its methods")]
    TasksUndeclared,
    /// A resource that no server of this endpoint lists.
    #[error("resource not found: {0}")]
    UnknownResource(String),
    /// Parameters that do not fit the method.
    #[error("{0}")]
    Params(String),
    /// The gate has as many calls in flight as it takes.
    #[error("the gate is at its limit of {limit} calls at once; try again shortly")]
    Overloaded {
        /// Calls in flight.
        limit: usize,
    },
    /// The caller has as many long streams open as one may have.
    #[error("you have {limit} streams open, which is the most; close some, or watch more on each")]
    TooManyStreams {
        /// Streams.
        limit: usize,
    },
    /// A `requestState` that opens nothing. One message for every cause: what it was good for is nobody's business.
    #[error("this `requestState` is not, or no longer, good for this call; make the call anew, without it")]
    StaleState,
    /// A retry that is being answered already, on another connection.
    #[error(
        "this very retry is being answered already; wait for that answer, or send it again later: within 5 minutes it gets the same one"
    )]
    UnderWay,
    /// The user did not agree to what the server needs.
    #[error("server {0} needs its user to visit a page first, and the user did not agree")]
    Declined(Arc<str>),
    /// The client cancelled the request.
    #[error("the request was cancelled")]
    Cancelled,
    /// A server failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Something of ours failed.
    #[error("the gate failed: {0}")]
    Internal(Arc<str>),
}

/// What somebody has tried who is not to know that it is there.
#[derive(Debug)]
pub struct Hidden {
    /// What they are told.
    pub(crate) told: Refusal,
    /// Whose it is.
    pub(crate) server: Arc<str>,
    /// What it is called there.
    pub(crate) name: Arc<str>,
    /// Why it is not theirs.
    pub(crate) reason: Reason,
}

fn words(scopes: &[Arc<str>]) -> String {
    let quoted: Vec<String> = scopes.iter().map(|scope| format!("`{scope}`")).collect();
    quoted.join(", ")
}

impl Refusal {
    /// Parameters that do not fit, in words.
    pub(crate) fn params(text: impl Into<String>) -> Self {
        Self::Params(text.into())
    }
}
