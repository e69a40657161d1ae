//! What an endpoint says of itself: the results of `server/discover` and `initialize`.
//!
//! An endpoint of one server repeats what that server says, byte for byte where it can. A merged one speaks for itself:
//! its capabilities are what any of its servers can do, its instructions those of all, under their names. `eras.md` §2.

use std::borrow::Cow;

use bytes::Bytes;
use gatepost_protocol::{
    json::{self, Span},
    rewrite::Rewrite,
    translate::{META_SERVER_INFO, TASKS_EXTENSION},
    version::{Era, SUPPORTED, SUPPORTED_LEGACY, Version},
};

use super::{
    listing::{declares, flag},
    source::{ListKind, Source},
    view::{Member, View},
};

/// How much of one server's instructions a merged endpoint repeats, in bytes.
const INSTRUCTIONS: usize = 16 * 1024;
/// How long a client may take what `server/discover` says for fresh, in milliseconds, once every server is known.
const TTL_MS: u64 = 60_000;

/// Both greetings of one endpoint.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) discover: Bytes,
    /// In the order of [`SUPPORTED_LEGACY`].
    initialize: Vec<Bytes>,
}

impl Greeting {
    pub(super) fn compile<S: Source>(view: &View<S>) -> Self {
        let capabilities = capabilities(view);
        let instructions = instructions(view);
        let info = server_info(view);
        let mut shared = Vec::new();
        if !instructions.is_empty() {
            shared.extend_from_slice(b",\"instructions\":");
            json::quote_into(&mut shared, &instructions);
        }
        for (key, value) in only(view).iter().flat_map(|(_, about)| &about.extra) {
            shared.push(b',');
            json::quote_into(&mut shared, key);
            shared.push(b':');
            shared.extend_from_slice(value);
        }
        let initialize = |version: &Version| {
            let mut out = Vec::new();
            out.extend_from_slice(b"{\"protocolVersion\":");
            out.extend_from_slice(version.as_json());
            out.extend_from_slice(b",\"capabilities\":");
            out.extend_from_slice(&capabilities);
            out.extend_from_slice(&shared);
            out.extend_from_slice(b",\"serverInfo\":");
            out.extend_from_slice(&info);
            out.push(b'}');
            Bytes::from(out)
        };
        Self {
            discover: discover(
                view,
                &modern_capabilities(view).unwrap_or_else(|| capabilities.clone()),
                &shared,
                &info,
            ),
            initialize: SUPPORTED_LEGACY.iter().map(initialize).collect(),
        }
    }

    pub(super) fn initialize(&self, version: Version) -> Bytes {
        let at = SUPPORTED_LEGACY
            .iter()
            .position(|known| *known == version)
            .unwrap_or(0);
        self.initialize.get(at).cloned().unwrap_or_default()
    }
}

fn discover<S: Source>(view: &View<S>, capabilities: &[u8], shared: &[u8], info: &[u8]) -> Bytes {
    let versions: Vec<&[u8]> = SUPPORTED.iter().map(|version| version.as_json()).collect();
    // Capabilities of servers that come later are announced by nobody, so until then nothing is promised to be fresh.
    let known = view.members().iter().all(|member| member.listing.is_some());
    let ttl = if known { TTL_MS } else { 0 };
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"resultType\":\"complete\",\"supportedVersions\":[");
    out.extend_from_slice(&versions.join(&b','));
    out.extend_from_slice(b"],\"capabilities\":");
    out.extend_from_slice(capabilities);
    out.extend_from_slice(shared);
    // What a server can do is told to those who see something of it.
    let scope = if view.is_everybodys() { "public" } else { "private" };
    out.extend_from_slice(format!(",\"ttlMs\":{ttl},\"cacheScope\":\"{scope}\",\"_meta\":").as_bytes());
    out.extend_from_slice(&stamped(b"{}", info));
    out.push(b'}');
    out.into()
}

/// `meta` with the server's name and version in it. What is there already is never replaced.
pub(super) fn stamped<'a>(meta: &'a [u8], info: &[u8]) -> Cow<'a, [u8]> {
    match json::object(meta, Span::all(meta)) {
        Ok(members) if members.get(meta, META_SERVER_INFO).is_none() => {
            let mut rewrite = Rewrite::new(meta);
            rewrite.set_member(&members, META_SERVER_INFO, info.to_vec());
            Cow::Owned(rewrite.finish().to_vec())
        }
        _ => Cow::Borrowed(meta),
    }
}

/// A single server's own name and version, else the gate's.
pub(super) fn server_info<S: Source>(view: &View<S>) -> Bytes {
    let Some((member, about)) = only(view) else {
        let version = env!("CARGO_PKG_VERSION");
        return format!("{{\"name\":\"gatepost\",\"version\":\"{version}\"}}").into();
    };
    about.info.clone().unwrap_or_else(|| {
        let mut info = b"{\"name\":".to_vec();
        json::quote_into(&mut info, &member.name);
        info.extend_from_slice(b",\"version\":\"0\"}");
        info.into()
    })
}

