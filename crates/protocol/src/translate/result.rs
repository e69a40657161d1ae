//! A result on its way to the client.

use bytes::Bytes;

use super::content::{degraded, text_block};
use super::{META_SERVER_INFO, META_SUBSCRIPTION_ID};
use crate::envelope::Response;
use crate::framing::{IdSplicer, SpliceEdits};
use crate::json::{self, Kind, Span};
use crate::method::Method;
use crate::rewrite::ResponseRewrite;
use crate::version::Version;

/// Who may share a cached answer (2026-07-28 server/utilities/caching).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    /// Everybody.
    Public,
    /// Only who asked.
    Private,
}

impl CacheScope {
    const fn as_json(self) -> &'static [u8] {
        match self {
            Self::Public => b"\"public\"",
            Self::Private => b"\"private\"",
        }
    }
}

/// What the gate says about caching where the server says nothing valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheHints {
    /// `ttlMs`, in milliseconds.
    pub ttl_ms: u64,
    /// `cacheScope`.
    pub scope: CacheScope,
    /// Whether a server's `public` must become `private`, because not everybody may read here.
    pub never_public: bool,
}

impl CacheHints {
    /// Not to be kept, and nobody else's.
    pub const NONE: Self = Self {
        ttl_ms: 0,
        scope: CacheScope::Private,
        never_public: false,
    };
}

/// A result that cannot be passed on: -32603, naming the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultProblem {
    /// `resultType` is one that no version has.
    #[error("the server's answer has an unknown resultType {0:?}")]
    UnknownResultType(String),
    /// `input_required`: no answer yet. Whoever called decides how the questions reach the client.
    #[error("the server asks for input (`input_required`)")]
    Unfinished,
    /// `task`, for a client that did not declare tasks. (Where the gate declares them itself, it waits for the task.)
    #[error("the server made a task of the call, although its client did not declare that it takes any")]
    TaskForLegacy,
}

/// What is to be done with the result of one call. Made when the call is sent, so that a large answer can stream.
#[derive(Debug, Clone, Copy)]
pub struct ResultPlan<'a> {
    /// The method that was called.
    pub method: Option<Method>,
    /// The version the server speaks.
    pub server: Version,
    /// The version the client speaks.
    pub client: Version,
    /// What to say about caching.
    pub hints: CacheHints,
    /// The server's `serverInfo`, raw JSON, put into `_meta` for modern clients where the server did not do it itself.
    pub server_info: Option<&'a [u8]>,
    /// Whether `structuredContent` goes, see [`drops_structured_content`](super::drops_structured_content).
    pub drop_structured: bool,
    /// The client's name of the task that the result is about, raw JSON; `None` leaves the server's. The result must be
    /// whole for it.
    pub task_id: Option<&'a [u8]>,
}

/// A `resultType` that the specification has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResultType {
    Complete,
    InputRequired,
    Task,
}

/// A result that asks for input, as the response to the request `id` (raw JSON), with `state` for its `requestState`.
///
/// Nothing else of it changes: what it asks is between server and client.
pub fn unfinished_down(response: &Response, id: &[u8], state: Option<&str>) -> Bytes {
    let mut edits = response.rewrite();
    edits.id(id);
    if let Some(state) = state {
        edits.result_member("requestState", json::quote(state));
    }
    edits.finish()
}

const ERA_FIELDS: &[&str] = &["resultType", "ttlMs", "cacheScope"];
const CACHE_FIELDS: &[&str] = &["ttlMs", "cacheScope"];

