//! What a server's answer to `server/discover` says about its era. One function for stdio and HTTP.

use smallvec::SmallVec;

use super::{SUPPORTED, Version};
use crate::envelope::{Outcome, Response};
use crate::error::{HEADER_MISMATCH, MISSING_REQUIRED_CLIENT_CAPABILITY, UNSUPPORTED_PROTOCOL_VERSION};
use crate::json::{self, Kind, Members, Span};

/// What came back for the probe.
#[derive(Debug, Clone, Copy)]
pub struct ProbeReply<'a> {
    /// The HTTP status, or `None` on stdio.
    pub status: Option<u16>,
    /// The JSON-RPC response in the body or on the line, if there was one (whatever the status).
    pub response: Option<&'a Response>,
}

/// What to do with the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// It is modern and speaks these versions (newest first; empty: it said so by an error that lists none).
    Modern(SmallVec<[Version; 2]>),
    /// It answers discovery but has legacy versions only: handshake at the newest common one.
    Legacy(Version),
    /// Nothing can be said; report, remember nothing, probe again on next use.
    Inconclusive(&'static str),
    /// Probably legacy: send `initialize` with the newest legacy version.
    TryInitialize,
    /// It is modern, but the common version is a legacy one, which it offers itself: `initialize` at it.
    InitializeAt(Version),
    /// No version in common. Report both lists, do not send `initialize`.
    NoCommon {
        /// What the server said it supports.
        theirs: Vec<String>,
    },
}

/// Judges the reply to a `server/discover` request.
pub fn classify_probe(reply: ProbeReply<'_>) -> ProbeVerdict {
    if let Some(response) = reply.response {
        match response.outcome() {
            Outcome::Result(_) => {
                if let Some(verdict) = discovered(response) {
                    return verdict;
                }
            }
            Outcome::Error { code, data, .. } => {
                if let Some(verdict) = refused(response.raw(), code, data) {
                    return verdict;
                }
            }
        }
    }
    match reply.status {
        Some(401 | 403 | 407) => ProbeVerdict::Inconclusive("the server wants other credentials"),
        Some(408 | 429) => ProbeVerdict::Inconclusive("the server asks to come back later"),
        Some(500..) => ProbeVerdict::Inconclusive("the server failed"),
        // 2026-07-28 basic/versioning, Backward Compatibility: anything else "that is not a recognized modern error"
        // means that the server may be legacy; basic/transports/stdio, Backward Compatibility: "do not key on one
        // code".
        _ => ProbeVerdict::TryInitialize,
    }
}

/// A discover result. `None` if it has not the shape of one.
fn discovered(response: &Response) -> Option<ProbeVerdict> {
    let raw = response.raw();
    let versions = versions(raw, response.result_member("supportedVersions")?)?;
    Some(choose(&versions, true))
}

/// One of the three errors only modern servers send, in its schema's shape.
fn refused(raw: &[u8], code: i64, data: Option<Span>) -> Option<ProbeVerdict> {
    let data: Option<Members> = data.and_then(|span| json::object(raw, span).ok());
    match code {
        UNSUPPORTED_PROTOCOL_VERSION => {
            let versions = versions(raw, data?.get(raw, "supported")?)?;
            Some(choose(&versions, false))
        }
        MISSING_REQUIRED_CLIENT_CAPABILITY => {
            let required = data?.get(raw, "requiredCapabilities")?;
            (json::kind(raw, required) == Some(Kind::Object)).then(|| ProbeVerdict::Modern(SmallVec::new()))
        }
        // Its schema has no required data.
        HEADER_MISMATCH => Some(ProbeVerdict::Modern(SmallVec::new())),
        _ => None,
    }
}

fn versions(raw: &[u8], span: Span) -> Option<Vec<String>> {
    if json::kind(raw, span) != Some(Kind::Array) {
        return None;
    }
    json::items(raw, span)
        .map(|item| json::text(raw, item).map(std::borrow::Cow::into_owned))
        .collect()
}

fn choose(theirs: &[String], by_result: bool) -> ProbeVerdict {
    let common = || {
        SUPPORTED
            .iter()
            .copied()
            .filter(|version| theirs.iter().any(|text| text == version.as_str()))
    };
    let modern: SmallVec<[Version; 2]> = common().filter(|version| version.is_modern()).collect();
    if !modern.is_empty() {
        return ProbeVerdict::Modern(modern);
    }
    match common().next() {
        Some(version) if by_result => ProbeVerdict::Legacy(version),
        Some(version) => ProbeVerdict::InitializeAt(version),
        None => ProbeVerdict::NoCommon {
            theirs: theirs.to_vec(),
        },
    }
}
