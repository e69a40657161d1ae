//! What an HTTP answer is. One pure function for every place that has to know, in both eras.

use bytes::{Bytes, BytesMut};
use gatepost_outbound::{Body, HttpError, Media, Response as HttpResponse};
use gatepost_protocol::{
    envelope::{Batch, Invalid, Message, Response},
    json::Strictness,
};
use http::StatusCode;

use super::super::{
    CallError, Cause,
    incoming::{Partial, Waiting},
};

/// Answers up to this size are collected before they are handed on; larger ones stream.
const COLLECT: u64 = 256 * 1024;
/// How much of a body that is no answer is read, to say what it was.
const DETAIL: usize = 2048;

/// What an answer's head promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyKind {
    /// One JSON-RPC message, whatever the status.
    Json,
    /// Server-sent events.
    Events,
    /// Accepted, nothing to say.
    Empty,
    /// Elsewhere, which the gate does not follow.
    Redirect,
    /// Nothing that MCP knows.
    Other,
}

/// An answer whose kind and, where it is short, content are known.
#[expect(
    clippy::large_enum_variant,
    reason = "made and taken apart at once; a box would cost an allocation a call"
)]
pub(crate) enum Reply {
    /// A whole JSON-RPC response. The status may be an error's.
    Response(StatusCode, Response),
    /// A large JSON body still arriving.
    Partial(Partial),
    /// An event stream.
    Events(Body),
    /// Accepted.
    Empty,
    /// A status without a JSON-RPC body.
    Failed {
        /// The status, possibly of success.
        status: StatusCode,
        /// What there was instead, in words.
        detail: String,
    },
}

/// Tells what kind of answer this is by its head.
pub(crate) fn classify(status: StatusCode, media: Media) -> ReplyKind {
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        ReplyKind::Redirect
    } else if status.is_success() && media == Media::Events {
        ReplyKind::Events
    } else if media == Media::Json {
        ReplyKind::Json
    } else if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
        ReplyKind::Empty
    } else {
        ReplyKind::Other
    }
}

/// Reads an answer as far as it has to be known before it can be handed on.
pub(crate) async fn read_reply(response: HttpResponse, context: &Waiting) -> Result<Reply, CallError> {
    let HttpResponse {
        status,
        media,
        location,
        mut body,
        ..
    } = response;
    match classify(status, media) {
        ReplyKind::Events => Ok(Reply::Events(body)),
        ReplyKind::Empty => {
            // Read to the end so that the connection can be used again.
            let _ = context.within(body.collect(DETAIL as u64)).await?;
            Ok(Reply::Empty)
        }
        ReplyKind::Redirect => {
            let detail = format!(
                "it redirects to {}; redirects are not followed, configure the final URL",
                location.as_deref().unwrap_or("nowhere")
            );
            Ok(Reply::Failed { status, detail })
        }
        ReplyKind::Json => {
            let (whole, more) = collect(&mut body, context).await?;
            if more && status.is_success() {
                let left = context.limit.saturating_sub(whole.len() as u64);
                return Ok(Reply::Partial(Partial {
                    head: whole,
                    rest: body,
                    left,
                    context: context.clone(),
                    asked: None,
                    guard: None,
                }));
            }
            match parse_response(&whole, context) {
                Ok(response) => Ok(Reply::Response(status, response)),
                Err(_) if whole.is_empty() && status.is_success() => Ok(Reply::Empty),
                Err(error) if status.is_success() => Err(error),
                Err(_) => Ok(Reply::Failed {
                    status,
                    detail: words(status, &whole),
                }),
            }
        }
        ReplyKind::Other => {
            let mut start = BytesMut::new();
            while start.len() < DETAIL {
                match context.within(body.data()).await? {
                    Some(Ok(data)) => start.extend_from_slice(&data),
                    Some(Err(_)) | None => break,
                }
            }
            if start.is_empty() && status.is_success() {
                return Ok(Reply::Empty);
            }
            start.truncate(DETAIL);
            Ok(Reply::Failed {
                status,
                detail: words(status, &start),
            })
        }
    }
}

/// Collects a body; the flag says that there is more than is worth waiting for.
async fn collect(body: &mut Body, context: &Waiting) -> Result<(Bytes, bool), CallError> {
    let ended = |error: HttpError| context.error(Cause::Ended(error.to_string()), false);
    let announced = body.announced();
    if announced.is_some_and(|size| size > context.limit) {
        return Err(context.too_large());
    }
    let Some(first) = context.within(body.data()).await?.transpose().map_err(ended)? else {
        return Ok((Bytes::new(), false));
    };
    // The usual answer is here as a whole and is handed on as it is.
    if announced == Some(first.len() as u64) {
        return Ok((first, false));
    }
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(COLLECT) as usize);
    whole.extend_from_slice(&first);
    loop {
        if whole.len() as u64 > context.limit {
            return Err(context.too_large());
        }
        if whole.len() as u64 > COLLECT {
            return Ok((whole.freeze(), true));
        }
        match context.within(body.data()).await?.transpose().map_err(ended)? {
            Some(data) => whole.extend_from_slice(&data),
            None => return Ok((whole.freeze(), false)),
        }
    }
}