/// The one server of an endpoint that has just one, if anything is known of it.
fn only<S: Source>(view: &View<S>) -> Option<(&Member<S>, &super::source::About)> {
    view.only_server()?;
    let member = view.members().first()?;
    Some((member, &member.listing.as_ref()?.about))
}

fn capabilities<S: Source>(view: &View<S>) -> Bytes {
    match only(view) {
        Some((_, about)) => own_capabilities(&about.capabilities),
        None => merged_capabilities(view, Era::Legacy),
    }
}

/// What modern servers can do for modern clients: tasks too, since their methods pass (`eras.md` §8, MM).
fn modern_capabilities<S: Source>(view: &View<S>) -> Option<Bytes> {
    match only(view) {
        Some((_, about)) => about.version.is_modern().then(|| about.capabilities.clone()),
        None => Some(merged_capabilities(view, Era::Modern)),
    }
}

/// A server's capabilities as it sent them, without tasks: those are the gate's own business (`eras.md` §8).
fn own_capabilities(raw: &Bytes) -> Bytes {
    let Ok(members) = json::object(raw, Span::all(raw)) else {
        return Bytes::from_static(b"{}");
    };
    let extensions = members
        .get(raw, "extensions")
        .and_then(|span| json::object(raw, span).ok());
    let mut rewrite = Rewrite::new(raw);
    rewrite.remove_member(&members, "tasks");
    if let Some(extensions) = &extensions {
        rewrite.remove_member(extensions, TASKS_EXTENSION);
    }
    if rewrite.is_empty() {
        raw.clone()
    } else {
        rewrite.finish()
    }
}

fn merged_capabilities<S: Source>(view: &View<S>, client: Era) -> Bytes {
    let known: Vec<_> = view
        .members()
        .iter()
        .filter_map(|member| member.listing.as_ref())
        .collect();
    // A legacy client hears capabilities once. What a server that is still unknown may offer is declared in advance: its
    // lists are empty until it comes, then they change.
    let early = known.len() < view.members().len();
    let offers = |kind: ListKind| {
        early
            || known
                .iter()
                .any(|listing| listing.declares(kind) || !listing.list(kind).items.is_empty())
    };
    let any = |name: &str| {
        known
            .iter()
            .any(|listing| declares(&listing.about.capabilities, name))
    };
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for (name, there) in [("logging", any("logging")), ("completions", any("completions"))] {
        if there {
            parts.push(format!("\"{name}\":{{}}").into_bytes());
        }
    }
    for kind in [ListKind::Prompts, ListKind::Tools] {
        if offers(kind) {
            parts.push(format!("\"{}\":{{\"listChanged\":true}}", kind.capability()).into_bytes());
        }
    }
    if offers(ListKind::Resources) || offers(ListKind::Templates) {
        let subscribe = known
            .iter()
            .any(|listing| flag(&listing.about.capabilities, "resources", "subscribe"));
        parts.push(format!("\"resources\":{{\"subscribe\":{subscribe},\"listChanged\":true}}").into_bytes());
    }
    let extensions = merged_extensions(known.iter().map(|listing| {
        let tasks = client == Era::Modern && listing.about.version.is_modern();
        (&listing.about.capabilities, tasks)
    }));
    if !extensions.is_empty() {
        parts.push([b"\"extensions\":{", &*extensions.join(&b','), b"}"].concat());
    }
    [b"{", &*parts.join(&b','), b"}"].concat().into()
}

/// The extensions of all servers, the first to name one speaking for it; the flag says whose tasks count. Experimental and vendors' capabilities are not
/// merged: their methods only pass on an endpoint of one server.
fn merged_extensions<'a>(capabilities: impl Iterator<Item = (&'a Bytes, bool)>) -> Vec<Vec<u8>> {
    let mut names = std::collections::HashSet::new();
    let mut parts = Vec::new();
    for (raw, tasks) in capabilities {
        let Some(extensions) = json::object(raw, Span::all(raw))
            .ok()
            .and_then(|members| members.get(raw, "extensions"))
            .and_then(|span| json::object(raw, span).ok())
        else {
            continue;
        };
        for member in &extensions {
            let Some(name) = json::text(raw, member.key) else {
                continue;
            };
            if (tasks || name != TASKS_EXTENSION) && names.insert(name.into_owned()) {
                parts.push([member.key.of(raw), b":", member.value.of(raw)].concat());
            }
        }
    }
    parts
}

/// A single server's instructions; of a merged endpoint its own description, then each server's under its name.
fn instructions<S: Source>(view: &View<S>) -> String {
    if let Some((_, about)) = only(view) {
        return about.instructions.as_deref().unwrap_or_default().to_owned();
    }
    let mut parts: Vec<String> = view.description().map(str::to_owned).into_iter().collect();
    for member in view.members() {
        let text = member
            .listing
            .as_ref()
            .and_then(|listing| listing.about.instructions.as_deref());
        let Some(text) = text
            .map(str::trim)
            .filter(|text| !text.is_empty() && view.shows(member))
        else {
            continue;
        };
        let end = (0..=text.len().min(INSTRUCTIONS))
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        let ellipsis = if end < text.len() { "…" } else { "" };
        parts.push(format!("## {}\n\n{}{ellipsis}", member.name, &text[..end]));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests;
