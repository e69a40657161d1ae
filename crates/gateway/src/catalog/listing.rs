//! What one server offers: its four lists, each item kept as the bytes the server sent.
//!
//! Items are cut out of the answer and never parsed into types: an odd icon or an unknown enum value cannot lose a list.
//! Only what the gate itself must know is read: the key, three annotations, and the tool's `x-mcp-header`s.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use gatepost_policy::{Hints, Printable};
use gatepost_protocol::{
    error::METHOD_NOT_FOUND,
    headers::{HeaderParams, InvalidAnnotation},
    json::{self, Span},
};

use super::{
    remark::{Remark, is_misleading, list_name},
    source::{About, Answer, ListKind, Source},
};
use crate::upstream::{CallError, Presented};

/// How much of one list is fetched, at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Pages.
    pub(crate) pages: usize,
    /// Items.
    pub(crate) items: usize,
    /// Bytes of all items.
    pub(crate) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            pages: 1_000,
            items: 100_000,
            bytes: 256 * 1024 * 1024,
        }
    }
}

/// One item of a list.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// The item as the server sent it, an object.
    pub(crate) raw: Bytes,
    /// Its name, URI or template, decoded.
    pub(crate) key: Box<str>,
    /// Where the key's value is in `raw`, quotes included.
    pub(crate) place: Span,
    /// What a tool's annotations say about effects.
    pub(crate) hints: Hints,
    /// A tool's `idempotentHint`: calling it twice does what calling it once does.
    pub(crate) idempotent: bool,
    /// Which of a tool's arguments travel as headers too.
    pub(crate) headers: Option<HeaderParams>,
}

/// One list of one server, all pages of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    /// In the server's order, keys unique.
    pub(crate) items: Vec<Item>,
    /// The shortest `ttlMs` of its pages, if they carry any.
    pub(crate) ttl: Option<Duration>,
    /// Whether a page says `cacheScope: private`.
    pub(crate) private: bool,
    /// Members of the first page's result that are not the gate's to make, as raw `"key":value` pairs.
    pub(crate) extra: Vec<(Bytes, Bytes)>,
    /// `_meta` of the first page's result, an object.
    pub(crate) meta: Option<Bytes>,
    /// What was noticed.
    pub(crate) remarks: Vec<Remark>,
}

impl List {
    /// Whether nothing differs that anybody could see.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.items.len() == other.items.len()
            && self.items.iter().zip(&other.items).all(|(a, b)| a.raw == b.raw)
            && (self.ttl, self.private) == (other.ttl, other.private)
            && (&self.extra, &self.meta, &self.remarks) == (&other.extra, &other.meta, &other.remarks)
    }
}

/// Everything one server offers.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// What it says of itself.
    pub(crate) about: About,
    /// By [`ListKind`].
    pub(crate) lists: [Arc<List>; 4],
}

impl Listing {
    /// One list.
    pub(crate) fn list(&self, kind: ListKind) -> &Arc<List> {
        &self.lists[kind as usize]
    }

    /// Whether the server declares that it announces changes of a list.
    pub(crate) fn announces(&self, kind: ListKind) -> bool {
        flag(&self.about.capabilities, kind.capability(), "listChanged")
    }

    /// Whether the server declares the capability that goes with a list.
    pub(crate) fn declares(&self, kind: ListKind) -> bool {
        declares(&self.about.capabilities, kind.capability())
    }

    /// Everything that was noticed in its lists.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = &Remark> {
        self.lists.iter().flat_map(|list| &list.remarks)
    }
}

/// Whether `capabilities` has the member `name` and it is not null.
pub(crate) fn declares(capabilities: &[u8], name: &str) -> bool {
    json::object(capabilities, Span::all(capabilities))
        .ok()
        .and_then(|members| members.get(capabilities, name))
        .is_some_and(|value| json::kind(capabilities, value) != Some(json::Kind::Null))
}

/// Whether `capabilities.<name>.<flag>` is true.
pub(crate) fn flag(capabilities: &[u8], name: &str, flag: &str) -> bool {
    let member = |span, key| json::object(capabilities, span).ok()?.get(capabilities, key);
    member(Span::all(capabilities), name)
        .and_then(|object| member(object, flag))
        .is_some_and(|value| value.of(capabilities) == b"true")
}

