//! A page that the user is sent to. Its server has no name for that, which 2025-11-25 requires, and no way to say when the
//! user is done but to answer the call; the client is told both.
//!
//! Source: `docs/eras.md` 5.5, last row.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use gatepost_protocol::{
    ask::Ask,
    json::{self, ObjectWriter, Span},
};

use super::question::notification;
use crate::seal::{SealError, random};

/// The user agreed to visit the page; nothing more is known. Source: MCP 2026-07-28, client/elicitation, URL Mode.
const ACCEPTED: &[u8] = br#"{"action":"accept"}"#;

/// A page that the user was asked to visit; nobody is asked the same twice.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    pub(super) url: String,
    pub(super) id: String,
    /// The entry of `data.elicitations` of -32042, raw JSON.
    pub(super) entry: Bytes,
    reply: Reply,
}

/// What the user said to it.
#[derive(Debug, Clone)]
enum Reply {
    None,
    Accepted,
    /// A raw JSON object.
    Other(Bytes),
}

impl Errand {
    /// One that nobody can guess the name of.
    pub(super) fn new(ask: &Ask, url: &str) -> Result<Self, SealError> {
        let id = match ask.elicitation_id() {
            Some(id) => id.into_owned(),
            None => URL_SAFE_NO_PAD.encode(random::<16>()?),
        };
        let params = ask.params().map_or(&[][..], |params| params);
        let members = json::object(params, Span::all(params)).ok();
        let message = members
            .and_then(|members| members.get(params, "message"))
            .map_or(&br#""""#[..], |message| message.of(params));
        let entry = ObjectWriter::new()
            .text("mode", "url")
            .text("elicitationId", &id)
            .text("url", url)
            .raw("message", message)
            .finish();
        Ok(Self {
            url: url.to_owned(),
            id,
            entry: entry.into(),
            reply: Reply::None,
        })
    }

    /// Whether the user agreed to go.
    pub(super) fn is_accepted(&self) -> bool {
        matches!(self.reply, Reply::Accepted)
    }

    /// Keeps what the user said, a raw JSON object.
    pub(super) fn keep(&mut self, answer: &Bytes) {
        let members = json::object(answer, Span::all(answer)).ok();
        let action = members.and_then(|members| json::text(answer, members.get(answer, "action")?));
        self.reply = if action.is_some_and(|action| action == "accept") {
            Reply::Accepted
        } else {
            Reply::Other(answer.clone())
        };
    }

    /// What to answer when the server asks for it again, a raw JSON object.
    pub(super) fn answer(&self) -> Bytes {
        match &self.reply {
            Reply::None | Reply::Accepted => Bytes::from_static(ACCEPTED),
            Reply::Other(answer) => answer.clone(),
        }
    }

    /// Says that the user is done, if the user ever went.
    ///
    /// Source: MCP 2025-11-25, client/elicitation, Completion Notifications for URL Mode Elicitation.
    pub(super) fn completed(&self) -> Option<Bytes> {
        self.is_accepted().then(|| {
            let params = ObjectWriter::new().text("elicitationId", &self.id).finish();
            notification("notifications/elicitation/complete", &params)
        })
    }
}