impl ResultPlan<'_> {
    fn is_cacheable(&self) -> bool {
        self.method.is_some_and(Method::is_cacheable)
    }

    /// Whether the result is looked into: the client is older than the server, and the result may hold what it does not
    /// know.
    fn degrades(&self) -> bool {
        self.client < self.server && matches!(self.method, Some(Method::ToolsCall | Method::PromptsGet))
    }

    /// Whether the result may stream through [`splicer`](Self::splicer). If not, it must be whole for
    /// [`apply`](Self::apply).
    pub fn is_streamable(&self) -> bool {
        // `public` cannot be recognised while streaming; a modern server's own fields are left alone there.
        let must_check = self.hints.never_public && self.is_cacheable() && self.server.is_modern();
        !(self.degrades() || self.drop_structured || must_check && self.client.is_modern())
    }

    /// The streaming form. It differs from [`apply`](Self::apply) in what cannot be known while streaming: a legacy
    /// server's own cache fields are overwritten instead of checked, `_meta` is left as it is, and an unknown
    /// `resultType` passes.
    pub fn splicer(&self, id: Bytes) -> IdSplicer {
        let mut edits = SpliceEdits {
            id: Some(id),
            ..SpliceEdits::default()
        };
        if self.server.is_modern() && self.method.is_some_and(Method::may_ask) {
            // What an unfinished result keeps for the server is sealed on the way down.
            edits.stop = &["requestState", "inputRequests"];
        }
        match (self.client.is_modern(), self.server.is_modern()) {
            (true, from_modern) => {
                edits
                    .add
                    .push(("resultType", Bytes::from_static(b"\"complete\"")));
                if self.is_cacheable() && !(from_modern && self.method == Some(Method::ResourcesRead)) {
                    edits.add.push(("ttlMs", self.hints.ttl_ms.to_string().into()));
                    edits
                        .add
                        .push(("cacheScope", Bytes::from_static(self.hints.scope.as_json())));
                    if !from_modern {
                        edits.remove = CACHE_FIELDS;
                    }
                }
            }
            (false, true) => edits.remove = ERA_FIELDS,
            (false, false) => {}
        }
        IdSplicer::new(edits)
    }

    /// The whole response as the client gets it, with the client's id. An error response gets nothing but the id; see
    /// [`error_down`](super::error_down).
    ///
    /// # Errors
    /// If the result cannot be passed on.
    pub fn apply(&self, response: &Response, id: &[u8]) -> Result<Bytes, ResultProblem> {
        let mut edits = response.rewrite();
        edits.id(id);
        if response.result_members().is_none() {
            return Ok(edits.finish());
        }
        if self.degrades() {
            for (span, bytes) in self.degrade(response) {
                edits.replace(span, bytes);
            }
        }
        self.structured(response, &mut edits);
        match (self.client.is_modern(), self.server.is_modern()) {
            (true, _) => self.for_modern(response, &mut edits)?,
            (false, true) => {
                match result_type(response)? {
                    None | Some(ResultType::Complete) => {}
                    Some(ResultType::InputRequired) => return Err(ResultProblem::Unfinished),
                    Some(ResultType::Task) => return Err(ResultProblem::TaskForLegacy),
                }
                for name in ERA_FIELDS {
                    edits.remove_result_member(name);
                }
                edits
                    .remove_result_meta(META_SERVER_INFO)
                    .remove_result_meta(META_SUBSCRIPTION_ID);
            }
            (false, false) => {}
        }
        Ok(edits.finish())
    }

    /// 2026-07-28 basic/index, ResultType; server/utilities/caching.
    fn for_modern<'r>(
        &'r self,
        response: &'r Response,
        edits: &mut ResponseRewrite<'r>,
    ) -> Result<(), ResultProblem> {
        let raw = response.raw();
        // From a server of a version that does not have it the member means nothing.
        let kind = if self.server.is_modern() {
            result_type(response)?
        } else {
            None
        };
        match kind {
            None => {
                edits.result_member("resultType", &b"\"complete\""[..]);
            }
            Some(ResultType::InputRequired) => return Err(ResultProblem::Unfinished),
            Some(ResultType::Complete | ResultType::Task) => {}
        }
        if let Some(id) = self.task_id {
            edits.result_member("taskId", id);
        }
        if self.is_cacheable() && matches!(kind, None | Some(ResultType::Complete)) {
            let ttl = response.result_member("ttlMs").map(|span| span.of(raw));
            if !ttl.is_some_and(|ttl| !ttl.is_empty() && ttl.iter().all(u8::is_ascii_digit)) {
                edits.result_member("ttlMs", self.hints.ttl_ms.to_string().into_bytes());
            }
            let scope = response
                .result_member("cacheScope")
                .and_then(|span| json::text(raw, span));
            match scope.as_deref() {
                Some("private") => {}
                Some("public") if !self.hints.never_public => {}
                Some("public") => {
                    edits.result_member("cacheScope", CacheScope::Private.as_json());
                }
                _ => {
                    edits.result_member("cacheScope", self.hints.scope.as_json());
                }
            }
        }
        if let Some(info) = self.server_info
            && response
                .result_meta_members()
                .is_none_or(|meta| meta.get(raw, META_SERVER_INFO).is_none())
        {
            edits.result_meta(META_SERVER_INFO, info);
        }
        Ok(())
    }

    /// Places of content blocks the client does not know, and what it gets instead.
    fn degrade(&self, response: &Response) -> Vec<(Span, Vec<u8>)> {
        let raw = response.raw();
        let blocks: Vec<Span> = match self.method {
            Some(Method::PromptsGet) => response
                .result_member("messages")
                .into_iter()
                .flat_map(|messages| json::items(raw, messages))
                .filter_map(|message| json::object(raw, message).ok()?.get(raw, "content"))
                .collect(),
            _ => response
                .result_member("content")
                .into_iter()
                .flat_map(|list| json::items(raw, list))
                .collect(),
        };
        blocks
            .into_iter()
            .filter_map(|span| Some((span, degraded(raw, span, self.client)?)))
            .collect()
    }

    /// Up to 2025-11-25 `structuredContent` is an object, and belongs to an output schema whose root is one.
    fn structured(&self, response: &Response, edits: &mut ResponseRewrite<'_>) {
        if self.method != Some(Method::ToolsCall) || !self.degrades() {
            return;
        }
        let raw = response.raw();
        let Some(structured) = response.result_member("structuredContent") else {
            return;
        };
        if !self.drop_structured && json::kind(raw, structured) == Some(Kind::Object) {
            return;
        }
        edits.remove_result_member("structuredContent");
        let content = response.result_member("content");
        if content.is_none_or(|list| json::items(raw, list).next().is_none()) {
            // Nothing else says what the tool answered.
            let text = String::from_utf8_lossy(structured.of(raw));
            edits.result_member("content", [b"[", &text_block(&text)[..], b"]"].concat());
        }
    }
}

/// The result's `resultType`, if it has one.
fn result_type(response: &Response) -> Result<Option<ResultType>, ResultProblem> {
    let raw = response.raw();
    let Some(span) = response.result_member("resultType") else {
        return Ok(None);
    };
    match json::text(raw, span).as_deref() {
        Some("complete") => Ok(Some(ResultType::Complete)),
        Some("input_required") => Ok(Some(ResultType::InputRequired)),
        Some("task") => Ok(Some(ResultType::Task)),
        _ => {
            let sent = String::from_utf8_lossy(span.of(raw)).chars().take(64).collect();
            Err(ResultProblem::UnknownResultType(sent))
        }
    }
}

/// The whole response as the client gets it; see [`ResultPlan::apply`].
///
/// # Errors
/// If the result cannot be passed on.
pub fn result_down(
    method: Option<Method>,
    server: Version,
    client: Version,
    hints: CacheHints,
    response: &Response,
    id: &[u8],
) -> Result<Bytes, ResultProblem> {
    ResultPlan {
        method,
        server,
        client,
        hints,
        server_info: None,
        drop_structured: false,
        task_id: None,
    }
    .apply(response, id)
}
