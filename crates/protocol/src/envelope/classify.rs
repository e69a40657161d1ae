//! Which kind of message an object is, and where its parts are. Source: JSON-RPC 2.0, sections 4 and 5.

use bytes::Bytes;

use super::{
    Invalid, Invocation, Message, MethodText, Notification, Outcome, ParseError, Request, Response, id,
    valid_id,
};
use crate::json::{self, Members, Span, Strictness};

/// Makes a message of what the scanner found.
pub(super) fn classify(
    raw: Bytes,
    found: json::Envelope,
    strictness: Strictness,
) -> Result<Message, ParseError> {
    let json::Envelope { root, body, meta, .. } = found;
    let Some(root) = root else {
        return Err(ParseError {
            reason: Invalid::Envelope("it must be an object"),
            id: None,
        });
    };
    let parts = Parts::of(&raw, &root);
    let object = Object {
        raw,
        root,
        body,
        meta,
        lenient: strictness == Strictness::Server,
    };
    if !parts
        .version
        .is_some_and(|span| json::equals(&object.raw, span, "2.0"))
    {
        return Err(object.refused("`jsonrpc` must be \"2.0\""));
    }
    match parts.method {
        Some(method) => object.invocation(method, &parts),
        None => object.response(&parts),
    }
}

/// The members that mean something to JSON-RPC.
#[derive(Default)]
struct Parts {
    version: Option<Span>,
    id: Option<Span>,
    method: Option<Span>,
    params: Option<Span>,
    result: Option<Span>,
    error: Option<Span>,
}

impl Parts {
    fn of(raw: &Bytes, root: &Members) -> Self {
        let mut parts = Self::default();
        for member in root {
            let part = match member.key.of(raw) {
                b"\"jsonrpc\"" => &mut parts.version,
                b"\"id\"" => &mut parts.id,
                b"\"method\"" => &mut parts.method,
                b"\"params\"" => &mut parts.params,
                b"\"result\"" => &mut parts.result,
                b"\"error\"" => &mut parts.error,
                key if !key.contains(&b'\\') => continue,
                _ => match json::text(raw, member.key).as_deref() {
                    Some("jsonrpc") => &mut parts.version,
                    Some("id") => &mut parts.id,
                    Some("method") => &mut parts.method,
                    Some("params") => &mut parts.params,
                    Some("result") => &mut parts.result,
                    Some("error") => &mut parts.error,
                    _ => continue,
                },
            };
            *part = Some(member.value);
        }
        parts
    }
}

/// An object that may be a message.
struct Object {
    raw: Bytes,
    root: Members,
    /// The members of the one body that the scanner kept.
    body: Option<Members>,
    /// And of its `_meta`.
    meta: Option<Members>,
    /// It comes from a server, whose slips are forgiven.
    lenient: bool,
}

impl Object {
    #[inline]
    fn invocation(mut self, method: Span, parts: &Parts) -> Result<Message, ParseError> {
        if parts.result.is_some() || parts.error.is_some() {
            return Err(self.refused("it has `method` and also `result` or `error`"));
        }
        // The id comes first: an error about anything else can then echo it.
        self.check_id(parts.id)?;
        let method = match method.of(&self.raw) {
            [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => {
                MethodText::InPlace(Span::new(method.start() + 1, method.end() - 1))
            }
            _ => match json::text(&self.raw, method) {
                Some(text) => MethodText::Decoded(text.into()),
                None => return Err(self.refused("`method` must be a string")),
            },
        };
        let (params, meta) = match parts.params {
            None => (None, None),
            Some(span) if self.lenient && self.is_null(span) => (None, None),
            Some(span) => match self.members_at(span) {
                Some((members, meta)) => (Some(members), meta),
                None => return Err(self.refused("`params` must be an object")),
            },
        };
        let inner = Invocation {
            raw: self.raw,
            root: self.root,
            method,
            params,
            meta,
        };
        Ok(match parts.id {
            Some(id) => Message::Request(Request { inner, id }),
            None => Message::Notification(Notification { inner }),
        })
    }

    #[inline]
    fn response(mut self, parts: &Parts) -> Result<Message, ParseError> {
        let (body, outcome) = match (parts.result, parts.error) {
            (Some(result), None) => (self.members_at(result), Outcome::Result(result)),
            // Some servers send both members, one of them null.
            (Some(result), Some(error)) if self.lenient && self.is_null(error) => {
                (self.members_at(result), Outcome::Result(result))
            }
            (result, Some(error)) if result.is_none_or(|result| self.lenient && self.is_null(result)) => {
                (None, self.error(error)?)
            }
            (Some(_), Some(_)) => return Err(self.refused("it has both `result` and `error`")),
            _ => return Err(self.refused("it has neither `method` nor `result` nor `error`")),
        };
        let id = parts.id.filter(|span| !self.is_null(*span));
        self.check_id(id)?;
        if id.is_none() && matches!(outcome, Outcome::Result(_)) {
            return Err(self.refused("a result must have an `id`"));
        }
        let (body, meta) = body.map_or((None, None), |(members, meta)| (Some(members), meta));
        Ok(Message::Response(Response {
            raw: self.raw,
            root: self.root,
            id,
            outcome,
            body,
            meta,
        }))
    }

    fn error(&mut self, span: Span) -> Result<Outcome, ParseError> {
        let Some((members, _)) = self.members_at(span) else {
            return Err(self.refused("`error` must be an object"));
        };
        let code = members
            .get(&self.raw, "code")
            .and_then(|span| integer(span.of(&self.raw)));
        if code.is_none() && !self.lenient {
            return Err(self.refused("`error.code` must be an integer"));
        }
        Ok(Outcome::Error {
            span,
            code: code.unwrap_or(crate::error::INTERNAL_ERROR),
            message: members.get(&self.raw, "message").unwrap_or_default(),
            data: members.get(&self.raw, "data"),
        })
    }

    /// The members of an object in it, and those of its `_meta`. The scanner keeps one body; it is the wanted one unless a
    /// message holds several, which is sorted out here.
    #[inline]
    fn members_at(&mut self, span: Span) -> Option<(Members, Option<Members>)> {
        match self.body.take_if(|members| members.span() == span) {
            Some(members) => Some((members, self.meta.take())),
            None => json::object(&self.raw, span).ok().map(|members| {
                let inner = members
                    .get(&self.raw, "_meta")
                    .and_then(|span| json::object(&self.raw, span).ok());
                (members, inner)
            }),
        }
    }

    fn is_null(&self, span: Span) -> bool {
        span.of(&self.raw) == b"null"
    }

    fn check_id(&self, id: Option<Span>) -> Result<(), ParseError> {
        match id {
            Some(span) if !id::is_valid(span.of(&self.raw)) => {
                Err(self.refused("`id` must be a string or an integer"))
            }
            _ => Ok(()),
        }
    }

    fn refused(&self, why: &'static str) -> ParseError {
        ParseError {
            reason: Invalid::Envelope(why),
            id: valid_id(&self.raw, &self.root).map(|span| self.raw.slice_ref(span.of(&self.raw))),
        }
    }
}

fn integer(raw: &[u8]) -> Option<i64> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}