/// The response in `raw`. A server at 2025-03-26 may put it into an array.
pub(crate) fn parse_response(raw: &Bytes, context: &Waiting) -> Result<Response, CallError> {
    let nonsense = |what: String| context.error(Cause::Nonsense(what), false);
    match Message::parse(raw.clone(), Strictness::Server) {
        Ok(Message::Response(response)) => Ok(response),
        Ok(_) => Err(nonsense(
            "a request or notification where the response should be".to_owned(),
        )),
        Err(error) if error.reason == Invalid::Batch => Batch::split(raw, Strictness::Server)
            .ok()
            .into_iter()
            .flatten()
            .find_map(|part| match Message::parse(part, Strictness::Server) {
                Ok(Message::Response(response)) => Some(response),
                _ => None,
            })
            .ok_or_else(|| nonsense("an array without a response".to_owned())),
        Err(error) => Err(nonsense(error.to_string())),
    }
}

/// `response`, if it is the one to the request `id`. An error may come without an id, and with an error's `status` under any:
/// whoever refuses a request before reading it cannot know its id, and some make one up.
pub(crate) fn answering(
    response: Response,
    id: u64,
    status: StatusCode,
    context: &Waiting,
) -> Result<Response, CallError> {
    let error = response.result().is_none();
    match response.id() {
        Some(named) if named.as_u64() == Some(id) => Ok(response),
        None if error => Ok(response),
        _ if error && !status.is_success() => Ok(response),
        named => Err(mistaken(
            named.map(gatepost_protocol::envelope::RawId::bytes),
            id,
            context,
        )),
    }
}

/// The error of a response under the id `named` to the request `id`.
pub(crate) fn mistaken(named: Option<&[u8]>, id: u64, context: &Waiting) -> CallError {
    let named = named.map(|named| String::from_utf8_lossy(&named[..named.len().min(64)]).into_owned());
    let text = format!(
        "it answered the request {id} with a response to {}",
        named.as_deref().unwrap_or("none")
    );
    context.error(Cause::Violation(text), false)
}

/// Whether what [`Reply::Failed`] has in words says more than its status: the name of the status does not, nor does the
/// beginning of a page.
pub(crate) fn worth_quoting(status: StatusCode, words: &str) -> bool {
    status.canonical_reason() != Some(words) && !words.starts_with('<')
}

/// What a useless answer was, on one line, without what a terminal would take for orders.
fn words(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(200)
        .collect();
    if line.is_empty() {
        status.canonical_reason().unwrap_or("no body").to_owned()
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_status_and_type() {
        let check = |status: u16, content_type: Option<&str>, expected| {
            let media = Media::of(content_type.map(str::as_bytes));
            assert_eq!(
                classify(StatusCode::from_u16(status).unwrap(), media),
                expected,
                "{status} {content_type:?}"
            );
        };
        check(200, Some("application/json"), ReplyKind::Json);
        check(200, Some("Application/JSON ; charset=utf-8"), ReplyKind::Json);
        check(404, Some("application/json"), ReplyKind::Json);
        check(200, Some("text/event-stream; charset=utf-8"), ReplyKind::Events);
        check(500, Some("text/event-stream"), ReplyKind::Other);
        check(202, None, ReplyKind::Empty);
        check(204, None, ReplyKind::Empty);
        check(307, Some("application/json"), ReplyKind::Redirect);
        check(200, Some("text/html"), ReplyKind::Other);
        check(502, None, ReplyKind::Other);
    }

    #[test]
    fn a_page_is_quoted_on_one_line() {
        assert_eq!(
            words(StatusCode::BAD_GATEWAY, b"<h1>\n  502  </h1>"),
            "<h1> 502 </h1>"
        );
        assert_eq!(words(StatusCode::BAD_GATEWAY, b""), "Bad Gateway");
        assert_eq!(
            words(StatusCode::UNAUTHORIZED, b"no\x1b[2J\x07\0 token\r\n"),
            "no [2J token"
        );
        assert_eq!(words(StatusCode::UNAUTHORIZED, &[b'x'; 5_000]).len(), 200);
    }

    #[test]
    fn only_what_says_more_than_the_status_is_quoted() {
        let quoted = |body: &str| {
            let status = StatusCode::UNAUTHORIZED;
            worth_quoting(status, &words(status, body.as_bytes()))
        };
        assert!(quoted("bad request: missing required Authorization header\n"));
        assert!(quoted(r#"{"error":"invalid_token"}"#));
        assert!(!quoted("Unauthorized\n"));
        assert!(!quoted("  "));
        assert!(!quoted("\n<!doctype html><title>Log in</title>"));
    }
}