/// Why a list could not be fetched. Messages continue "server `x` …".
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ListError {
    /// The server did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The server answered an error.
    #[error("answered `{list}` with error {code}: {}", Printable(.message))]
    Refused {
        /// Which list.
        list: ListKind,
        /// JSON-RPC code.
        code: i64,
        /// In its words.
        message: String,
    },
    /// The result holds no list.
    #[error("answered `{list}` without an array `{}`", .list.member())]
    Shapeless {
        /// Which list.
        list: ListKind,
    },
}

/// Fetches all pages of one list.
///
/// An error -32601 means that there is no such list, so it is empty. A server that ends up repeating a cursor, or sends
/// more than `bounds`, keeps what it sent until then.
///
/// # Errors
/// When a page could not be had: half a list is no list.
pub(crate) async fn fetch<S: Source>(
    source: &S,
    own: Option<&Arc<Presented>>,
    kind: ListKind,
    modern_http: bool,
    bounds: &Bounds,
) -> Result<List, ListError> {
    let mut build = Build::new(kind, modern_http, *bounds);
    let mut cursor: Option<String> = None;
    let mut seen = HashSet::new();
    loop {
        let raw = match source.page(own, kind, cursor.as_deref()).await? {
            Answer::Result(raw) => raw,
            Answer::Error {
                code: METHOD_NOT_FOUND,
                ..
            } if cursor.is_none() => break,
            Answer::Error { code, message } => {
                return Err(ListError::Refused {
                    list: kind,
                    code,
                    message,
                });
            }
        };
        let Some(next) = build.page(&raw)? else { break };
        // An empty string is a valid cursor; a repeated one goes round for ever (2026-07-28 server/utilities/pagination).
        if !seen.insert(next.clone()) {
            build.cut("a cursor came back a second time");
            break;
        }
        if seen.len() >= bounds.pages {
            build.cut("it has too many pages");
            break;
        }
        if build.full {
            break;
        }
        cursor = Some(next);
    }
    Ok(build.list)
}

/// A list in the making.
pub(crate) struct Build {
    kind: ListKind,
    modern_http: bool,
    bounds: Bounds,
    keys: HashSet<Box<str>>,
    at: usize,
    bytes: usize,
    first: bool,
    full: bool,
    list: List,
}

impl Build {
    /// Nothing yet. `modern_http`: whether an invalid `x-mcp-header` costs a tool its place.
    pub(crate) fn new(kind: ListKind, modern_http: bool, bounds: Bounds) -> Self {
        Self {
            kind,
            modern_http,
            bounds,
            keys: HashSet::new(),
            at: 0,
            bytes: 0,
            first: true,
            full: false,
            list: List::default(),
        }
    }

    /// Takes the `result` of one page; the next cursor, if there is one.
    fn page(&mut self, raw: &Bytes) -> Result<Option<String>, ListError> {
        let shapeless = ListError::Shapeless { list: self.kind };
        let members = json::object(raw, Span::all(raw)).map_err(|_| shapeless.clone())?;
        let items = members.get(raw, self.kind.member()).ok_or(shapeless.clone())?;
        if json::kind(raw, items) != Some(json::Kind::Array) {
            return Err(shapeless);
        }
        let ttl = members
            .get(raw, "ttlMs")
            .and_then(|span| milliseconds(span.of(raw)));
        self.list.ttl = match (self.list.ttl, ttl) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.list.private |= members
            .get(raw, "cacheScope")
            .is_some_and(|span| json::equals(raw, span, "private"));
        if std::mem::take(&mut self.first) {
            let slice = |span: Span| raw.slice(span.start()..span.end());
            for member in &members {
                let ours = [
                    self.kind.member(),
                    "nextCursor",
                    "resultType",
                    "ttlMs",
                    "cacheScope",
                ];
                if json::equals(raw, member.key, "_meta") {
                    self.list.meta = (json::kind(raw, member.value) == Some(json::Kind::Object))
                        .then(|| slice(member.value));
                } else if !ours.iter().any(|name| json::equals(raw, member.key, name)) {
                    self.list.extra.push((slice(member.key), slice(member.value)));
                }
            }
        }
        for span in json::items(raw, items) {
            self.item(raw.slice(span.start()..span.end()));
            if self.full {
                break;
            }
        }
        Ok(members
            .get(raw, "nextCursor")
            .and_then(|span| json::text(raw, span))
            .map(std::borrow::Cow::into_owned))
    }

