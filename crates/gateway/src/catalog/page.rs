//! Lists as clients get them: whole `result` objects, serialised once per endpoint, list and version, then shared.
//!
//! A page ends before it would exceed [`PAGE_BYTES`]. Its cursor names the last thing on it rather than a number, so that
//! a cursor given before the catalog changed still continues behind that thing.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::digest;
use bytes::Bytes;
use gatepost_protocol::{
    json::{self, Span},
    rewrite::Rewrite,
    translate,
    version::Version,
};

use super::{
    greeting,
    listing::List,
    source::{ListKind, Source},
    view::{Entry, View},
};
use crate::seal::{Purpose, Sealer};

/// How large the items of one page may be together, in bytes. A larger single item has a page of its own.
pub(super) const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How long a client may take a list for fresh when its servers announce changes (`eras.md` §7, ours), in milliseconds.
const ANNOUNCED_TTL_MS: u64 = 60_000;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// The whole `result` object.
    pub(crate) result: Bytes,
}

/// A cursor that cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "`params.cursor` is not a cursor of this list, or the list has changed under it; list again without a cursor"
)]
pub(crate) struct BadCursor;

/// One list of one view, serialised as far as somebody has asked for it.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    /// By version, see [`slot`].
    by_version: [OnceLock<Arc<Pages>>; 5],
    /// What legacy versions share whose items need no change.
    plain: OnceLock<Arc<Pages>>,
}

#[derive(Debug)]
struct Pages {
    pages: Vec<Page>,
    /// The place after which each page but the first begins.
    after: Vec<Place>,
}

/// What a cursor points at: a digest of the server's name and the item's own key, so that neither a rename nor a long
/// URI changes the cursor's size.
type Place = [u8; 16];

fn slot(version: Version) -> usize {
    match version {
        Version::V2024_11_05 => 0,
        Version::V2025_03_26 => 1,
        Version::V2025_06_18 => 2,
        Version::V2025_11_25 => 3,
        Version::V2026_07_28 => 4,
    }
}

impl Compiled {
    pub(super) fn page<S: Source>(
        &self,
        view: &View<S>,
        kind: ListKind,
        version: Version,
        cursor: Option<&str>,
    ) -> Result<Page, BadCursor> {
        let pages = self.pages(view, kind, version);
        let Some(cursor) = cursor else {
            return pages.pages.first().cloned().ok_or(BadCursor);
        };
        let place = open(view, kind, cursor).ok_or(BadCursor)?;
        if let Some(at) = pages.after.iter().position(|after| *after == place) {
            return pages.pages.get(at + 1).cloned().ok_or(BadCursor);
        }
        // The list has changed since: go on behind the same thing, if it is still there.
        let at = view
            .entries(kind)
            .position(|entry| place_of(&entry) == place)
            .ok_or(BadCursor)?;
        let rendered = render(view, kind, version, at + 1, Some(1));
        rendered.pages.into_iter().next().ok_or(BadCursor)
    }

    fn pages<S: Source>(&self, view: &View<S>, kind: ListKind, version: Version) -> &Arc<Pages> {
        self.by_version[slot(version)].get_or_init(|| {
            if version.is_modern() {
                return Arc::new(render(view, kind, version, 0, None));
            }
            let as_it_is = |entry: Entry<'_>| {
                matches!(
                    down(kind, &entry.item.raw, entry.version, version),
                    Cow::Borrowed(_)
                )
            };
            if view.entries(kind).all(as_it_is) {
                return Arc::clone(
                    self.plain
                        .get_or_init(|| Arc::new(render(view, kind, version, 0, None))),
                );
            }
            Arc::new(render(view, kind, version, 0, None))
        })
    }
}

/// An item of `server`'s version for a client of `client`'s; borrowed if nothing is to be changed (`eras.md` §10).
fn down(kind: ListKind, raw: &[u8], server: Version, client: Version) -> Cow<'_, [u8]> {
    match kind {
        ListKind::Tools => translate::tool_down(raw, server, client).unwrap_or(Cow::Borrowed(raw)),
        _ => Cow::Borrowed(raw),
    }
}

fn render<S: Source>(
    view: &View<S>,
    kind: ListKind,
    version: Version,
    from: usize,
    most: Option<usize>,
) -> Pages {
    let tail = tail(view, kind, version);
    let mut entries = view.entries(kind).skip(from).peekable();
    let mut pages = Pages {
        pages: Vec::new(),
        after: Vec::new(),
    };
    loop {
        let mut out = Vec::new();
        out.push(b'{');
        json::quote_into(&mut out, kind.member());
        out.extend_from_slice(b":[");
        let mut last: Option<Entry<'_>> = None;
        let mut size = 0;
        while let Some(entry) = entries.peek() {
            size += entry.item.raw.len();
            if last.is_some() && size > PAGE_BYTES {
                break;
            }
            if last.is_some() {
                out.push(b',');
            }
            let raw = entry.raw();
            out.extend_from_slice(&down(kind, &raw, entry.version, version));
            last = entries.next();
        }
        out.push(b']');
        let more = if entries.peek().is_some() {
            last.as_ref().map(place_of)
        } else {
            None
        };
        if let Some(place) = &more {
            out.extend_from_slice(b",\"nextCursor\":");
            json::quote_into(&mut out, &seal(view, kind, place));
        }
        out.extend_from_slice(&tail);
        out.push(b'}');
        pages.pages.push(Page { result: out.into() });
        match more {
            Some(place) if most.is_none_or(|most| pages.pages.len() < most) => pages.after.push(place),
            _ => return pages,
        }
    }
}

