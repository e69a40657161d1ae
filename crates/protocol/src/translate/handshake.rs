//! `initialize` and `server/discover`: one said in the words of the other.

use super::result::CacheHints;
use super::{META_SERVER_INFO, META_SUBSCRIPTION_ID, TASKS_EXTENSION};
use crate::json::{self, Kind, Member, Members, ObjectWriter, Span};
use crate::rewrite::Rewrite;
use crate::version::{SUPPORTED, Version};

/// A modern server's discover result as an `initialize` result. `None` if `discover` (validated raw JSON) is no object.
///
/// `serverInfo` is required there; a server that does not say it is called `server_name`.
pub fn discover_to_initialize(discover: &[u8], version: Version, server_name: &str) -> Option<Vec<u8>> {
    let members = json::object(discover, Span::all(discover)).ok()?;
    let meta = members
        .get(discover, "_meta")
        .and_then(|span| json::object(discover, span).ok());
    let info = meta
        .as_ref()
        .and_then(|meta| meta.get(discover, META_SERVER_INFO));
    let mut out = ObjectWriter::new();
    out.raw("protocolVersion", version.as_json());
    out.raw("capabilities", &capabilities_of(discover, &members));
    match info.filter(|info| json::kind(discover, *info) == Some(Kind::Object)) {
        Some(info) => out.raw("serverInfo", info.of(discover)),
        None => out.raw(
            "serverInfo",
            &ObjectWriter::new()
                .text("name", server_name)
                .text("version", "0")
                .finish(),
        ),
    };
    const DONE: &[&str] = &[
        "protocolVersion",
        "capabilities",
        "serverInfo",
        "supportedVersions",
        "resultType",
        "ttlMs",
        "cacheScope",
        "_meta",
    ];
    copy_others(&mut out, discover, &members, DONE);
    if let Some(meta) = meta {
        let mut kept = ObjectWriter::new();
        copy_others(
            &mut kept,
            discover,
            &meta,
            &[META_SERVER_INFO, META_SUBSCRIPTION_ID],
        );
        if !kept.is_empty() {
            out.raw("_meta", &kept.finish());
        }
    }
    Some(out.finish())
}

/// A legacy server's `initialize` result as a discover result. `None` if `initialize` (validated raw JSON) is no object.
///
/// `serverInfo` goes into `_meta`; `supportedVersions` are the gate's, which speaks them all on the server's behalf.
pub fn initialize_to_discover(initialize: &[u8], hints: CacheHints) -> Option<Vec<u8>> {
    let members = json::object(initialize, Span::all(initialize)).ok()?;
    let mut out = ObjectWriter::new();
    out.text("resultType", "complete");
    let versions: Vec<&[u8]> = SUPPORTED.iter().map(|version| version.as_json()).collect();
    out.raw(
        "supportedVersions",
        &[b"[", &versions.join(&b","[..])[..], b"]"].concat(),
    );
    out.raw("capabilities", &capabilities_of(initialize, &members));
    const DONE: &[&str] = &[
        "protocolVersion",
        "capabilities",
        "serverInfo",
        "supportedVersions",
        "resultType",
        "ttlMs",
        "cacheScope",
        "_meta",
    ];
    copy_others(&mut out, initialize, &members, DONE);
    out.raw("ttlMs", hints.ttl_ms.to_string().as_bytes());
    out.text(
        "cacheScope",
        if hints.scope == super::CacheScope::Public {
            "public"
        } else {
            "private"
        },
    );
    let mut meta = ObjectWriter::new();
    if let Some(own) = members
        .get(initialize, "_meta")
        .and_then(|span| json::object(initialize, span).ok())
    {
        copy_others(&mut meta, initialize, &own, &[META_SERVER_INFO]);
    }
    if let Some(info) = members.get(initialize, "serverInfo") {
        meta.raw(META_SERVER_INFO, info.of(initialize));
    }
    if !meta.is_empty() {
        out.raw("_meta", &meta.finish());
    }
    Some(out.finish())
}

fn copy_others(out: &mut ObjectWriter, raw: &[u8], members: &Members, without: &[&str]) {
    for Member { key, value } in members {
        match json::text(raw, *key) {
            Some(name) if !without.contains(&&*name) => out.raw(&name, value.of(raw)),
            _ => continue,
        };
    }
}

fn capabilities_of(raw: &[u8], members: &Members) -> Vec<u8> {
    members
        .get(raw, "capabilities")
        .filter(|span| json::kind(raw, *span) == Some(Kind::Object))
        .map_or_else(|| b"{}".to_vec(), |span| server_capabilities_down(span.of(raw)))
}

/// A server's capabilities as the gate announces them in either era: without tasks, which the gate deals with itself
/// (`tasks` of 2025-11-25; the extension is undefined before 2026-07-28). Everything else stays, known or not.
pub fn server_capabilities_down(capabilities: &[u8]) -> Vec<u8> {
    let Ok(members) = json::object(capabilities, Span::all(capabilities)) else {
        return b"{}".to_vec();
    };
    let extensions = inner(capabilities, &members, "extensions");
    let mut edits = Rewrite::new(capabilities);
    edits.remove_member(&members, "tasks");
    if let Some(extensions) = &extensions {
        edits.remove_member(extensions, TASKS_EXTENSION);
    }
    edits.finish().into()
}

