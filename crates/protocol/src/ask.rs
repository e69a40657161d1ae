//! What a server asks of a client while it works on a call: elicitation, sampling, roots.
//!
//! The eras carry the same question in two ways. Up to 2025-11-25 it is a request of its own, which the client answers
//! with a response; in 2026-07-28 it is an entry of the `inputRequests` of an unfinished result, and the client sends the
//! call again with the answer in `inputResponses` (basic/patterns/mrtr). Here one becomes the other. Who waits for whom
//! meanwhile is not this module's affair.

use std::borrow::Cow;

use bytes::Bytes;

use crate::envelope::Request;
use crate::error::{INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, error_response, result_response};
use crate::json::{self, Kind, Members, Span};
use crate::method::Method;

mod canonical;
mod input;
mod legacy;
#[cfg(test)]
mod tests;

pub use canonical::canonical;
pub use input::{Answers, InputRequired, NotAnswers, input_answers, input_required, input_responses, pages};
pub use legacy::BeyondClient;

/// What is asked for, as finely as clients declare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AskKind {
    /// `elicitation/create`, the user fills in a form.
    Form,
    /// `elicitation/create`, the user visits a page.
    Url,
    /// `sampling/createMessage`.
    Sampling,
    /// `sampling/createMessage` with `tools` or `toolChoice`.
    SamplingWithTools,
    /// `roots/list`.
    Roots,
}

/// Why a request of a server is no question for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAsk {
    /// No client knows the method.
    #[error("clients of this protocol have no such method")]
    Method,
    /// The parameters are missing something, or ask in a mode that no version has.
    #[error("the parameters do not fit the method")]
    Params,
}

impl NoAsk {
    /// The JSON-RPC code to answer the server with.
    pub const fn code(self) -> i64 {
        match self {
            Self::Method => METHOD_NOT_FOUND,
            Self::Params => INVALID_PARAMS,
        }
    }
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    kind: AskKind,
    /// A raw JSON object, as the server sent it; `None` where it sent none.
    params: Option<Bytes>,
}

impl AskKind {
    /// The method that asks this.
    pub const fn method(self) -> Method {
        match self {
            Self::Form | Self::Url => Method::ElicitationCreate,
            Self::Sampling | Self::SamplingWithTools => Method::SamplingCreateMessage,
            Self::Roots => Method::RootsList,
        }
    }

    /// Whether it asks the user.
    pub const fn is_elicitation(self) -> bool {
        matches!(self, Self::Form | Self::Url)
    }

    /// What a client declares that can be asked this, outermost first.
    const fn path(self) -> [Option<&'static str>; 2] {
        match self {
            Self::Form => [Some("elicitation"), Some("form")],
            Self::Url => [Some("elicitation"), Some("url")],
            Self::Sampling => [Some("sampling"), None],
            Self::SamplingWithTools => [Some("sampling"), Some("tools")],
            Self::Roots => [Some("roots"), None],
        }
    }

