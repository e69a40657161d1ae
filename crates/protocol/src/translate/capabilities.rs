//! What a client declares, as a server of another version is told of it.

use super::TASKS_EXTENSION;
use crate::json::{self, Members, Span};
use crate::rewrite::Rewrite;
use crate::version::Version;

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