/// A client's capabilities as a server of the other era, or of another version, gets them. Between equal versions of
/// 2026-07-28 they are passed on as they are.
///
/// Without what the gate cannot keep up across eras: `tasks`, the tasks extension, `roots.listChanged`; elicitation in
/// the shape the server's version knows.
pub fn client_capabilities_up(capabilities: &[u8], client: Version, server: Version) -> Vec<u8> {
    if client.is_modern() && server.is_modern() {
        return capabilities.to_vec();
    }
    let Ok(members) = json::object(capabilities, Span::all(capabilities)) else {
        return b"{}".to_vec();
    };
    let extensions = inner(capabilities, &members, "extensions");
    let roots = inner(capabilities, &members, "roots");
    let elicitation = inner(capabilities, &members, "elicitation");
    let mut edits = Rewrite::new(capabilities);
    edits.remove_member(&members, "tasks");
    if let Some(extensions) = &extensions {
        edits.remove_member(extensions, TASKS_EXTENSION);
    }
    // Between two legacy sides the notification is passed on; a modern server asks anew each time.
    if let Some(roots) = roots
        .as_ref()
        .filter(|_| client.is_modern() != server.is_modern())
    {
        edits.remove_member(roots, "listChanged");
    }
    if let Some(modes) = &elicitation {
        // 2026-07-28 client/elicitation, Capabilities: an empty object means form mode only.
        let form = modes.is_empty() || modes.get(capabilities, "form").is_some();
        if server < Version::V2025_06_18 || (server < Version::V2025_11_25 && !form) {
            edits.remove_member(&members, "elicitation");
        } else if server < Version::V2025_11_25 {
            edits.set_member(&members, "elicitation", &b"{}"[..]);
        } else if client < Version::V2025_11_25 && modes.is_empty() {
            edits.set_member(&members, "elicitation", &br#"{"form":{}}"#[..]);
        }
    }
    edits.finish().into()
}

fn inner(raw: &[u8], members: &Members, name: &str) -> Option<Members> {
    members
        .get(raw, name)
        .and_then(|span| json::object(raw, span).ok())
}

/// The capabilities of an endpoint that shows several servers (each validated raw JSON).
///
/// What any server has, the endpoint has. Lists change when the gate's catalog does, so `listChanged` is always true;
/// `subscribe` if any server has it. Of `experimental`, `extensions` and unknown members the first server's count.
pub fn merge_server_capabilities<'a>(servers: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut lists = [("tools", false), ("prompts", false), ("resources", false)];
    let mut subscribe = false;
    let mut others: Vec<(String, Vec<u8>)> = Vec::new();
    let mut nested = [("experimental", Vec::new()), ("extensions", Vec::new())];
    for raw in servers {
        let raw = &server_capabilities_down(raw)[..];
        let Ok(members) = json::object(raw, Span::all(raw)) else {
            continue;
        };
        for Member { key, value } in &members {
            let Some(name) = json::text(raw, *key) else {
                continue;
            };
            if let Some((_, present)) = lists.iter_mut().find(|(list, _)| *list == name) {
                *present = true;
                let flags = json::object(raw, *value).unwrap_or_default();
                subscribe |= name == "resources"
                    && flags
                        .get(raw, "subscribe")
                        .is_some_and(|subscribe| subscribe.of(raw) == b"true");
            } else if let Some((_, union)) = nested.iter_mut().find(|(nested, _)| *nested == name) {
                for member in &json::object(raw, *value).unwrap_or_default() {
                    add_first(union, raw, member);
                }
            } else {
                add_first(
                    &mut others,
                    raw,
                    &Member {
                        key: *key,
                        value: *value,
                    },
                );
            }
        }
    }
    let mut out = ObjectWriter::new();
    for (name, _) in lists.iter().filter(|(_, present)| *present) {
        let mut flags = ObjectWriter::new();
        flags.raw("listChanged", b"true");
        if *name == "resources" && subscribe {
            flags.raw("subscribe", b"true");
        }
        out.raw(name, &flags.finish());
    }
    for (name, value) in &others {
        out.raw(name, value);
    }
    for (name, union) in nested.iter().filter(|(_, union)| !union.is_empty()) {
        let mut object = ObjectWriter::new();
        for (key, value) in union {
            object.raw(key, value);
        }
        out.raw(name, &object.finish());
    }
    out.finish()
}

/// Members of one merged object; a server that sends more is not describing capabilities.
const MAX_MERGED: usize = 256;

fn add_first(union: &mut Vec<(String, Vec<u8>)>, raw: &[u8], member: &Member) {
    let Some(name) = json::text(raw, member.key) else {
        return;
    };
    if union.len() < MAX_MERGED && !union.iter().any(|(known, _)| *known == name) {
        union.push((name.into_owned(), member.value.of(raw).to_vec()));
    }
}