/// What follows the items on every page: `,"key":value` for each further member of the result.
fn tail<S: Source>(view: &View<S>, kind: ListKind, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    // Only an endpoint of one server has a list that could carry what this server says beside its items.
    let own = match (view.only_server(), view.members()) {
        (Some(_), [only]) => only
            .listing
            .as_ref()
            .map(|listing| Arc::clone(listing.list(kind))),
        _ => None,
    };
    for (key, value) in own.iter().flat_map(|list| &list.extra) {
        out.push(b',');
        out.extend_from_slice(key);
        out.push(b':');
        out.extend_from_slice(value);
    }
    let meta = own
        .and_then(|list| list.meta.clone())
        .unwrap_or_else(|| Bytes::from_static(b"{}"));
    if version.is_modern() {
        out.extend_from_slice(b",\"resultType\":\"complete\",\"ttlMs\":");
        out.extend_from_slice(ttl_ms(view, kind).to_string().as_bytes());
        out.extend_from_slice(b",\"cacheScope\":");
        out.extend_from_slice(scope(view, kind));
        out.extend_from_slice(b",\"_meta\":");
        out.extend_from_slice(&greeting::stamped(&meta, &greeting::server_info(view)));
    } else {
        let meta = legacy_meta(&meta);
        if json::object(&meta, Span::all(&meta)).is_ok_and(|members| !members.is_empty()) {
            out.extend_from_slice(b",\"_meta\":");
            out.extend_from_slice(&meta);
        }
    }
    out
}

/// `_meta` without what only modern clients understand (`eras.md` §7).
fn legacy_meta(meta: &Bytes) -> Bytes {
    let Ok(members) = json::object(meta, Span::all(meta)) else {
        return Bytes::from_static(b"{}");
    };
    let mut rewrite = Rewrite::new(meta);
    for key in [translate::META_SERVER_INFO, translate::META_SUBSCRIPTION_ID] {
        rewrite.remove_member(&members, key);
    }
    if rewrite.is_empty() {
        meta.clone()
    } else {
        rewrite.finish()
    }
}

/// The lists that `view` takes this one from: of servers that offer such a list at all.
fn sources<S: Source>(view: &View<S>, kind: ListKind) -> impl Iterator<Item = (bool, &Arc<List>)> {
    view.members().iter().filter_map(move |member| {
        let listing = member.listing.as_ref()?;
        let list = listing.list(kind);
        let offers = listing.declares(kind) || !list.items.is_empty();
        offers.then(|| (listing.announces(kind), list))
    })
}

/// A server's own `ttlMs`; else 60 s if it announces changes and 0 if not; of several servers the shortest (`eras.md`
/// §7, ours). A list of no server at all is 0: the first one to come changes it.
fn ttl_ms<S: Source>(view: &View<S>, kind: ListKind) -> u64 {
    sources(view, kind)
        .map(|(announces, list)| match list.ttl {
            Some(ttl) => u64::try_from(ttl.as_millis()).unwrap_or(0),
            None if announces => ANNOUNCED_TTL_MS,
            None => 0,
        })
        .min()
        .unwrap_or(0)
}

/// `"public"` only where everybody is shown the same; and what a server calls private stays so. One scope for all pages
/// (2026-07-28 server/utilities/caching, Interaction with Pagination).
fn scope<S: Source>(view: &View<S>, kind: ListKind) -> &'static [u8] {
    if !view.is_everybodys() || sources(view, kind).any(|(_, list)| list.private) {
        b"\"private\""
    } else {
        b"\"public\""
    }
}

fn place_of(entry: &Entry<'_>) -> Place {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(entry.server.as_bytes());
    context.update(&[0]);
    context.update(entry.item.key.as_bytes());
    let mut place = [0; 16];
    place.copy_from_slice(&context.finish().as_ref()[..16]);
    place
}

/// A cursor is for one endpoint and one list.
fn seal<S: Source>(view: &View<S>, kind: ListKind, place: &Place) -> String {
    let mut plain = cursor_prefix(view, kind);
    plain.extend_from_slice(place);
    let sealer: &Sealer = view.sealer();
    sealer.seal(Purpose::Cursor, &plain)
}

fn open<S: Source>(view: &View<S>, kind: ListKind, cursor: &str) -> Option<Place> {
    let plain = view.sealer().open(Purpose::Cursor, cursor)?;
    plain.strip_prefix(&*cursor_prefix(view, kind))?.try_into().ok()
}

fn cursor_prefix<S: Source>(view: &View<S>, kind: ListKind) -> Vec<u8> {
    format!("{}\n{}\n", kind.member(), view.name()).into_bytes()
}

#[cfg(test)]
mod tests;
