//! Questions in the modern form: `inputRequests` of an unfinished result, `inputResponses` of the call that is made again.
//!
//! Source: MCP 2026-07-28, basic/patterns/mrtr.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Ask, AskKind, slice};
use crate::envelope::{Outcome, Request, Response};
use crate::error::URL_ELICITATION_REQUIRED;
use crate::json::{self, Kind, ObjectWriter};
use crate::method::Method;
use crate::rewrite::Rewrite;

/// What an `input_required` result asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRequired {
    /// The questions under their keys, in the server's order.
    pub asks: Vec<(String, Ask)>,
    /// `requestState`, decoded; an empty string is one.
    pub state: Option<String>,
}

/// Answers by their keys: raw JSON objects.
pub type Answers = Vec<(String, Bytes)>;

/// Why `inputResponses` cannot be used: -32602.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswers {
    /// The whole is no object.
    #[error("`params.inputResponses` must be an object of one answer for each key of `inputRequests`")]
    Whole,
    /// One of the answers is no object.
    #[error(
        "every answer in `params.inputResponses` must be an object: the result of the request under its key"
    )]
    Answer,
    /// The state is no string.
    #[error("`params.requestState` must be the string that came with `inputRequests`")]
    State,
}

impl InputRequired {
    /// Whether a result is unfinished. Cheap: looks at `resultType` only.
    pub fn is_in(response: &Response) -> bool {
        let raw = response.raw();
        response
            .result_member("resultType")
            .and_then(|span| json::text(raw, span))
            .is_some_and(|kind| kind == "input_required")
    }

    /// What an unfinished result asks for; `None` for any other response.
    ///
    /// # Errors
    /// In words, if the server does not keep to the form: nothing is asked and no state given, or something else than a
    /// question stands among them.
    pub fn of(response: &Response) -> Option<Result<Self, String>> {
        Self::is_in(response).then(|| Self::parse(response))
    }

    fn parse(response: &Response) -> Result<Self, String> {
        let raw = response.raw();
        let state = match response.result_member("requestState") {
            None => None,
            Some(span) => Some(
                json::text(raw, span)
                    .ok_or("`requestState` is not a string")?
                    .into_owned(),
            ),
        };
        let mut asks = Vec::new();
        if let Some(requests) = response.result_member("inputRequests") {
            let requests = json::object(raw, requests).map_err(|_| "`inputRequests` is not an object")?;
            for member in &requests {
                let key = json::text(raw, member.key).unwrap_or_default().into_owned();
                let request = json::object(raw, member.value).ok();
                let method = request
                    .as_ref()
                    .and_then(|request| json::text(raw, request.get(raw, "method")?));
                let method = method.ok_or_else(|| format!("`inputRequests.{key}` is not a request"))?;
                let params = request.as_ref().and_then(|request| request.get(raw, "params"));
                let ask = Ask::new(raw, &method, params)
                    .map_err(|problem| format!("`inputRequests.{key}`, `{method}`: {problem}"))?;
                asks.push((key, ask));
            }
        }
        // "Servers MUST include at least one of inputRequests or requestState."
        if asks.is_empty() && state.is_none() {
            return Err("it asks for nothing and gives no `requestState`".to_owned());
        }
        Ok(Self { asks, state })
    }
}

impl Ask {
    /// The question as an entry of `inputRequests`: without what belongs to a request of its own.
    pub fn entry(&self) -> Vec<u8> {
        let mut entry = ObjectWriter::new();
        entry.text("method", self.kind.method().name());
        if let (Some(params), Some(members)) = (&self.params, self.members()) {
            let meta = members
                .get(params, "_meta")
                .and_then(|meta| json::object(params, meta).ok());
            let mut edits = Rewrite::new(params);
            // The call carries the progress token, there are no tasks of clients any more, and the id of a URL elicitation
            // only named the notification of its end, which is gone too.
            edits.remove_member(&members, "task");
            edits.remove_member(&members, "elicitationId");
            if let Some(meta) = &meta {
                if meta.len() == usize::from(meta.get(params, "progressToken").is_some()) {
                    edits.remove_member(&members, "_meta");
                } else {
                    edits.remove_member(meta, "progressToken");
                }
            }
            entry.raw("params", &edits.finish());
        }
        entry.finish()
    }
}

/// The unfinished result that puts these questions to a modern client, as the response to its request `id` (raw JSON).
pub fn input_required<'a>(
    id: &[u8],
    asks: impl IntoIterator<Item = (&'a str, &'a Ask)>,
    state: &str,
    server_info: Option<&[u8]>,
) -> Bytes {
    let mut requests = ObjectWriter::new();
    for (key, ask) in asks {
        requests.raw(key, &ask.entry());
    }
    let mut result = ObjectWriter::new();
    result
        .text("resultType", "input_required")
        .raw("inputRequests", &requests.finish())
        .text("requestState", state);
    if let Some(info) = server_info {
        let meta = ObjectWriter::new()
            .raw(crate::translate::META_SERVER_INFO, info)
            .finish();
        result.raw("_meta", &meta);
    }
    crate::error::result_response(id, &result.finish())
}

/// The answers and the state that a modern client sends with a call: `(inputResponses, requestState)`.
///
/// # Errors
/// If they are not of the form that the specification gives them. Keys that nobody asked for are no error.
pub fn input_answers(request: &Request) -> Result<(Option<Answers>, Option<Cow<'_, str>>), NotAnswers> {
    let raw = request.raw();
    let state = match request.param("requestState") {
        None => None,
        Some(span) => Some(json::text(raw, span).ok_or(NotAnswers::State)?),
    };
    let Some(span) = request.param("inputResponses") else {
        return Ok((None, state));
    };
    let members = json::object(raw, span).map_err(|_| NotAnswers::Whole)?;
    let answers = members.iter().map(|member| {
        let key = json::text(raw, member.key).unwrap_or_default().into_owned();
        let is_object = json::kind(raw, member.value) == Some(Kind::Object);
        is_object
            .then(|| (key, slice(raw, member.value)))
            .ok_or(NotAnswers::Answer)
    });
    let answers: Answers = answers.collect::<Result<_, _>>()?;
    Ok((Some(answers), state))
}

/// `inputResponses` as a raw JSON object.
pub fn input_responses(answers: &[(String, Bytes)]) -> Vec<u8> {
    let mut out = ObjectWriter::new();
    for (key, answer) in answers {
        out.raw(key, answer);
    }
    out.finish()
}

/// Pages of one refusal; nobody visits more.
const MAX_PAGES: usize = 64;

/// The pages that a legacy server's -32042 wants the user to visit first; none for any other response.
/// Source: MCP 2025-11-25, client/elicitation, URL Elicitation Required Error.
pub fn pages(response: &Response) -> Vec<Ask> {
    let raw = response.raw();
    let Outcome::Error {
        code: URL_ELICITATION_REQUIRED,
        data: Some(data),
        ..
    } = response.outcome()
    else {
        return Vec::new();
    };
    let list = json::object(raw, data)
        .ok()
        .and_then(|data| data.get(raw, "elicitations"));
    list.into_iter()
        .flat_map(|list| json::items(raw, list))
        .filter_map(|item| Ask::new(raw, Method::ElicitationCreate.name(), Some(item)).ok())
        .filter(|ask| ask.kind() == AskKind::Url)
        .take(MAX_PAGES)
        .collect()
}