    /// Takes one item.
    pub(crate) fn item(&mut self, raw: Bytes) {
        let at = self.at;
        self.at += 1;
        self.bytes += raw.len();
        if self.list.items.len() >= self.bounds.items || self.bytes > self.bounds.bytes {
            self.full = true;
            self.cut("it is too large");
            return;
        }
        let item = match read(self.kind, raw) {
            Ok(item) => item,
            Err(why) => {
                self.list.remarks.push(Remark::Skipped {
                    list: list_name(self.kind),
                    at,
                    why,
                });
                return;
            }
        };
        let noun = self.kind.noun();
        if is_misleading(&item.key) {
            self.list.remarks.push(Remark::Misleading {
                noun,
                key: item.key.clone(),
            });
        }
        if !self.keys.insert(item.key.clone()) {
            self.list.remarks.push(Remark::Repeated { noun, key: item.key });
            return;
        }
        let item = if self.kind == ListKind::Tools {
            self.tool(item)
        } else {
            Some(item)
        };
        self.list.items.extend(item);
    }

    /// Reads what only tools have.
    fn tool(&mut self, mut item: Item) -> Option<Item> {
        (item.hints, item.idempotent) = hints(&item.raw);
        match header_params(&item.raw) {
            Ok(headers) => item.headers = headers,
            // A schema that cannot be read says nothing about headers, so it breaks no rule about them.
            Err(error) if self.modern_http && !matches!(error, InvalidAnnotation::Schema(_)) => {
                self.list.remarks.push(Remark::LeftOut {
                    tool: item.key,
                    why: error.to_string().into(),
                });
                return None;
            }
            Err(error) => {
                let why = error.to_string().into();
                self.list.remarks.push(Remark::HeadersIgnored {
                    tool: item.key.clone(),
                    why,
                });
            }
        }
        Some(item)
    }

    fn cut(&mut self, why: &'static str) {
        self.list.remarks.push(Remark::Cut {
            list: list_name(self.kind),
            why,
        });
    }

    /// The list.
    pub(crate) fn finish(self) -> List {
        self.list
    }
}

fn read(kind: ListKind, raw: Bytes) -> Result<Item, &'static str> {
    let members = json::object(&raw, Span::all(&raw)).map_err(|_| "it is not an object")?;
    let place = members
        .get(&raw, kind.key())
        .ok_or("it has no key (name, uri or uriTemplate)")?;
    if members.named(&raw, kind.key()).count() > 1 {
        return Err("it has its key (name, uri or uriTemplate) twice");
    }
    let key = json::text(&raw, place).ok_or("its key (name, uri or uriTemplate) is not a string")?;
    if key.is_empty() {
        return Err("its key (name, uri or uriTemplate) is empty");
    }
    let key = Box::from(&*key);
    Ok(Item {
        key,
        place,
        hints: Hints::default(),
        idempotent: false,
        headers: None,
        raw,
    })
}

/// What a tool's annotations say: its effects, and whether it is idempotent.
fn hints(raw: &[u8]) -> (Hints, bool) {
    let member = |span, key| json::object(raw, span).ok()?.get(raw, key);
    let Some(annotations) = member(Span::all(raw), "annotations") else {
        return (Hints::default(), false);
    };
    let flag = |name| match member(annotations, name)?.of(raw) {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    };
    let hints = Hints {
        read_only: flag("readOnlyHint"),
        destructive: flag("destructiveHint"),
    };
    (hints, flag("idempotentHint") == Some(true))
}

fn header_params(raw: &[u8]) -> Result<Option<HeaderParams>, InvalidAnnotation> {
    let members = json::object(raw, Span::all(raw)).ok();
    let Some(schema) = members.and_then(|members| members.get(raw, "inputSchema")) else {
        return Ok(None);
    };
    HeaderParams::compile(schema.of(raw))
}

/// A `ttlMs` that is what it should be: an integer, not negative. Anything absurdly long is a day.
pub(super) fn milliseconds(text: &[u8]) -> Option<Duration> {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    Some(Duration::from_millis(text.parse().unwrap_or(DAY).min(DAY)))
}

#[cfg(test)]
mod tests;
