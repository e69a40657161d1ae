//! A server that answers oddly and fails on demand, to test what stands in front of it.
//!
//! It speaks either era over HTTP ([`OddServer`]), the 2024-11-05 transport at its `/sse`, and stdio, in-process
//! ([`serve_stdio`]) or as a program ([`program`]). What it does is decided by the tool that is called (see the
//! list it gives; most take arguments) and by the switches in [`Odd`], which a test may change while it runs.
//! Its results are fixed bytes where that is what a test is about: [`result_bytes`].
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use gatepost_testkit::odd::{Era, Odd, OddServer, result_bytes};
//!
//! let server = OddServer::start(Odd::modern()).await?;
//! // … call its tool `big_numbers` through the gate at server.url() …
//! let expected = result_bytes("big_numbers", Era::Modern);
//! let sent = server.last("tools/call").map(|received| received.text());
//! # Ok(()) }
//! ```

mod core;
mod faults;
mod http;
mod out;
mod received;
mod stdio;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

pub use self::http::OddServer;
pub use self::received::Received;
pub(crate) use self::stdio::built;
pub use self::stdio::{Ended, Program, program, serve_stdio};
pub use self::table::{ERROR, definition_bytes, fixed_methods, fixed_tools, result_bytes};

/// The two forms of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// 2026-07-28: stateless.
    #[default]
    Modern,
    /// `initialize` and, over HTTP, sessions.
    Legacy,
}

/// How one method is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// As a server would.
    #[default]
    Natural,
    /// Never.
    Silence,
    /// With a page of HTML; on stdio a line of it.
    Html,
    /// By ending the process, or closing the connection.
    Exit,
    /// With a JSON-RPC error of this code.
    Error(i64),
    /// With this HTTP status and nothing else; on stdio an empty line.
    Status(u16),
    /// As a server would, after so many milliseconds.
    Slow(u64),
    /// With this text as `result`.
    Result(String),
}

/// What `nextCursor` looks like on a list with several pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cursors {
    /// Opaque texts, ending with the list.
    #[default]
    Natural,
    /// The first one is the empty text, which is a valid cursor.
    EmptyFirst,
    /// Always back to the first page, without end.
    Loop,
}

/// The switches. Everything not said is as a well-behaved server would do it, with odd tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Odd {
    /// Which form of the protocol it speaks; it refuses the other one.
    pub era: Era,
    /// The legacy version it insists on; `None` agrees to whatever the client asks for.
    pub version: Option<String>,
    /// Methods that are answered otherwise, by name.
    pub methods: BTreeMap<String, Behaviour>,
    /// Whether the odd tools are listed. They can be called in any case.
    pub odd_tools: bool,
    /// Ordinary tools beside them, `{prefix}_0000` onwards, which answer with their arguments.
    pub plain_tools: usize,
    /// What the ordinary tools' names begin with.
    pub prefix: String,
    /// Tools on a page of `tools/list`; 0 puts all on one.
    pub page: usize,
    /// The cursors between the pages.
    pub cursors: Cursors,
    /// Milliseconds before it accepts connections, or reads its first line.
    pub start_ms: u64,
    /// HTTP: answer with a stream even where a document would do.
    pub sse: bool,
    /// Legacy HTTP: give no session id and demand none.
    pub sessionless: bool,
    /// Legacy HTTP: refuse GET, as servers may.
    pub no_get: bool,
    /// stdio: begin with lines that are not JSON.
    pub banner: bool,
    /// stdio: stay when stdin is closed, and (as a program) ignore TERM.
    pub linger: bool,
    /// stdio program: start a grandchild that ignores TERM and outlives everything but KILL.
    pub grandchild: bool,
}

impl Default for Odd {
    fn default() -> Self {
        Self {
            era: Era::Modern,
            version: None,
            methods: BTreeMap::new(),
            odd_tools: true,
            plain_tools: 0,
            prefix: "tool".to_owned(),
            page: 0,
            cursors: Cursors::Natural,
            start_ms: 0,
            sse: false,
            sessionless: false,
            no_get: false,
            banner: false,
            linger: false,
            grandchild: false,
        }
    }
}

impl Odd {
    /// A server of 2026-07-28.
    #[must_use]
    pub fn modern() -> Self {
        Self::default()
    }

    /// A server with the handshake of the earlier versions.
    #[must_use]
    pub fn legacy() -> Self {
        Self {
            era: Era::Legacy,
            ..Self::default()
        }
    }

    /// The same, answering `method` as told.
    #[must_use]
    pub fn with(mut self, method: &str, behaviour: Behaviour) -> Self {
        self.methods.insert(method.to_owned(), behaviour);
        self
    }

    /// The same, without the odd tools and with `count` ordinary ones named `{prefix}_0000` onwards.
    #[must_use]
    pub fn plain(mut self, prefix: &str, count: usize) -> Self {
        (self.odd_tools, self.prefix, self.plain_tools) = (false, prefix.to_owned(), count);
        self
    }
}

/// A running server, as its test sees it; clones see the same one.
#[derive(Debug, Clone)]
pub struct Handle(Arc<core::Core>);

impl Handle {
    /// The server itself, not yet on any transport. What it receives is also appended to `record`.
    #[must_use]
    pub fn new(odd: Odd, record: Option<PathBuf>) -> Self {
        Self(core::Core::new(odd, record))
    }

    /// Everything received so far, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.0.received()
    }

    /// The messages of `method` received so far, oldest first.
    #[must_use]
    pub fn all(&self, method: &str) -> Vec<Received> {
        self.received()
            .into_iter()
            .filter(|received| received.method() == method)
            .collect()
    }

    /// The last message of `method`.
    #[must_use]
    pub fn last(&self, method: &str) -> Option<Received> {
        self.all(method).pop()
    }

    /// Forgets what was received, so that what follows stands alone.
    pub fn forget_received(&self) {
        self.0.forget_received();
    }

    /// Changes the switches; what is under way goes on as it began.
    pub fn change(&self, change: impl FnOnce(&mut Odd)) {
        self.0.change(change);
    }

    /// HTTP connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Requests whose client went away before the answer.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.0.abandoned.load(Ordering::Relaxed)
    }

    /// Legacy sessions that live.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.sessions()
    }

    /// Forgets every session: whoever uses one finds it gone.
    pub fn lose_sessions(&self) {
        self.0.forget_session(None);
    }

    /// Streams and channels that wait for news.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.0.listeners()
    }

    /// Says that the tools, prompts or resources changed: `notifications/tools/list_changed` and its like.
    pub async fn announce(&self, method: &str) {
        self.0.announce(method, None).await;
    }

    /// Says that the resource `uri` was updated.
    pub async fn updated(&self, uri: &str) {
        self.0
            .announce("notifications/resources/updated", Some(uri))
            .await;
    }

    /// Says this message on every stream on which a legacy server speaks by itself.
    pub async fn say(&self, message: &str) {
        self.0.say(message).await;
    }

    /// Lists one tool more (`grown_1`, `grown_2` …), without a word.
    pub fn grow(&self) {
        self.0.grow();
    }

    /// What the tool `grandchild` answers with.
    pub fn set_grandchild(&self, pid: u32) {
        self.0.set_grandchild(pid);
    }
}