    /// The capabilities that answering takes, as raw JSON: what `data.requiredCapabilities` of -32021 names.
    pub const fn required(self) -> &'static str {
        match self {
            Self::Form => r#"{"elicitation":{"form":{}}}"#,
            Self::Url => r#"{"elicitation":{"url":{}}}"#,
            Self::Sampling => r#"{"sampling":{}}"#,
            Self::SamplingWithTools => r#"{"sampling":{"tools":{}}}"#,
            Self::Roots => r#"{"roots":{}}"#,
        }
    }

    /// Whether a client with these capabilities, a raw JSON object, can be asked this.
    pub fn is_declared(self, capabilities: &[u8]) -> bool {
        let member = |within: Span, name: &str| {
            let found = json::object(capabilities, within).ok()?.get(capabilities, name)?;
            (json::kind(capabilities, found) == Some(Kind::Object)).then_some(found)
        };
        let [Some(outer), inner] = self.path() else {
            return false;
        };
        let Some(outer) = member(Span::all(capabilities), outer) else {
            return false;
        };
        match inner {
            None => true,
            Some(inner) => {
                member(outer, inner).is_some()
                    // Both eras read `{}` as form only (2026-07-28 client/elicitation, Capabilities).
                    || self == Self::Form && json::object(capabilities, outer).is_ok_and(|modes| modes.is_empty())
            }
        }
    }

    /// The code and words with which a client of these capabilities, which do not declare this, refuses it: as one without
    /// it would. Who knows the method but not the mode, or not tools, refuses the parameters.
    /// Source: 2025-11-25 client/elicitation, client/sampling and client/roots, Error Handling.
    pub fn undeclared(self, capabilities: &[u8]) -> (i64, &'static str) {
        let knows_method = match self {
            Self::Form => Self::Url.is_declared(capabilities),
            Self::Url => Self::Form.is_declared(capabilities),
            Self::SamplingWithTools => Self::Sampling.is_declared(capabilities),
            Self::Sampling | Self::Roots => false,
        };
        match self {
            Self::Form if knows_method => (
                INVALID_PARAMS,
                "this client does not support elicitation in form mode",
            ),
            Self::Url if knows_method => (
                INVALID_PARAMS,
                "this client does not support elicitation in URL mode",
            ),
            Self::SamplingWithTools if knows_method => {
                (INVALID_PARAMS, "this client does not support tools in sampling")
            }
            Self::Form | Self::Url => (METHOD_NOT_FOUND, "this client does not support elicitation"),
            Self::Sampling | Self::SamplingWithTools => {
                (METHOD_NOT_FOUND, "this client does not support sampling")
            }
            Self::Roots => (METHOD_NOT_FOUND, "this client does not support roots"),
        }
    }

    /// The nearest true answer of a client of which nothing came: a user who does not answer has dismissed the question.
    /// For sampling and roots there is none, only an error.
    pub const fn dismissed(self) -> Result<&'static str, (i64, &'static str)> {
        match self {
            Self::Form | Self::Url => Ok(r#"{"action":"cancel"}"#),
            // Not -1 (user rejected): nobody rejected anything.
            Self::Sampling | Self::SamplingWithTools | Self::Roots => {
                Err((INTERNAL_ERROR, "no answer in time"))
            }
        }
    }

    /// The message that says so to a legacy server, under its raw `id`.
    pub fn dismissal(self, id: &[u8]) -> Bytes {
        match self.dismissed() {
            Ok(result) => result_response(id, result.as_bytes()),
            Err((code, text)) => error_response(Some(id), code, text, None),
        }
    }

    /// Whether an answer, a raw JSON value, has what an answer to this must have.
    pub fn fits(self, answer: &[u8]) -> bool {
        let Ok(members) = json::object(answer, Span::all(answer)) else {
            return false;
        };
        let has = |name: &str, kind: Kind| {
            members
                .get(answer, name)
                .is_some_and(|span| json::kind(answer, span) == Some(kind))
        };
        match self {
            Self::Form | Self::Url => has("action", Kind::String),
            Self::Sampling | Self::SamplingWithTools => {
                has("role", Kind::String) && members.get(answer, "content").is_some()
            }
            Self::Roots => has("roots", Kind::Array),
        }
    }
}

impl Ask {
    /// The question in a legacy server's request.
    ///
    /// # Errors
    /// If it is none that a client could be asked.
    pub fn of_request(request: &Request) -> Result<Self, NoAsk> {
        Self::new(request.raw(), request.method(), request.params())
    }

    /// The question `method` with the parameters at `params` of `raw`, which must be a validated message.
    fn new(raw: &Bytes, method: &str, params: Option<Span>) -> Result<Self, NoAsk> {
        let members = params.and_then(|span| json::object(raw, span).ok());
        let has = |name: &str| {
            members
                .as_ref()
                .is_some_and(|members| members.get(raw, name).is_some())
        };
        let text =
            |name: &str| -> Option<Cow<'_, str>> { json::text(raw, members.as_ref()?.get(raw, name)?) };
        let kind = match Method::parse(method) {
            Some(Method::ElicitationCreate) => match text("mode").as_deref() {
                None if has("mode") => return Err(NoAsk::Params),
                // What else a form lacks is for the client to say.
                None | Some("form") => AskKind::Form,
                Some("url") if text("url").is_some() => AskKind::Url,
                _ => return Err(NoAsk::Params),
            },
            Some(Method::SamplingCreateMessage) if has("tools") || has("toolChoice") => {
                AskKind::SamplingWithTools
            }
            Some(Method::SamplingCreateMessage) => AskKind::Sampling,
            Some(Method::RootsList) => AskKind::Roots,
            _ => return Err(NoAsk::Method),
        };
        let params = members.map(|members| slice(raw, members.span()));
        Ok(Self { kind, params })
    }

    /// What is asked for.
    pub fn kind(&self) -> AskKind {
        self.kind
    }

    /// The parameters as they were sent, a raw JSON object, if there are any.
    pub fn params(&self) -> Option<&Bytes> {
        self.params.as_ref()
    }

    /// The page that the user is to visit.
    pub fn url(&self) -> Option<Cow<'_, str>> {
        self.text("url").filter(|_| self.kind == AskKind::Url)
    }

    /// The legacy server's own name of an elicitation in URL mode.
    pub fn elicitation_id(&self) -> Option<Cow<'_, str>> {
        self.text("elicitationId")
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let params = self.params.as_ref()?;
        json::text(params, self.members()?.get(params, name)?)
    }

    fn members(&self) -> Option<Members> {
        let params = self.params.as_ref()?;
        json::object(params, Span::all(params)).ok()
    }
}

fn slice(raw: &Bytes, span: Span) -> Bytes {
    raw.slice(span.start()..span.end())
}
